"""A model to Kaggle: what is there, what is created, files sent, the version awaited and read back.

Every step is on record before it is done, so that a run that was killed at any of them resumes to exactly one
version, or says that it can't know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hubcli.archive import FileRecord
from hubcli.archive.tree import Tree, hashed_files
from hubcli.config.settings import Settings
from hubcli.errors import IntegrityError, NetworkError, UsageError
from hubcli.progress import ProgressListener
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.blobs import upload_blobs
from hubcli.publishing.journal import Journal, Step
from hubcli.publishing.kaggle_api import open_kaggle
from hubcli.publishing.kaggle_creation import (
    Creation,
    PublishedState,
    ReadBack,
    VersionExistsError,
    differences,
    same_listing,
)
from hubcli.publishing.upload_files import files_of, require_unchanged

__all__ = ["KaggleRequest", "KaggleUpload", "directory_body"]


@dataclass(frozen=True, slots=True)
class KaggleRequest:
    """Options of a publication on Kaggle. Times are in seconds.

    `waits` is False if a version is left to be processed; then nothing is read back either.
    """

    license_name: str | None = None
    notes: str = ""
    description: str = ""
    title: str = ""
    is_public: bool = False
    waits: bool = True
    wait_s: float = 1800.0
    restart: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for bytes of a command line that no host could store as text."""
        texts = {"license": self.license_name, "notes": self.notes, "title": self.title}
        invalid = [name for name, text in texts.items() if not _is_text(text or "")]
        if invalid:
            raise UsageError(
                f"Invalid value for --{invalid[0]}: not text in UTF-8",
                hint="Type it again on a terminal that uses UTF-8.",
            )


def _is_text(text: str) -> bool:
    """Whether it can be written: bytes of a command line that aren't UTF-8 are halves of surrogate pairs."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


class KaggleUpload:
    """One upload to the variation that `model` names, of the files below `tree.top`."""

    def __init__(
        self,
        model: KaggleModel,
        tree: Tree,
        request: KaggleRequest,
        journal: Journal,
        settings: Settings,
        listener: ProgressListener,
        read_back: ReadBack,
    ) -> None:
        self.model = model
        self.tree = tree
        self.request = request
        self.journal = journal
        self.settings = settings
        self.listener = listener
        self.creation = Creation(model.at_version(None), journal, settings, read_back, request.wait_s)

    def settle(self) -> int | None:
        """What became of an earlier run's creation: the version that it made, None if there was none.

        With `restart` the user has looked: the earlier run is forgotten. Raises UnknownOutcomeError.
        """
        if self.request.restart:
            self.journal.clear()
        if self.journal.state.step is Step.UPLOADING:
            return None
        self.listener.step("Looking for the version that an earlier run created")
        number = self._finished()
        if number is None and not self.is_of_earlier_run():
            raise NetworkError(
                f"Kaggle is still processing an earlier version of {self.creation.page}, and the source has "
                "changed since",
                hint="Run the command again later, or without --no-wait.",
            )
        return number

    def is_of_earlier_run(self) -> bool:
        """Whether the source still holds what the earlier run sent."""
        return not differences(self.journal.records, hashed_files(self.tree.top))

    def fits_handle(self, number: int) -> bool:
        """Whether the handle names that version, or none."""
        return self.model.version in (None, str(number))

    @property
    def is_pending(self) -> bool:
        """Whether a version was created that can't be seen yet."""
        return self.journal.state.step is Step.CREATED

    def look(self) -> PublishedState:
        """What is there. Raises UsageError if the options don't fit it."""
        state = self._state()
        if not state.has_variation and not self.request.license_name:
            raise UsageError(
                f"The new variation {self.creation.page} requires a license",
                hint="Specify its name, such as --license 'Apache 2.0'.",
            )
        self._require_visibility(state)
        return state

    def _state(self) -> PublishedState:
        with open_kaggle(self.settings, self.listener.retrying) as kaggle:
            return PublishedState.read(kaggle, self.model)

    def _require_visibility(self, state: PublishedState) -> None:
        page = f"https://www.kaggle.com/models/{self.model.owner}/{self.model.model}"
        # An answer without the field is that of a public model too: protobuf's JSON leaves out what is false.
        if state.has_model and not state.is_private and not self.request.is_public:
            what = "is public" if state.is_private is False else "may be public: Kaggle does not say"
            raise UsageError(
                f"{page} {what}, and a new version would be public, too",
                hint="Add --public, or use another model.",
            )
        if state.is_private and self.request.is_public:
            raise UsageError(
                f"{page} is private, and publishing a version does not change that",
                hint=f"Publish without --public, then make the model public on {page}/settings.",
            )

    def existing(self, state: PublishedState) -> int | None:
        """The version that has these bytes already; None if a new one must be created.

        Raises VersionExistsError if the version of the handle has others, UsageError where a version
        between would be missing.
        """
        requested = None if self.model.version is None else int(self.model.version)
        if requested is not None and requested > state.version + 1:
            raise UsageError(
                f"Cannot publish version {requested} of {self.creation.page}: "
                f"the next version is {state.version + 1}",
                hint=f"Use {self.creation.page} without a version.",
            )
        number = requested if requested is not None else state.version
        if not 0 < number <= state.version:
            return None
        difference = self._difference(number)
        if not difference:
            return number
        if requested is None:
            return None
        raise VersionExistsError(
            f"Version {requested} of {self.creation.page} exists with other files ({difference})",
            hint=f"Publish the next version: hubcli publish {self.tree.top} {self.creation.page}",
        )

    def _difference(self, number: int) -> str:
        """How the version differs from the source, by its list of files first."""
        model = self.model.at_version(str(number))
        listed = tuple(FileRecord(node.name, node.size_bytes, None) for node in files_of(self.tree))
        with open_kaggle(self.settings, self.listener.retrying) as kaggle:
            is_same = same_listing(kaggle, model, listed)
        if is_same is None:  # It may have the same files: creating the next one would make it twice.
            raise NetworkError(
                f"Kaggle lists no files of version {number} of {self.creation.page} to compare with",
                hint=f"Try again later. To publish anyway, add the number: {self.creation.page}/{number + 1}",
            )
        if not is_same:
            return "other names or sizes"
        self.listener.step(f"Comparing with version {number}")
        return self.creation.difference(number, hashed_files(self.tree.top))

    def publish(self, state: PublishedState) -> int | None:
        """Creates what is missing and sends the files; the new version's number, None without `waits`."""
        if not state.has_model:  # First: without permission it fails before hours of uploading.
            state = self._make_model()
        self.listener.started(self.creation.page, str(self.tree.top), self.tree.size_bytes)
        with open_kaggle(self.settings, self.listener.retrying) as kaggle:
            upload_blobs(files_of(self.tree), kaggle, self.journal, self.settings, self.listener)
        self.listener.finished()
        require_unchanged(self.tree)
        assert len(self.journal.records) == len(files_of(self.tree))
        self._create(state, directory_body(self.journal.tokens()))
        if self.journal.state.step is Step.CREATING:
            self.listener.note("Kaggle's answer to the creation was lost: looking for the new version")
        self.listener.step("Waiting until Kaggle has processed the version")
        return self._finished()

    def _make_model(self) -> PublishedState:
        """Creates the model; what is there then."""
        title = self.request.title or self.model.model
        self.creation.make_model(title, self.request.description, is_public=self.request.is_public)
        state = self._state()
        self._require_visibility(state)  # Somebody else may have created it meanwhile.
        return replace(state, has_model=True)

    def _create(self, state: PublishedState, body: Mapping[str, Any]) -> None:
        if not state.has_variation:
            usage, license_name = self.request.description, self.request.license_name or ""
            if self.creation.make_variation(body, license_name, usage):
                return
            self.listener.note(f"{self.creation.page} was created meanwhile: adding a version to it")
            state = replace(self._state(), has_variation=True)
        self.creation.make_version(body, self.request.notes, state.version)

    def _finished(self) -> int | None:
        """The version, awaited, and read back where it may be waited for; then the record is cleared.

        Raises IntegrityError if Kaggle serves other bytes than were sent.
        """
        number = self.creation.await_version(waits=self.request.waits)
        if number is None:
            return None
        if self.request.waits:
            self.listener.step(f"Comparing version {number} with the source")
            difference = self.creation.difference(number, self.journal.records)
            if difference:
                raise IntegrityError(
                    f"Version {number} of {self.creation.page} differs from what was sent ({difference})",
                    hint=f"Look at {self.creation.page}. If somebody else made that version, run the command "
                    "again; if it is yours, delete it, then publish with --restart.",
                )
        return number


def directory_body(tokens: Mapping[str, str]) -> dict[str, Any]:
    """The files by their tokens and directories, as the creations take them.

    >>> directory_body({"saved_model.pb": "a", "variables/variables.index": "b"})["directories"]
    [{'name': 'variables', 'files': [{'token': 'b'}], 'directories': []}]
    """
    root: dict[str, Any] = {"files": [], "directories": []}
    folders = {"": root}

    def folder(path: str) -> dict[str, Any]:
        if path not in folders:
            parent, _, name = path.rpartition("/")
            folders[path] = {"name": name, "files": [], "directories": []}
            folder(parent)["directories"].append(folders[path])
        return folders[path]

    for name, token in sorted(tokens.items()):
        folder(name.rpartition("/")[0])["files"].append({"token": token})
    return root
