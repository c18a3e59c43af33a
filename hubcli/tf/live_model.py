"""A loaded model that holds fine-tuned values: trained here, or loaded with them; saved, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.savedmodel.info import SavedModelInfo
from hubcli.tf.compare import Comparison, compare_models
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.loading import OwnLists, copy_values, load_model, restore_lists
from hubcli.tf.resave import ResaveReport, disk_errors, resave
from hubcli.tf.strategies import Strategy
from hubcli.tf.training import TrainingFunction, TrainingReport, train
from hubcli.tf.user_code import own_directory
from hubcli.tf.variables import live_variables

__all__ = ["LiveModel", "TrainingJob"]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training as the user names it: `FILE.py:function`, and what it is called with beside the object.

    `tags` choose the graph of a model with several.
    """

    function: str
    arguments: Mapping[str, Any]
    strategy: Strategy
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The object of the SavedModel in `directory`, which `info` tells of.

    `name` is what errors call it. `training` is what a training did; `note` a
    sentence on what was set right before, "" where nothing was.
    """

    obj: Any
    directory: Path
    info: SavedModelInfo
    name: str
    tags: tuple[str, ...] | None = None
    training: TrainingReport | None = None
    note: str = ""

    @classmethod
    def load(cls, directory: Path, info: SavedModelInfo, name: str) -> LiveModel:
        """The object as it is. Raises TensorFlowError."""
        return cls(load_model(directory, name=name), directory, info, name)

    @classmethod
    def train(cls, directory: Path, info: SavedModelInfo, name: str, job: TrainingJob) -> LiveModel:
        """The object after the training, with the lists that it was loaded with.

        Under a strategy it is another one, with the same values: what a
        strategy made of the variables can't be saved as it was. Raises what
        `TrainingFunction.load`, `load_model` and `train` do.
        """
        import_tensorflow()  # Before the user's module does: without its noise.
        with own_directory():
            function = TrainingFunction.load(job.function)
            function.require_arguments(job.arguments)  # Before a large model is loaded in vain.
            with job.strategy.scope():
                obj = load_model(directory, job.tags, name=name)
                lists = OwnLists.of(obj)
                restored = restore_lists(obj, info)
                report = train(obj, function, job.arguments, info)
        if job.strategy.value is None:
            lists.put_back(obj)
        else:
            trained, obj = obj, load_model(directory, job.tags, name=name)
            copy_values(trained, obj, info)
        return cls(obj, directory, info, name, job.tags, report, restored.note)

    def save(self, destination: Path) -> ResaveReport:
        """Saves the object to `destination`, which isn't there yet, as `resave` does."""
        return resave(self.obj, self.directory, destination, self.info, name=self.name)

    def write_values(self, folder: Path) -> Path:
        """A checkpoint in the folder, of the changed variables under the keys of the model: its prefix."""
        tf = import_tensorflow()
        assert self.training is not None
        keys = {one.path: one.checkpoint_key for one in self.info.variables}
        live = live_variables(self.obj, self.info)
        changed = {path: keys[path] for path in self.training.changed if keys[path] is not None}
        folder.mkdir()
        prefix = folder / "trained"
        with disk_errors():
            tf.raw_ops.SaveV2(
                prefix=str(prefix),
                tensor_names=list(changed.values()),
                shape_and_slices=[""] * len(changed),
                tensors=[tf.convert_to_tensor(live[path]) for path in changed],
            )
        return prefix

    def compare(self, saved: Path) -> Comparison:
        """The object beside what was written to `saved`, loaded again. Raises TensorFlowError."""
        return compare_models(
            self.obj, load_model(saved, self.tags, name=f"the export of {self.name}"), self.info, saved
        )
