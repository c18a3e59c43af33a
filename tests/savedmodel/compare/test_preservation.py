"""The gate before an export is shown: what a trainer would miss of its source is refused."""

from __future__ import annotations

import pytest

from hubcli.errors import TensorFlowError
from hubcli.savedmodel.compare.preservation import verify_interface_preserved
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from hubcli.savedmodel.variables import VariableLists
from tests import models

_LISTS = VariableLists(("w", "b"), ("w",), 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (_LISTS._replace(variables=("b", "w")), "list variables was w, b and is b, w"),
        (_LISTS._replace(trainable_variables=("w", "b")), "list trainable_variables was w and is w, b"),
        (_LISTS._replace(variables=None), "list variables is gone"),
        (_LISTS._replace(losses=1), "list regularization_losses was 2 functions and is 1 function"),
    ],
)
def test_lists_of_something_else_or_in_another_order_are_refused(
    other: VariableLists, message: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = models.write_tree(tmp_path_factory.mktemp("kept") / "model", models.example_files())
    info = read_model(ModelFiles.of_directory(model))._replace(lists=_LISTS)
    assert verify_interface_preserved(info, info) == ()
    with pytest.raises(TensorFlowError, match=message):
        verify_interface_preserved(info, info._replace(lists=other))
