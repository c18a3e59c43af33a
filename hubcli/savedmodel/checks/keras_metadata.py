"""`keras_metadata.pb` of a Keras 2 SavedModel: the config of every Keras object in it.

Source: tf_keras/protobuf/saved_metadata.proto. Read on the wire, and every
node whatever its identifier: Keras revives each.
"""

from __future__ import annotations

from collections.abc import Iterator

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import LENGTH_DELIMITED, Bytes, scan
from hubcli.savedmodel.checks.keras_config import ConfigIssue, KerasConfig, TrustedNames, walk_config

__all__ = ["KERAS_METADATA", "MAX_METADATA_BYTES", "metadata_configs", "metadata_issues"]

KERAS_METADATA = "keras_metadata.pb"
MAX_METADATA_BYTES = 256 << 20
_MAX_NODES, _MAX_ISSUES = 100_000, 100
_NODES, _METADATA = 1, 5
# With `compile=False` Keras doesn't make it: custom losses and metrics of the training don't matter.
_NOT_READ = "training_config"


def metadata_configs(data: Bytes) -> Iterator[KerasConfig]:
    """The config of each node, in the order of the file. Raises BrokenModelError."""
    if len(data) > MAX_METADATA_BYTES:
        raise BrokenModelError(f"its {KERAS_METADATA} is larger than 256 MiB")
    for node in scan(data, max_fields=_MAX_NODES):
        if node.number != _NODES:
            continue
        if node.wire_type != LENGTH_DELIMITED:
            raise BrokenModelError(f"its {KERAS_METADATA} can't be read")
        # Protobuf takes the last of several; all are walked.
        for text in scan(data, node.start, node.end):
            if text.number == _METADATA and text.wire_type == LENGTH_DELIMITED:
                yield _parsed(bytes(data[text.start : text.end]))


def metadata_issues(data: Bytes, trusted: TrustedNames | None = None) -> tuple[ConfigIssue, ...]:
    """What in any of the configs needs trust, about 100 at most. Raises BrokenModelError."""
    found = dict[ConfigIssue, None]()
    for config in metadata_configs(data):
        found.update(dict.fromkeys(walk_config(config, trusted=trusted)))
        if len(found) >= _MAX_ISSUES:
            break
    return tuple(found)


def _parsed(text: bytes) -> KerasConfig:
    try:
        config = KerasConfig.parse(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenModelError(f"its {KERAS_METADATA} is no UTF-8") from error
    value = {key: one for key, one in config.value.items() if key != _NOT_READ}
    return KerasConfig(value, config.repeated_key)
