"""A check of the doctor: the section that it belongs to, how it stands, and what was found."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from hubcli.issues import Issue, Severity

__all__ = ["STATUSES", "Check", "Section", "Status"]

Status = Severity
# How a check can stand; `info` is neither good nor bad.
STATUSES = (Status.OK, Status.INFO, Status.WARNING, Status.PROBLEM)


class Section(str, Enum):
    """What a check is about, in the order of the screen."""

    CACHE = "cache"
    NETWORK = "network"
    CREDENTIALS = "credentials"
    PACKAGES = "packages"
    SETTINGS = "settings"


class Check(NamedTuple):
    """One line of the screen: an issue of its section, or that there is none. It holds no secret.

    `value` is what was found, as JSON can hold it.
    """

    section: Section
    issue: Issue
    value: Any = None

    @classmethod
    def of(
        cls, section: Section, name: str, status: Status, message: str, value: Any = None, hint: str = ""
    ) -> Check:
        """The check of that name, which is the code of its issue."""
        return cls(section, Issue(status, name, message, hint=hint), value)

    @property
    def name(self) -> str:
        """Its name for scripts."""
        return self.issue.code

    @property
    def status(self) -> Status:
        """How it stands."""
        return self.issue.severity

    @property
    def message(self) -> str:
        """What was found, in words."""
        return self.issue.message

    @property
    def hint(self) -> str:
        """What to type or change; empty where there is nothing to do."""
        return self.issue.hint
