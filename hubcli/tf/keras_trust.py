"""What the user's own code brings to a Keras model: its classes and functions, by the names a config uses."""

from __future__ import annotations

import importlib
import inspect
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.savedmodel.keras_config import TrustedNames
from hubcli.savedmodel.keras_names import APPLICATION_LAYERS
from hubcli.tf.user_code import load_module

__all__ = ["OwnObjects"]

# What Keras and hubcli register themselves isn't the user's.
_LIBRARIES = ("keras", "tf_keras", "hubcli")
# What a module of the user's imports from these stays theirs: the walk knows which of it is pure.
_FRAMEWORKS = frozenset({"keras", "tf_keras", "tensorflow"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class OwnObjects:
    """Every class and function that a module of the user's holds, by its name; of no module, none."""

    objects: dict[str, Any]
    modules: frozenset[str] = frozenset()

    @classmethod
    def of_module(cls, text: str | None) -> OwnObjects:
        """Those of a file or dotted name. Raises what `load_module` does."""
        if text is None:
            return cls({})
        module = load_module(text)
        objects = {
            name: one for name, one in vars(module).items() if callable(one) and not name.startswith("__")
        }
        return cls(objects, frozenset({module.__name__}))

    def with_applications(self, keras: Any) -> dict[str, Any]:
        """The objects, and the layers of keras.applications, which Keras finds in some formats alone."""
        found = dict[str, Any]()
        for name, place in APPLICATION_LAYERS.items():
            with suppress(ImportError, AttributeError):
                module = importlib.import_module(f"{keras.__name__}.src.applications.{place}")
                found[name] = getattr(module, name)
        return found | self.objects

    def trusted(self, keras: Any) -> TrustedNames:
        """Their names, and those of what the user registered with Keras.

        Of what the module merely imports, classes count that Keras can make
        from a config, but for those of Keras itself (`from keras.layers import *`
        must not let a Lambda pass), and functions of no installed library: a
        config must not call `subprocess.run` or `joblib.dump`.
        """
        registered = {
            name: one
            for name, one in keras.saving.get_custom_objects().items()
            if _top_module(one) not in _LIBRARIES
        }
        classes = {
            name
            for name, one in (self.objects | registered).items()
            if inspect.isclass(one)
            and (hasattr(one, "from_config") or one.__module__ in self.modules)
            and _top_module(one) not in _FRAMEWORKS
        }
        functions = {
            name
            for name, one in (self.objects | registered).items()
            if not inspect.isclass(one) and (name in registered or self._holds(one))
        }
        return TrustedNames(frozenset(classes), frozenset(functions), self.modules)

    def _holds(self, one: Any) -> bool:
        """Whether the function is the user's: of the module's own package, or of one that isn't installed."""
        top = _top_module(one)
        if top in {module.partition(".")[0] for module in self.modules}:
            return True
        if not top or top in _FRAMEWORKS or top in sys.stdlib_module_names:
            return False
        origin = getattr(sys.modules.get(top), "__file__", None)
        return origin is None or _INSTALLED.isdisjoint(Path(origin).parts)


def _top_module(one: Any) -> str:
    return str(getattr(one, "__module__", "")).partition(".")[0]
