"""fingerprint.pb of a model whose checkpoint is another.

Source: tensorflow/core/protobuf/fingerprint.proto and
tensorflow/cc/saved_model/fingerprinting.cc (HashCheckpointIndexFile).
"""

from __future__ import annotations

from hubcli.formats.farmhash import fingerprint64
from hubcli.formats.wire import encode_field, scan

__all__ = ["with_checkpoint_hash"]

_CHECKPOINT_HASH = 5


def with_checkpoint_hash(fingerprint: bytes, index: bytes) -> bytes:
    """The FingerprintDef with the hash of variables.index; all else as it was, byte for byte.

    That is FarmHash's Fingerprint64 of the file's bytes. Raises BrokenModelError.
    """
    renewed = encode_field(_CHECKPOINT_HASH, fingerprint64(index))
    before, after, position = b"", b"", 0
    for one in scan(fingerprint):
        if one.number < _CHECKPOINT_HASH:
            before += fingerprint[position : one.end]
        elif one.number > _CHECKPOINT_HASH:
            after += fingerprint[position : one.end]
        position = one.end
    return before + renewed + after
