"""A frozen dataclass whose methods are written later behaves as one of `dataclasses`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, field, fields, is_dataclass, replace

import pytest

from hubcli.frozen import dataclass
from tests.cases import each_of


@dataclass(frozen=True, slots=True)
class Size:
    """A field without a default, one with, one made anew, and three that are left out of something."""

    name: str
    count: int = 3
    notes: list[str] = field(default_factory=list, hash=False)
    seen: int = field(default=0, compare=False)
    _found: str | None = field(default=None, init=False, repr=False, compare=False)
    unit: str = field(default="B", kw_only=True)


@dataclass(frozen=True, slots=True)
class Named(Size):
    """Inherits fields, and checks them."""

    owner: str = "me"

    def __post_init__(self) -> None:
        if not self.owner:
            raise ValueError("no owner")


@dataclass(frozen=True)
class Open:
    """Without slots, and with an equality of its own."""

    value: int = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Open)

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True, slots=True)
class Usual:
    """The same fields as `Size`, by `dataclasses`."""

    name: str
    count: int = 3
    notes: list[str] = field(default_factory=list, hash=False)
    seen: int = field(default=0, compare=False)
    _found: str | None = field(default=None, init=False, repr=False, compare=False)
    unit: str = field(default="B", kw_only=True)


def test_it_reads_as_one_of_dataclasses() -> None:
    ours, usual = Size("a", 2, unit="kB"), Usual("a", 2, unit="kB")

    assert repr(ours).removeprefix("Size") == repr(usual).removeprefix("Usual")
    assert is_dataclass(Size)
    assert [each.name for each in fields(Size)] == [each.name for each in fields(Usual)]
    assert str(inspect.signature(Size)) == str(inspect.signature(Usual))
    assert Size.__match_args__ == Usual.__match_args__
    assert ours.__class__.__init__.__qualname__ == "Size.__init__"
    assert not hasattr(ours, "__dict__")


def test_equality_and_hash_go_by_the_fields_that_take_part() -> None:
    assert Size("a", seen=1) == Size("a", seen=2)
    assert hash(Size("a", notes=["x"])) == hash(Size("a"))
    assert Size("a") != Size("a", notes=["x"])
    assert Size("a") != Named("a")
    assert Size("a").__eq__(Usual("a")) is NotImplemented
    assert len({Named("a"), Named("a"), Named("b")}) == 2
    assert Open(1) == Open(2)


def test_each_instance_gets_defaults_of_its_own() -> None:
    first, second = Size("a"), Size("a")
    first.notes.append("x")

    assert second.notes == []
    assert first._found is None


@each_of("name", ["name", "value", "another"])
def test_nothing_is_assigned_or_deleted(name: str) -> None:
    for value in (Size("a"), Named("a"), Open()):
        with pytest.raises(FrozenInstanceError, match=f"field '{name}'"):
            setattr(value, name, 1)
        with pytest.raises(FrozenInstanceError, match=f"field '{name}'"):
            delattr(value, name)


def test_a_subclass_that_is_no_dataclass_has_attributes_of_its_own() -> None:
    class More(Size):
        pass

    more = More("a")
    more.extra = 1  # type: ignore[attr-defined]

    assert more.extra == 1  # type: ignore[attr-defined]
    del more.extra  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        more.name = "b"  # type: ignore[misc]


def test_it_is_copied_pickled_and_replaced() -> None:
    named = Named("a", 5, ["x"], unit="kB", owner="you")

    assert copy.copy(named) == named
    assert copy.deepcopy(named) == named
    assert pickle.loads(pickle.dumps(named)) == named
    assert replace(named, count=6) == Named("a", 6, ["x"], unit="kB", owner="you")
    with pytest.raises(ValueError, match="no owner"):
        replace(named, owner="")


def test_wrong_arguments_are_refused_as_by_dataclasses() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Size()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument '_found'"):
        Size("a", _found="b")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Only frozen"):
        dataclass(frozen=False)


def test_no_class_that_a_listing_loads_is_written_by_dataclasses() -> None:
    script = (
        "import dataclasses, sys; written = []; usual = dataclasses._create_fn\n"
        "def note(name, *rest, **named):\n"
        "    written.append(name); return usual(name, *rest, **named)\n"
        "dataclasses._create_fn = note\n"
        "import hubcli.cli.ls, hubcli.commands.ls, hubcli.cli.entrypoint; print(written)"
    )
    if not hasattr(dataclasses, "_create_fn"):
        pytest.skip("this Python writes the methods of dataclasses by other means")

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
