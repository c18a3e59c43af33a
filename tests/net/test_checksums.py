"""Checksums in response headers: read by every algorithm, compared at the end of the body."""

from __future__ import annotations

import base64
import hashlib

import google_crc32c
import pytest

from hubcli.errors import ChecksumError
from hubcli.net.byte_source import BodyVerifier, Digest, read_digests
from tests.cases import each_of

BODY = b"the bytes of a model"
DIGESTS = {
    "x-goog-hash: crc32c=": google_crc32c.Checksum(BODY).digest(),
    "x-goog-hash: md5=": hashlib.md5(BODY).digest(),
    "content-md5: ": hashlib.md5(BODY).digest(),
    "repr-digest: sha-256=:": hashlib.sha256(BODY).digest(),
    "repr-digest: sha-512=:": hashlib.sha512(BODY).digest(),
}


def header(start: str, value: bytes) -> tuple[str, str]:
    name, _, begin = start.partition(": ")
    end = ":" if begin.endswith(":") else ""
    return name, f"{begin}{base64.b64encode(value).decode()}{end}"


@each_of("start, value", DIGESTS.items())
def test_each_algorithm_is_read_and_compared(start: str, value: bytes) -> None:
    (digest,) = read_digests([header(start, value)])
    assert (digest.header, digest.value) == (start.partition(": ")[0], value)
    for body, is_equal in ((BODY, True), (BODY + b"!", False)):
        verifier = BodyVerifier([digest])
        verifier.update(body[:5])
        verifier.update(body[5:])
        if is_equal:
            verifier.verify()
        else:
            with pytest.raises(ChecksumError, match=digest.algorithm):
                verifier.verify()


@each_of("start, value", DIGESTS.items())
def test_one_of_another_length_is_left_out(start: str, value: bytes) -> None:
    assert read_digests([header(start, value[:-1]), header(start, value + b"x")]) == ()


def test_all_of_several_must_hold() -> None:
    good = Digest("repr-digest", "sha-256", DIGESTS["repr-digest: sha-256=:"])
    verifier = BodyVerifier([good, Digest("content-md5", "md5", bytes(16))])
    verifier.update(BODY)
    with pytest.raises(ChecksumError, match="md5"):
        verifier.verify()
