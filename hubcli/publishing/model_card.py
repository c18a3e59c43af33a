"""A template of a model card: Markdown with what the model's files tell; the rest is the publisher's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hubcli.archive.compression import ARCHIVE_SUFFIXES
from hubcli.errors import BrokenModelError, HandleError
from hubcli.fetching.model_ref import ModelRef
from hubcli.providers.handle import Handle
from hubcli.publishing.kaggle_api import clean_text
from hubcli.savedmodel.functions import Function, Signature, SignatureTensor
from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.reader import read_model
from hubcli.savedmodel.types import shape_text
from hubcli.units import format_size

__all__ = ["address_of", "model_card", "name_of"]

_MAX_ROWS = 50  # Of signatures, and of the tensors of one.
_SCALAR = re.compile(r"[A-Za-z][\w./+-]*(?: [\w./+-]+)*", re.ASCII)
_TODO = "<!-- TODO: {} -->"


def model_card(
    model: Path,
    *,
    name: str | None = None,
    license: str | None = None,  # noqa: A002
    address: str | None = None,
) -> str:
    """The card of the model in the directory. What only its publisher knows is a TODO there.

    Its example loads the model by `address`, else by its name. Raises BrokenModelError for a model that
    can't be read.
    """
    try:
        info = read_model(ModelFiles.of_directory(model))
    except OSError as error:
        raise BrokenModelError(f"Cannot read {error.filename or model}: {error.strerror}") from error
    folder = model.resolve()  # A number is a version, as TensorFlow Serving has it.
    name = _plain(name or (folder.parent.name if folder.name.isdecimal() else "") or folder.name)
    return "\n".join(_lines(info, name, _quotable(address or name), license)) + "\n"


def name_of(reference: ModelRef) -> tuple[str | None, str | None]:
    """What a card calls the model, and what `hub.load` takes; None for a directory of the user's own."""
    if reference.archive is not None:
        return _stem(reference.archive), None
    handle = reference.handle
    if reference.entry is not None and reference.entry.handle is not None:
        handle = Handle.parse(reference.entry.handle)
    if handle is None or handle.is_directory:
        return None, None
    name = "/".join(handle.provider.model_name(handle))
    if not name and handle.path is not None:
        return _stem(handle.path), None
    return name or str(handle), handle.canonical


def _stem(archive: Path) -> str:
    """The name of an archive without its suffix; of a version in a tree, that of the model."""
    if archive.name.isdecimal():
        return archive.parent.name or archive.name
    fitting = (suffix for suffix in ARCHIVE_SUFFIXES if archive.name.endswith(suffix))
    return archive.name.removesuffix(max(fitting, key=len, default="")) or archive.name


def address_of(name: str) -> str:
    """What `hub.load` takes of a model that will have that name."""
    try:
        return Handle.parse(name).canonical if name.count("/") >= 3 and name[0] not in "./~" else name
    except HandleError:
        return name


def _lines(info: SavedModelInfo, name: str, address: str, license_name: str | None) -> Iterator[str]:
    yield from (
        "---",
        f"license: {_yaml(_plain(license_name or 'TODO'))}",
        f"title: {_yaml(name)}",
        "---",
        "",
        f"# {name}",
        "",
    )
    yield _TODO.format("what the model computes, from what, for whom, in two sentences")
    yield from ("", "## Facts", "", "| | |", "|---|---|")
    yield from (f"| {key} | {_cell(value)} |" for key, value in _facts(info))
    yield from ("", "## Usage", "")
    yield from _usage(info, address)
    yield from _signatures(info)
    for title, text in (
        ("Training data", "the datasets, their licenses, and what was done to them"),
        ("Evaluation", "metrics, datasets, and how to measure them again"),
        ("Limitations", "what the model must not be used for, known errors and biases"),
        ("References", "papers, code, and how to cite the model"),
    ):
        yield from ("", f"## {title}", "", _TODO.format(text))


def _facts(info: SavedModelInfo) -> Iterator[tuple[str, str]]:
    yield "Format", info.format.label
    yield "Written by", f"TensorFlow {_plain(info.tensorflow_version or 'unknown')}"
    yield "Parameters", f"{info.parameters.total:,}, {info.parameters.trainable:,} of them trainable"
    if info.sizes.total is not None:
        yield "Size", format_size(info.sizes.total)
    yield "Fine-tunable", "yes" if info.reusable.conforms and info.parameters.trainable else "no"
    if info.assets:
        yield "Assets", ", ".join(f"`{_plain(asset.path)}`" for asset in info.assets[:_MAX_ROWS])


def _usage(info: SavedModelInfo, address: str) -> Iterator[str]:
    call = next((function for function in info.functions if function.path == "__call__"), None)
    yield from ("```python", "import tensorflow_hub as hub", "", f'obj = hub.load("{address}")')
    if call is not None and call.variants:
        yield f"result = {_plain(call.call)}"
        yield from ("```", "", *_call_facts(call))
        if info.parameters.trainable and info.reusable.conforms:
            yield from ("", "To fine-tune it:", "", "```python")
            yield from (f'layer = hub.KerasLayer("{address}", trainable=True)', "```")
        return
    signatures = [signature for graph in info.meta_graphs[:1] for signature in graph.signatures]
    yield from (f"result = {_plain(signature.call)}" for signature in signatures[:1])
    yield "```"


def _call_facts(call: Function) -> Iterator[str]:
    variant = call.variants[0]
    inputs = ", ".join(f"`{_plain(str(argument))}`" for argument in variant.args[:1])
    yield f"It takes {inputs or 'no input'} and returns `{_plain(str(variant.outputs))}`."


def _signatures(info: SavedModelInfo) -> Iterator[str]:
    signatures: list[Signature] = [signature for graph in info.meta_graphs for signature in graph.signatures]
    for signature in signatures[:_MAX_ROWS]:
        yield from ("", f"### Signature `{_plain(signature.name)}`", "", "| | name | type | meaning |")
        yield "|---|---|---|---|"
        yield from (_row("input", tensor) for tensor in signature.inputs[:_MAX_ROWS])
        yield from (_row("output", tensor) for tensor in signature.outputs[:_MAX_ROWS])


def _row(kind: str, tensor: SignatureTensor) -> str:
    text = f"{tensor.dtype}{shape_text(tensor.shape)}"
    return f"| {kind} | `{_cell(tensor.name)}` | {_cell(text)} | {_TODO.format('range, unit, classes')} |"


def _plain(text: str) -> str:
    """Text of a model in one line, that ends no code and begins no tag."""
    return clean_text(text).replace("`", "'").replace("<", "‹").replace(">", "›")


def _yaml(text: str) -> str:
    """A scalar of YAML: in quotes where it would else be read as something else, such as `a: b`."""
    return text if _SCALAR.fullmatch(text) else "'" + text.replace("'", "''") + "'"


def _quotable(text: str) -> str:
    """Text that ends no string of Python."""
    return _plain(text).replace("\\", "/").replace('"', "'")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "¦")
