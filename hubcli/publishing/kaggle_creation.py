"""Creates models, variations and versions on Kaggle, each at most once, and finds them again by a marker.

A creation whose answer is lost may have taken place. It is never sent again: the versions are listed until
one appears that is newer than those before, and carries the marker or has the same files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hubcli.archive import FileRecord
from hubcli.config.settings import Settings
from hubcli.errors import (
    AuthenticationError,
    BrokenModelError,
    ExitStatus,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    UsageError,
)
from hubcli.net import retries
from hubcli.net.json_api import quoted_path
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.journal import Journal, Step
from hubcli.publishing.kaggle_api import KaggleApi, KaggleVariation, open_kaggle, variation_path
from hubcli.units import format_elapsed

__all__ = [
    "Creation",
    "PublishedState",
    "ReadBack",
    "UnknownOutcomeError",
    "VersionExistsError",
    "differences",
    "same_listing",
]

_MODELS = "/api/v1/models"
# kagglesdk 0.1.38, models/types/model_enums.py; clients before it sent Kaggle's names of handles.
_FRAMEWORKS = {"tensorFlow1": "MODEL_FRAMEWORK_TENSOR_FLOW_1", "tensorFlow2": "MODEL_FRAMEWORK_TENSOR_FLOW_2"}
_LONGEST_POLL_S = 10.0
_MAX_CANDIDATES = 5
_LOST_S = 300.0  # How long a version is looked for whose creation got no answer.
_SHOWN_FILES = 3

ReadBack = Callable[[KaggleModel], tuple[FileRecord, ...]]
"""Downloads a version by its handle, and gives its files with their hashes. Raises HubcliError."""


class VersionExistsError(HubcliError):
    """The version is there with other bytes: versions are immutable."""

    code = "version-exists"
    exit_status = ExitStatus.VERSION_EXISTS


class UnknownOutcomeError(HubcliError):
    """A creation got no answer, and nothing shows whether it took place: it is not tried again."""

    code = "unknown-outcome"
    exit_status = ExitStatus.UNKNOWN_OUTCOME


@dataclass(frozen=True, slots=True)
class PublishedState:
    """What is on Kaggle under a handle. `version` is the newest that can be seen, 0 without one.

    `is_private` is None if there is no model, or the answer doesn't say.
    """

    has_model: bool
    is_private: bool | None
    has_variation: bool
    version: int
    license_name: str | None = None

    @classmethod
    def read(cls, kaggle: KaggleApi, model: KaggleModel) -> PublishedState:
        """Asks for the model and the variation; 403 and 404 both say that it isn't there for this account."""
        try:
            listing = kaggle.model(model.owner, model.model)
        except (NotFoundError, AuthenticationError) as error:
            if error.http_status == 401:
                raise
            return cls(False, None, False, 0)
        found = _variation(kaggle, model)
        if found is None:
            return cls(True, listing.is_private, False, 0)
        return cls(True, listing.is_private, True, found.version or 0, found.license_name)


def _variation(kaggle: KaggleApi, model: KaggleModel) -> KaggleVariation | None:
    try:
        return kaggle.variation(model)
    except (NotFoundError, AuthenticationError) as error:
        if error.http_status == 401:
            raise
        return None


@dataclass(frozen=True, slots=True)
class Creation:
    """The creations of one upload. `wait_s` is how long a version may be processed."""

    model: KaggleModel
    journal: Journal
    settings: Settings
    read_back: ReadBack
    wait_s: float
    other_versions: set[int] = field(default_factory=set)  # Compared, and not ours: downloaded once alone.

    @property
    def page(self) -> str:
        """Where a person looks."""
        return self.model.page

    def make_model(self, title: str, description: str, *, is_public: bool) -> None:
        """Creates the model, unless somebody else just did. A slug is unique: none can come twice."""
        body = {
            "ownerSlug": self.model.owner,
            "slug": self.model.model,
            "title": title,
            "subtitle": "",
            "isPrivate": not is_public,
            "description": description,
            "publishTime": None,
            "provenanceSources": "",
        }
        try:
            self._post(f"{_MODELS}/create/new", body)
        except HubcliError as error:
            if error.http_status != 409 and not self._shows_model(error):
                raise

    def make_variation(self, files: Mapping[str, Any], license_name: str, usage: str) -> bool:
        """Creates the variation with its first version; False if somebody else just created it."""
        body = {
            "instanceSlug": self.model.variation,
            "framework": _FRAMEWORKS[self.model.framework],
            "licenseName": license_name,
            # Only this text comes back: the first version has no notes. Markdown hides a comment.
            "usage": f"{usage}\n\n<!-- {self.journal.state.marker} -->".strip(),
            **files,
        }
        path = f"{_MODELS}{quoted_path(self.model.owner, self.model.model)}/create/instance"
        try:
            self._create(path, body, 0, of_variation=True)
        except NetworkError as error:
            if error.http_status != 409:
                raise
            return False
        return True

    def make_version(self, files: Mapping[str, Any], notes: str, base_version: int) -> None:
        """Creates the version that comes after `base_version`."""
        body = {"versionNotes": f"{notes}\n\n[{self.journal.state.marker}]".strip(), **files}
        self._create(f"{variation_path(self.model)}/create/version", body, base_version, of_variation=False)

    def _create(self, path: str, body: Mapping[str, Any], base_version: int, *, of_variation: bool) -> None:
        """One creation, on record before it is sent. Where no answer comes, the record stays at CREATING."""
        self.journal.begin_creation(base_version, of_variation=of_variation)
        try:
            self._post(path, body)
        except HubcliError as error:
            if _is_refusal(error):
                self.journal.finish_creation(Step.UPLOADING)
                if error.http_status in (400, 404):  # Kaggle may have dropped what was sent days ago.
                    error.hint = f"{error.hint} To send the files again, add --restart.".strip()
                raise
            return
        self.journal.finish_creation(Step.CREATED)

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        """On a connection of its own: one that waited during the upload may be closed by now."""
        with open_kaggle(self.settings) as kaggle:
            kaggle.json.post(path, body, is_repeatable=False)

    def _shows_model(self, error: HubcliError) -> bool:
        """Whether the model is there after all. Raises UnknownOutcomeError if nothing shows it."""
        if _is_refusal(error):
            return False
        with open_kaggle(self.settings) as kaggle:
            for delay_s in _delays_s(min(self.wait_s, _LOST_S)):
                with suppress(NotFoundError, AuthenticationError):
                    kaggle.model(self.model.owner, self.model.model)
                    return True
                time.sleep(delay_s)
        name = f"{self.model.owner}/{self.model.model}"
        raise UnknownOutcomeError(
            f"Unknown outcome: no answer to the creation of the model {name}, which is not listed: "
            f"{error.message}",
            hint=f"Check https://www.kaggle.com/models/{name}, then run the command again.",
        ) from error

    def await_version(self, *, waits: bool = True) -> int | None:
        """The number of the version that was created; None if it can't be seen yet, without `waits`.

        What got no answer is waited for in any case. Raises UnknownOutcomeError if it doesn't show,
        NetworkError for a version that is processed for longer than `wait_s`.
        """
        is_lost = self.journal.state.step is Step.CREATING
        limit_s = min(self.wait_s, _LOST_S) if is_lost else self.wait_s if waits else 0.0
        try:
            with open_kaggle(self.settings) as kaggle:
                for delay_s in _delays_s(limit_s):
                    found = self._find(kaggle)
                    if found is not None:
                        return found
                    time.sleep(delay_s)
        except NetworkError as error:
            if not is_lost:
                raise
            raise self._unknown(f": {error.message}") from error
        if is_lost:
            raise self._unknown(f" after {format_elapsed(limit_s)}")
        if not waits:
            return None
        raise NetworkError(
            f"Kaggle has not processed the new version of {self.page} after {format_elapsed(limit_s)}",
            hint="Run the command again: it resumes the wait, and uploads nothing twice.",
        )

    def _unknown(self, why: str) -> UnknownOutcomeError:
        state = self.journal.state
        what = "variation" if state.creates_variation else "version"
        return UnknownOutcomeError(
            f"Unknown outcome: no answer to the creation of the {what} {self.page}, "
            f"and no new version is listed{why}",
            hint=f"Check {self.page} for a version newer than {state.base_version}. If it is there, "
            "run the command again; if not, add --restart to create it.",
        )

    def _find(self, kaggle: KaggleApi) -> int | None:
        """The new version that has the marker or the same files; None as long as there is none."""
        latest, state = _variation(kaggle, self.model), self.journal.state
        newest = 0 if latest is None else latest.version or 0
        if latest is None or newest <= state.base_version:
            return None
        candidates = [newest]
        if newest > state.base_version + 1:
            numbers = kaggle.versions(self.model)
            candidates = sorted(number for number in numbers if number > state.base_version)
        if state.marker in latest.version_notes:
            return newest
        if state.creates_variation and 1 in candidates and state.marker in latest.usage:
            return 1
        # Where no answer came, or others publish too, names and sizes are not enough: one more training of a
        # model has the same.
        is_sure = state.step is Step.CREATED and len(candidates) == 1
        for number in candidates[:_MAX_CANDIDATES]:
            if self._has_the_files(kaggle, number, is_listing_enough=is_sure):
                return number
        return None

    def _has_the_files(self, kaggle: KaggleApi, number: int, *, is_listing_enough: bool) -> bool:
        """Whether the version is of the files that were sent, by their list and, if need be, their bytes."""
        model, records = self.model.at_version(str(number)), self.journal.records
        if number in self.other_versions or not same_listing(kaggle, model, records):
            return False
        if is_listing_enough or not self.difference(number, records):
            return True
        self.other_versions.add(number)
        return False

    def difference(self, number: int, records: tuple[FileRecord, ...]) -> str:
        """How the version, downloaded, differs from these files; empty where it doesn't.

        Raises IntegrityError for a damaged download, which says nothing of the version.
        """
        try:
            found = self.read_back(self.model.at_version(str(number)))
        except BrokenModelError as error:  # Files that no fetch accepts aren't those that passed all checks.
            return error.message
        except IntegrityError as error:
            raise IntegrityError(
                f"Cannot compare version {number} of {self.page}: {error.message}",
                hint="Run the command again.",
            ) from error
        return differences(records, found)


def _is_refusal(error: HubcliError) -> bool:
    """Whether the error says that nothing was created."""
    if isinstance(error, NetworkError) and not error.was_sent:
        return True
    if isinstance(error, (UsageError, AuthenticationError)):  # Refused, or no credentials could be read.
        return True
    status = error.http_status
    return status is not None and (status == 200 or (400 <= status < 500 and status != 408))


def _delays_s(limit_s: float) -> list[float]:
    """The waits between polls, which double up to ten seconds, and sum up to the limit; the last is 0."""
    delays, delay_s, total_s = [], 2 * retries.FIRST_WAIT_S, 0.0
    while total_s < limit_s:
        delays.append(min(delay_s, limit_s - total_s))
        total_s += delays[-1]
        delay_s = min(2 * delay_s, _LONGEST_POLL_S)
    return [*delays, 0.0]


def same_listing(kaggle: KaggleApi, model: KaggleModel, records: tuple[FileRecord, ...]) -> bool | None:
    """Whether the version lists files of these names and sizes; None as long as it lists none."""
    try:
        listed = {file.name: file.size_bytes for file in kaggle.files(model)}
    except (NotFoundError, AuthenticationError):
        return None
    if not listed:
        return None
    known = {record.path: record.size_bytes for record in records}
    return listed.keys() == known.keys() and all(
        size is None or size == known[name] for name, size in listed.items()
    )


def differences(sent: tuple[FileRecord, ...], found: tuple[FileRecord, ...]) -> str:
    """Which files are missing, added or changed, in words; empty where the two are the same."""
    before, after = ({file.path: file.sha256 for file in files} for files in (sent, found))
    kinds = {
        "missing": before.keys() - after.keys(),
        "added": after.keys() - before.keys(),
        "changed": {name for name in before.keys() & after.keys() if before[name] != after[name]},
    }
    return "; ".join(
        f"{kind}: {', '.join(sorted(names)[:_SHOWN_FILES])}" + (" …" if len(names) > _SHOWN_FILES else "")
        for kind, names in kinds.items()
        if names
    )
