"""The values of a training on the disk, from its end until the export of the model is there.

A training takes hours. Where its export is refused, fails or is killed, the values stay beside the
destination, or in another directory that can be written, and the error names that directory.
"""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubcli.atomic_files import hidden_beside, remove_tree
from hubcli.errors import HubcliError, Interrupted, UnchangedError, ValuesError
from hubcli.tf.live_model import TrainedValues

__all__ = ["KeptValues"]

_SUFFIX = ".trained-values"
_README = "README.txt"
_MAX_NAMES = 1000
_MAX_NAME_BYTES = 180  # Names end at 255 bytes; the hidden one is longer than this by 60.


class KeptValues:
    """The values of one training, as a checkpoint in a directory of its own.

    `command` gives the command that exports from a path, with more options.
    `on_note` is called where the values can't be kept.
    """

    def __init__(
        self,
        destination: Path,
        command: Callable[[Path, tuple[str, ...]], list[str]],
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._name = os.fsdecode(os.fsencode(destination.name)[:_MAX_NAME_BYTES]) + _SUFFIX
        self._folders = [destination.parent]
        with suppress(OSError):  # The working directory may be gone; and the training may change it.
            self._folders.append(Path.cwd())
        self._command = command
        self._on_note = on_note
        self._is_finished = True
        self._renaming: tuple[Path, int] | None = None  # The intended name, and the directory's inode.
        self.path: Path | None = None

    def keep(self, values: TrainedValues) -> None:
        """Writes the values, once; beside the destination, or else where it can be done.

        An interrupt is raised after they are written.
        """
        if self.path is not None:
            return
        try:
            self._keep(values)
        except KeyboardInterrupt:
            self.path = self.path or self._renamed_before_interrupt()
            if self.path is None:
                self._keep(values)
            raise

    def discard(self) -> None:
        """Removes them: the export is there."""
        if self.path is not None:
            remove_tree(self.path)
            self.path = None

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Adds to each error raised within where the values are, and which command exports them.

        An interrupt is raised as Interrupted, any other exception as HubcliError.
        """
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if self.path is None:
                raise
            if isinstance(error, HubcliError):
                self._with_rerun_hint(error)
                raise
            if isinstance(error, KeyboardInterrupt):
                raise self._with_rerun_hint(Interrupted("Interrupted")) from error
            fault = HubcliError(f"Internal error: {type(error).__name__}: {error}")
            raise self._with_rerun_hint(fault) from error

    def _with_rerun_hint(self, error: HubcliError) -> HubcliError:
        assert self.path is not None
        options: list[str] = []
        if isinstance(error, ValuesError):
            options.append("--allow-nan")
        if isinstance(error, UnchangedError):
            options.append("--allow-unchanged")
        command = shlex.join(self._command(self.path, tuple(options)))
        values = "trained values" if self._is_finished else "values of the unfinished training"
        error.message = f"{error.message}; the {values} are kept in {self.path}"
        error.args = (error.message,)
        hint = f"{error.hint}." if error.hint[-1:].isalnum() else error.hint
        error.hint = f"{hint} To export the kept values: {command}".strip()
        error.trained_values, error.export_command = str(self.path), command
        return error

    def _keep(self, values: TrainedValues) -> None:
        self._is_finished = values.is_finished
        failed: list[str] = []
        for folder in self._candidates(failed):
            self.path = self._written(folder, values, failed)
            if self.path is not None:
                return
        self._on_note(f"Cannot save the trained values ({'; '.join(failed)})")

    def _candidates(self, failed: list[str]) -> Iterator[Path]:
        """The folders to write into, the best first. A missing temporary directory is added to `failed`."""
        yield from self._folders
        # Looked for last: that writes a file into each place where it may be, which fails where all are full.
        try:
            folder = Path(tempfile.gettempdir())
        except OSError as error:
            failed.append(error.strerror or str(error))
            return
        yield folder

    def _written(self, folder: Path, values: TrainedValues, failed: list[str]) -> Path | None:
        """Writes them into a hidden directory, which gets its name once it is complete.

        Where the folder can't be written, the reason is added to `failed`.
        """
        hidden = hidden_beside(folder / self._name)
        try:
            hidden.mkdir(mode=0o700)
            values.write(hidden / "values")
            place = self._placed(hidden, folder)
        except OSError as error:
            failed.append(f"{folder}: {error.strerror or error}")
            return None
        finally:
            remove_tree(hidden)
        self._explain(place)
        return place

    def _renamed_before_interrupt(self) -> Path | None:
        """The directory, where it had its name already when the interrupt came."""
        if self._renaming is None:
            return None
        place, inode = self._renaming
        with suppress(OSError):
            if place.lstat().st_ino == inode:
                self._explain(place)
                return place
        return None

    def _explain(self, place: Path) -> None:
        with suppress(OSError):
            command = shlex.join(self._command(place, ()))
            text = f"Trained values of a model that hubcli could not export. To export them:\n\n{command}\n"
            (place / _README).write_bytes(os.fsencode(text))

    def _placed(self, hidden: Path, folder: Path) -> Path:
        """Renames the directory to the first name that is free: nothing that is there is replaced."""
        for number in range(1, _MAX_NAMES):
            place = folder / (self._name if number == 1 else f"{self._name}-{number}")
            self._renaming = place, hidden.lstat().st_ino
            if not os.path.lexists(place) and _renamed(hidden, place):
                return place
        raise OSError(f"no name is free for {self._name}")


def _renamed(hidden: Path, place: Path) -> bool:
    """Whether the directory has the name now; not where somebody else took it."""
    try:
        hidden.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        return False
    return True
