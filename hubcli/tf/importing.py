"""TensorFlow and the two generations of Keras, imported on demand and without noise; the user's own Python.

`import tensorflow` takes three seconds and brings Keras 3 along; Keras 2 is
another package, tf_keras. Which of the two `tf.keras` means is decided by
TF_USE_LEGACY_KERAS when it is used first. Nothing here asks `tf.keras`: each
generation is imported by its own name, so that one process can hold both, and
the variable keeps the meaning that the user's own code gives it. Errors of
the user's code are reported as theirs.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from hubcli.config.process_variables import library_variable, set_unless_there, variables_set
from hubcli.errors import HubcliError, NotFoundError, TensorFlowError, UsageError
from hubcli.tf.without_gc import without_gc

__all__ = [
    "KerasGeneration",
    "first_line",
    "frames_in",
    "import_h5py",
    "import_keras",
    "import_tensorflow",
    "load_module",
    "near_misses",
    "one_line",
    "own_directory",
    "use_keras_3",
    "use_tensorflow",
    "user_errors",
]

_HINT = "Install it: pip install 'hubcli[tf]'"
_FIRST_KERAS = (3, 10)  # From here on keras.Variable takes a tf.Variable as it is.
_BACKEND, _LEGACY = "KERAS_BACKEND", "TF_USE_LEGACY_KERAS"


class KerasGeneration(Enum):
    """A generation of Keras: the package that reads its models, and how it is installed."""

    module: str
    requirement: str

    def __new__(cls, value: int, module: str, requirement: str) -> KerasGeneration:  # noqa: D102
        member = object.__new__(cls)
        member._value_ = value
        member.module = module
        member.requirement = requirement
        return member

    KERAS_2 = 2, "tf_keras", "tf-keras"
    KERAS_3 = 3, "keras", "hubcli[tf]"

    @classmethod
    def of_version(cls, version: str) -> KerasGeneration:
        """The generation of a version, such as "2.15.0" or "3.4.1"; the older one for what isn't understood.

        >>> KerasGeneration.of_version("3.4.1").module
        'keras'
        """
        return cls.KERAS_3 if version.split(".")[0] == "3" else cls.KERAS_2


def import_tensorflow() -> Any:
    """The module `tensorflow`, without its noise unless another imported it before.

    Raises TensorFlowError if it isn't installed or doesn't load.
    """
    if sys.modules.get("tensorflow") is not None:
        return sys.modules["tensorflow"]
    set_unless_there("TF_CPP_MIN_LOG_LEVEL", "3")
    with _tensorflow_backend(), without_gc():
        module = _import("tensorflow", _HINT)
    # What it says of deprecated names and untraced functions is for the model's author. Errors stay.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    return module


def use_tensorflow() -> Any:
    """The module `tensorflow` as any program imports it: what it logs, and which Keras it uses, are left.

    Raises TensorFlowError if it isn't installed or doesn't load.
    """
    return _import("tensorflow", _HINT)


def import_keras(generation: KerasGeneration) -> Any:
    """The module of that generation, on TensorFlow. Raises TensorFlowError."""
    import_tensorflow()
    with _tensorflow_backend():
        module = _import(generation.module, f"Install it: pip install '{generation.requirement}'")
    if generation is KerasGeneration.KERAS_3 and module.backend.backend() != "tensorflow":
        raise TensorFlowError(
            f"Keras 3 was already imported with the backend {module.backend.backend()}",
            hint=f"Set {_BACKEND}=tensorflow before keras is imported.",
        )
    return module


def use_keras_3() -> Any:
    """The module `keras`, 3.10 or later, as the program has it, which must have it on TensorFlow.

    Raises TensorFlowError if it has another backend, an older one or Keras 2, or none.
    """
    if library_variable(_LEGACY).lower() in ("1", "true"):
        raise TensorFlowError(
            f"{_LEGACY} makes tf.keras Keras 2, whose models do not accept layers of Keras 3",
            hint="Use tensorflow_hub.KerasLayer there (pip install tf_keras tensorflow_hub), "
            f"or unset {_LEGACY}.",
        )
    there, backend = sys.modules.get("keras"), library_variable(_BACKEND)
    if there is None and backend not in ("", "tensorflow"):
        raise _other_backend(backend)
    use_tensorflow()
    try:
        keras = _import("keras", _HINT)
    except TensorFlowError as error:
        missing = getattr(error.__cause__, "name", None)
        # The backend of ~/.keras/keras.json, which needn't be installed.
        raise _other_backend(missing) if missing in ("jax", "torch", "openvino") else error from error
    if tuple(int(part) for part in keras.__version__.split(".")[:2]) < _FIRST_KERAS:
        raise TensorFlowError(
            f"Keras {keras.__version__} is installed, which copies the variables of a model",
            hint="Install a newer one: pip install 'keras>=3.10'",
        )
    if keras.config.backend() != "tensorflow":
        raise _other_backend(keras.config.backend())
    return keras


def import_h5py() -> Any:
    """The module `h5py`. Raises TensorFlowError."""
    return _import("h5py", _HINT)


def _other_backend(name: str) -> TensorFlowError:
    return TensorFlowError(
        f"Keras uses the backend {name}, but SavedModels run only in TensorFlow",
        hint=f"Set {_BACKEND}=tensorflow before keras is imported.",
    )


def _import(name: str, hint: str) -> Any:
    if sys.modules.get(name) is not None:
        return sys.modules[name]
    try:
        with _quiet_file_descriptor():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise TensorFlowError(f"{name} is not installed", hint=hint) from error
        raise TensorFlowError(f"Cannot import {name}: {error}", hint=hint) from error
    # An import runs the package's code, and a broken installation fails in many ways.
    except Exception as error:
        raise TensorFlowError(
            f"Cannot import {name}: {type(error).__name__}: {first_line(error)}", hint=hint
        ) from error


@contextmanager
def _tensorflow_backend() -> Iterator[None]:
    """Keras 3, which reads its backend when it is imported, on TensorFlow, against its settings."""
    with variables_set({_BACKEND: "tensorflow"}):
        yield


@contextmanager
def _quiet_file_descriptor() -> Iterator[None]:
    """Keeps away what C++ writes to standard error on import, before its log level counts.

    Only for the time of the import: no line of the user's own runs meanwhile.
    """
    try:
        original = os.dup(2)
    except OSError:  # Standard error is closed.
        yield
        return
    try:
        with tempfile.TemporaryFile() as sink:
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.flush()
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(original, 2)
    finally:
        os.close(original)


# AutoGraph puts the line of code below, one step further in.
_FRAME = re.compile(r'^( *)File "(.+)", line (\d+), in .*(?:\n\1 +\S.*)?$', re.MULTILINE)
_NO_NEWS = re.compile(
    r"^ *(?:in user code:|Graph execution error:|Detected at node .*|<stack traces .*>|\[\[\{\{node .*)$",
    re.MULTILINE,
)


def first_line(error: BaseException) -> str:
    r"""The first line of the message that says something, "" if none does.

    >>> first_line(ValueError("Graph execution error:\n\nNo such file\n\t [[{{node table}}]]"))
    'No such file'
    """
    return next(iter(_news(error)), "")


def one_line(error: BaseException) -> str:
    """The whole message in one line."""
    return " ".join(_news(error))


def frames_in(error: BaseException) -> list[tuple[str, int]]:
    """File and line of the frames in the message, the innermost last."""
    return [(file, int(line)) for _, file, line in _FRAME.findall(str(error))]


def _news(error: BaseException) -> list[str]:
    lines = _NO_NEWS.sub("", _FRAME.sub("", str(error).expandtabs(1))).splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


_SAID_CHARACTERS = 500


def load_module(text: str) -> ModuleType:
    """The module of a file (`train.py`, `dir/layers.py`) or of a dotted name (`package.module`).

    A file may import its neighbours, a dotted name is looked up in the current
    directory too. Raises NotFoundError for a file that isn't there, UsageError
    for a missing module, TensorFlowError for an exception in it.
    """
    if text.endswith(".py") or "/" in text or Path(text).is_file():
        return _load_file(Path(text))
    sys.path.insert(0, str(Path.cwd()))
    try:
        with user_errors(f"Cannot import {text}"):
            return _import_dotted(text)
    finally:
        sys.path.remove(str(Path.cwd()))


def near_misses(name: str, known: list[str]) -> str:
    """A hint with the names most like the one that isn't there, or with all where there are few."""
    close = get_close_matches(name, known, n=3, cutoff=0.5) or known[:8]
    if not close:
        return ""
    more = f" … ({len(known)} in all)" if len(known) > len(close) else ""
    return f"Available: {', '.join(close)}{more}"


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
        raise TensorFlowError(f"{what}: {where}: {error.msg}", hint=f"Correct {where}.") from error
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
        # A module that it imports itself is reported as it is.
        if error.name is not None and (text == error.name or text.startswith(f"{error.name}.")):
            raise UsageError(
                f"No module {text}",
                hint="Specify a file (train.py) or a module that Python finds from here (package.module).",
            ) from error
        raise


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", hint="Check the path.")
    full = path.absolute()
    if full.stem in sys.modules and getattr(sys.modules[full.stem], "__file__", None) == str(full):
        return sys.modules[full.stem]
    # Its own name, so that what it registers or pickles is found under it; not over a module that is there.
    name = full.stem if full.stem not in sys.modules else f"hubcli_user_{full.stem}"
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", hint="Use a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    # It stays there: functions that run later import their neighbours too.
    if str(full.parent) not in sys.path:
        sys.path.insert(0, str(full.parent))
    sys.modules[name] = module
    try:
        with user_errors(f"Cannot load {path}"):
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
    """`file:line` of the innermost frame that is neither of a library nor ours; "" if there is none.

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
    "or set TF_USE_LEGACY_KERAS=1 for code that uses tf.keras."
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
        "See the arguments of the model: hubcli inspect MODEL",
    ),
    (
        "referencing variables which have been deleted",
        "Keep a reference to the loaded object while its functions are called.",
    ),
    ("got an unexpected keyword argument", "Pass arguments with --arg key=value."),
)


def _advice(error: BaseException) -> str:
    text: Any = str(error)
    found = next((advice for part, advice in _ADVICE if part in text), "")
    return found or "See the traceback: --debug"
