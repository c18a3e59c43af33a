"""Functions for `finetune-export --train`: each does to the object what somebody's may do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

# Before the model is loaded.
FROZEN_COUNT = gc.get_freeze_count()

# Those whose lines come after a training.
WATCHED = (
    "exporting/destination.py",
    "finetuning/training.py",
    "finetuning/comparison.py",
    "finetuning/result.py",
    "commands/finetune_export.py",
    "savedmodel/weights/rewrite.py",
    "finetuning/kept_values.py",
    "tf/live_model.py",
    "tf/saved_session.py",
    "tf/training.py",
    "tf/without_gc.py",
    "tf/resave.py",
)


def add(obj: Any, by: float = 1.0, names: str | None = None) -> None:
    print("adding", by)  # noqa: T201
    subprocess.run([sys.executable, "-c", "print('a child speaks')"], check=True)
    for variable in obj.trainable_variables:
        variable.assign_add(variable * 0 + by)


def add_to_all(obj: Any) -> None:
    for variable in obj.variables:
        if variable.dtype.is_floating:
            variable.assign_add(variable * 0 + 1)


def add_one(obj: Any) -> None:
    for variable in obj.variables:
        variable.assign_add(variable * 0 + 1)


def add_with_frozen_objects(obj: Any) -> None:
    """Requires that garbage is collected here, but for what was loaded."""
    assert gc.isenabled()
    assert gc.get_freeze_count() > FROZEN_COUNT
    add_one(obj)


def nothing(obj: Any) -> None:
    pass


def count_only(obj: Any) -> None:
    for variable in obj.variables:
        if not variable.trainable:
            variable.assign_add(variable * 0 + 1)


def poison(obj: Any) -> None:
    for variable in obj.trainable_variables:
        variable.assign(variable / 0.0)


def fail(obj: Any) -> None:
    raise ValueError("the data is not there")


def list_otherwise(obj: Any) -> None:
    add(obj)
    obj.trainable_variables = obj.trainable_variables[:1]
    obj.variables = obj.variables[::-1]
    obj.regularization_losses = []


def take_lists_away(obj: Any) -> None:
    add(obj)
    del obj.trainable_variables


def put_a_variable_in_place(obj: Any) -> None:
    import tensorflow as tf

    add(obj)
    obj.v = tf.Variable(obj.v)


def take_a_variable_away(obj: Any) -> None:
    add(obj)
    del obj.v


def put_a_function_in_place(obj: Any) -> None:
    import tensorflow as tf

    add(obj)
    call = obj.__call__
    obj.__call__ = tf.function(lambda x: call(x) + 1, input_signature=[tf.TensorSpec([None, 1], name="x")])


def go_elsewhere(obj: Any, to: str) -> None:
    add(obj)
    os.chdir(to)


def replace_streams(obj: Any, close: bool = False) -> None:
    add(obj)
    if close:
        sys.stdout.close()
    sys.stdout, sys.stderr = io.StringIO(), None


def fail_hard(obj: Any) -> None:
    raise asyncio.CancelledError("the worker went away")


def leave(obj: Any) -> None:
    add(obj)
    sys.exit(0)


class TrainingThread(threading.Thread):
    """Adds 1 to a variable again and again, until `stop`."""

    def __init__(self, variable: Any) -> None:
        super().__init__(name="beside")
        self.variable = variable
        self._added = threading.Semaphore(0)
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            self.variable.assign_add(self.variable * 0 + 1)
            self._added.release()

    def train_on(self) -> None:
        """Returns once it has added after this call."""
        while self._added.acquire(blocking=False):
            pass
        # The first may have been added before the call, and be counted only now.
        for _ in range(2):
            assert self._added.acquire(timeout=120)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def go_on_beside(obj: Any) -> None:
    """Trains on, on a thread, after it returns."""
    add(obj)
    thread = TrainingThread(obj.v)
    thread.start()
    thread.train_on()


def fill_a_table(obj: Any) -> None:
    import tensorflow as tf

    obj.kernel.assign([2.0])
    obj.fill(tf.constant(["new"]), tf.constant([5.0]))


def save_over(obj: Any, model: str) -> None:
    import tensorflow as tf

    add(obj)
    tf.saved_model.save(obj, model)


def remove(obj: Any, model: str) -> None:
    shutil.rmtree(model)


async def later(obj: Any) -> None:
    add(obj)


def piecewise(obj: Any) -> Iterator[None]:
    add(obj)
    yield


def fill_the_disk(obj: Any, place: str) -> None:
    add(obj)
    with contextlib.suppress(OSError), Path(place).open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def add_and_wait(obj: Any) -> None:
    add(obj)
    wait(obj)


def add_and_fail(obj: Any) -> None:
    add(obj)
    fail(obj)


def take(obj: Any, place: str) -> None:
    """Puts something where the export is to be."""
    add(obj)
    models = Path(place)
    models.mkdir()
    (models / "file").touch()


def add_a_head(obj: Any) -> None:
    import tensorflow as tf

    add(obj)
    obj.head = tf.Module()
    obj.head.kernel = tf.Variable([1.0])


def add_an_optimizer(obj: Any) -> None:
    import tf_keras

    obj.optimizer = tf_keras.optimizers.Adam(0.1)
    variables = list(obj.trainable_variables)
    obj.optimizer.apply_gradients([(variable * 0 + 1, variable) for variable in variables])


def fail_to_compare(obj: Any) -> None:
    """As a fault of hubcli's own after the training."""
    from hubcli.finetuning.comparison import ExportComparison

    def compare(*arguments: Any) -> None:
        raise ZeroDivisionError("a fault")

    add(obj)
    ExportComparison.run = compare  # type: ignore[method-assign,assignment]


def wait(obj: Any) -> None:
    print("training begins", flush=True)  # noqa: T201
    sys.stdin.read()


def to_the_last(obj: Any, lines: int = 1, number: int = signal.SIGKILL) -> None:
    """Sends the signal to this process once a number of lines of the export have been reached."""
    add(obj)
    seen = set[tuple[str, int]]()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.endswith(WATCHED):
            return None
        if event == "line" and (name, frame.f_lineno) not in seen:
            seen.add((name, frame.f_lineno))
            if len(seen) == lines:
                os.kill(os.getpid(), number)
        return trace

    sys.settrace(trace)
