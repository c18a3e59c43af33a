"""What releases of TensorFlow said of 95 models, as tests/interop/test_loads_against_releases.py recorded it.

`tests/data/loads-by-release.tsv` has a row for each model: its name, then a letter for each release of what
`tf.saved_model.load` did, then the same of a session. `tests/data/models-for-targets.tar.xz` holds the models
that TensorFlow 2.21 wrote; the others lie in the corpus. `loads-by-layer.tsv` has what layers of Keras made
of each, with TensorFlow 2.21 and tf_keras installed.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import NamedTuple

from tests.corpus import CORPUS

__all__ = [
    "LAYERS",
    "LETTERS",
    "LOADERS",
    "MODELS",
    "TABLE",
    "RecordedModel",
    "recorded_layers",
    "recorded_models",
    "releases_asked",
    "unpack",
]

DATA = Path(__file__).parents[2] / "data"
TABLE, MODELS = DATA / "loads-by-release.tsv", DATA / "models-for-targets.tar.xz"
LAYERS = DATA / "loads-by-layer.tsv"
LOADERS = ("load", "session")
LETTERS = {"runs": "r", "loads": "l", "fails": "f"}


class RecordedModel(NamedTuple):
    """A model, and for each loader what each release did: `r` it ran, `l` it loaded alone, `f` it failed."""

    name: str
    letters: dict[str, dict[str, str]]

    def path(self, unpacked: Path) -> Path | None:
        """Where its files are; None for one of a corpus that isn't there."""
        for folder in (unpacked, CORPUS):
            if (folder / self.name).is_dir():
                return folder / self.name
        return None


def releases_asked() -> list[str]:
    """The releases that were asked, oldest first."""
    return TABLE.read_text(encoding="utf-8").splitlines()[0].split("\t")[1].split()


def recorded_models() -> list[RecordedModel]:
    """The rows of the table."""
    head, *rows = TABLE.read_text(encoding="utf-8").splitlines()
    releases = head.split("\t")[1].split()
    models = []
    for row in rows:
        name, *columns = row.split("\t")
        letters = {
            loader: {
                release: letter for release, letter in zip(releases, column, strict=True) if letter != "-"
            }
            for loader, column in zip(LOADERS, columns, strict=True)
        }
        models.append(RecordedModel(name, letters))
    return models


def recorded_layers() -> dict[str, dict[str, str]]:
    """What each layer made of a model's path alone, by model and target: `l` it loaded, `f` it failed."""
    head, *rows = LAYERS.read_text(encoding="utf-8").splitlines()
    targets = head.split("\t")[1].split()
    return {
        name: dict(zip(targets, letters, strict=True)) for name, letters in (row.split("\t") for row in rows)
    }


def unpack(folder: Path) -> Path:
    """The recorded models, unpacked below the folder."""
    with tarfile.open(MODELS) as archive:
        archive.extractall(folder, filter="data")
    return folder
