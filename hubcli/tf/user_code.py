"""The user's own Python: a file or module, imported, and what goes wrong in it shown as theirs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from hubcli.errors import HubcliError, NotFoundError, TensorFlowError, UsageError
from hubcli.tf.importing import frames_in, one_line

__all__ = ["load_module", "near_misses", "own_directory", "user_errors"]

_SAID_CHARACTERS = 500


def load_module(text: str) -> ModuleType:
    """The module of a file (`train.py`, `dir/layers.py`) or of a dotted name (`package.module`).

    A file may import its neighbours, a dotted name is looked up in the current
    directory too. Raises NotFoundError for a file that isn't there, UsageError
    for a module that isn't, TensorFlowError for what goes wrong inside.
    """
    if text.endswith(".py") or "/" in text or Path(text).is_file():
        return _load_file(Path(text))
    sys.path.insert(0, str(Path.cwd()))
    try:
        with user_errors(f"{text} can't be imported"):
            return _import_dotted(text)
    finally:
        sys.path.remove(str(Path.cwd()))


def near_misses(name: str, known: list[str]) -> str:
    """A hint with the names most like the one that isn't there, or with all where there are few."""
    close = get_close_matches(name, known, n=3, cutoff=0.5) or known[:8]
    if not close:
        return ""
    more = f" … ({len(known)} in all)" if len(known) > len(close) else ""
    return f"There is: {', '.join(close)}{more}"


@contextmanager
def own_directory() -> Iterator[None]:
    """Lets the user's code go where it likes: afterwards the working directory is again what it was."""
    before = None
    with suppress(OSError):  # It may be gone, before or meanwhile.
        before = Path.cwd()
    try:
        yield
    finally:
        if before is not None:
            with suppress(OSError):
                os.chdir(before)


@contextmanager
def user_errors(what: str) -> Iterator[None]:
    """Turns an exception of the user's code into TensorFlowError, with their own innermost line."""
    try:
        yield
    except (HubcliError, KeyboardInterrupt, GeneratorExit):
        raise
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}"
        raise TensorFlowError(f"{what}: {where}: {error.msg}", hint=f"Mend {where}.") from error
    except SystemExit as error:
        raise TensorFlowError(
            f"{what}: it ended the program with status {error.code}", hint="Return from it instead."
        ) from error
    except BaseException as error:  # The user's code raises what it likes.
        where = _own_frame(error)
        text = _error_text(error)
        message = f"{what}: {where}: {text}" if where else f"{what}: {text}"
        raise TensorFlowError(message, hint=_advice(error)) from error


def _import_dotted(text: str) -> ModuleType:
    try:
        return importlib.import_module(text)
    except ModuleNotFoundError as error:
        # One that the module imports in its turn is another matter.
        if error.name is not None and (text == error.name or text.startswith(f"{error.name}.")):
            raise UsageError(
                f"There is no module {text}",
                hint="Name a file (train.py) or a module that Python finds from here (package.module).",
            ) from error
        raise


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"{path} doesn't exist", hint="Check the path.")
    full = path.absolute()
    if full.stem in sys.modules and getattr(sys.modules[full.stem], "__file__", None) == str(full):
        return sys.modules[full.stem]
    # Its own name, so that what it registers or pickles is found under it; not over a module that is there.
    name = full.stem if full.stem not in sys.modules else f"hubcli_user_{full.stem}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file", hint="Name a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    # It stays there: functions that run later import their neighbours too.
    if str(full.parent) not in sys.path:
        sys.path.insert(0, str(full.parent))
    sys.modules[name] = module
    try:
        with user_errors(f"{path} can't be loaded"):
            spec.loader.exec_module(module)
    except HubcliError:
        del sys.modules[name]
        raise
    return module


def _error_text(error: BaseException) -> str:
    """The kind of the error and the beginning of its message, in one line: some hold whole arrays."""
    kind = type(error).__name__
    text = one_line(error).removeprefix(f"{kind}: ") or "no message"
    return f"{kind}: {text if len(text) <= _SAID_CHARACTERS else f'{text[:_SAID_CHARACTERS]} …'}"


def _own_frame(error: BaseException) -> str:
    """`file:line` of the innermost frame that is neither of a library nor ours; "" where there is none.

    Of a graph it is the one that traced the op, which the message alone tells.
    """
    raised = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{file}:{line}" for file, line in (*raised, *frames_in(error)) if not _is_library(file)]
    return own[-1] if own else ""


def _is_library(filename: str) -> bool:
    ours, standard = Path(__file__).parent.parent, Path(importlib.__file__).parent.parent
    beginnings = ("<", f"{ours}/", f"{standard}/")
    parts = ("site-packages", "dist-packages", "__autograph_generated_file")
    return filename.startswith(beginnings) or any(part in filename for part in parts)


_OTHER_KERAS = (
    "tensorflow_hub's KerasLayer is one of Keras 2: build the model with tf_keras, "
    "or set TF_USE_LEGACY_KERAS=1 where the code says tf.keras."
)
# Beginnings and parts of messages that are known to puzzle, each with what to do.
_ADVICE = (
    ("Only instances of", _OTHER_KERAS),
    ("A KerasTensor", _OTHER_KERAS),
    (
        "object is not callable",
        "The model has no __call__: call obj.signatures[…]; see: hubcli inspect MODEL --check",
    ),
    (
        "Could not find matching concrete function to call",
        "See which arguments the model takes: hubcli inspect MODEL",
    ),
    (
        "referencing variables which have been deleted",
        "Keep a reference to the loaded object while its functions are called.",
    ),
    ("got an unexpected keyword argument", "Arguments come from --arg key=value; see the function's own."),
)


def _advice(error: BaseException) -> str:
    text: Any = str(error)
    found = next((advice for part, advice in _ADVICE if part in text), "")
    return found or "The whole traceback: --debug"
