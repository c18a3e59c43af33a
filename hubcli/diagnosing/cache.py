"""Checks of the cache's directory, and of the caches of others: `hub.load`'s and kagglehub's."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from hubcli.atomic_files import temporary_beside
from hubcli.cache.disk_usage import FileSystem, directory_size_bytes
from hubcli.cache.gc.snapshot import require_collectable
from hubcli.cache.layout import is_key
from hubcli.cache.other_caches import KaggleHub
from hubcli.diagnosing.context import ROOT_SOURCES, Check, DiagnosisContext, Section, Status
from hubcli.errors import UsageError
from hubcli.exporting.staging import Leftover, StagingState, forget_removed, leftovers_in, recorded_folders
from hubcli.units import format_age, format_size, plural
from hubcli.urls import without_secrets

__all__ = [
    "check_disk",
    "check_exports",
    "check_hub_load",
    "check_kagglehub",
    "check_lifetime",
    "check_load_format",
    "check_root",
    "check_writing",
    "is_directory",
    "listed",
    "nearest_directory",
    "temporary_directory",
    "try_writing",
]

_NO_MODEL = "0" * 40


def nearest_directory(path: Path) -> Path:
    """The path, or the nearest of its parents, that is a directory."""
    return next((folder for folder in (path, *path.parents) if is_directory(folder)), path)


def is_directory(path: Path) -> bool:
    """Whether it is one; False if that can't be seen, which Path.is_dir raises for."""
    return os.path.isdir(path)  # noqa: PTH112


def try_writing(root: Path) -> None:
    """Makes the directory if it isn't there, writes a file into it, links to it, renames and removes it.

    Leaves nothing, and what a kill in between leaves `gc` collects. Raises OSError if a step fails.
    """
    folders = _make(root)
    file, renamed = (temporary_beside(root / f"{_NO_MODEL}.lock") for _ in range(2))
    link = temporary_beside(root / f"{_NO_MODEL}.link")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write("hubcli doctor")
        link.symlink_to(file.name)
        file.rename(renamed)
    finally:
        for path in (link, file, renamed):
            with suppress(OSError):
                path.unlink()
        for directory in reversed(folders):
            with suppress(OSError):  # Another process has put something into it meanwhile.
                directory.rmdir()


def _make(root: Path) -> list[Path]:
    """The directories that had to be made, the outermost first."""
    missing = [path for path in (root, *root.parents) if not os.path.lexists(path)]
    folders = list[Path]()
    try:
        for path in reversed(missing):
            path.mkdir()
            folders.append(path)
    except OSError:
        for path in reversed(folders):
            with suppress(OSError):
                path.rmdir()
        raise
    return folders


_check = partial(Check.of, Section.CACHE)

_LITTLE_BYTES = 1_000_000_000
_TOO_LITTLE_BYTES = 50_000_000
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm")  # noqa: S108 - named, not written


def _export_of(directory: str, context: DiagnosisContext) -> str:
    """The line that makes the directory the cache; TFHUB_CACHE_DIR has no effect beside HUBCLI_CACHE_DIR."""
    names = ("HUBCLI_CACHE_DIR", "TFHUB_CACHE_DIR")
    return f"export {next(filter(context.environment.get, names), names[-1])}={directory}"


def _elsewhere(context: DiagnosisContext) -> str:
    return f"Use another directory: --cache-dir DIR, or {_export_of('DIR', context)}"


def check_root(context: DiagnosisContext) -> Iterator[Check]:
    """Which directory the cache is, and which setting names it."""
    for source in ROOT_SOURCES:
        if source in context.faults:
            fault = context.faults[source]
            yield _check("root", Status.PROBLEM, fault.message, None, fault.hint)
            return
    root = context.settings.cache_root
    value = {"path": str(root), "source": context.settings.cache_root_source, "exists": is_directory(root)}
    where = f"{root} ({context.settings.cache_root_source})"
    if is_directory(root):
        yield _check("root", Status.OK, where, value)
    elif os.path.lexists(root):
        what = "a broken link" if root.is_symlink() else "not a directory"
        yield _check("root", Status.PROBLEM, f"{where} is {what}", value, _elsewhere(context))
    else:
        yield _check("root", Status.OK, f"{where} does not exist yet: the first fetch creates it", value)
    if is_directory(root):
        try:
            require_collectable(root)
        except UsageError as error:
            yield _check("collectable", Status.WARNING, error.message, None, error.hint)


def check_writing(context: DiagnosisContext) -> Iterator[Check]:
    """Whether a download can put a model there."""
    root = context.settings.cache_root
    if not context.has_root or (os.path.lexists(root) and not is_directory(root)):
        return
    try:
        if is_directory(root):
            os.listdir(root)  # noqa: PTH208 - whether it can be read
        try_writing(root)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"no: {reason} ({error.filename or root})"
        hint = f"Check its owner and permissions. {_elsewhere(context)}"
        yield _check("writable", Status.PROBLEM, message, value=False, hint=hint)
    else:
        tried = "yes: a file was written, renamed and removed"
        yield _check("writable", Status.OK, tried, value=True)


def check_disk(context: DiagnosisContext) -> Iterator[Check]:
    """The file system of the cache, and the free space there."""
    if not context.has_root:
        return
    disk = FileSystem.of(nearest_directory(context.settings.cache_root))
    kind = disk.kind or "file system of unknown type"
    message = f"{kind}, {format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free"
    value = {
        "type": disk.kind or None,
        "free_bytes": disk.free_bytes,
        "total_bytes": disk.total_bytes,
        "free_files": disk.free_files,
        "read_only": disk.is_read_only,
    }
    hint = f"Free some space: hubcli gc --older-than 30d. {_elsewhere(context)}"
    if disk.free_files == 0:
        yield _check("disk", Status.PROBLEM, f"{message}, but no free inodes", value, hint)
    elif disk.free_bytes < _LITTLE_BYTES:
        status = Status.PROBLEM if disk.free_bytes < _TOO_LITTLE_BYTES else Status.WARNING
        yield _check("disk", status, f"{message}: low disk space", value, hint)
    elif disk.is_of_network:
        message += "; network file system: whether a process on another host still runs is unknown"
        yield _check("disk", Status.INFO, message, value)
    else:
        yield _check("disk", Status.OK, message, value)


def check_lifetime(context: DiagnosisContext) -> Iterator[Check]:
    """Whether something empties the directory: a cleaner of temporary files, or a restart."""
    if not context.has_root:
        return
    root = context.settings.cache_root
    real = Path(os.path.realpath(root))
    held = [folder for folder in _temporary_directories(context) if folder == real or folder in real.parents]
    hint = f"Keep models elsewhere: {_export_of('~/.cache/hubcli', context)}"
    if held:
        message = f"{root} is in {held[0]}: cleaners of temporary files delete parts of models"
        yield _check("lifetime", Status.WARNING, message, str(held[0]), hint)
    elif FileSystem.of(nearest_directory(real)).is_in_memory:
        message = f"{root} is in memory: models are lost on restart"
        yield _check("lifetime", Status.WARNING, message, "memory", hint)


def temporary_directory(context: DiagnosisContext) -> Path:
    """The system's, as Python's tempfile chooses it."""
    named = _temporary_directories(context)
    return next(
        (folder for folder in named if is_directory(folder) and os.access(folder, os.W_OK | os.X_OK)),
        named[0],
    )


def _temporary_directories(context: DiagnosisContext) -> list[Path]:
    named = [context.environment.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    return [Path(os.path.realpath(name)) for name in (*filter(None, named), *_TEMPORARY)]


_check_of_exports = partial(Check.of, Section.CACHE, "exports")
_MAX_NAMED = 3


def check_exports(context: DiagnosisContext) -> Iterator[Check]:
    """Staging directories of exports that were killed, in the working directory and where exports wrote.

    Removed are those whose process is dead, with `--fix`.
    """
    found = [leftover for folder in _folders() for leftover in leftovers_in(folder)]
    if context.options.fix:
        removed = [(leftover, directory_size_bytes(leftover.path)) for leftover in found]
        removed = [(leftover, size_bytes) for leftover, size_bytes in removed if leftover.remove()]
        forget_removed()
        removed_paths = {leftover.path for leftover, _ in removed}
        found = [leftover for leftover in found if leftover.path not in removed_paths]
        if removed:
            message = f"removed {plural(len(removed), 'leftover')} of interrupted exports"
            freed_bytes = sum(size_bytes for _, size_bytes in removed)
            paths = [str(leftover.path) for leftover, _ in removed]
            yield _check_of_exports(Status.OK, f"{message} ({format_size(freed_bytes)} freed)", paths)
    yield from _dead([leftover for leftover in found if leftover.state is StagingState.DEAD])
    yield from _unknown([leftover for leftover in found if leftover.state is StagingState.UNKNOWN])


def _folders() -> list[Path]:
    folders = dict.fromkeys(recorded_folders())
    with suppress(OSError):  # The working directory may be gone.
        folders[Path.cwd()] = None
    return list(folders)


def _dead(leftovers: Sequence[Leftover]) -> Iterator[Check]:
    if leftovers:
        size_bytes = sum(directory_size_bytes(leftover.path) for leftover in leftovers)
        message = f"{plural(len(leftovers), 'leftover')} of interrupted exports, {format_size(size_bytes)}: "
        yield _check_of_exports(
            Status.WARNING, message + _listed(leftovers), _value(leftovers), "Run: hubcli doctor --fix"
        )


def _unknown(leftovers: Sequence[Leftover]) -> Iterator[Check]:
    if leftovers:
        message = f"{plural(len(leftovers), 'export')} without a lock, running or interrupted: "
        message += _listed(leftovers)
        hint = "If no export is writing there: rm -r DIRECTORY"
        yield _check_of_exports(Status.INFO, message, _value(leftovers), hint)


def _listed(leftovers: Sequence[Leftover]) -> str:
    return listed([f"{leftover.path} (last changed {format_age(leftover.age_s)})" for leftover in leftovers])


def listed(texts: Sequence[str]) -> str:
    """The first of the texts, and how many more there are."""
    more = f"; and {len(texts) - _MAX_NAMED} more" if len(texts) > _MAX_NAMED else ""
    return "; ".join(texts[:_MAX_NAMED]) + more


def _value(leftovers: Sequence[Leftover]) -> list[str]:
    return [str(leftover.path) for leftover in leftovers]


_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FORMATS = ("COMPRESSED", "AUTO")


def check_hub_load(context: DiagnosisContext) -> Iterator[Check]:
    """Where tensorflow_hub looks: TFHUB_CACHE_DIR as it is written, else a temporary directory."""
    if not context.has_root:
        return
    root, text = context.settings.cache_root, context.environment.get("TFHUB_CACHE_DIR")
    export = f"export TFHUB_CACHE_DIR={shlex.quote(str(root))}"
    default = temporary_directory(context) / "tfhub_modules"
    if _REMOTE.match(text):
        where = f"looks in {without_secrets(text)}, which hubcli cannot use"
    elif text.startswith("~"):
        # The shell expands it in `export A=~/b`, not in quotes, an .env file or a Dockerfile.
        where = (
            f"looks in a directory named '{text.partition('/')[0]}': TFHUB_CACHE_DIR is not expanded there"
        )
    elif text and not os.path.isabs(text):  # noqa: PTH117 - a string, as tensorflow_hub takes it
        where = f"looks in {text}, relative to its working directory"
    elif _are_same(Path(text) if text else default, root):
        yield _check("hub-load", Status.OK, "looks in the same directory", str(root))
        return
    else:
        where = f"looks in {text or default}, not here{_count(Path(text) if text else default)}"
    message = f"{where}; it does not find what hubcli fetches"
    yield _check("hub-load", Status.WARNING, message, text or str(default), export)


def check_load_format(context: DiagnosisContext) -> Iterator[Check]:
    """What else the variables of tensorflow_hub change."""
    text = context.environment.get("TFHUB_MODEL_LOAD_FORMAT")
    hint = "unset TFHUB_MODEL_LOAD_FORMAT"
    if text == "UNCOMPRESSED":
        message = "UNCOMPRESSED: hub.load reads from Google's storage and uses no cache"
        yield _check("load-format", Status.WARNING, message, text, hint)
    elif text and text not in _FORMATS:
        message = f"invalid TFHUB_MODEL_LOAD_FORMAT '{text}': hub.load rejects every handle"
        yield _check("load-format", Status.PROBLEM, message, text, f"{hint}, or set it to COMPRESSED")
    if context.environment.get("TFHUB_DISABLE_CERT_VALIDATION") == "true":
        message = "TFHUB_DISABLE_CERT_VALIDATION: hub.load accepts any certificate; hubcli does not"
        hint = "unset TFHUB_DISABLE_CERT_VALIDATION, and set SSL_CERT_FILE to a file with the CA certificate"
        yield _check("load-certificates", Status.WARNING, message, "true", hint)


def check_kagglehub(context: DiagnosisContext) -> Iterator[Check]:
    """What kagglehub's cache holds, which `fetch` takes from there."""
    fault = context.faults.get("KAGGLEHUB_CACHE")
    root = context.settings.kagglehub_root
    if fault is not None:
        yield _check("kagglehub-cache", Status.PROBLEM, fault.message, None, fault.hint)
    elif root is None:
        yield _check("kagglehub-cache", Status.INFO, "no home directory for its cache", None)
    elif os.path.lexists(root) and not is_directory(root):
        message = f"{root} is not a directory"
        yield _check(
            "kagglehub-cache", Status.WARNING, message, {"path": str(root)}, "Check KAGGLEHUB_CACHE."
        )
    else:
        count = KaggleHub.of(context.settings).count()
        message = f"{root}: {plural(count, 'model')}" if count else f"no model in {root}"
        yield _check("kagglehub-cache", Status.INFO, message, {"path": str(root), "models": count})


def _are_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _count(directory: Path) -> str:
    try:
        models = sum(is_key(path.name) for path in directory.iterdir())
    except OSError:
        return ""
    return f" ({plural(models, 'model')} there)" if models else ""
