"""A private copy of a Keras model's file, so that what was checked is what Keras reads.

Another may write to the file between the check and the load. Of a SavedModel,
the two files that tell what runs are copied, and the others linked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubcli.errors import NotFoundError, UsageError
from hubcli.formats.files import MAIN_FILES
from hubcli.regular_file import NotRegularError, open_at_once

__all__ = ["opened_file", "private_copy", "private_directory"]

_COPIED = (*MAIN_FILES, "keras_metadata.pb")


@contextmanager
def private_copy(path: Path, suffix: str) -> Iterator[Path]:
    """A copy of the file in a directory that only this user can enter, named as Keras wants it."""
    with tempfile.TemporaryDirectory(prefix="hubcli-") as folder:
        # Keras names nothing after the file, and a name of a user's may end otherwise.
        copy = Path(folder) / f"model{suffix}"
        _copy(path, copy)
        yield copy


@contextmanager
def private_directory(path: Path) -> Iterator[Path]:
    """A SavedModel whose graph and Keras metadata are copies; its variables and assets are links."""
    with tempfile.TemporaryDirectory(prefix="hubcli-") as folder:
        copy = Path(folder) / "model"
        copy.mkdir()
        for item in path.iterdir():
            if item.name in _COPIED:
                _copy(item, copy / item.name)
            else:
                (copy / item.name).symlink_to(item.absolute())
        yield copy


def opened_file(path: Path) -> int:
    """A descriptor of the regular file. Nothing is waited for: a pipe isn't one.

    Raises NotFoundError, UsageError for what is no regular file.
    """
    try:
        return open_at_once(str(path), os.O_RDONLY)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} doesn't exist", hint="Check the path.") from error
    except (NotRegularError, IsADirectoryError) as error:
        raise UsageError(f"{path} is no regular file", hint="Give what model.save() wrote.") from error
    except OSError as error:
        raise NotFoundError(f"{path} can't be read: {error.strerror}", hint="Check its mode.") from error


def _copy(source: Path, destination: Path) -> None:
    with os.fdopen(opened_file(source), "rb") as read, destination.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
