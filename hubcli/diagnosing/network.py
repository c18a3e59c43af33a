"""The network as it is set up; nothing is sent here."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from hubcli.config.network import KAGGLE_ENDPOINT
from hubcli.diagnosing.check import Check, Section, Status
from hubcli.diagnosing.context import DiagnosisContext
from hubcli.errors import HubcliError, NetworkError
from hubcli.net.certificates import read_authorities
from hubcli.net.proxies import Proxies
from hubcli.urls import address, is_address, without_secrets

__all__ = [
    "check_certificates",
    "check_endpoint",
    "check_mirrors",
    "check_offline",
    "check_proxies",
    "check_tls",
    "hosts_in_force",
]

_check = partial(Check.of, Section.NETWORK)

_TFHUB, _STORAGE = "https://tfhub.dev", "https://storage.googleapis.com"
_OTHERS_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def hosts_in_force(case: DiagnosisContext) -> tuple[str, ...]:
    """The addresses that downloads begin at, each once: TF Hub, Kaggle's API, storage; or their mirrors."""
    settings = case.settings
    usual = (f"{_TFHUB}/", f"{settings.access.kaggle.endpoint}/")
    asked = [settings.mirrored(url) for url in usual]
    if any(url in usual for url in asked):
        asked.append(settings.mirrored(f"{_STORAGE}/"))
    asked += [f"{mirror.replacement}/" for mirror in settings.mirrors]
    return tuple({address(url): url for url in asked if is_address(url)}.values())


def check_offline(case: DiagnosisContext) -> Iterator[Check]:
    """Whether anything may be sent."""
    if not case.settings.offline:
        yield _check("offline", Status.OK, "off", value=False)
    elif case.options.offline:
        yield _check("offline", Status.INFO, "on (--offline): what isn't cached isn't fetched", value=True)
    else:
        in_file = not case.environment.get("HUBCLI_OFFLINE")
        message = f"on ({'config file' if in_file else 'HUBCLI_OFFLINE'}): what isn't cached isn't fetched"
        hint = "export HUBCLI_OFFLINE=0" if in_file else "unset HUBCLI_OFFLINE"
        yield _check("offline", Status.WARNING, message, value=True, hint=hint)


def check_mirrors(case: DiagnosisContext) -> Iterator[Check]:
    """Who is asked in place of others."""
    for source in ("--mirror", "HUBCLI_MIRRORS"):
        if source in case.faults:
            fault = case.faults[source]
            hint = fault.hint.replace("--mirror ", "HUBCLI_MIRRORS=") if source != "--mirror" else fault.hint
            yield _check("mirrors", Status.PROBLEM, f"{source}: {fault.message}", None, hint)
    told = {_shown(one.prefix): _shown(one.replacement) for one in case.settings.mirrors}
    unclear = [_shown(one.prefix) for one in case.settings.mirrors if not is_address(one.replacement)]
    if unclear:
        message = f"what is asked in place of {', '.join(unclear)} has no clear host and port"
        hint = "In a user's name and password, write %2F for / and %40 for @"
        yield _check("mirrors", Status.PROBLEM, message, told, hint)
    elif told:
        message = "; ".join(f"{prefix} is asked at {replacement}" for prefix, replacement in told.items())
        yield _check("mirrors", Status.OK, message, told)
    elif not {"--mirror", "HUBCLI_MIRRORS"} & set(case.faults):
        yield _check("mirrors", Status.OK, "none", {})


def check_endpoint(case: DiagnosisContext) -> Iterator[Check]:
    """Where Kaggle's API is, where that isn't the usual place."""
    fault = case.faults.get("HUBCLI_KAGGLE_ENDPOINT")
    endpoint = case.settings.access.kaggle.endpoint
    if fault is not None:
        yield _check("kaggle-endpoint", Status.PROBLEM, fault.message, None, fault.hint)
    elif endpoint != KAGGLE_ENDPOINT:
        source = "HUBCLI_KAGGLE_ENDPOINT" if case.environment.get("HUBCLI_KAGGLE_ENDPOINT") else "config file"
        yield _check("kaggle-endpoint", Status.INFO, f"{_shown(endpoint)} ({source})", endpoint)


def check_proxies(case: DiagnosisContext) -> Iterator[Check]:
    """By way of whom each host is asked, and whether that can be used at all."""
    proxies = Proxies.read(case.environment.variables)
    routes = {_host(url): proxies.route(url) for url in hosts_in_force(case)}
    ways = dict[str, list[str]]()
    for host, route in routes.items():
        way = f"{address(route.proxy)} ({route.source})" if route.proxy else "directly"
        ways.setdefault(f"{way}, by NO_PROXY" if route.is_direct and route.source else way, []).append(host)
    value = {
        "hosts": {host: address(route.proxy) if route.proxy else None for host, route in routes.items()},
        "no_proxy": list(proxies.exempt),
    }
    fault = _fault_of_client(case)
    if fault is not None:
        yield _check("proxies", Status.PROBLEM, fault.message, value, fault.hint)
    elif not proxies.by_scheme:
        by = " (NO_PROXY is *)" if "*" in proxies.exempt else ""
        yield _check("proxies", Status.OK, f"none{by}", value)
    else:
        message = "; ".join(f"{way}: {', '.join(hosts)}" for way, hosts in ways.items())
        yield _check("proxies", Status.OK, message, value)
    if proxies.by_scheme and (odd := [one for one in proxies.exempt if _means_nothing(one)]):
        message = f"NO_PROXY has {', '.join(odd)}, which means no host to hubcli"
        hint = "Write .example.com for what is below it; networks such as 10.0.0.0/8 have no form."
        yield _check("no-proxy", Status.WARNING, message, odd, hint)


def check_certificates(case: DiagnosisContext) -> Iterator[Check]:
    """Whose certificates are believed."""
    source = _source_of_authorities(case)
    try:
        if source in case.faults:
            raise case.faults[source]
        found = read_authorities(case.settings.access)
    except HubcliError as error:
        yield _check("certificates", Status.PROBLEM, f"{source}: {error.message}", None, error.hint)
        return
    value = {
        "source": source,
        "path": None if found.place is None else str(found.place),
        "authorities": found.count,
        "expired": found.expired,
    }
    noun = "authority" if found.count == 1 else "authorities"
    message = f"{found.count} {noun} in {found.place or 'certifi'} ({source})"
    if not found.count:
        hint = "Name a file with the certificate of an authority"
        hint = "Name the files by their hashes: openssl rehash DIR" if source == "SSL_CERT_DIR" else hint
        yield _check("certificates", Status.PROBLEM, f"no authority in {found.place} ({source})", value, hint)
    elif found.expired == found.count:
        hint = "Get a newer file from who runs your network"
        yield _check("certificates", Status.PROBLEM, f"{message}, all expired", value, hint)
    elif found.expired:
        # Bundles of the system always hold some; in a company's own each one counts.
        status = Status.OK if found.expired * 10 < found.count else Status.WARNING
        hint = "" if status is Status.OK else "Get a newer file from who runs your network"
        yield _check("certificates", status, f"{message}, {found.expired} of them expired", value, hint)
    else:
        yield _check("certificates", Status.OK, message, value)
    yield from _others_bundles(case, source)


def check_tls(case: DiagnosisContext) -> Iterator[Check]:
    """Which TLS can be spoken."""
    lowest = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).minimum_version
    name = "1.2" if lowest < ssl.TLSVersion.TLSv1_3 else "1.3"
    newest = "1.3" if ssl.HAS_TLSv1_3 else "1.2"
    library = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    value = {"oldest": name, "newest": newest, "library": library}
    status = Status.OK if ssl.HAS_TLSv1_2 else Status.PROBLEM
    span = f"{name} and {newest}" if name != newest else name
    yield _check("tls", status, f"{span}, {library}", value)


def _others_bundles(case: DiagnosisContext, source: str) -> Iterator[Check]:
    """A bundle that other tools are told of, and hubcli isn't."""
    named = next((name for name in _OTHERS_BUNDLES if case.environment.get(name)), None)
    if named is not None and source == "system":
        path = case.environment.get(named)
        message = f"{named} names {path}, which hubcli and hub.load don't read"
        hint = f"export SSL_CERT_FILE={path}"
        yield _check("other-certificates", Status.WARNING, message, path, hint)


def _source_of_authorities(case: DiagnosisContext) -> str:
    if case.options.ca_file is not None:
        return "--cacert"
    named = (name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if case.environment.get(name))
    return next(named, "system")


def _fault_of_client(case: DiagnosisContext) -> NetworkError | None:
    """What keeps requests from being made, found out by making the client that would send them."""
    if not case.environment.has_proxies:
        return None
    from hubcli.config.network import NetworkConfig
    from hubcli.net.client import open_client  # Half of the time of a checkup, for those with a proxy alone.

    try:
        with open_client(f"{_TFHUB}/", 1, NetworkConfig()):
            return None
    except NetworkError as error:
        return error


def _means_nothing(entry: str) -> bool:
    return (entry.startswith("*") and entry != "*") or (entry.rpartition("/")[2].isdecimal() and "/" in entry)


def _host(url: str) -> str:
    return urlsplit(address(url)).netloc or address(url)


def _shown(url: str) -> str:
    """The URL, or where its credentials can't be told from the rest, that this is so."""
    return without_secrets(url) if is_address(url) else address(url)
