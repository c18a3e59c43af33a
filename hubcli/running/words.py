"""Names that a model has, for completion: read without its scan."""

from __future__ import annotations

from pathlib import Path

from hubcli.errors import HubcliError
from hubcli.running.model import Selection, read_runnable
from hubcli.savedmodel.functions import read_functions, read_signatures
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.objects import ObjectGraph

__all__ = ["function_paths", "input_names", "signature_names"]

_MAX_WORDS = 1000


def signature_names(model: Path) -> list[str]:
    """The signatures of all MetaGraphs, each once. Raises BrokenModelError, OSError."""
    with read_outline(model) as outlines:
        names = [
            signature.name
            for outline in outlines
            for signature in read_signatures(outline.rest.signature_def)
            if signature.outputs
        ]
    return list(dict.fromkeys(names))[:_MAX_WORDS]


def function_paths(model: Path) -> list[str]:
    """The functions that were traced, those of submodules too. Raises BrokenModelError, OSError."""
    with read_outline(model) as outlines:
        objects = next((outline.objects for outline in outlines if outline.objects is not None), None)
        functions = () if objects is None else read_functions(ObjectGraph(objects), submodules=True)
    return [function.path for function in functions if function.variants][:_MAX_WORDS]


def input_names(model: Path, signature: str | None, function: str | None) -> list[str]:
    """The inputs of a signature or function; of every signature where several could be meant."""
    try:
        selection = Selection(signature=signature, function=function)
        endpoint = read_runnable("", model, selection, is_dry=True).endpoints[0]
        return [port.name for port in endpoint.inputs][:_MAX_WORDS]
    except HubcliError:
        if signature is not None or function is not None:
            raise
    with read_outline(model) as outlines:
        names = [
            tensor.name
            for outline in outlines
            for signature_of_outline in read_signatures(outline.rest.signature_def)
            for tensor in signature_of_outline.inputs
        ]
    return list(dict.fromkeys(names))[:_MAX_WORDS]
