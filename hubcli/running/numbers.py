"""Elements of tensors: Python numbers and texts to bytes and back, and to the shortest decimal digits.

Nothing is cast silently: a number that the type can't hold is refused. Types of less than a byte take a
whole one, as in TensorFlow's memory.
"""

from __future__ import annotations

import struct
from array import array
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Any

from hubcli.errors import InputError
from hubcli.formats import HalfType
from hubcli.formats.tensor_layout import DType

__all__ = ["bytes_of", "decoded", "encoded", "is_supported", "number_texts", "require_supported"]

# The struct format of each type of numbers that stand in memory as C has them.
_FORMS = {
    "float32": "f", "float64": "d", "float16": "e", "int8": "b", "int16": "h", "int32": "i", "int64": "q",
    "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q", "bool": "?",
    "qint8": "b", "quint8": "B", "qint16": "h", "quint16": "H", "qint32": "i",
    "int4": "b", "uint4": "B", "int2": "b", "uint2": "B",
}  # fmt: skip
_NARROW = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_COMPLEX = {"complex64": "f", "complex128": "d"}
_NON_FINITE = {
    "NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf"),
    "nan": float("nan"), "inf": float("inf"), "-inf": -float("inf"),
}  # fmt: skip
# Integers from here on may not be exact in the type; and the digits that always tell its values apart.
_EXACT = {"float16": 1 << 11, "bfloat16": 1 << 8, "float32": 1 << 24, "float64": 1 << 53}
_DIGITS = {"float16": (4, 5), "bfloat16": (3, 4), "float32": (7, 9)}
_MAX_SHOWN = 60


def is_supported(dtype: DType) -> bool:
    """Whether values of the type can be given and shown."""
    return dtype.name in _FORMS or dtype.name in _COMPLEX or dtype.name in ("bfloat16", "string")


def require_supported(dtype: DType, name: str) -> None:
    """Raises InputError for a type whose values can't be given, by its name."""
    if not is_supported(dtype):
        raise InputError(
            f"{name} has the type {dtype.name}, which hubcli run does not support",
            hint="Run it in Python: hubcli inspect MODEL prints the call.",
        )


def encoded(dtype: DType, values: Sequence[Any]) -> bytes | list[bytes]:
    """The elements as they lie in memory, for strings a list of bytes.

    Raises ValueError, which says what the type can't hold, without a name.
    """
    name = dtype.name
    if name == "string":
        return [bytes_of(value) for value in values]
    kinds = set(map(type, values))
    if name in _COMPLEX:
        return _encoded_complex(name, values)
    if name == "bool":
        if not kinds <= {bool}:
            raise ValueError(_misfit(values, (bool,), "is neither true nor false"))
        return bytes(values)
    if name in _FLOATS:
        return _encoded_floats(name, values, kinds)
    if not kinds <= {int}:
        raise ValueError(_misfit(values, (int,), f"is not an integer, and the type is {name}"))
    low, high = _NARROW.get(name, (None, None))
    if low is not None and high is not None and values and not low <= min(values) <= max(values) <= high:
        outside = next(value for value in values if not _fits(name, value))
        raise ValueError(f"{_value_text(outside)} is out of range for {name}")
    try:
        return struct.pack(f"<{len(values)}{_FORMS[name]}", *values)
    except struct.error:
        outside = next((value for value in values if not _fits(name, value)), "a value")
        raise ValueError(f"{_value_text(outside)} is out of range for {name}") from None


def _fits(name: str, value: int) -> bool:
    if name in _NARROW:
        low, high = _NARROW[name]
        return low <= value <= high
    try:
        struct.pack("<" + _FORMS[name], value)
    except struct.error:
        return False
    return True


def _encoded_floats(name: str, values: Sequence[Any], kinds: set[type]) -> bytes:
    if str in kinds:  # As JSON has no other way to write them.
        values = [_NON_FINITE.get(value, value) if type(value) is str else value for value in values]
        kinds = set(map(type, values))
    if not kinds <= {int, float}:
        raise ValueError(_misfit(values, (int, float), f"is not a number, and the type is {name}"))
    try:
        if name == "bfloat16":
            packed = _bfloat16(values)
        else:
            packed = struct.pack(f"<{len(values)}{_FORMS[name]}", *values)
    except (OverflowError, struct.error):  # The latter for an int that is too large for a half.
        outside = next(value for value in values if not _holds(name, value))
        raise ValueError(f"{_value_text(outside)} is out of range for {name}") from None
    if int in kinds:
        exact = _EXACT[name]
        large = [place for place, value in enumerate(values) if type(value) is int and abs(value) > exact]
        if large:
            size = len(packed) // len(values)
            for place in large:
                stored = decoded_floats(name, packed[place * size : place * size + size])[0]
                if stored != values[place]:
                    raise ValueError(f"{values[place]} would lose digits in {name}")
    return packed


def _holds(name: str, value: float) -> bool:
    try:
        struct.pack("<" + ("f" if name == "bfloat16" else _FORMS[name]), value)
    except (OverflowError, struct.error):
        return False
    return True


def _bfloat16(values: Sequence[float]) -> bytes:
    """The numbers rounded to bfloat16. Raises OverflowError for what is beyond float32."""
    from hubcli.formats.tensor_values import half_piece  # Few models have this type.

    # One NaN for all: the digits of others would be rounded as those of numbers are.
    known = (value if value == value else _NON_FINITE["NaN"] for value in values)
    return half_piece(struct.pack(f"<{len(values)}f", *known), HalfType.BFLOAT16) or b""


def _encoded_complex(name: str, values: Sequence[Any]) -> bytes:
    form = "<2" + _COMPLEX[name]
    packed = []
    for value in values:
        number = _complex_of(name, value)
        try:
            packed.append(struct.pack(form, number.real, number.imag))
        except OverflowError:
            raise ValueError(f"{_value_text(value)} is out of range for {name}") from None
    return b"".join(packed)


def _complex_of(name: str, value: Any) -> complex:
    """The number, of a text such as "1+2j" too. Raises ValueError for others, and for digits lost."""
    if type(value) is int:
        part = "float32" if name == "complex64" else "float64"
        return complex(decoded_floats(part, _encoded_floats(part, [value], {int}))[0])
    if type(value) in (float, complex):
        return complex(value)
    text = value.replace(" ", "") if type(value) is str else "_"
    try:
        number = complex(text.replace("_", "?"))  # Python takes 1_000 for a number.
    except ValueError:
        raise ValueError(f"{_value_text(value)} is not a complex number; write it as '1+2j'") from None
    if "inf" not in text.lower() and float("inf") in (abs(number.real), abs(number.imag)):
        raise ValueError(f"{_value_text(value)} is out of range for {name}")
    return number


def bytes_of(value: Any) -> bytes:
    """The bytes of an element of a string tensor: text in UTF-8, `{"b64": …}`. Raises ValueError."""
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError:
            pass
        try:
            # Bytes of the command line that aren't UTF-8, as Python passes them on.
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # From an escape of JSON.
            raise ValueError(f"{_value_text(value)} contains half of a surrogate pair") from None
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if type(value) is dict and value.keys() == {"b64"} and type(value["b64"]) is str:
        try:
            return b64decode(value["b64"], validate=True)
        except (Base64Error, ValueError):
            raise ValueError("the value of b64 is not base64") from None
    raise ValueError(f"{_value_text(value)} is not text, and the type is string")


def _misfit(values: Sequence[Any], kinds: tuple[type, ...], text: str) -> str:
    return f"{_value_text(next(value for value in values if type(value) not in kinds))} {text}"


def _value_text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def decoded(dtype: DType, data: Any) -> list[Any]:
    """The elements as Python's numbers and bytes; a complex number is one of Python's."""
    name = dtype.name
    if name == "string":
        return list(data)
    if name in _FLOATS:
        return decoded_floats(name, data)
    if name in _COMPLEX:
        form = _COMPLEX[name]
        parts = struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data)
        return [complex(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    form = _FORMS[name]
    return list(struct.unpack(f"<{len(data) // struct.calcsize('<' + form)}{form}", data))


def decoded_floats(name: str, data: Any) -> list[float]:
    """The numbers in bytes of a floating-point type."""
    if name == "bfloat16":
        singles = array("I", [half << 16 for half in memoryview(bytes(data)).cast("H")])
        return list(memoryview(singles.tobytes()).cast("f"))
    form = _FORMS[name]
    return list(struct.unpack(f"<{len(data) // struct.calcsize('<' + form)}{form}", data))


def number_texts(dtype: DType, values: Sequence[Any]) -> list[str]:
    """Each number in the fewest digits that give it back in its type; NaN, Infinity, -Infinity so.

    >>> number_texts(DType.of(1), [0.10000000149011612, 1.0])
    ['0.1', '1.0']
    """
    name = dtype.name
    if name in _DIGITS:
        return _float_texts(name, values)
    if name == "float64":
        return [_named(repr(value)) for value in values]
    if name == "bool":
        return ["true" if value else "false" for value in values]
    if name in _COMPLEX:
        return [_complex_text(name, value) for value in values]
    return list(map(str, values))


def _float_texts(name: str, values: Sequence[float]) -> list[str]:
    """The texts, all in the fewest digits that most need first, then those that need more, together."""
    first, last = _DIGITS[name]
    texts = [""] * len(values)
    places: Sequence[int] = range(len(values))
    for digits in range(first, last + 1):
        own = [values[place] for place in places]
        written = (f"%.{digits}g " * len(own) % tuple(own)).split()
        again = own if digits == last else _read_again(name, written)
        longer = []
        for place, text, value, reread in zip(places, written, own, again, strict=True):
            if value == reread:
                texts[place] = text
            elif value == value:
                longer.append(place)
            else:
                texts[place] = "nan"
        if not longer:
            break
        places = longer
    # What is a whole number in these digits is written as a float still.
    return [text if "." in text or "e" in text else _named(text) for text in texts]


def _read_again(name: str, texts: Sequence[str]) -> Sequence[float]:
    """What the texts are in the type; NaN for what rounds beyond it."""
    count, form = len(texts), _FORMS.get(name)
    numbers = list(map(float, texts))
    try:
        packed = _bfloat16(numbers) if name == "bfloat16" else struct.pack(f"<{count}{form}", *numbers)
    except OverflowError:  # The largest numbers of the type: nine digits tell them.
        return [number if _holds(name, number) else float("nan") for number in numbers]
    if name == "bfloat16":
        return decoded_floats(name, packed)
    return struct.unpack(f"<{count}{form}", packed)


def _named(text: str) -> str:
    """A float's text as JSON's relatives write it."""
    if text.lstrip("-").isdecimal():
        return text + ".0"
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)


def _complex_text(name: str, value: complex) -> str:
    real, imaginary = (_part(name, part) for part in (value.real, value.imag))
    sign = "" if imaginary.startswith("-") else "+"
    return f"{real}{sign}{imaginary}j"


def _part(name: str, value: float) -> str:
    text = _float_texts("float32", [value])[0] if name == "complex64" else repr(value)
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(text, text)
