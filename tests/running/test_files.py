"""Files of inputs as people have them: packed, written by other programs, with more in them than is taken."""

from __future__ import annotations

import gzip
import math
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from hubcli.errors import InputError, UsageError
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.npy import npy_header, read_array
from hubcli.running.file_kind import FileKind, kind_of
from hubcli.running.inputs import InputReader
from hubcli.running.media import MediaOptions, decode_image, decode_wav, parse_image_size
from hubcli.savedmodel.types import Shape
from tests.cases import each_of
from tests.running.ports import port, signature
from tests.running.test_inputs import FLOATS, TEXTS, TWO, columns, example, file, record, value

IMAGES = port("images", shape=(None, None, None, 3))
ROWS = [{"a": 0.5, "b": [1, 2]}, {"a": 1.5, "b": [3, 4]}]


@each_of(
    "content",
    [
        b'{"a": 0.5, "b": [1, 2]}\n{"a": 1.5, "b": [3, 4]}\n',
        b"a,b.0,b.1\n0.5,1,2\n1.5,3,4\n",
        record(example(a=[0.5], b=[1, 2])) + record(example(a=[1.5], b=[3, 4])),
    ],
)
def test_rows_packed_by_gzip_are_rows(tmp_path: Path, content: bytes) -> None:
    assert columns(TWO, file(tmp_path, "rows.gz", gzip.compress(content))) == {"rows": ROWS}


def test_a_packed_file_that_is_cut_off_gives_its_rows_and_an_error(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d\n" % number for number in range(100_000)))
    with pytest.raises(InputError, match=r"Cannot read .*rows\.gz: Compressed file ended"):
        columns(signature(port("n", "int64", (None,))), file(tmp_path, "rows.gz", packed[:-100]))


def test_packed_bytes_without_rows_stay_as_they_are(tmp_path: Path) -> None:
    packed = gzip.compress(b"\0\1\2")
    assert value(TEXTS, file(tmp_path, "x", packed)) == [packed]


def test_a_cell_in_quotes_may_have_commas_quotes_and_empty_lines(tmp_path: Path) -> None:
    endpoint = signature(port("a", "float32", (None,)), port("text", "string", (None,)))
    table = file(tmp_path, "t", 'text,a\r\n"he said ""no"", twice\r\n\r\nand left",1\r\n\r\nx,2\r\n')
    (first, second) = columns(endpoint, table)["rows"]
    assert first == {"a": 1.0, "text": 'he said "no", twice\n\nand left'}
    assert second == {"a": 2.0, "text": "x"}


def test_a_number_of_python_alone_is_none_of_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: '1_000' for a is not"):
        columns(TWO, file(tmp_path, "t.csv", "a\n1_000\n"))


def test_a_line_that_is_no_json_is_told_by_its_column(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        columns(FLOATS, file(tmp_path, "x.jsonl", "[1, 2]\n[1, \n"))
    assert caught.value.message.endswith("x.jsonl, line 2 is not JSON: Expecting value (column 5)")


@each_of(
    "descr, is_fortran, data",
    [
        ("<f4", True, struct.pack("<6f", 0, 3, 1, 4, 2, 5)),
        (">f4", False, struct.pack(">6f", *range(6))),
        (">f4", True, struct.pack(">6f", 0, 3, 1, 4, 2, 5)),
    ],
)
def test_arrays_in_another_order_are_the_same(
    tmp_path: Path, descr: str, is_fortran: bool, data: bytes
) -> None:
    text = f"{{'descr': '{descr}', 'fortran_order': {is_fortran}, 'shape': (2, 3)}}\n".encode()
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
    with path.open("rb") as opened:
        assert read_array(opened, "x") == (1, (2, 3), struct.pack("<6f", *range(6)))


def test_of_rows_for_a_named_input_only_that_is_taken(tmp_path: Path) -> None:
    rows = '{"a": 1, "b": [1, 2]}\n{"a": 2, "b": [3, 4]}\n'
    lines = file(tmp_path, "x.jsonl", rows)
    assert columns(TWO, f"a={lines}", f"b={lines}") == {"a": [[1.0, 2.0]], "b": [[[1, 2], [3, 4]]]}
    whole = file(tmp_path, "x.json", '{"a": [5], "b": [[6, 7]]}')
    assert columns(TWO, f"a={whole}", f"b={lines}") == {"a": [[5.0]], "b": [[[1, 2], [3, 4]]]}
    with pytest.raises(InputError, match="missing value for a; found b"):
        columns(TWO, "a=" + file(tmp_path, "y.json", '{"b": [[1, 2]]}'), "b=[[1, 2]]")


def test_a_number_of_too_many_digits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a number of more than 4300 digits"):
        columns(FLOATS, file(tmp_path, "x.json", f"[{'9' * 5000}, 1]"))


def bitmap(bits: int, palette: bytes) -> bytes:
    start = 54 + len(palette)
    head = struct.pack("<IHHI", start, 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + head + info + palette + bytes(4)


GREYS = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))


@each_of(
    "data, message",
    [
        (bitmap(8, GREYS[::-1]), "BMP with a palette"),
        (bitmap(1, GREYS[:8]), "BMP with a palette"),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(4) + b"\x02" + bytes(9), "animated WebP"),
    ],
)
def test_an_image_that_tensorflow_decodes_to_other_colours_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_image(IMAGES, data, "the image", MediaOptions(), None)


def test_a_bitmap_of_greys_or_colours_is_taken() -> None:
    for data in (bitmap(8, GREYS), bitmap(24, b""), bitmap(32, b"")):
        assert decode_image(IMAGES, data, "the image", MediaOptions(), None).shape == (1, 1, 1, 3)


@each_of(
    "shape, result",
    [
        ((None, None, 3), (1, 1, 3)),
        ((None, None, None, 3), (1, 1, 1, 3)),
        (None, (1, 1, 1, 3)),
        ((None, 3), None),
        ((None, None, None, None, 3), None),
    ],
)
def test_an_image_is_taken_by_an_input_of_rank_3_or_4_and_the_latter_has_a_batch_of_one(
    shape: Shape, result: Shape
) -> None:
    taking = port("images", shape=shape)
    if result is None:
        with pytest.raises(InputError, match="does not accept the image"):
            decode_image(taking, bitmap(24, b""), "the image", MediaOptions(), None)
    else:
        assert decode_image(taking, bitmap(24, b""), "the image", MediaOptions(), None).shape == result


def test_several_images_need_an_input_with_a_batch(tmp_path: Path) -> None:
    image = file(tmp_path, "x.bmp", bitmap(24, b""))
    single = signature(port("images", shape=(None, None, 3)))
    assert InputReader(single).of_texts([image])
    with pytest.raises(InputError, match="images takes one image: it has no dimension for a batch"):
        InputReader(single).of_texts([image, image])
    (batch,) = InputReader(signature(IMAGES)).of_texts([image, image]).tensors["images"]  # type: ignore[union-attr]
    assert batch.shape == (2, 1, 1, 3)
    assert value(TEXTS, image, image) == [bitmap(24, b"")] * 2


@each_of(
    "channels, shape, result",
    [
        (1, (None,), (6,)),
        (1, (None, None), (1, 6)),
        (2, (None, 2), (3, 2)),
        (2, (None, None, None), (1, 3, 2)),
        (2, (None,), None),
    ],
)
def test_the_shape_of_sound_is_known_without_tensorflow(channels: int, shape: Shape, result: Shape) -> None:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, 8000, 16000 * channels, 2 * channels, 16)
    content = b"RIFF\0\0\0\0WAVE" + form + b"LIST\1\0\0\0x\0" + struct.pack("<4sI12x", b"data", 12)
    taking = port("sound", shape=shape)
    if result is None:
        with pytest.raises(InputError, match="has 2 audio channels"):
            decode_wav(taking, content, "the sound", None)
    else:
        assert decode_wav(taking, content, "the sound", None).shape == result
    for damaged in (content[:20], content[:36]):
        with pytest.raises(InputError, match="Cannot read the header of the sound"):
            decode_wav(taking, damaged, "the sound", None)


@each_of(
    "kind, bits, samples",
    [
        (1, 8, "8-bit PCM"),
        (1, 24, "24-bit PCM"),
        (3, 32, "32-bit samples in format 0x3"),
        (0xFFFE, 16, "0xfffe"),
    ],
)
def test_sound_that_is_not_16_bit_pcm_is_refused_before_tensorflow_is_started(
    kind: int, bits: int, samples: str
) -> None:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, 1, 8000, 1000 * bits, bits // 8, bits)
    content = b"RIFF\0\0\0\0WAVE" + form + struct.pack("<4sI12x", b"data", 12)
    with pytest.raises(
        InputError, match=f"the sound has .*{samples}.* TensorFlow decodes only 16-bit"
    ) as caught:
        decode_wav(port("sound", shape=(None,)), content, "the sound", None)
    assert "pcm_s16le" in caught.value.hint


def test_columns_and_features_that_are_no_inputs_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^No column of \S*t\.csv is an input: c, d$") as caught:
        columns(TWO, file(tmp_path, "t.csv", "c,d\n1,2\n"))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Inputs: a: ")
    with pytest.raises(InputError, match=r"^No feature of \S*t\.gz is an input: c, d$"):
        columns(TWO, file(tmp_path, "t.gz", gzip.compress(record(example(d=[1], c=[2])))))
    with pytest.raises(InputError, match=r"t\.gz contains no tf\.Example$"):
        columns(TWO, file(tmp_path, "t.gz", gzip.compress(record(b"text"))))


def test_the_values_of_a_feature_are_nested_as_a_row_of_the_input(tmp_path: Path) -> None:
    endpoint = signature(port("a", "int64", (None, 2, 3)), port("b", "int64", (None, 1, 2, 2)))
    examples = file(tmp_path, "x", record(example(a=[1, 2, 3, 4, 5, 6], b=[1, 2, 3, 4])))
    assert columns(endpoint, examples) == {"rows": [{"a": [[1, 2, 3], [4, 5, 6]], "b": [[[1, 2], [3, 4]]]}]}
    with pytest.raises(InputError, match="5 values for a"):
        columns(endpoint, file(tmp_path, "y", record(example(a=[1, 2, 3, 4, 5], b=[1, 2, 3, 4]))))


def test_one_column_is_counted_as_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2 has 1 column; the header names 3"):
        columns(TWO, file(tmp_path, "t.csv", "a,b.0,b.1\n1\n"))


KINDS = [
    (b"", FileKind.EMPTY),
    (b"\x93NUMPY\x01", FileKind.NPY),
    (b"PK\x03\x04rest", FileKind.NPZ),
    (b"PK\x05\x06rest", FileKind.NPZ),
    (b"RIFF\0\0\0\0WAVEfmt ", FileKind.WAV),
    (b"RIFF\0\0\0\0WEBPVP8 ", FileKind.IMAGE),
    (b"\x89PNG\r\n\x1a\n\0\0", FileKind.IMAGE),
    (b"\xff\xd8\xff\xe0", FileKind.IMAGE),
    (b"GIF89a", FileKind.IMAGE),
    (b"BM\x10\0\0\0\0\0\0\0\x36\0", FileKind.IMAGE),
    (b"BM\x10\0\0\x01\x01\0\0\0\x36\0", FileKind.BYTES),
    (bytes(8) + masked_crc32c(bytes(8)).to_bytes(4, "little"), FileKind.TFRECORD),
    (bytes(12), FileKind.BYTES),
]


@each_of("head, kind", KINDS)
def test_a_file_is_known_by_its_first_bytes(head: bytes, kind: FileKind) -> None:
    assert kind_of(head, "input.bin", frozenset(), is_text=False) is kind


@each_of("text", ["[" + "1, " * 2000, "1, " * 100, "~nobody-here/x.npy", "\0"])
def test_a_text_that_is_neither_json_nor_a_path_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not JSON") as caught:
        columns(FLOATS, f"x={text}")
    assert "or a file as @FILE" in caught.value.hint


@each_of("number", ["1e400", "-1e309", "1E+999", "2e00308", f"{9**330}.0", f"-{7**260}.5e99"])
def test_a_number_beyond_float64_is_refused_and_infinity_is_said_so(tmp_path: Path, number: str) -> None:
    message = "which is out of range for float64"
    for text in (f"[[{number}, 1]]", f'{{"x": [[1, {number}]]}}', f"[1, 2]\n[1, {number}]\n"):
        with pytest.raises(InputError, match=message):
            columns(FLOATS, file(tmp_path, "x", text))
    with pytest.raises(InputError, match=message):
        columns(FLOATS, f"x=[{number}, 1]")
    with pytest.raises(
        InputError, match=f"line 2: '{re.escape(number[:60])}' for a is out of range for float32"
    ):
        columns(TWO, file(tmp_path, "t.csv", f"a,b.0,b.1\n{number},1,2\n"))
    assert value(FLOATS, "[Infinity, 1e00001]") == [[math.inf, 10.0]]
    assert columns(TWO, file(tmp_path, "t.csv", "a\n-inf\n"))["rows"] == [{"a": -math.inf}]
    assert value(TEXTS, f'["costs {number}"]') == [f"costs {number}".encode()]


def test_a_value_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    twice = '{"a": 1, "b": [1, 2], "a": 2}'
    for text in (twice, f"[{twice}]", f'{{"a": 1, "b": [1, 2]}}\n{twice}\n', twice.replace("2}", "1e100}")):
        with pytest.raises(InputError, match="has the key 'a' twice"):
            columns(TWO, file(tmp_path, "x", text))
    with pytest.raises(InputError, match="t.csv names a column twice in its header"):
        columns(TWO, file(tmp_path, "t.csv", "a,b.0,b.1,a\n1,2,3,4\n"))
    array = npy_header(TWO.inputs[0].dtype, ()) + bytes(4)
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w") as archive:
        for name in ("a", "a.npy"):
            archive.writestr(name, array)
    with pytest.raises(InputError, match="arrays.npz contains the array 'a' twice"):
        columns(TWO, f"@{tmp_path / 'arrays.npz'}")


def test_a_table_without_an_element_of_a_vector_is_refused(tmp_path: Path) -> None:
    for header, missing in (("b.0,b.2", "b.1"), ("b.1,b.2", "b.0"), ("b.0,b.00", "b.1")):
        with pytest.raises(InputError, match=f"has no column {missing}, but {header.replace(',', ', ')}"):
            columns(TWO, file(tmp_path, "t.csv", f"a,{header}\n1,1,2\n"))
    swapped = columns(TWO, file(tmp_path, "t.csv", "b.1,a,b.0\n2,0.5,1\n"))
    assert swapped["rows"] == [{"a": 0.5, "b": [1, 2]}]


def test_a_file_of_more_than_4_gib_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as large:
        large.write(b"\0\1")
        large.truncate((1 << 32) + 1)  # It takes no place on the disk.
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="is larger than 4 GiB"):
            columns(TEXTS, f"@{path}")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@each_of("text", ["4x", "x4", "4xx", "", "0x4", "4x4x4", "-4x4"])
def test_an_image_size_has_one_number_or_both(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid image size"):
        parse_image_size(text)
