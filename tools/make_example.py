"""Packs hubcli/examples/mul-1.tar.gz, the model behind `example://mul/1`.

Run it with the `[dev]` extra installed: `python tools/make_example.py`.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

import tensorflow as tf

TARGET = Path(__file__).parent.parent / "hubcli" / "examples" / "mul-1.tar.gz"


def make_mul() -> tf.train.Checkpoint:
    """A Reusable SavedModel: float32 [batch, 1] times one trainable weight, with an L2 loss."""
    model = tf.train.Checkpoint(v=tf.Variable(2.0, name="v"))

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def call(x: tf.Tensor) -> tf.Tensor:
        return x * model.v

    @tf.function(input_signature=[])
    def l2() -> tf.Tensor:
        return 0.001 * model.v**2

    model.__call__ = call
    model.variables = [model.v]
    model.trainable_variables = [model.v]
    model.regularization_losses = [l2]
    return model


def pack(directory: Path, target: Path) -> None:
    """A tar.gz with sorted names and fixed times, so that only a new model changes it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            entry = archive.gettarinfo(path, f"./{path.relative_to(directory)}")
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            if path.is_file():
                with path.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)
    target.write_bytes(gzip.compress(plain.getvalue(), mtime=0))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        model = make_mul()
        tf.saved_model.save(model, folder, signatures=model.__call__)
        pack(Path(folder), TARGET)
