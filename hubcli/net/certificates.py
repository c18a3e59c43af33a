"""Certificate authorities: whom hubcli believes, and what can be told of them without asking anybody."""

from __future__ import annotations

import re
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hubcli.access import Access
from hubcli.errors import NetworkError

__all__ = ["Authorities", "read_ahead", "read_authorities", "trusted_context"]

# OpenSSL finds a certificate of a folder by this name alone: the hash of its subject.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")


@dataclass(frozen=True, slots=True)
class Authorities:
    """Those that are believed: the file or folder they are of, how many, and how many of them have expired.

    `place` is None for those of the certifi package. `certificates` counts also what is no authority.
    Of a folder the files are counted: OpenSSL reads each when it is needed.
    """

    place: Path | None
    count: int
    certificates: int
    expired: int = 0


def trusted_context(access: Access) -> ssl.SSLContext:
    """A context with those that the user names, else the system's; certifi's where the system has none.

    The system's are those that an administrator adds a company's own to. Loading both takes 50 ms more.
    What was read once is shared, between threads too. Raises OSError (ssl.SSLError) where they can't be
    read.
    """
    with _reading:
        return _read_once(access.ca_file, access.ca_folder, ssl.get_default_verify_paths())


def read_ahead(access: Access) -> None:
    """Begins to read them, 50 ms of work outside the interpreter lock, for whoever asks for them soon."""

    def read() -> None:
        with suppress(OSError):  # Whoever asks is told.
            trusted_context(access)

    threading.Thread(target=read, name="hubcli-certificates", daemon=True).start()


def _read(file: Path | None, folder: Path | None) -> ssl.SSLContext:
    if file is not None or folder is not None:
        return ssl.create_default_context(cafile=file, capath=folder)
    context = ssl.create_default_context()
    if context.cert_store_stats()["x509_ca"]:
        return context
    import httpx  # Knows where certifi is, and takes long to load.

    return httpx.create_ssl_context()


_reading = threading.Lock()


@lru_cache(maxsize=8)
def _read_once(file: Path | None, folder: Path | None, system: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    """What `_read` gives as long as the system's are in those places."""
    return _read(file, folder)


def read_authorities(access: Access) -> Authorities:
    """What is known of those that `trusted_context` gives. Raises NetworkError where they can't be used."""
    if access.ca_file is None and access.ca_folder is not None:
        return _of_folder(access.ca_folder)
    try:
        context = _read(access.ca_file, access.ca_folder)
    except OSError as error:
        reason = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise NetworkError(
            f"{access.ca_file}: {reason}", hint="Name a file of certificates in PEM form."
        ) from error
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in context.get_ca_certs()]
    counts = context.cert_store_stats()
    return Authorities(
        place=access.ca_file or _place_of_system(),
        count=counts["x509_ca"],
        certificates=counts["x509"],
        expired=sum(end < time.time() for end in ends),
    )


def _place_of_system() -> Path | None:
    paths = ssl.get_default_verify_paths()
    place = paths.cafile or paths.capath
    return None if place is None else Path(place)


def _of_folder(folder: Path) -> Authorities:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise NetworkError(
            f"{folder}: {error.strerror}", hint="Name a folder of certificates in SSL_CERT_DIR."
        ) from error
    hashed = sum(_HASHED_NAME.fullmatch(name) is not None for name in names)
    return Authorities(folder, hashed, len(names))
