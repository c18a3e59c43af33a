"""Frozen dataclasses that cost a tenth to define: their methods are written when they are first called.

`dataclasses` writes six methods as text and compiles them, 0.6 ms for each class. Few of the classes that a
command imports are ever instantiated, and hardly one is compared: that was 13 to 20 ms of each start.
What is made here is a dataclass to `fields`, `replace`, `is_dataclass`, `copy` and `pickle`, and to mypy.
"""

from __future__ import annotations

import dataclasses
from types import MemberDescriptorType

TYPE_CHECKING = False  # Each start would pay for typing.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from dataclasses import dataclass
    from typing import Any

__all__ = ["dataclass"]

_MISSING = dataclasses.MISSING


class _Factory:
    """The default of a parameter whose value is made anew, shown as `dataclasses` shows it."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()

if not TYPE_CHECKING:

    def dataclass(*, frozen: bool, slots: bool = False) -> Callable[[type], type]:
        """`dataclasses.dataclass(frozen=True, slots=...)` for a class without InitVar fields.

        Raises TypeError unless `frozen`: another class is one for `dataclasses` itself.
        """
        if not frozen:
            raise TypeError("Only frozen classes are defined lazily")
        return lambda cls: _frozen(cls, slots=slots)


def _frozen(cls: type, *, slots: bool) -> type:
    """The class with its fields found by `dataclasses`, and with methods that are written later."""
    own = dict(cls.__dict__)
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    methods = {"__init__": _init, "__repr__": _repr, "__eq__": _eq}
    if own.get("__hash__") is None:  # A class that defines __eq__ alone has None there.
        setattr(made, "__hash__", _LaterMethod(made, "__hash__", _hash))  # noqa: B010 - mypy knows its type
    for name, write in methods.items():
        if name not in own:
            setattr(made, name, _LaterMethod(made, name, write))
    names = frozenset(made.__dataclass_fields__)
    made.__setattr__, made.__delattr__ = _refusals(made, names)
    if slots:
        made.__getstate__, made.__setstate__ = _state, _restore
    return made  # type: ignore[no-any-return]


class _LaterMethod:
    """Stands for a method until it is looked up, and is replaced by it then."""

    def __init__(self, cls: type, name: str, write: Callable[[type], Any]) -> None:
        self._cls = cls
        self._name = name
        self._write = write

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        method = self._write(self._cls)
        method.__name__ = self._name
        method.__qualname__ = f"{self._cls.__qualname__}.{self._name}"
        method.__module__ = self._cls.__module__
        setattr(self._cls, self._name, method)
        return method if instance is None else method.__get__(instance, owner)


def _init(cls: Any) -> Any:
    """`__init__`, which sets slots by their descriptors: half the time of `object.__setattr__`."""
    fields: Iterable[dataclasses.Field[Any]] = dataclasses.fields(cls)
    namespace: dict[str, Any] = {"FACTORY": _FACTORY, "set_attribute": object.__setattr__}
    positional: list[str] = []
    named: list[str] = []
    body: list[str] = []
    hints = {}
    for field in fields:
        name, value = field.name, field.name
        if field.default is not _MISSING:
            namespace[f"default_{name}"], default = field.default, f"default_{name}"
        elif field.default_factory is not _MISSING:
            namespace[f"make_{name}"], default = field.default_factory, "FACTORY"
            value = f"make_{name}() if {name} is FACTORY else {name}" if field.init else f"make_{name}()"
        else:
            default = ""
        if field.init:
            hints[name] = field.type
            (named if field.kw_only else positional).append(f"{name}={default}" if default else name)
        elif not default:
            continue
        elif value == name:
            value = default
        slot = getattr(cls, name, None)
        if isinstance(slot, MemberDescriptorType):
            namespace[f"set_{name}"] = slot.__set__
            body.append(f"set_{name}(self, {value})")
        else:
            body.append(f"set_attribute(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *named] if named else [])])
    exec(f"def init({parameters}):\n " + "\n ".join(body or ["pass"]), namespace)  # noqa: S102 - as dataclasses do
    init = namespace["init"]
    init.__annotations__ = {**hints, "return": None}
    return init


def _values(names: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What gives the attributes of these names as a tuple."""
    items = "".join(f"self.{name}, " for name in names)
    values: Callable[[Any], tuple[Any, ...]] = eval(f"lambda self: ({items})")  # noqa: S307 - names of fields
    return values


def _repr(cls: Any) -> Any:
    names = [field.name for field in dataclasses.fields(cls) if field.repr]

    def represent(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"

    return represent


def _eq(cls: Any) -> Any:
    values = _values(field.name for field in dataclasses.fields(cls) if field.compare)

    def equal(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return equal


def _hash(cls: Any) -> Any:
    fields = dataclasses.fields(cls)
    values = _values(f.name for f in fields if (f.compare if f.hash is None else f.hash))

    def hash_of(self: Any) -> int:
        return hash(values(self))

    return hash_of


def _refusals(cls: Any, names: frozenset[str]) -> tuple[Any, Any]:
    """`__setattr__` and `__delattr__` of the class; a subclass that is no dataclass may add attributes."""

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return set_attribute, delete_attribute


def _state(self: Any) -> list[Any]:
    """What copy and pickle keep: the slots, which they can't set by themselves."""
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
