"""`doctor`: finds out why downloads or loads fail, without one; sends nothing unless `network` is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hubcli.diagnosing import cache, entries, network, packages, tiers
from hubcli.diagnosing import settings as configuration
from hubcli.diagnosing.context import Check, DiagnosisContext, DoctorOptions, Section, Status
from hubcli.errors import HubcliError

__all__ = ["Diagnosis", "DoctorOptions", "doctor"]

_CheckFunction = Callable[[DiagnosisContext], Iterator[Check]]
_CHECKS: tuple[tuple[Section, str, _CheckFunction], ...] = (
    (Section.CACHE, "root", cache.check_root),
    (Section.CACHE, "writable", cache.check_writing),
    (Section.CACHE, "disk", cache.check_disk),
    (Section.CACHE, "lifetime", cache.check_lifetime),
    (Section.CACHE, "hub-load", cache.check_hub_load),
    (Section.CACHE, "load-format", cache.check_load_format),
    (Section.CACHE, "entries", entries.check_entries),
    (Section.CACHE, "exports", cache.check_exports),
    (Section.CACHE, "kagglehub", cache.check_kagglehub),
    (Section.NETWORK, "offline", network.check_offline),
    (Section.NETWORK, "mirrors", network.check_mirrors),
    (Section.NETWORK, "tiers", tiers.check_tiers),
    (Section.NETWORK, "kaggle-endpoint", network.check_endpoint),
    (Section.NETWORK, "proxies", network.check_proxies),
    (Section.NETWORK, "certificates", network.check_certificates),
    (Section.NETWORK, "tls", network.check_tls),
    (Section.NETWORK, "hosts", network.check_hosts),
    (Section.CREDENTIALS, "kaggle", configuration.check_kaggle),
    (Section.CREDENTIALS, "netrc", configuration.check_netrc),
    (Section.CREDENTIALS, "buckets", tiers.check_buckets),
    (Section.CREDENTIALS, "modes", configuration.check_modes),
    (Section.PACKAGES, "hubcli", packages.check_packages),
    (Section.SETTINGS, "config-file", configuration.check_config_file),
    (Section.SETTINGS, "variables", configuration.check_variables),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, in the order of the output. `faults` are exceptions of the checks themselves."""

    checks: tuple[Check, ...]
    faults: tuple[Exception, ...] = field(default=(), repr=False)

    @property
    def problems(self) -> tuple[Check, ...]:
        """What keeps downloads or loads from working."""
        return tuple(check for check in self.checks if check.status is Status.PROBLEM)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """What may do so, or is unusual."""
        return tuple(check for check in self.checks if check.status is Status.WARNING)

    @property
    def is_well(self) -> bool:
        """Whether no check found a problem."""
        return not self.problems


def doctor(
    options: DoctorOptions | None = None, *, environment: Mapping[str, str] | None = None
) -> Diagnosis:
    """Looks at the cache, the network, credentials, packages and settings. Imports no TensorFlow.

    Changes nothing but with `fix`, which removes what killed exports left.

    A check that fails is a problem among the others and stops none. Raises UsageError for options that
    contradict each other.
    """
    context = DiagnosisContext.open(options or DoctorOptions(), environment)
    results = [_run_check(section, name, check, context) for section, name, check in _CHECKS]
    faults = tuple(fault for _, fault in results if fault is not None)
    return Diagnosis(tuple(check for checks, _ in results for check in checks), faults)


def _run_check(
    section: Section, name: str, check: _CheckFunction, context: DiagnosisContext
) -> tuple[list[Check], Exception | None]:
    """What the check found before it failed, and what it failed with."""
    checks = list[Check]()
    try:
        checks.extend(check(context))
    except HubcliError as error:
        checks.append(Check.of(section, name, Status.PROBLEM, error.message, None, error.hint))
    except Exception as error:  # noqa: BLE001 - any failure is what the check looks for
        return [*checks, _failed(section, name, error)], error
    return checks, None


def _failed(section: Section, name: str, error: Exception) -> Check:
    """The check that could not be made. What the error says may hold a secret, but for the system's."""
    reason = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        reason = f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    hint = "Run it again with --debug, and report the traceback"
    return Check.of(section, name, Status.PROBLEM, f"this check failed: {reason}", None, hint)
