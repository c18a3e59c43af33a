"""The environment variables that hubcli reads, and what they mean: what help and documentation tell.

Apart from the functions that read them, since a start would pay for the table.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OUR_VARIABLES", "VARIABLES", "Variable"]


@dataclass(frozen=True, slots=True)
class Variable:
    """Names that mean the same, in the order in which they are asked, and the meaning."""

    names: tuple[str, ...]
    meaning: str


VARIABLES = (
    Variable(
        ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR"),
        "the cache; else the user's cache directory, which `hub.load` must be told of",
    ),
    Variable(("HUBCLI_OFFLINE",), "`1`: send nothing; what isn't cached fails"),
    Variable(("HUBCLI_MIRRORS",), "`PREFIX=URL`, separated by spaces: where to ask instead"),
    Variable(
        ("HUBCLI_MIN_RATE",), "bytes a second, averaged over a minute, below which a download fails (`1KiB`)"
    ),
    Variable(("HUBCLI_CONFIG",), "the config file; empty: none"),
    Variable(("HUBCLI_NO_PROGRESS",), "`1`: no progress bars and no lines of progress"),
    Variable(("HUBCLI_GC",), "rules by which `fetch` collects once a day; `off` turns those of the file off"),
    Variable(
        ("HUBCLI_NO_SYNC",),
        "`1`: do not wait until data is on the disk, as `--no-sync`; "
        "`0`: do, also with `sync = false` in the config file",
    ),
    Variable(
        ("HUBCLI_TENSORFLOW_LIB",),
        "TensorFlow's C library for `run`, the file or its directory; else that of the installed package",
    ),
    Variable(
        ("HUBCLI_KAGGLE_ENDPOINT",),
        "where Kaggle's API is (`https://www.kaggle.com`); credentials for Kaggle go there and nowhere else",
    ),
    Variable(("KAGGLE_API_TOKEN",), "a token for Kaggle, or the path of a file that holds one"),
    Variable(("KAGGLE_USERNAME", "KAGGLE_KEY"), "an account at Kaggle; both are needed"),
    Variable(("KAGGLE_CONFIG_DIR",), "where `kaggle.json` is (`~/.kaggle`)"),
    Variable(
        ("TFHUB_MODEL_LOAD_FORMAT",),
        "`UNCOMPRESSED`: from Python, TensorFlow reads models where the host has them unpacked",
    ),
    Variable(("KAGGLEHUB_CACHE",), "kagglehub's cache (`~/.cache/kagglehub`)"),
    Variable(("NETRC",), "the file with credentials for other hosts (`~/.netrc`)"),
    Variable(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"), "proxies, and hosts without one"),
    Variable(("SSL_CERT_FILE", "SSL_CERT_DIR"), "certificate authorities in place of the system's"),
    Variable(
        ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "TERM"),
        "in this order: no colours where it is set; always, where one of the next two is set and not `0`; "
        "none where CLICOLOR is `0` or TERM is `dumb`",
    ),
    Variable(
        ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"),
        "where the user's caches, configuration and data are, and the start-up files of zsh",
    ),
    Variable(("TF_CONFIG",), "the workers of `finetune-export --strategy multiworker`, as TensorFlow has it"),
)
OUR_VARIABLES = tuple(sorted(name for one in VARIABLES for name in one.names if name.startswith("HUBCLI_")))
