"""`publish`: a model to Kaggle, or into a tree of models in a directory or a bucket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory

from hubcli.archive import FileRecord
from hubcli.archive.tree import Tree, hashed_files
from hubcli.commands.fetch import fetch, model_directory
from hubcli.commands.inspect import inspect
from hubcli.commands.verify import VerifyOptions, verify
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, UsageError, about_model
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.issues import Issue, Severity
from hubcli.progress import ProgressListener
from hubcli.providers.kaggle import KaggleModel, handle_of
from hubcli.publishing.checklist import checklist
from hubcli.publishing.hub_tree import HubPlace, open_tree, parse_target
from hubcli.publishing.journal import open_journal
from hubcli.publishing.kaggle_creation import PublishedState
from hubcli.publishing.kaggle_upload import KaggleRequest, KaggleUpload
from hubcli.publishing.upload_files import file_issues, files_of, read_files
from hubcli.savedmodel.layout import ModelFormat

__all__ = [
    "Confirm",
    "KaggleRequest",
    "PublishOptions",
    "PublishPlan",
    "PublishResult",
    "PublishStatus",
    "check",
    "model_card_of",
    "publish",
]


class PublishStatus(str, Enum):
    """The outcome. `refused`: a check found something; `submitted`: Kaggle still processes it."""

    PUBLISHED = "published"
    SUBMITTED = "submitted"
    ALREADY_PUBLISHED = "already-published"
    PLANNED = "planned"
    DECLINED = "declined"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Options of a publication. `framework` completes a handle without one.

    `unsafe` publishes a model despite risks that the scan found; with `dry_run` nothing is sent.
    """

    request: KaggleRequest = field(default_factory=KaggleRequest)
    framework: str | None = None
    unsafe: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """What would be created: `creates` in the words model, variation, version, archive.

    `version` is None if the handle names none and the host counts. `warnings` don't keep a model from
    being published.
    """

    source: str
    target: str
    creates: tuple[str, ...]
    version: str | None
    files: tuple[FileRecord, ...]
    license_name: str | None
    is_public: bool
    warnings: tuple[Issue, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The outcome. `handle` is that of the version, None if there is none (yet).

    `issues` are why it was refused. `was_compared` says that the version was downloaded, and has the same
    bytes. `sha256` is that of the archive in a tree.
    """

    status: PublishStatus
    source: str
    target: str
    plan: PublishPlan | None = None
    handle: str | None = None
    version: str | None = None
    issues: tuple[Issue, ...] = ()
    was_compared: bool = False
    sha256: str | None = None
    seconds: float = 0.0


Confirm = Callable[[PublishPlan], bool]
"""Whether the plan may be carried out; called once, before anything is sent."""


def publish(
    source: str,
    target: str,
    settings: Settings | None = None,
    options: PublishOptions | None = None,
    confirm: Confirm = lambda plan: True,
    listener: ProgressListener | None = None,
) -> PublishResult:
    """Checks the model, and publishes it at most once. A run that was cut is resumed by the same call.

    The source is a handle, which is fetched if it isn't cached, a directory or an archive. The target is a
    variation on Kaggle, or `ROOT/publisher/model/version` in a directory or a bucket. Raises
    VersionExistsError, UnknownOutcomeError, and HubcliError of the class that fits.
    """
    settings, options = settings or Settings.read(), options or PublishOptions()
    verb = _Publish(source, settings, options, confirm, listener or ProgressListener())
    place = parse_target(target, options.framework)
    reference = ModelRef.resolve(source, settings)
    with naming_target(reference, settings), _directory(reference, settings, verb.listener) as directory:
        return verb.run(directory, place)


def check(
    source: str, settings: Settings | None = None, listener: ProgressListener | None = None
) -> tuple[Issue, ...]:
    """The checklist for publishers: what is wrong with the files first, then advice with remedies."""
    settings, listener = settings or Settings.read(), listener or ProgressListener()
    reference = ModelRef.resolve(source, settings)
    with naming_target(reference, settings), _directory(reference, settings, listener) as directory:
        return (*file_issues(read_files(directory)), *checklist(directory, source))


def model_card_of(
    source: str,
    settings: Settings | None = None,
    name: str | None = None,
    license_name: str | None = None,
    listener: ProgressListener | None = None,
) -> str:
    """A model card in Markdown, filled with what the model tells."""
    from hubcli.publishing.model_card import address_of, model_card, name_of

    settings, listener = settings or Settings.read(), listener or ProgressListener()
    reference = ModelRef.resolve(source, settings)
    own_name, address = name_of(reference)
    if name is not None:
        own_name, address = name, address_of(name)
    with naming_target(reference, settings), _directory(reference, settings, listener) as directory:
        return model_card(directory, name=own_name, license=license_name, address=address)


@contextmanager
def _directory(reference: ModelRef, settings: Settings, listener: ProgressListener) -> Iterator[Path]:
    if reference.is_keras_file:
        raise UsageError(
            f"{reference.archive} is a Keras file, not a SavedModel",
            hint=f"Export it first: hubcli export {reference.archive} DIR",
        )
    with model_directory(reference, settings, listener) as directory:
        yield directory.resolve()


@dataclass(eq=False)
class _Publish:
    """One run of the verb."""

    source: str
    settings: Settings
    options: PublishOptions
    confirm: Confirm
    listener: ProgressListener
    began_s: float = field(default_factory=time.monotonic)
    is_tf1: bool = False

    def run(self, directory: Path, place: HubPlace | KaggleModel) -> PublishResult:
        """Checks, then publishes what passed."""
        tree, issues, warnings = self._checked(directory)
        target = place.address if isinstance(place, HubPlace) else place.page
        if issues:
            return self._result(PublishStatus.REFUSED, target, issues=issues)
        with about_model(target, target):
            if isinstance(place, HubPlace):
                return self._to_tree(tree, place, warnings)
            return self._to_kaggle(tree, place, warnings)

    def _to_tree(self, tree: Tree, place: HubPlace, warnings: tuple[Issue, ...]) -> PublishResult:
        """Into a directory or a bucket."""
        plan = self._plan(tree, place.address, ("archive",), place.version, warnings)
        with open_tree(place, tree, self.settings, self.listener) as upload:
            upload.license_name = self.options.request.license_name
            upload.title = self.options.request.title or None
            outcome = self._result(
                PublishStatus.ALREADY_PUBLISHED,
                place.address,
                plan,
                handle=place.address,
                version=place.version,
            )
            found = upload.existing()
            if found is not None:
                if not self.options.dry_run:
                    upload.add_to_index(found)
                return replace(outcome, was_compared=True, sha256=found.sha256)
            if self.options.dry_run or not self.confirm(plan):
                return self._unpublished(plan)
            self.listener.started(place.address, str(tree.top), tree.size_bytes)
            packed = upload.publish()
        seconds = time.monotonic() - self.began_s
        return replace(outcome, status=PublishStatus.PUBLISHED, sha256=packed.sha256, seconds=seconds)

    def _to_kaggle(self, tree: Tree, model: KaggleModel, warnings: tuple[Issue, ...]) -> PublishResult:
        """To Kaggle, by the record of what earlier runs did."""
        endpoint, name = self.settings.access.kaggle.endpoint, model.page.partition("/models/")[2]
        with open_journal(endpoint, name, self.settings.durability) as journal:
            upload = KaggleUpload(
                model, tree, self.options.request, journal, self.settings, self.listener, self._read_back
            )
            if not self.options.dry_run:
                settled = self._settled(upload, model.page)
                if settled is not None:
                    return settled
            state = upload.look()
            plan = self._kaggle_plan(tree, model, state, warnings)
            number = upload.existing(state)
            if number is not None:
                return self._published(PublishStatus.ALREADY_PUBLISHED, upload, number, plan)
            if self.options.dry_run or not self.confirm(plan):
                return self._unpublished(plan)
            number = upload.publish(state)
            if number is None:
                return self._result(PublishStatus.SUBMITTED, model.page, plan)
            journal.clear()
            if not upload.fits_handle(number):
                self.listener.note(f"Somebody else published meanwhile: yours is version {number}")
            return self._published(PublishStatus.PUBLISHED, upload, number, plan)

    def _settled(self, upload: KaggleUpload, page: str) -> PublishResult | None:
        """The result where an earlier run created the version of these very files; None if none did."""
        number = upload.settle()
        if number is None:
            return self._result(PublishStatus.SUBMITTED, page) if upload.is_pending else None
        is_same = upload.is_of_earlier_run()
        upload.journal.clear()
        if is_same and upload.fits_handle(number):
            return self._published(PublishStatus.PUBLISHED, upload, number, None)
        since = "" if is_same else "; the source has changed since"
        self.listener.note(f"An earlier run published version {number} of {page}{since}")
        return None

    def _checked(self, directory: Path) -> tuple[Tree, tuple[Issue, ...], tuple[Issue, ...]]:
        """The files, what keeps the model from being published, and what doesn't."""
        tree = read_files(directory)
        issues = list(file_issues(tree))
        verification = verify(str(directory), self.settings, VerifyOptions(quick=True), self.listener)
        self.listener.finished()
        issues += verification.faults
        warnings: list[Issue] = []
        if not verification.faults:
            try:
                info = inspect(str(directory), self.settings, listener=self.listener).info
            except BrokenModelError as error:
                issues.append(Issue.of_file(error.code, error.message))
            else:
                for finding in info.findings:
                    harms = finding.severity >= Severity.HIGH and not self.options.unsafe
                    (issues if harms else warnings).append(finding)
                warnings += checklist(directory, self.source)
                self.is_tf1 = info.format in (ModelFormat.TF1, ModelFormat.TF1_HUB)
        gravest_first = sorted(dict.fromkeys(warnings), key=lambda issue: -issue.severity.rank)
        return tree, tuple(issues), tuple(gravest_first)

    def _plan(
        self,
        tree: Tree,
        target: str,
        creates: tuple[str, ...],
        version: str | None,
        warnings: tuple[Issue, ...],
    ) -> PublishPlan:
        request = self.options.request
        files = tuple(FileRecord(node.name, node.size_bytes, None) for node in files_of(tree))
        return PublishPlan(
            self.source, target, creates, version, files, request.license_name, request.is_public, warnings
        )

    def _kaggle_plan(
        self, tree: Tree, model: KaggleModel, state: PublishedState, warnings: tuple[Issue, ...]
    ) -> PublishPlan:
        kinds = (("model", not state.has_model), ("variation", not state.has_variation), ("version", True))
        creates = tuple(name for name, is_new in kinds if is_new)
        page, version = model.page, str(state.version + 1)
        plan = self._plan(tree, page, creates, version, (*self._framework_issues(model), *warnings))
        return replace(plan, license_name=plan.license_name or state.license_name)

    def _framework_issues(self, model: KaggleModel) -> Iterator[Issue]:
        """A warning if the model's format does not match the framework in the handle."""
        own = "tensorFlow1" if self.is_tf1 else "tensorFlow2"
        if own != model.framework:
            yield Issue(
                Severity.WARNING,
                "other-framework",
                f"Framework mismatch: the handle says {model.framework}, the model is {own}",
                hint=f"Publish it under {own}.",
            )

    def _read_back(self, model: KaggleModel) -> tuple[FileRecord, ...]:
        """The files of a version as anybody gets them: fetched by its handle, from Kaggle itself."""
        with TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True) as folder:
            settings = replace(self.settings, cache_root=Path(folder, "cache"), kagglehub_root=None)
            settings = replace(settings, mirrors=(), tiers=(), require_tier=False)
            return hashed_files(fetch(handle_of(model), settings).path)

    def _published(
        self, status: PublishStatus, upload: KaggleUpload, number: int, plan: PublishPlan | None
    ) -> PublishResult:
        model = upload.model.at_version(str(number))
        handle = handle_of(model).canonical
        result = self._result(status, model.page, plan, handle=handle, version=str(number))
        was_compared = status is PublishStatus.ALREADY_PUBLISHED or self.options.request.waits
        return replace(result, was_compared=was_compared)

    def _unpublished(self, plan: PublishPlan) -> PublishResult:
        status = PublishStatus.PLANNED if self.options.dry_run else PublishStatus.DECLINED
        return self._result(status, plan.target, plan)

    def _result(
        self,
        status: PublishStatus,
        target: str,
        plan: PublishPlan | None = None,
        *,
        handle: str | None = None,
        version: str | None = None,
        issues: tuple[Issue, ...] = (),
    ) -> PublishResult:
        seconds = time.monotonic() - self.began_s
        return PublishResult(status, self.source, target, plan, handle, version, issues, seconds=seconds)
