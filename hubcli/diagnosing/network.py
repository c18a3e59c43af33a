"""The network as it is set up; with `--network` alone, how far a request to each host comes.

Nothing is sent without it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubcli.config.environment import KAGGLE_ENDPOINT
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.errors import HubcliError, NetworkError
from hubcli.net.connections import Proxies, read_authorities
from hubcli.providers import providers
from hubcli.urls import address, is_address, without_secrets

if TYPE_CHECKING:
    from hubcli.net.probes import ProbeResult

__all__ = [
    "check_certificates",
    "check_endpoint",
    "check_hosts",
    "check_mirrors",
    "check_offline",
    "check_proxies",
    "check_tls",
    "hosts_in_force",
]

_check = partial(Check.of, Section.NETWORK)

_STORAGE = "https://storage.googleapis.com"  # Where tfhub.dev and Kaggle redirect to.
_OTHERS_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def hosts_in_force(context: DiagnosisContext) -> tuple[str, ...]:
    """The addresses that downloads begin at, each once: providers' and their storage, or their mirrors."""
    settings = context.settings
    usual = [url for provider in providers() for url in provider.hosts(settings.access)]
    addresses = [settings.mirrored(url) for url in usual]
    if any(url in usual for url in addresses):
        addresses.append(settings.mirrored(f"{_STORAGE}/"))
    addresses += [f"{mirror.replacement}/" for mirror in settings.mirrors]
    return tuple({address(url): url for url in addresses if is_address(url)}.values())


def check_offline(context: DiagnosisContext) -> Iterator[Check]:
    """Whether anything may be sent."""
    if not context.settings.offline:
        yield _check("offline", Status.OK, "off", value=False)
    elif context.options.offline:
        yield _check("offline", Status.INFO, "on (--offline): only cached models are available", value=True)
    else:
        in_file = not context.environment.get("HUBCLI_OFFLINE")
        message = f"on ({'config file' if in_file else 'HUBCLI_OFFLINE'}): only cached models are available"
        hint = "export HUBCLI_OFFLINE=0" if in_file else "unset HUBCLI_OFFLINE"
        yield _check("offline", Status.WARNING, message, value=True, hint=hint)


def check_mirrors(context: DiagnosisContext) -> Iterator[Check]:
    """Which mirrors stand in for which hosts."""
    for source in ("--mirror", "HUBCLI_MIRRORS"):
        if source in context.faults:
            fault = context.faults[source]
            hint = fault.hint.replace("--mirror ", "HUBCLI_MIRRORS=") if source != "--mirror" else fault.hint
            yield _check("mirrors", Status.PROBLEM, f"{source}: {fault.message}", None, hint)
    mirrors = {
        _printed_url(mirror.prefix): _printed_url(mirror.replacement) for mirror in context.settings.mirrors
    }
    unclear = [
        _printed_url(mirror.prefix)
        for mirror in context.settings.mirrors
        if not is_address(mirror.replacement)
    ]
    if unclear:
        message = f"the mirror for {', '.join(unclear)} has no valid host and port"
        hint = "In a user name and password, use %2F for / and %40 for @"
        yield _check("mirrors", Status.PROBLEM, message, mirrors, hint)
    elif mirrors:
        message = "; ".join(
            f"{prefix} uses the mirror {replacement}" for prefix, replacement in mirrors.items()
        )
        yield _check("mirrors", Status.OK, message, mirrors)
    elif not {"--mirror", "HUBCLI_MIRRORS"} & set(context.faults):
        yield _check("mirrors", Status.OK, "none", {})


def check_endpoint(context: DiagnosisContext) -> Iterator[Check]:
    """Where Kaggle's API is, where that isn't the usual place."""
    fault = context.faults.get("HUBCLI_KAGGLE_ENDPOINT")
    endpoint = context.settings.access.kaggle.endpoint
    if fault is not None:
        yield _check("kaggle-endpoint", Status.PROBLEM, fault.message, None, fault.hint)
    elif endpoint != KAGGLE_ENDPOINT:
        source = (
            "HUBCLI_KAGGLE_ENDPOINT" if context.environment.get("HUBCLI_KAGGLE_ENDPOINT") else "config file"
        )
        yield _check("kaggle-endpoint", Status.INFO, f"{_printed_url(endpoint)} ({source})", endpoint)


def check_proxies(context: DiagnosisContext) -> Iterator[Check]:
    """Which proxy each host is reached by, and whether it can be used at all."""
    proxies = Proxies.read(context.environment.variables)
    routes = {_name(url): proxies.route(url) for url in hosts_in_force(context)}
    hosts_by_route = dict[str, list[str]]()
    for host, route in routes.items():
        route_text = f"{address(route.proxy)} ({route.source})" if route.proxy else "directly"
        hosts_by_route.setdefault(
            f"{route_text}, by NO_PROXY" if route.is_direct and route.source else route_text, []
        ).append(host)
    value = {
        "hosts": {host: address(route.proxy) if route.proxy else None for host, route in routes.items()},
        "no_proxy": list(proxies.exempt),
    }
    fault = _fault_of_client(context)
    if fault is not None:
        yield _check("proxies", Status.PROBLEM, fault.message, value, fault.hint)
    elif not proxies.by_scheme:
        by = " (NO_PROXY is *)" if "*" in proxies.exempt else ""
        yield _check("proxies", Status.OK, f"none{by}", value)
    else:
        message = "; ".join(
            f"{route_text}: {', '.join(hosts)}" for route_text, hosts in hosts_by_route.items()
        )
        yield _check("proxies", Status.OK, message, value)
    if proxies.by_scheme and (odd := [entry for entry in proxies.exempt if _means_nothing(entry)]):
        message = f"NO_PROXY has {', '.join(odd)}, which matches no host"
        hint = "Use .example.com for its subdomains; networks such as 10.0.0.0/8 are not supported."
        yield _check("no-proxy", Status.WARNING, message, odd, hint)


def check_certificates(context: DiagnosisContext) -> Iterator[Check]:
    """Which certificate authorities are trusted."""
    source = _source_of_authorities(context)
    try:
        if source in context.faults:
            raise context.faults[source]
        found = read_authorities(context.settings.access)
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
        hint = "Specify a file with CA certificates"
        hint = "Link the files by their hashes: openssl rehash DIR" if source == "SSL_CERT_DIR" else hint
        yield _check(
            "certificates", Status.PROBLEM, f"no CA certificates in {found.place} ({source})", value, hint
        )
    elif found.expired == found.count:
        hint = "Get a newer file from the administrator of your network"
        yield _check("certificates", Status.PROBLEM, f"{message}, all expired", value, hint)
    elif found.expired:
        # Bundles of the system always hold some; in a company's own each one counts.
        status = Status.OK if found.expired * 10 < found.count else Status.WARNING
        hint = "" if status is Status.OK else "Get a newer file from the administrator of your network"
        yield _check("certificates", status, f"{message}, {found.expired} of them expired", value, hint)
    else:
        yield _check("certificates", Status.OK, message, value)
    yield from _others_bundles(context, source)


def check_tls(context: DiagnosisContext) -> Iterator[Check]:
    """Which versions of TLS are supported."""
    lowest = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).minimum_version
    name = "1.2" if lowest < ssl.TLSVersion.TLSv1_3 else "1.3"
    newest = "1.3" if ssl.HAS_TLSv1_3 else "1.2"
    library = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    value = {"oldest": name, "newest": newest, "library": library}
    status = Status.OK if ssl.HAS_TLSv1_2 else Status.PROBLEM
    span = f"{name} and {newest}" if name != newest else name
    yield _check("tls", status, f"{span}, {library}", value)


def _others_bundles(context: DiagnosisContext, source: str) -> Iterator[Check]:
    """A certificate bundle that other tools use, and hubcli doesn't."""
    named = next((name for name in _OTHERS_BUNDLES if context.environment.get(name)), None)
    if named is not None and source == "system":
        path = context.environment.get(named)
        message = f"{named} is set to {path}, which hubcli and hub.load ignore"
        hint = f"export SSL_CERT_FILE={path}"
        yield _check("other-certificates", Status.WARNING, message, path, hint)


def _source_of_authorities(context: DiagnosisContext) -> str:
    if context.options.ca_file is not None:
        return "--cacert"
    named = (name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if context.environment.get(name))
    return next(named, "system")


def _fault_of_client(context: DiagnosisContext) -> NetworkError | None:
    """Why no request can be made: the error of making the client that would send it."""
    if not context.environment.has_proxies:
        return None
    from hubcli.config.environment import NetworkConfig
    from hubcli.net.client import open_client  # Half of the time of `doctor`, so only with a proxy.

    try:
        with open_client(f"{_STORAGE}/", 1, NetworkConfig()):
            return None
    except NetworkError as error:
        return error


def _means_nothing(entry: str) -> bool:
    return (entry.startswith("*") and entry != "*") or (entry.rpartition("/")[2].isdecimal() and "/" in entry)


def _printed_url(url: str) -> str:
    """The URL, or where its credentials can't be separated from the rest, a text that says so."""
    return without_secrets(url) if is_address(url) else address(url)


_AT_ONCE = 8
_SKEW_S = 300.0
_HINTS = {
    "name": "Check the spelling, the network and its DNS; behind a proxy, set HTTPS_PROXY",
    "connect": "Check HTTPS_PROXY, NO_PROXY and the firewall",
    "proxy": "Check the address, the user and the password in HTTPS_PROXY, or exempt the host by NO_PROXY",
    "tls": "If your network has its own certificate authority: export SSL_CERT_FILE=FILE",
    "http": "Try again, or wait longer with --timeout",
}


def check_hosts(context: DiagnosisContext) -> Iterator[Check]:
    """The result of a request to each host; without `--network`, that none was sent."""
    if not context.options.network:
        how = "" if context.settings.offline else "; to check them: hubcli doctor --network"
        names = [_name(url) for url in hosts_in_force(context)]
        yield _check("hosts", Status.INFO, f"not checked{how}", {"hosts": names})
        return
    found = _reach_all(context, context.options.urls or hosts_in_force(context))
    for result in found:
        yield _host_check(result)
    yield from _clock(found)


def _reach_all(context: DiagnosisContext, urls: Sequence[str]) -> list[ProbeResult]:
    from hubcli.concurrency import CancellationToken, run_concurrently
    from hubcli.net.probes import probe_host

    proxies, settings = Proxies.read(context.environment.variables), context.settings
    jobs = [
        partial(probe_host, url, settings.timeout_s, settings.access, proxies) for url in dict.fromkeys(urls)
    ]
    with closing(run_concurrently(jobs, _AT_ONCE, CancellationToken())) as results:
        return [found for _, found in sorted(results, key=lambda pair: pair[0])]


def _host_check(found: ProbeResult) -> Check:
    value = {
        "url": address(found.url),
        "proxy": found.proxy,
        "addresses": list(found.addresses),
        "dns_s": _rounded(found.name_s),
        "connect_s": _rounded(found.connect_s),
        "tls_s": _rounded(found.tls_s),
        "total_s": _rounded(found.total_s),
        "tls": found.tls,
        "http_status": found.status,
        "failed_step": found.failed_step,
    }
    by = f" by {found.proxy}" if found.proxy else ""
    if found.error is not None:
        step = found.failed_step or "http"
        hint = _HINTS[step]
        if "expired" in found.error or "not yet valid" in found.error:
            hint = f"Check this machine's clock (date). {hint}"
        # Without the URL, which stands at the beginning of the line already.
        reason = found.error.removeprefix(found.url).strip().removeprefix("unreachable: ")
        return _check(_name(found.url), Status.PROBLEM, f"{reason}{by}", value, hint)
    message = f"HTTP {found.status} in {found.total_s * 1000:.0f} ms{by} ({_steps(found)})"
    if found.status == 511:
        message, hint = f"{message}: the network requires a login", "Open a page in a browser and log in"
        return _check(_name(found.url), Status.PROBLEM, message, value, hint)
    if found.status == 407:
        return _check(_name(found.url), Status.PROBLEM, message, value, _HINTS["proxy"])
    if found.status == 429 or (found.status or 0) >= 500:
        hint = "Server error: try again later"
        return _check(_name(found.url), Status.WARNING, message, value, hint)
    return _check(_name(found.url), Status.OK, message, value)


def _steps(found: ProbeResult) -> str:
    steps = (("DNS", found.name_s), ("connect", found.connect_s), (found.tls or "TLS", found.tls_s))
    return ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in steps if seconds is not None)


def _clock(found: list[ProbeResult]) -> Iterator[Check]:
    """By how much this clock differs from those of the hosts, where they agree that it does."""
    offsets_s = [result.clock_ahead_s for result in found if result.clock_ahead_s is not None]
    if not offsets_s:
        return
    ahead_s = min(offsets_s, key=abs)
    value = {"ahead_s": round(-ahead_s, 1)}
    if abs(ahead_s) <= _SKEW_S:
        yield _check("clock", Status.OK, "in sync with the hosts", value)
        return
    which = "behind" if ahead_s > 0 else "ahead"
    message = f"{abs(ahead_s):.0f} s {which} of the hosts: certificates may seem expired or not yet valid"
    yield _check("clock", Status.WARNING, message, value, "Set the clock: timedatectl set-ntp true")


def _name(url: str) -> str:
    return urlsplit(address(url)).netloc or address(url)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
