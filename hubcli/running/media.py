"""Images and sound as tensors: decoded by TensorFlow's own ops, brought to what an input takes.

An image is [height, width, channels], RGB in [0, 1] where the input is of floats (TF Hub's convention:
https://www.tensorflow.org/hub/common_signatures/images), 0 to 255 where it is of integers. Its size is read
from its header before it is decoded, so that none fills the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hubcli.errors import InputError, UsageError
from hubcli.running.endpoints import Port
from hubcli.running.values import cast_tensor
from hubcli.savedmodel.types import shape_text
from hubcli.tf.run_protocol import Tensor
from hubcli.units import plural

__all__ = [
    "WAV_HINT",
    "Decoder",
    "MediaOptions",
    "decode_image",
    "decode_wav",
    "image_size",
    "parse_image_size",
]

_MAX_PIXELS = 100_000_000

_CHANNELS = (1, 3, 4)
_MAX_SIDE = 1 << 16
WAV_HINT = "Convert it to 16 bits: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"
_PCM = 1  # The format of a WAV file; others are floats, A-law, or say it in an extension.
_WEBP_ANIMATION = 2  # A flag of the VP8X chunk.
_JPEG_SIZES = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """`size` is height and width in pixels if the signature doesn't say; `scale` the range of floats."""

    size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.0, 1.0)


# Takes `image` or `wav` and the fields of that request, and returns what was decoded; None for a dry run.
Decoder = Callable[..., tuple[dict[str, Any], list[Tensor]]]


def parse_image_size(text: str) -> tuple[int, int]:
    """Height and width of `HEIGHTxWIDTH`, or of one number for both. Raises UsageError.

    >>> parse_image_size("224"), parse_image_size("480x640")
    ((224, 224), (480, 640))
    """
    height, separator, width = text.lower().partition("x")
    sides = (height, width if separator else height)
    if not all(side.isascii() and side.isdecimal() and 0 < int(side) <= _MAX_SIDE for side in sides):
        raise UsageError(f"Invalid image size '{text}'", hint="Use --image-size 224 or --image-size 480x640.")
    return int(sides[0]), int(sides[1])


def decode_image(
    port: Port, data: bytes, where: str, options: MediaOptions, decoder: Decoder | None
) -> Tensor:
    """The image as [height, width, channels], or with a batch of one where the input's rank is 4.

    Without a decoder the shape alone is right. Raises InputError for an input that takes no image.
    """
    shape = port.shape
    channels = 3 if shape is None or shape[-1:] == (None,) else (shape[-1] if shape else None)
    if channels not in _CHANNELS or (shape is not None and len(shape) not in (3, 4)):
        raise InputError(
            f"{port.name} does not accept the image {where}: its shape is {shape_text(shape)}",
            hint="Use an input of the shape [batch, height, width, channels], or of the type string.",
        )
    height, width = image_size(data, where)
    _require_decodable(data, where)
    size = options.size
    if shape is not None and None not in shape[-3:-1]:
        own = (shape[-3] or 0, shape[-2] or 0)
        if size is not None and size != own:
            raise InputError(f"--image-size is {size[0]}x{size[1]}, but {port.name} takes {own[0]}x{own[1]}")
        size = own
    is_float = port.dtype.is_floating
    size = None if size == (height, width) else size
    result: tuple[int, ...] = (*(size or (height, width)), channels)
    if shape is None or len(shape) == 4:
        result = (1, *result)
    if decoder is None:
        return Tensor(port.dtype.number, result, None)
    order = {
        "size": size,
        "scale": options.scale if is_float else None,
        "channels": channels,
        "is_webp": data[8:12] == b"WEBP",
    }
    tensor = decoder("image", data, f"decoding {where}", **order)[1][0]
    tensor.shape = result
    return cast_tensor(port, tensor)


def _require_decodable(data: bytes, where: str) -> None:
    """Raises InputError for what TensorFlow refuses, or decodes to colours that aren't there."""
    hint = "Convert it to PNG."
    if data[:2] == b"BM" and len(data) >= 54:
        bits, start = int.from_bytes(data[28:30], "little"), int.from_bytes(data[10:14], "little")
        palette = data[14 + int.from_bytes(data[14:18], "little") : start]
        greys = b"".join(bytes((grey, grey, grey)) for grey in range(256))
        own = b"".join(palette[place : place + 3] for place in range(0, len(palette), 4))
        if bits < 24 and not (bits == 8 and own and greys.startswith(own)):
            raise InputError(f"{where} is a BMP with a palette, which TensorFlow cannot decode", hint=hint)
    if data[:4] == b"RIFF" and data[12:16] == b"VP8X" and data[20] & _WEBP_ANIMATION:
        raise InputError(f"{where} is an animated WebP, which TensorFlow cannot decode", hint=hint)


def decode_wav(port: Port, data: bytes, where: str, decoder: Decoder | None) -> Tensor:
    """The samples in [-1, 1] as the input's rank has them: [samples], [batch, samples], or with channels.

    Without a decoder the shape alone is right. Raises InputError for an input that takes no sound.
    """
    if not port.dtype.is_floating:
        raise InputError(
            f"{port.name} does not accept audio: it is {port.dtype.name}", hint=f"{where} is a WAV file."
        )
    shape = _wav_shape(data, where)
    if decoder is None:
        samples = Tensor(port.dtype.number, shape, None)
    else:
        samples = decoder("wav", data, f"decoding {where}")[1][0]
    count, channels = samples.shape
    rank = 1 if port.shape is None else len(port.shape)
    shapes: dict[int, tuple[int, ...]] = {1: (count,), 2: (1, count), 3: (1, count, channels)}
    is_split = rank == 2 and port.shape is not None and port.shape[1] == channels and port.shape[0] is None
    if rank not in shapes or (rank < 3 and channels > 1 and not is_split):
        raise InputError(
            f"{where} has {plural(channels, 'audio channel')}, "
            f"but {port.name} has the shape {shape_text(port.shape)}",
            hint="Convert it to mono: ffmpeg -i IN.wav -ac 1 OUT.wav",
        )
    samples.shape = (count, channels) if is_split else shapes[rank]
    return samples if decoder is None else cast_tensor(port, samples)


def _wav_shape(data: bytes, where: str) -> tuple[int, int]:
    """How many samples there are in how many channels, by the header. Raises InputError."""
    place, channels = 12, 0
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"fmt ":
            if place + 24 <= len(data):
                _require_pcm16(data[place + 8 : place + 24], where)
            channels = int.from_bytes(data[place + 10 : place + 12], "little")
        elif name == b"data" and channels:
            return min(size, len(data) - place - 8) // (2 * channels), channels
        place += 8 + size + size % 2
    raise InputError(f"Cannot read the header of {where}: it is corrupt", hint=WAV_HINT)


def _require_pcm16(form: bytes, where: str) -> None:
    """Raises InputError for samples that TensorFlow's DecodeWav refuses: all but 16-bit PCM."""
    kind, bits = int.from_bytes(form[:2], "little"), int.from_bytes(form[14:16], "little")
    if (kind, bits) != (_PCM, 16):
        samples = f"{bits}-bit PCM" if kind == _PCM else f"{bits}-bit samples in format {kind:#x}"
        raise InputError(f"{where} has {samples}, and TensorFlow decodes only 16-bit PCM", hint=WAV_HINT)


def image_size(data: bytes, where: str) -> tuple[int, int]:
    """Height and width by the header. Raises InputError for one that is damaged or absurdly large.

    Sources: https://www.w3.org/TR/png, ITU-T T.81 (JPEG), the GIF89a specification, Microsoft's
    BITMAPINFOHEADER, https://developers.google.com/speed/webp/docs/riff_container.
    """
    size = _size(data)
    if size is None or min(size) < 1:
        raise InputError(f"Cannot read the size of the image {where}: it is corrupt")
    if size[0] * size[1] > _MAX_PIXELS:
        raise InputError(
            f"{where} has {size[0]}x{size[1]} pixels, more than {_MAX_PIXELS // 1_000_000} million"
        )
    return size


def _size(data: bytes) -> tuple[int, int] | None:
    def little(start: int, length: int = 2) -> int:
        return int.from_bytes(data[start : start + length], "little")

    def big(start: int, length: int = 4) -> int:
        return int.from_bytes(data[start : start + length], "big")

    if len(data) < 26:
        return None
    if data[:4] == b"\x89PNG":
        return big(20), big(16)
    if data[:3] == b"GIF":
        return little(8), little(6)
    if data[:2] == b"BM":
        height = int.from_bytes(data[22:26], "little", signed=True)
        return abs(height), little(18, 4)
    if data[:4] == b"RIFF":
        return _webp_size(data, little)
    return _jpeg_size(data, big)


def _webp_size(data: bytes, little: Callable[..., int]) -> tuple[int, int] | None:
    kind = data[12:16]
    if len(data) < 30:
        return None
    if kind == b"VP8X":
        return little(27, 3) + 1, little(24, 3) + 1
    if kind == b"VP8L":
        bits = little(21, 4)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return (little(28) & 0x3FFF, little(26) & 0x3FFF) if kind == b"VP8 " else None


def _jpeg_size(data: bytes, big: Callable[..., int]) -> tuple[int, int] | None:
    position = 2
    while position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # A filling byte.
            position += 1
        elif marker in _JPEG_SIZES:
            return big(position + 5, 2), big(position + 7, 2)
        else:
            position += 2 + max(2, big(position + 2, 2))
    return None
