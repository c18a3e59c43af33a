"""What can go wrong with publishing alone. Apart from `hubcli.errors`, which every start of hubcli loads."""

from __future__ import annotations

from hubcli.errors import ExitStatus, HubcliError

__all__ = ["UnknownOutcomeError", "VersionExistsError"]


class VersionExistsError(HubcliError):
    """The version is there with other bytes: versions are immutable."""

    code = "version-exists"
    exit_status = ExitStatus.VERSION_EXISTS


class UnknownOutcomeError(HubcliError):
    """A creation got no answer, and nothing shows whether it took place: it is not tried again."""

    code = "unknown-outcome"
    exit_status = ExitStatus.UNKNOWN_OUTCOME
