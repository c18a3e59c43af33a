"""Certificate authorities: whom hubcli believes, and what can be told of them without asking anybody."""

from __future__ import annotations

import re
import ssl
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hubcli.config.network import NetworkConfig
from hubcli.errors import NetworkError
from hubcli.regular_file import NotRegularError, open_regular, read_stream

__all__ = ["CertificateAuthorities", "read_ahead", "read_authorities", "trusted_context"]

_MAX_STREAM_BYTES, _WAIT_S = 16 << 20, 10.0
# OpenSSL finds a certificate of a folder by this name alone: the hash of its subject.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")


@dataclass(frozen=True, slots=True)
class CertificateAuthorities:
    """Those that are believed: the file or folder they are of, how many, and how many of them have expired.

    `place` is None for those of the certifi package. `certificates` counts also what is no authority.
    Of a folder the files are counted: OpenSSL reads each when it is needed.
    """

    place: Path | None
    count: int
    certificates: int
    expired: int = 0


def trusted_context(access: NetworkConfig) -> ssl.SSLContext:
    """A context with those that the user names, else the system's; certifi's where the system has none.

    The system's are those that an administrator adds a company's own to. Loading both takes 50 ms more.
    What was read is shared, between threads too, until the file is another. Raises OSError
    (ssl.SSLError) where they can't be read.
    """
    system = ssl.get_default_verify_paths()
    file = access.ca_file or system.cafile
    with _reading:
        return _read_once(access.ca_file, access.ca_folder, system, None if file is None else _version(file))


def read_ahead(access: NetworkConfig) -> None:
    """Begins to read them, 50 ms of work outside the interpreter lock, for whoever asks for them soon."""

    def read() -> None:
        with suppress(Exception):  # Whoever asks is told.
            trusted_context(access)

    with suppress(RuntimeError):  # No thread to be had: they are read when they are needed.
        # Python waits for it at its end: OpenSSL, taken down while it reads, would crash.
        threading.Thread(target=read, name="hubcli-certificates").start()


def _read(file: Path | None, folder: Path | None) -> ssl.SSLContext:
    content = None if file is None else _streamed(file)
    if content is not None:
        return ssl.create_default_context(capath=folder, cadata=content)
    if file is not None or folder is not None:
        return ssl.create_default_context(cafile=file, capath=folder)
    context = ssl.create_default_context()
    if context.cert_store_stats()["x509_ca"]:
        return context
    import httpx  # Knows where certifi is, and takes long to load.

    return httpx.create_ssl_context()


def _streamed(file: Path) -> str | None:
    """What a FIFO holds, such as a shell's `<(command)`; None for a regular file, which OpenSSL reads.

    OpenSSL would wait for ever where nobody writes. A FIFO is opened once: its writer would take the first
    reader for the only one. Raises OSError.
    """
    if stat.S_ISREG(file.stat().st_mode):
        with suppress(NotRegularError):  # It became one meanwhile.
            open_regular(file).close()
            return None
    content = read_stream(file, _MAX_STREAM_BYTES, _WAIT_S).decode("ascii", "ignore")
    if "-----BEGIN" not in content:  # Without any, Python would take the system's.
        raise ssl.SSLError("no certificate in PEM form")
    return content


def _version(file: Path | str) -> tuple[int, int] | None:
    """What changes with the file's content; None where there is none."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    # A FIFO can be read once.
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


@lru_cache(maxsize=8)
def _read_once(
    file: Path | None, folder: Path | None, system: ssl.DefaultVerifyPaths, version: tuple[int, int] | None
) -> ssl.SSLContext:
    """What `_read` gives as long as the system's are in those places, and the file has that version."""
    return _read(file, folder)


_reading = threading.Lock()  # Who comes second waits for what the first reads.


def read_authorities(access: NetworkConfig) -> CertificateAuthorities:
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
    ends = [ssl.cert_time_to_seconds(str(certificate["notAfter"])) for certificate in context.get_ca_certs()]
    counts = context.cert_store_stats()
    return CertificateAuthorities(
        place=access.ca_file or _place_of_system(),
        count=counts["x509_ca"],
        certificates=counts["x509"],
        expired=sum(end < time.time() for end in ends),
    )


def _place_of_system() -> Path | None:
    paths = ssl.get_default_verify_paths()
    place = paths.cafile or paths.capath
    return None if place is None else Path(place)


def _of_folder(folder: Path) -> CertificateAuthorities:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise NetworkError(
            f"{folder}: {error.strerror}", hint="Name a folder of certificates in SSL_CERT_DIR."
        ) from error
    hashed = sum(_HASHED_NAME.fullmatch(name) is not None for name in names)
    return CertificateAuthorities(folder, hashed, len(names))
