"""A real model, packed, cut and flipped: published whole and unchanged, or refused with an error of ours."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hubcli.errors import IntegrityError
from tests import archives
from tests.archives import gzip_members, gzipped, read_tree, tar_of_tree
from tests.corpus import corpus_model
from tests.fuzz.damaged_archives import Attempts, every_share, flipped, random_flips

# 1.3 MB, of which 1 MB are constants: a fetch of it takes some 25 ms.
LARGE = "basic_pitch_nmp"
# 40 kB, so that a flip more often hits a header: for plain tar, and for compressions of other makes.
SMALL = "serving_half_plus_two_tf2"


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Attempts]:
    yield from _attempts(tmp_path, LARGE)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Attempts]:
    yield from _attempts(tmp_path, SMALL)


def _attempts(folder: Path, model: str) -> Iterator[Attempts]:
    attempts = Attempts(folder, read_tree(corpus_model(model)))
    yield attempts
    attempts.require_no_thread_left()


def _boundaries(archive: bytes, folder: Path) -> list[int]:
    """Where headers, data and padding of the members end, as the standard library sees it."""
    path = folder / "boundaries.tar"
    path.write_bytes(archive)
    found = {0, len(archive) - 512, len(archive)}
    with tarfile.open(path) as opened:
        for member in opened:
            padded = member.offset_data + -(-member.size // 512) * 512
            found |= {member.offset, member.offset_data, member.offset_data + member.size, padded}
    return sorted(found)


def test_the_whole_archive_is_published(large: Attempts) -> None:
    plain = tar_of_tree(large.original)
    for packed in (plain, gzipped(plain), archives.bzipped(plain), archives.xzipped(plain)):
        assert large.fetch(packed, "whole") is None
    assert large.published == 4


@pytest.mark.slow
def test_a_tar_that_was_cut_at_a_boundary_before_it_was_compressed(large: Attempts, tmp_path: Path) -> None:
    plain = tar_of_tree(large.original)
    for end in _boundaries(plain, tmp_path):
        error = large.fetch(gzipped(plain[:end]), end)
        assert (error is None) == (end >= len(plain) - 512), end
    assert large.published == 2  # Whole, and with one block of zeros for an end marker instead of two.


def test_a_plain_tar_that_was_cut_at_a_boundary(large: Attempts, tmp_path: Path) -> None:
    plain = tar_of_tree(large.original)
    for end in _boundaries(plain, tmp_path):
        error = large.fetch(plain[:end], end)
        assert (error is None) == (end >= len(plain) - 512), end


@pytest.mark.slow
def test_a_compressed_stream_that_was_cut_between_two_of_its_parts(large: Attempts, tmp_path: Path) -> None:
    plain = tar_of_tree(large.original)
    ends = _boundaries(plain, tmp_path)
    pieces = [plain[start:end] for start, end in pairwise(ends)]
    assert large.fetch(gzip_members(pieces), "whole") is None
    for count in range(len(pieces) - 1):
        error = large.fetch(gzip_members(pieces[:count]), count)
        assert isinstance(error, IntegrityError), count


@every_share
def test_a_compressed_stream_that_was_cut_anywhere(large: Attempts, share: int) -> None:
    packed = gzipped(tar_of_tree(large.original))
    chance = random.Random(1)
    ends = [*range(1, 20), *(len(packed) - lost for lost in range(1, 20))]
    for end in ends + [chance.randrange(len(packed)) for _ in range(max(200 // share - len(ends), 0))]:
        error = large.fetch(packed[:end], end)
        assert isinstance(error, IntegrityError), end
    assert large.published == 0


@every_share
def test_a_plain_tar_that_was_cut_anywhere(small: Attempts, share: int) -> None:
    plain = tar_of_tree(small.original)
    chance = random.Random(2)
    for end in [chance.randrange(len(plain) - 1024) for _ in range(200 // share)]:
        assert isinstance(small.fetch(plain[:end], end), IntegrityError), end


@every_share
def test_flipped_bits_in_a_compressed_archive(large: Attempts, share: int) -> None:
    packed = gzipped(tar_of_tree(large.original))
    for bit, damaged in random_flips(packed, 500 // share, seed=3):
        error = large.fetch(damaged, bit)
        assert error is None or isinstance(error, IntegrityError), bit
    assert large.refused > 450 // share


@every_share
def test_flipped_bits_in_the_head_and_the_tail_of_a_compressed_archive(small: Attempts, share: int) -> None:
    packed = gzipped(tar_of_tree(small.original))
    for bit in [*range(18 * 8), *range(len(packed) * 8 - 64, len(packed) * 8)][::share]:
        small.fetch(flipped(packed, bit), bit)
    # Time, flags that say nothing of the content, and the system are no part of what is checked.
    assert small.published <= 7 * 8


@every_share
@pytest.mark.parametrize("pack", [archives.bzipped, archives.xzipped, archives.gzipped_twice])
def test_flipped_bits_in_other_compressions(small: Attempts, pack: archives.Pack, share: int) -> None:
    for bit, damaged in random_flips(pack(tar_of_tree(small.original)), 150 // share, seed=4):
        small.fetch(damaged, bit)
    assert small.refused > 100 // share


@every_share
def test_flipped_bits_in_a_plain_tar(small: Attempts, share: int) -> None:
    # Tar has checksums for headers alone: what is flipped elsewhere is published as it came.
    for bit, damaged in random_flips(tar_of_tree(small.original), 300 // share, seed=5):
        small.fetch(damaged, bit, unchanged=False)


@every_share
def test_flipped_bits_in_the_headers_of_a_plain_tar(small: Attempts, tmp_path: Path, share: int) -> None:
    plain = tar_of_tree(small.original)
    path = tmp_path / "headers.tar"
    path.write_bytes(plain)
    with tarfile.open(path) as opened:
        offsets = [member.offset for member in opened]
    chance = random.Random(6)
    for bit in [(chance.choice(offsets) * 8 + chance.randrange(512 * 8)) for _ in range(300 // share)]:
        small.fetch(flipped(plain, bit), bit)
    assert small.published < 15  # Blanks and NULs around the checksum itself mean the same.


@every_share
def test_flipped_bits_in_extension_headers_of_a_plain_tar(small: Attempts, share: int) -> None:
    # Their content has no checksum: names may change, rules must hold.
    names = {f"{'f' * 60}/{'g' * 60}/{path}": content for path, content in small.original.items()}
    members = [archives.pax_named_file(name, content[:100]) for name, content in names.items()]
    plain = archives.tar(
        *members, *(archives.file(path, content) for path, content in small.original.items())
    )
    for bit in range(512 * 8, 512 * 8 + 150 * 8, 5 * share):
        small.fetch(flipped(plain, bit), bit, unchanged=False)


@every_share
def test_blocks_that_were_lost_doubled_or_swapped(small: Attempts, share: int) -> None:
    plain = tar_of_tree(small.original)
    blocks = [plain[start : start + 512] for start in range(0, len(plain), 512)]
    chance = random.Random(7)
    for _ in range(100 // share):
        damaged, place, other = list(blocks), chance.randrange(len(blocks)), chance.randrange(len(blocks))
        match chance.randrange(3):
            case 0:
                del damaged[place]
            case 1:
                damaged.insert(place, damaged[place])
            case _:
                damaged[place], damaged[other] = damaged[other], damaged[place]
        small.fetch(gzipped(b"".join(damaged)), place, unchanged=False)
