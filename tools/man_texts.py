"""The parts of the man page that no code tells."""

from __future__ import annotations

__all__ = ["DESCRIPTION", "FILES", "SEE_ALSO"]

DESCRIPTION = (
    "hubcli works with TensorFlow SavedModels from TF Hub, Kaggle and any host that speaks the TF Hub "
    "protocol. It keeps them in the cache that `hub.load` reads: what one fetches, the other finds. A model "
    "is there whole or not at all. TensorFlow is needed to export Keras models and to train, no more.",
    "A handle is the address of a model, such as https://tfhub.dev/spotify/basic-pitch/1, the name that "
    "kagglehub has for it, a local archive or directory, or example://mul/1, which is built in. A pattern is "
    "a glob over whole handles: `*` crosses slashes.",
    "What was asked for goes to standard output, everything else to standard error. With `--json` it is one "
    'document with "schema": 1, and a failure has "error" with code, message and hint in it. With `-q` it is '
    "paths or handles alone, one a line. Of several models all are tried; the first failure decides the exit "
    "status.",
)

FILES = (
    ("~/.cache/hubcli", "The cache, where nothing names another; on macOS ~/Library/Caches/hubcli."),
    ("~/.cache/hubcli-answers", "Answers of hosts to search, versions and info, kept for some minutes."),
    (
        "~/.config/hubcli/config.toml",
        'The config file, in TOML: cache-dir, mirrors, gc and others, as in gc = "max-size=20GB".',
    ),
    ("CACHE/SHA1", "A model. The name is the SHA-1 of its handle, in hexadecimal."),
    ("CACHE/SHA1.descriptor.txt", "The handle, as tensorflow_hub records it."),
    (
        "CACHE/SHA1.hubcli.json",
        "What hubcli knows of the model: its files with their hashes, where it came from.",
    ),
    ("CACHE/SHA1.hubcli.pin", "There while the model is pinned."),
    ("CACHE/SHA1.hubcli.part", "A download that can be resumed."),
    ("CACHE/SHA1.lock", "There while a process downloads the model."),
)

SEE_ALSO = (
    "The README of hubcli tells each option in full, the keys of each JSON document, and what is measured.",
    "https://www.tensorflow.org/hub/hosting describes the protocol, "
    "https://www.tensorflow.org/guide/saved_model the format.",
)
