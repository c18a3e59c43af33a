"""Handles: how people spell the name of a model, and what each spelling means.

The hosting protocol and tensorflow_hub's cache keys are described in
https://www.tensorflow.org/hub/hosting and in tensorflow_hub 0.16.1,
`compressed_module_resolver.py`: the key is the SHA-1 of the handle as typed.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from hubcli.errors import HandleError
from hubcli.providers.kaggle import KaggleModel
from hubcli.suggestions import nearest
from hubcli.urls import printed_url, with_query, without_query, without_secrets

__all__ = ["ACCEPTED", "Handle", "HandleKind", "key_of"]

ACCEPTED = (
    "Accepted: https://tfhub.dev/<publisher>/<model>/<version>, a Kaggle model URL or "
    "<owner>/<model>/tensorFlow2/<variation>[/<version>], any https:// URL of a model or tarball, "
    "example://mul/1, a directory or an archive (./model, ./model.tar.gz)."
)
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_FORMAT_QUERY = "tf-hub-format=compressed"
_DIRECTORY_QUERY = "tf-hub-format=uncompressed"
_LEFT_IN = re.compile(r"tf-hub-format|tfhub-redirect")
# What people leave behind a handle when they copy it from a log or a browser.
_SUFFIXES = ("", "/", "?tf-hub-format=compressed", "?tfhub-redirect=true")
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BARE_HOST = re.compile(r"(tfhub\.dev|(www\.)?kaggle\.com|hub\.tensorflow\.google\.cn)/\S+", re.IGNORECASE)
# Those of Kaggle: what has one is no model of tfhub.dev.
_FRAMEWORKS = (
    *("tensorflow1", "tensorflow2", "tflite", "tfjs", "coral", "keras", "jax", "flax", "pytorch"),
    *("transformers", "scikitlearn", "gemmacpp", "gguf", "maxtext", "onnx", "triton", "other"),
)
_TFHUB_SITE = "https://tfhub.dev"
_MISTYPED_SCHEME = re.compile(
    r"(?:h?t?tps?|htt?ps?|hhtps?)(?::/?|//)((?:[a-z0-9-]+\.)+[a-z]+/\S+)", re.IGNORECASE
)
_USER_INFO = re.compile(r"^.*:.*@", re.DOTALL)
_CN_HOST = "hub.tensorflow.google.cn"
_CN_ARCHIVE = "https://gcs.tensorflow.google.cn/tfhub-modules/{name}.tar.gz"


class HandleKind(str, Enum):
    """What a handle names, and so where its bytes come from."""

    PATH = "path"
    ARCHIVE = "archive"
    TFHUB = "tfhub"
    TFHUB_CN = "tfhub-cn"
    KAGGLE = "kaggle"
    HTTP = "http"
    GCS = "gcs"
    EXAMPLE = "example"


@dataclass(frozen=True, slots=True)
class Handle:
    """The name of a model, understood.

    `text` is the spelling as typed and may hold secrets: print and store
    `canonical`, which never does. `aliases` are the other spellings of the
    same model, without secrets.
    """

    text: str = field(repr=False)
    kind: HandleKind
    canonical: str
    version: str | None = None
    aliases: tuple[str, ...] = field(default=(), repr=False)
    archive_url: str | None = field(default=None, repr=False)
    path: Path | None = None
    kaggle: KaggleModel | None = field(default=None, repr=False)

    @classmethod
    def of_kaggle(cls, model: KaggleModel) -> Handle:
        """The handle of a model on Kaggle, spelled as its canonical address."""
        return _kaggle(model.addresses[0], model)

    @classmethod
    def parse(cls, text: str) -> Handle:
        """The handle that `text` spells; looks at the disk for what may be a path.

        Raises HandleError where it can't be understood.
        """
        if not text.strip():
            raise HandleError("The handle is empty", hint=ACCEPTED)
        if "\0" in text:
            raise HandleError(f"{text!r} holds a NUL character", hint=ACCEPTED)
        if text.startswith(("/", "./", "../", "~")) or text in (".", ".."):
            return _parse_local(text, text)
        scheme = _SCHEME.match(text)
        if scheme is None and os.path.exists(text):  # noqa: PTH110 - Path.exists raises for long names
            return _parse_local(text, text)
        if any(character.isspace() or not character.isprintable() for character in text):
            raise HandleError(f"{printed_url(text)!r} holds spaces", hint=ACCEPTED)
        if scheme is None:
            return _parse_bare(text)
        parser = _PARSERS.get(scheme[1].lower())
        if parser is None:
            meant = nearest(scheme[1], ("http", "https"))
            question = f"Did you mean {meant}{without_secrets(text)[len(scheme[1]) :]} ? " if meant else ""
            raise HandleError(
                f"'{printed_url(text)}' has the scheme '{scheme[1]}', which hubcli doesn't read",
                hint=f"{question}Copy it to a local file, then: hubcli fetch HANDLE --from FILE. " + ACCEPTED,
            )
        return parser(text)

    @property
    def cache_key(self) -> str:
        """Name of the model's directory in the cache: SHA-1 of `canonical`, 40 hex digits."""
        return key_of(self.canonical)

    @property
    def alias_keys(self) -> tuple[str, ...]:
        """Names under which `hub.load` looks for the other spellings, the typed one included."""
        spellings = dict.fromkeys((*self.aliases, self.text) if "://" in self.text else self.aliases)
        return tuple(key_of(spelling) for spelling in spellings if spelling != self.canonical)

    @property
    def directory_url(self) -> str | None:
        """Where a host of the TF Hub protocol tells the directory of the unpacked model; None of no host."""
        if self.archive_url is None:
            return None
        asked = self.text.partition("#")[0] if self.kind is HandleKind.HTTP else self.canonical
        return with_query(asked, _DIRECTORY_QUERY)

    @property
    def is_remote(self) -> bool:
        """Whether its bytes come over the network."""
        return self.archive_url is not None

    @property
    def is_immutable(self) -> bool:
        """Whether the bytes behind it never change: a versioned handle of a model host."""
        return self.version is not None and self.kind is not HandleKind.HTTP

    def __str__(self) -> str:
        return self.canonical


def key_of(spelling: str) -> str:
    """The name under which the cache holds what is spelled so: tensorflow_hub's, of any spelling."""
    # A path may hold bytes that are no UTF-8.
    import hashlib  # OpenSSL takes 4 ms to load; a directory and an archive need no key.

    return hashlib.sha1(spelling.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()


def _shown(text: str) -> str:
    """The text without secrets, also where a URL lost its scheme."""
    if "://" in text or text.startswith(("/", ".", "~")):
        return printed_url(text)
    # A slash that is missing makes no password less of a secret.
    return printed_url(f"//{_USER_INFO.sub('', text)}").removeprefix("//")


def _refuse(text: str, what: str, hint: str = ACCEPTED) -> HandleError:
    return HandleError(f"'{_shown(text)}' {what}", hint=hint)


def _no_url(text: str) -> HandleError:
    # Where its user info ends can't be told: neither the text nor the cause may be shown.
    return HandleError(
        f"'{text.partition('://')[0]}://…' is no valid URL: check its host and port", hint=ACCEPTED
    )


def _parse_local(text: str, path_text: str) -> Handle:
    if "\0" in path_text:  # In a file:// URL as %00.
        raise HandleError(f"{text!r} holds a NUL character", hint=ACCEPTED)
    # Without resolving links: people recognise the path that they typed.
    try:
        path = Path(os.path.abspath(Path(path_text).expanduser()))  # noqa: PTH100
        path.is_file()
    except RuntimeError as error:
        raise _refuse(text, "names the home of an unknown user") from error
    except OSError as error:
        raise _refuse(text[:80] + "…", f"can't be looked at: {error.strerror}") from error
    if path.name in ("saved_model.pb", "saved_model.pbtxt") and not path.is_dir():
        raise _refuse(text, "is a file inside a SavedModel", f"Name its directory: {path.parent}")
    if path.is_file() or (not path.exists() and path.name.endswith(ARCHIVE_SUFFIXES)):
        return Handle(text, HandleKind.ARCHIVE, f"file://{quote(os.fsencode(path))}", path=path)
    return Handle(text, HandleKind.PATH, str(path), path=path)


def _parse_file_url(text: str) -> Handle:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise _no_url(text) from error
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise _refuse(text, "names a file on another host", "Write file:///absolute/path.")
    return _parse_local(text, os.fsdecode(unquote_to_bytes(parts.path)))


def _parse_bare(text: str) -> Handle:
    """Text without a scheme that names nothing on the disk."""
    if _BARE_HOST.fullmatch(text):
        raise _refuse(text, "has no scheme", f"Did you mean https://{_shown(text)} ?")
    segments = text.strip("/").split("/")
    is_named = all(map(_SEGMENT.fullmatch, segments))
    if len(segments) in (4, 5) and is_named:
        try:
            return _kaggle(text, KaggleModel.of_parts(segments, _shown(text)))
        except HandleError as error:
            if _is_number(segments[-1]) and segments[2].lower() not in _FRAMEWORKS:
                error.hint = f"Did you mean {_TFHUB_SITE}/{'/'.join(segments)} ? {error.hint}"
            raise
    if text.endswith(ARCHIVE_SUFFIXES):
        raise _refuse(text, "is no file here", "Check the path, or start it with ./ or /.")
    raise _refuse(text, "is neither a handle nor an existing directory", _near_miss(text))


def _near_miss(text: str) -> str:
    """The hint with the address that was probably meant, else with every accepted form."""
    mistyped = _MISTYPED_SCHEME.fullmatch(text)
    if mistyped:
        return f"Did you mean https://{_shown(mistyped[1])} ?"
    name = re.sub(r"@(\d+)$", r"/\1", text.split("?")[0].split("#")[0].strip("/"), flags=re.ASCII)
    segments = name.split("/")
    if not all(map(_SEGMENT.fullmatch, segments)):
        return ACCEPTED
    if segments[0] == "models" and len(segments) in (5, 6):
        return f"Did you mean https://www.kaggle.com/{name} ?"
    if len(segments) > 2 and _is_number(segments[-1]):
        return f"Did you mean {_TFHUB_SITE}/{name} ?"
    if len(segments) == 2 and not name.endswith(ARCHIVE_SUFFIXES):
        return f"Did you mean {_TFHUB_SITE}/{name} ? A directory here is written ./{name}. {ACCEPTED}"
    return ACCEPTED


def _parse_example(text: str) -> Handle:
    name = text.split("://", 1)[1].rstrip("/")
    segments = name.split("/")
    if not all(map(_SEGMENT.fullmatch, segments)) or len(segments) > 2:
        raise _refuse(text, "names no built-in example", "Built in: example://mul/1")
    version = segments[1] if len(segments) == 2 else None
    return Handle(text, HandleKind.EXAMPLE, f"example://{name}", version)


def _parse_gcs(text: str) -> Handle:
    try:
        parts = urlsplit(without_secrets(text))
    except ValueError as error:
        raise _no_url(text) from error
    bucket, name = parts.netloc, parts.path.lstrip("/")
    if not bucket or not name.strip("/"):
        raise _refuse(text, "names no object in a bucket", "Write gs://bucket/path/model.tar.gz.")
    return Handle(text, HandleKind.GCS, f"gs://{bucket}/{name.rstrip('/')}", _version(name.split("/")))


def _parse_http(text: str) -> Handle:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _no_url(text) from error
    if not host:
        raise _refuse(text, "names no host")
    if port in (None, 80, 443):
        if host == "tfhub.dev":
            return _parse_tfhub(text)
        if host == _CN_HOST:
            return _parse_cn(text)
        if host in ("kaggle.com", "www.kaggle.com"):
            return _parse_kaggle(text)
    return _parse_any_host(text)


def _segments(text: str) -> list[str]:
    segments = urlsplit(text).path.strip("/").split("/")
    if segments != [""] and not all(map(_SEGMENT.fullmatch, segments)):
        raise _refuse(text, "holds a character that no model name has")
    return segments


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _version(segments: list[str]) -> str | None:
    named = [segment for segment in segments if segment]
    return named[-1] if len(named) > 1 and _is_number(named[-1]) else None


def _spellings(bases: list[str]) -> tuple[str, tuple[str, ...]]:
    """The first of `bases`, and every other base and left-in suffix."""
    every = dict.fromkeys(base + suffix for suffix, base in itertools.product(_SUFFIXES, bases))
    canonical, *aliases = every
    return canonical, tuple(aliases)


def _model_name(text: str) -> list[str]:
    segments = _segments(text)
    if "collections" in segments[:2]:
        raise _refuse(text, "is the page of a collection, not a model", "Open it and name one of its models.")
    query = urlsplit(text).query
    if "lite-format=" in query or "tfjs-format=" in query:
        raise _refuse(text, "asks for TF Lite or TF.js files, not a SavedModel")
    if len(segments) < 2 or (len(segments) == 2 and _is_number(segments[1])):
        raise _refuse(
            text,
            "is the page of a publisher, not a model",
            "A model reads https://tfhub.dev/<publisher>/<model>/<version>.",
        )
    return segments


def _parse_tfhub(text: str) -> Handle:
    segments = _model_name(text)
    name = "/".join(segments)
    version = _version(segments) if len(segments) > 2 else None
    canonical, aliases = _spellings([f"https://tfhub.dev/{name}", f"http://tfhub.dev/{name}"])
    return Handle(text, HandleKind.TFHUB, canonical, version, aliases, with_query(canonical, _FORMAT_QUERY))


def _parse_cn(text: str) -> Handle:
    segments = _model_name(text)
    name = "/".join(segments)
    canonical, aliases = _spellings([f"https://{_CN_HOST}/{name}"])
    return Handle(
        text, HandleKind.TFHUB_CN, canonical, _version(segments), aliases, _CN_ARCHIVE.format(name=name)
    )


def _parse_kaggle(text: str) -> Handle:
    return _kaggle(text, KaggleModel.of_path(_segments(text), _shown(text)))


def _kaggle(text: str, model: KaggleModel) -> Handle:
    canonical, aliases = _spellings(model.addresses)
    archive_url = with_query(canonical, _FORMAT_QUERY)
    return Handle(text, HandleKind.KAGGLE, canonical, model.version, aliases, archive_url, kaggle=model)


def _parse_any_host(text: str) -> Handle:
    """A host of someone's own: it is asked for exactly what was typed."""
    parts = urlsplit(text)
    if not parts.path.strip("/"):
        raise _refuse(text, "names a host, but no model on it")
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    if ":" in str(parts.hostname):
        host = f"[{parts.hostname}]" + (f":{parts.port}" if parts.port else "")
    tidy = parts._replace(scheme=parts.scheme.lower(), netloc=host, path=parts.path.rstrip("/"))
    clean = urlsplit(without_secrets(tidy.geturl()))
    clean = clean._replace(path=clean.path.rstrip("/"))
    if not clean.path:
        raise _refuse(text, "names a host, but no model on it")
    canonical = without_query(clean.geturl(), _LEFT_IN)
    is_tarball = clean.path.endswith(ARCHIVE_SUFFIXES)
    if urlsplit(canonical).query or is_tarball:
        aliases: tuple[str, ...] = (with_query(canonical, _FORMAT_QUERY),)
    else:
        canonical, aliases = _spellings([canonical])
    # A signed URL of a tarball may cover its whole query: nothing is added to it.
    archive_url = text.partition("#")[0] if is_tarball else with_query(text, _FORMAT_QUERY)
    version = _version(clean.path.split("/"))
    return Handle(text, HandleKind.HTTP, canonical, version, aliases, archive_url)


_PARSERS = {
    "http": _parse_http,
    "https": _parse_http,
    "gs": _parse_gcs,
    "file": _parse_file_url,
    "example": _parse_example,
}
