"""How a host is connected to: which certificate authorities are trusted, and by which proxy; without httpx.

What certificates say without a connection stands here, and the proxy of a URL as httpx decides
it. Source: `get_environment_proxies` and `URLPattern` of httpx 0.28. A name in NO_PROXY exempts that host
and its subdomains, `.example.com` subdomains alone, `*` all hosts; addresses and `localhost` exempt
themselves. Networks (`10.0.0.0/8`) and `*.example.com` have no effect in httpx.
"""

from __future__ import annotations

import re
import ssl
import stat
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from hubcli.config.environment import NetworkConfig
from hubcli.errors import NetworkError
from hubcli.regular_file import NotRegularError, open_regular, read_stream
from hubcli.urls import origin

__all__ = [
    "CertificateAuthorities",
    "Proxies",
    "ProxyRoute",
    "preload_context",
    "read_authorities",
    "trusted_context",
]

_MAX_STREAM_BYTES, _WAIT_S = 16 << 20, 10.0
# OpenSSL finds a certificate of a folder by this name alone: the hash of its subject.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")


@dataclass(frozen=True, slots=True)
class CertificateAuthorities:
    """The trusted certificate authorities: their file or folder, how many, and how many have expired.

    `place` is None for those of the certifi package.
    Of a folder the files are counted: OpenSSL reads each when it is needed.
    """

    place: Path | None
    count: int
    expired: int = 0


def trusted_context(access: NetworkConfig) -> ssl.SSLContext:
    """A context with the authorities that the user names, else the system's, else certifi's.

    An administrator adds a company's own to the system's. Loading certifi's too would take 50 ms more.
    A context is shared, between threads too, until the file changes. Raises OSError (ssl.SSLError) if the
    authorities can't be read.
    """
    system = ssl.get_default_verify_paths()
    file = access.ca_file or system.cafile
    with _reading:
        return _read_once(access.ca_file, access.ca_folder, system, None if file is None else _version(file))


def preload_context(access: NetworkConfig) -> None:
    """Loads the context on a thread, for 50 ms without the interpreter lock, before the first request."""

    def read() -> None:
        with suppress(Exception):  # The request itself raises it.
            trusted_context(access)

    with suppress(RuntimeError):  # No thread could be started: the request loads it.
        # Not a daemon: OpenSSL would crash if Python ended while it reads.
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

    OpenSSL would wait for ever for a writer. A FIFO is opened once: its writer ends with its first reader.
    Raises OSError.
    """
    if stat.S_ISREG(file.stat().st_mode):
        with suppress(NotRegularError):  # It became a FIFO meanwhile.
            open_regular(file).close()
            return None
    content = read_stream(file, _MAX_STREAM_BYTES, _WAIT_S).decode("ascii", "ignore")
    if "-----BEGIN" not in content:  # Without any, Python would take the system's.
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"{file} holds no certificate in PEM form")
    return content


def _version(file: Path | str) -> tuple[int, int] | None:
    """What changes with the file's content, or None."""
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
    """The result of `_read`, cached for the system's paths and the version of the file."""
    return _read(file, folder)


_reading = threading.Lock()  # A second thread waits for the context that the first one loads.


def read_authorities(access: NetworkConfig) -> CertificateAuthorities:
    """The authorities of `trusted_context`, counted. Raises NetworkError if they can't be used."""
    if access.ca_file is None and access.ca_folder is not None:
        return _of_folder(access.ca_folder)
    try:
        context = _read(access.ca_file, access.ca_folder)
    except OSError as error:
        reason = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise NetworkError(
            f"{access.ca_file}: {reason}", hint="Specify a file of certificates in PEM form."
        ) from error
    ends = [ssl.cert_time_to_seconds(str(certificate["notAfter"])) for certificate in context.get_ca_certs()]
    return CertificateAuthorities(
        place=access.ca_file or _place_of_system(),
        count=context.cert_store_stats()["x509_ca"],
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
            f"{folder}: {error.strerror}", hint="Specify a directory of certificates in SSL_CERT_DIR."
        ) from error
    hashed = sum(_HASHED_NAME.fullmatch(name) is not None for name in names)
    return CertificateAuthorities(folder, hashed)


_SCHEMES = ("http", "https", "all")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """The proxy for a URL, None for none, and the variable that names it. `proxy` may hold a password."""

    proxy: str | None = None
    source: str | None = None

    @property
    def is_direct(self) -> bool:
        """Whether requests go to the host itself."""
        return self.proxy is None


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy of each scheme with the variable that names it, and what NO_PROXY exempts."""

    by_scheme: Mapping[str, ProxyRoute]
    exempt: tuple[str, ...] = ()

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Proxies:
        """Those of the variables, else those of the system, if it keeps some."""
        found = _of_variables(variables)
        if not found and sys.platform in ("darwin", "win32"):
            from urllib.request import getproxies

            found = {name: ProxyRoute(value, "the system") for name, value in getproxies().items() if value}
        no_proxy = found["no"].proxy or "" if "no" in found else ""
        exempt = tuple(filter(None, map(str.strip, no_proxy.split(","))))
        routes = {scheme: found[scheme] for scheme in _SCHEMES if scheme in found}
        return cls({} if "*" in exempt else routes, exempt)

    def route(self, url: str) -> ProxyRoute:
        """The proxy for the URL. Raises ValueError for an invalid one."""
        scheme, host, _ = origin(url)
        named = self.by_scheme.get(scheme) or self.by_scheme.get("all")
        if named is None:
            return ProxyRoute()
        port = urlsplit(url).port
        port = None if port == _DEFAULT_PORTS.get(scheme) else port
        if any(_exempts(entry, scheme, host, port) for entry in self.exempt):
            return ProxyRoute(None, "NO_PROXY")
        return named


def _of_variables(variables: Mapping[str, str]) -> dict[str, ProxyRoute]:
    """By scheme and `no`; small letters count before capitals. Source: urllib.request of Python."""
    found = {}
    for name in sorted(variables):  # Capitals sort first.
        scheme, separator, _ = name.lower().rpartition("_proxy")
        if separator and variables[name]:
            found[scheme] = ProxyRoute(variables[name], name)
    # A server's script gets the header `Proxy:` of a request as HTTP_PROXY.
    if variables.get("REQUEST_METHOD") and not variables.get("http_proxy"):
        found.pop("http", None)
    return found


def _exempts(entry: str, scheme: str, host: str, port: int | None) -> bool:
    """Whether the entry of NO_PROXY exempts that host."""
    entry = entry.lower()
    if "://" in entry:
        parts = urlsplit(entry)
        own_scheme, name, own_port, is_suffix = parts.scheme, parts.hostname or "", parts.port, False
        own_port = None if own_port == _DEFAULT_PORTS.get(own_scheme) else own_port
    elif _is_address(entry) or entry == "localhost":
        own_scheme, name, own_port, is_suffix = "all", entry.partition("/")[0], None, False
    else:
        name, _, number = entry.partition("/")[0].partition(":")
        own_scheme, own_port, is_suffix = "all", int(number) if number.isdecimal() else None, True
    if own_scheme not in ("all", scheme) or own_port not in (None, port):
        return False
    if not is_suffix:
        return name == host
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _is_address(text: str) -> bool:
    import ipaddress  # Needed with NO_PROXY alone.

    try:
        ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return False
    return True
