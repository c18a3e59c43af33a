"""LiteRT's converter, tried on a model: with builtin ops alone, then with Select TensorFlow ops.

It is the conversion of `hubcli export DEST.tflite`, without comparison, and nothing of it is kept. A crash of
the converter, or a conversion that takes too long, ends its process alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from hubcli.errors import ConversionError, DiskFullError, TensorFlowError, UnsafeModelError, UsageError
from hubcli.exporting import ExportFormat
from hubcli.exporting.conversion import ConversionOptions, plan_conversion, require_installed
from hubcli.exporting.converter import Converter
from hubcli.savedmodel.targets.obstacle import ConversionTrial
from hubcli.tf.run_process import RunnerError

__all__ = ["try_conversion"]

_TIMEOUT_S = 600.0
_LEAST_S = 1.0


def try_conversion(
    name: str, model: Path, tag_set: frozenset[str] | None = None, *, timeout_s: float = _TIMEOUT_S
) -> ConversionTrial:
    """What the converter makes of all signatures of the model in the directory; it runs parts of the model.

    Raises UnsafeModelError if the scan found what is `high` or worse, TensorFlowError without TensorFlow
    or a package with ops of the model, DiskFullError, BrokenModelError.
    """
    options = ConversionOptions(compare=False, timeout_s=timeout_s)
    try:
        plan = plan_conversion(name, model, ExportFormat.TFLITE, options, unsafe=False, tag_set=tag_set)
    except UnsafeModelError as error:
        raise UnsafeModelError(
            error.message,
            hint=f"List all: hubcli inspect --scan {name}. "
            f"If you trust the author, convert it: hubcli export --unsafe {name} DEST.tflite",
        ) from error
    except (ConversionError, UsageError) as error:  # A signature that the format can't hold, or no signature.
        return _failed(error.message)
    require_installed(plan)
    converter = Converter(plan)
    try:
        return _tried(converter, time.monotonic() + timeout_s)
    except ConversionError as error:
        return _failed(_reason(error), converter.version)
    except TensorFlowError as error:  # A crash, or too long.
        return _failed(error.message)
    except OSError as error:
        raise DiskFullError(
            f"{name} was not converted: {error.strerror}", hint="Free some space, or set TMPDIR."
        ) from error
    finally:
        converter.close()


def _tried(converter: Converter, until_s: float) -> ConversionTrial:
    """The conversion with the fewest ops that it takes. Raises as `Converter.convert`."""
    with TemporaryDirectory(prefix="hubcli-") as folder:
        file, reason = Path(folder) / "model.tflite", ""
        try:
            converter.convert(file, {}, {})
        except ConversionError as error:  # Of any kind: what it says of ops isn't always what it lacks.
            reason = _reason(error)
            converter.limit(max(until_s - time.monotonic(), _LEAST_S))
            converter.convert(file, {}, {}, select_tf_ops=True)
        return ConversionTrial(
            is_done=True,
            needs_select_ops=bool(reason),
            reason=reason,
            size_bytes=file.stat().st_size,
            tensorflow_version=converter.version,
        )


def _failed(reason: str, version: str = "") -> ConversionTrial:
    return ConversionTrial(
        is_done=False, needs_select_ops=False, reason=reason, size_bytes=None, tensorflow_version=version
    )


def _reason(error: ConversionError) -> str:
    """What the converter said, without the model's name."""
    return error.__cause__.message if isinstance(error.__cause__, RunnerError) else error.message
