"""Hosts, asked with `--network` alone: how far a request comes, and whose clock is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hubcli.diagnosing.check import Check, Section, Status
from hubcli.diagnosing.context import DiagnosisContext
from hubcli.diagnosing.network import hosts_in_force
from hubcli.net.proxies import Proxies
from hubcli.urls import address

if TYPE_CHECKING:
    from hubcli.net.probes import ProbeResult

__all__ = ["check_hosts"]

_check = partial(Check.of, Section.NETWORK)

_AT_ONCE = 8
_SKEW_S = 300.0
_HINTS = {
    "name": "Check the spelling, the network and its DNS; behind a proxy, set HTTPS_PROXY",
    "connect": "A firewall, or a proxy that isn't set: check HTTPS_PROXY, NO_PROXY and the network",
    "proxy": "Check the address, the user and the password in HTTPS_PROXY, or exempt the host by NO_PROXY",
    "tls": "If your network has an authority of its own, name its file: export SSL_CERT_FILE=FILE",
    "http": "Try again, or wait longer with --timeout",
}


def check_hosts(case: DiagnosisContext) -> Iterator[Check]:
    """What became of a request to each host; without `--network`, that none was sent."""
    if not case.options.network:
        how = "" if case.settings.offline else "; to ask them: hubcli doctor --network"
        names = [_name(url) for url in hosts_in_force(case)]
        yield _check("hosts", Status.INFO, f"not asked{how}", {"hosts": names})
        return
    found = _reach_all(case, case.options.urls or hosts_in_force(case))
    for one in found:
        yield _host_check(one)
    yield from _clock(found)


def _reach_all(case: DiagnosisContext, urls: Sequence[str]) -> list[ProbeResult]:
    from hubcli.concurrency import CancellationToken, run_concurrently
    from hubcli.net.probes import probe_host

    proxies, settings = Proxies.read(case.environment.variables), case.settings
    jobs = [
        partial(probe_host, url, settings.timeout_s, settings.access, proxies) for url in dict.fromkeys(urls)
    ]
    with closing(run_concurrently(jobs, _AT_ONCE, CancellationToken())) as done:
        return [found for _, found in sorted(done, key=lambda one: one[0])]


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
        return _check(_name(found.url), Status.PROBLEM, f"{_short(found)}{by}", value, hint)
    message = f"HTTP {found.status} in {found.total_s * 1000:.0f} ms{by} ({_steps(found)})"
    if found.status == 511:
        message, hint = f"{message}: the network wants a login first", "Open a page in a browser, and log in"
        return _check(_name(found.url), Status.PROBLEM, message, value, hint)
    if found.status == 407:
        return _check(_name(found.url), Status.PROBLEM, message, value, _HINTS["proxy"])
    if found.status == 429 or (found.status or 0) >= 500:
        hint = "The server has a problem of its own. Try again later"
        return _check(_name(found.url), Status.WARNING, message, value, hint)
    return _check(_name(found.url), Status.OK, message, value)


def _short(found: ProbeResult) -> str:
    """The error without the URL, which stands at the beginning of the line already."""
    return (found.error or "").removeprefix(found.url).strip().removeprefix("can't be reached: ")


def _steps(found: ProbeResult) -> str:
    steps = (("DNS", found.name_s), ("connect", found.connect_s), (found.tls or "TLS", found.tls_s))
    return ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in steps if seconds is not None)


def _clock(found: list[ProbeResult]) -> Iterator[Check]:
    """By how much this clock differs from those of the hosts, where they agree that it does."""
    told = [one.clock_ahead_s for one in found if one.clock_ahead_s is not None]
    if not told:
        return
    ahead_s = min(told, key=abs)
    value = {"ahead_s": round(-ahead_s, 1)}
    if abs(ahead_s) <= _SKEW_S:
        yield _check("clock", Status.OK, "as the hosts have it", value)
        return
    which = "behind" if ahead_s > 0 else "ahead"
    message = f"{abs(ahead_s):.0f} s {which} of the hosts': certificates seem expired or not yet valid"
    yield _check("clock", Status.WARNING, message, value, "Set it: timedatectl set-ntp true")


def _name(url: str) -> str:
    return urlsplit(address(url)).netloc or address(url)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
