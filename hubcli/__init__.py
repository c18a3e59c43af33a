"""hubcli: TensorFlow SavedModels fetched, cached, laid open, checked, exported, fine-tuned and collected.

`import hubcli` is light: nothing heavier than the standard library is loaded
until a name is used.
"""

from __future__ import annotations

import sys

from hubcli._moved import MovedModules

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing takes as long to load as Python itself, and every start would pay.
if TYPE_CHECKING:
    from typing import Any

    from hubcli.cache.gc.plan import Policy
    from hubcli.commands.doctor import doctor
    from hubcli.commands.export import export
    from hubcli.commands.fetch import fetch
    from hubcli.commands.finetune_export import finetune_export
    from hubcli.commands.gc import gc
    from hubcli.commands.info import info
    from hubcli.commands.inspect import inspect
    from hubcli.commands.ls import ls
    from hubcli.commands.pin import pin, unpin
    from hubcli.commands.publish import publish
    from hubcli.commands.rm import rm
    from hubcli.commands.run import run
    from hubcli.commands.search import search
    from hubcli.commands.verify import verify
    from hubcli.commands.versions import versions
    from hubcli.config.settings import Settings
    from hubcli.drop_in.keras_layer import KerasLayer
    from hubcli.drop_in.load import load, resolve
    from hubcli.errors import HubcliError
    from hubcli.providers.handle import Handle

__all__ = [
    "Handle",
    "HubcliError",
    "KerasLayer",
    "Policy",
    "Settings",
    "__version__",
    "doctor",
    "export",
    "fetch",
    "finetune_export",
    "gc",
    "info",
    "inspect",
    "load",
    "ls",
    "pin",
    "publish",
    "resolve",
    "rm",
    "run",
    "search",
    "unpin",
    "verify",
    "versions",
]

_HOMES = {
    "doctor": "hubcli.commands.doctor",
    "export": "hubcli.commands.export",
    "fetch": "hubcli.commands.fetch",
    "finetune_export": "hubcli.commands.finetune_export",
    "gc": "hubcli.commands.gc",
    "info": "hubcli.commands.info",
    "inspect": "hubcli.commands.inspect",
    "load": "hubcli.drop_in.load",
    "ls": "hubcli.commands.ls",
    "pin": "hubcli.commands.pin",
    "publish": "hubcli.commands.publish",
    "resolve": "hubcli.drop_in.load",
    "rm": "hubcli.commands.rm",
    "run": "hubcli.commands.run",
    "search": "hubcli.commands.search",
    "unpin": "hubcli.commands.pin",
    "verify": "hubcli.commands.verify",
    "versions": "hubcli.commands.versions",
    "HubcliError": "hubcli.errors",
    "KerasLayer": "hubcli.drop_in.keras_layer",
    "Handle": "hubcli.providers.handle",
    "Policy": "hubcli.cache.gc.plan",
    "Settings": "hubcli.config.settings",
}


if MovedModules not in sys.meta_path:
    sys.meta_path.append(MovedModules)


def __getattr__(name: str) -> Any:
    """Imports the public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hubcli' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
