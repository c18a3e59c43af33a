"""TensorFlow and the two generations of Keras, imported on demand and without their noise.

`import tensorflow` takes three seconds and brings Keras 3 along; Keras 2 is
another package, tf_keras. Which of the two `tf.keras` means is decided by
TF_USE_LEGACY_KERAS when it is used first. Nothing here asks `tf.keras`: each
generation is imported by its own name, so that one process can hold both, and
the variable keeps the meaning that the user's own code gives it.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any

from hubcli.config.environment import library_variable, set_unless_there, variables_set
from hubcli.errors import TensorFlowError

__all__ = [
    "KerasGeneration",
    "first_line",
    "frames_in",
    "import_h5py",
    "import_keras",
    "import_tensorflow",
    "one_line",
    "use_keras_3",
    "use_tensorflow",
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

    Raises TensorFlowError where it isn't installed or doesn't load.
    """
    if sys.modules.get("tensorflow") is not None:
        return sys.modules["tensorflow"]
    set_unless_there("TF_CPP_MIN_LOG_LEVEL", "3")
    with _tensorflow_backend():
        module = _import("tensorflow", _HINT)
    # What it says of deprecated names and untraced functions is for the model's author. Errors stay.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    return module


def use_tensorflow() -> Any:
    """The module `tensorflow` as any program imports it: what it logs, and which Keras it uses, are left.

    Raises TensorFlowError where it isn't installed or doesn't load.
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

    Raises TensorFlowError where it has another backend, an older one or Keras 2, or none.
    """
    if library_variable(_LEGACY).lower() in ("1", "true"):
        raise TensorFlowError(
            f"{_LEGACY} makes tf.keras Keras 2, whose models take no layer of Keras 3",
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
        f"Keras has the backend {name}, and SavedModels run in TensorFlow alone",
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
            raise TensorFlowError(f"{name} isn't installed", hint=hint) from error
        raise TensorFlowError(f"{name} can't be imported: {error}", hint=hint) from error
    # An import runs whatever the package does, and a broken installation fails in many ways.
    except Exception as error:
        raise TensorFlowError(
            f"{name} can't be imported: {type(error).__name__}: {_first_line(error)}", hint=hint
        ) from error


@contextmanager
def _tensorflow_backend() -> Iterator[None]:
    """Keras 3, which reads its backend when it is imported, on TensorFlow, whatever its settings say."""
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


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")


# AutoGraph puts the line of code below, one step further in.
_FRAME = re.compile(r'^( *)File "(.+)", line (\d+), in .*(?:\n\1 +\S.*)?$', re.MULTILINE)
_NO_NEWS = re.compile(
    r"^ *(?:in user code:|Graph execution error:|Detected at node .*|<stack traces .*>|\[\[\{\{node .*)$",
    re.MULTILINE,
)


def first_line(error: BaseException) -> str:
    r"""The first line of the message that says something, "" where none does.

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
