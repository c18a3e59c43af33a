"""Makes docs/schemas/*.json: the JSON Schemas of the documents that `--json` prints, and of lock files.

`python -m tools.make_schemas` writes the files; with `--check` it writes nothing, and exits with 1 where one
differs. tests/test_schemas.py validates real output of every command against them.

A schema requires the keys that are always there. It allows others, since keys are added, never changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.generated import write_or_check

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"

_Schema = dict[str, Any]
_TEXT: _Schema = {"type": "string"}
_TEXT_OR_NULL: _Schema = {"type": ["string", "null"]}
_BOOL: _Schema = {"type": "boolean"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL: _Schema = {"type": ["integer", "null"], "minimum": 0}
_SECONDS: _Schema = {"type": "number", "minimum": 0, "description": "seconds"}
_TIME: _Schema = {"type": ["string", "null"], "description": "ISO 8601 in UTC"}
_SHA256: _Schema = {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"}
_SHAPE: _Schema = {
    "type": ["array", "null"],
    "items": {"type": ["integer", "null"]},
    "description": "null for an unknown rank, null in it for an unknown size",
}
_FRAMEWORK: _Schema = {"type": ["string", "null"], "description": "tensorFlow2 or tensorFlow1"}
_SEVERITY = ("info", "low", "medium", "high", "critical")


def _list(items: _Schema, *, or_null: bool = False) -> _Schema:
    return {"type": ["array", "null"] if or_null else "array", "items": items}


def _words(*words: str, or_null: bool = False) -> _Schema:
    return {"enum": [*words, None] if or_null else list(words)}


def _object(
    optional: Sequence[str] = (),
    *,
    or_null: bool = False,
    more: Mapping[str, _Schema] | None = None,
    **keys: _Schema,
) -> _Schema:
    """An object with these keys, and `more` of them; a last `_` of a name is dropped (`from_`)."""
    named = {name.removesuffix("_"): schema for name, schema in (*keys.items(), *(more or {}).items())}
    return {
        "type": ["object", "null"] if or_null else "object",
        "properties": named,
        "required": [name for name in named if name not in optional],
    }


def _map(values: _Schema) -> _Schema:
    return {"type": "object", "additionalProperties": values}


_CANDIDATE = _object(root=_TEXT, fits=_COUNT, wanted=_COUNT, misfits=_list({}))
_ERROR = _object(
    ("handle", "candidates", "trained_values", "export_command"),
    handle=_TEXT_OR_NULL,
    code={**_TEXT, "description": "stable: docs/codes.md lists every code"},
    message={**_TEXT, "description": "for people; may change"},
    hint={**_TEXT, "description": "for people; may change"},
    candidates=_list(_CANDIDATE),
    trained_values=_TEXT,
    export_command=_TEXT_OR_NULL,
)


def _document(title: str, /, *optional: str, **keys: _Schema) -> _Schema:
    """A document of a command, some keys `optional`; a failure adds `error`, of several handles `errors`."""
    ours = _object(
        ("error", "errors", *optional), schema={"const": 1}, more=keys, error={"$ref": "#/$defs/error"},
        errors=_list({"$ref": "#/$defs/error"}),
    )  # fmt: skip
    return {"title": title, **ours, "$defs": {"error": _ERROR}}


_FETCHED = _object(
    handle=_TEXT, path=_TEXT, source=_TEXT_OR_NULL, bytes=_COUNT, files=_COUNT, sha256=_SHA256,
    seconds=_SECONDS, was_cached=_BOOL, tier=_TEXT_OR_NULL,
)  # fmt: skip
_ERROR_SIZE = {"type": ["number", "null"], "minimum": 0}
_CONVERTED_PORT: dict[str, _Schema] = {
    "name": _TEXT,
    "dtype": _TEXT,
    "shape": {"type": ["array", "null"], "items": {"type": ["integer", "null"]}},
}
_CONVERSION = _object(
    converter=_TEXT_OR_NULL,
    opset=_COUNT_OR_NULL,
    quantize=_words("dynamic", "float16", "int8", or_null=True),
    select_tf_ops=_BOOL,
    signatures=_list(
        _object(
            name=_TEXT,
            inputs=_list(_object(more=_CONVERTED_PORT)),
            outputs=_list(_object(more=_CONVERTED_PORT, error=_ERROR_SIZE)),
            compared_on=_words("sampled", "given", or_null=True),
            runs=_COUNT,
        )
    ),
    left_out=_list(_TEXT),
    largest_error=_ERROR_SIZE,
    tolerance=_ERROR_SIZE,
)
_EDITED = _object(
    signatures=_map(_TEXT),
    lost=_list(_object(kind=_TEXT, text=_TEXT, count=_COUNT, names=_list(_TEXT), bytes=_COUNT)),
    notes=_list(_TEXT), bytes_before=_COUNT, bytes_after=_COUNT, variables_bytes_before=_COUNT,
    variables_bytes_after=_COUNT, warmup_requests=_COUNT, compared=_list(_TEXT), loaders=_list(_TEXT),
    largest_error={"type": ["number", "null"], "minimum": 0},
)  # fmt: skip
_WOULD_FETCH = _object(handle=_TEXT, what=_words("cached", "would-fetch", "local"), bytes=_COUNT_OR_NULL)
_LISTED = _object(
    handle=_TEXT_OR_NULL,
    aliases=_list(_TEXT),
    path=_TEXT,
    state=_words("ok", "gutted", "downloading", "unknown", "foreign"),
    problem=_TEXT_OR_NULL,
    holder=_TEXT_OR_NULL,
    kind=_TEXT_OR_NULL,
    format=_words("tf2", "tf1", "tf1-hub", "keras2", "keras3-export", or_null=True),
    bytes=_COUNT_OR_NULL,
    fetched_at=_TIME,
    last_used_at=_TIME,
    last_used_by=_words("record", "access-time", or_null=True),
    pinned=_BOOL,
    tier=_TEXT_OR_NULL,
)
_IN_TIER = _object(
    key=_TEXT, handle=_TEXT_OR_NULL, archive_sha256=_SHA256, archive_bytes=_COUNT_OR_NULL,
    format=_words("tar", "tar.gz", "tar.bz2", "tar.xz", or_null=True), size_bytes=_COUNT_OR_NULL,
    file_count=_COUNT_OR_NULL, used_at=_TIME, conflict=_BOOL, problem=_TEXT_OR_NULL,
)  # fmt: skip
_COLLECTED_FROM_TIER = _object(
    key=_TEXT, handle=_TEXT_OR_NULL, archive_sha256=_SHA256, archive_bytes=_COUNT, used_at=_TIME,
    reason=_words("age", "count", "size", "missing"),
)  # fmt: skip
_SIGNATURE_TENSOR = _object(
    name=_TEXT,
    dtype=_TEXT_OR_NULL,
    shape=_SHAPE,
    tensor=_TEXT_OR_NULL,
    kind=_words("dense", "sparse", "composite"),
    components=_list(_TEXT),
    default=_object(or_null=True, dtype=_TEXT, shape=_SHAPE, value={}),
)
_META_GRAPH = _object(
    tags=_list(_TEXT),
    tensorflow_version=_TEXT_OR_NULL,
    signatures=_list(
        _object(name=_TEXT, method=_TEXT, inputs=_list(_SIGNATURE_TENSOR), outputs=_list(_SIGNATURE_TENSOR))
    ),
    init_op=_TEXT_OR_NULL,
    train_op=_TEXT_OR_NULL,
    ops=_map(_COUNT),
)
# What a function takes or gives: tensors and Python values, nested.
_STRUCTURE: _Schema = {
    "type": "object",
    "properties": {
        "kind": _words("tensor", "spec", "value", "list", "tuple", "dict", "namedtuple"),
        "dtype": _TEXT_OR_NULL,
        "shape": _SHAPE,
        "name": _TEXT_OR_NULL,
        "class": _TEXT,
        "ragged_rank": _COUNT,
        "row_splits_dtype": _TEXT_OR_NULL,
        "value": {},
        "float": _TEXT,
        "items": {"anyOf": [_list({"$ref": "#/$defs/structure"}), _map({"$ref": "#/$defs/structure"})]},
    },
    "required": ["kind"],
}
_NESTED: _Schema = {"$ref": "#/$defs/structure"}
_FUNCTION = _object(
    path=_TEXT,
    python_signature=_TEXT_OR_NULL,
    call=_TEXT_OR_NULL,
    variants=_list(
        _object(
            name=_TEXT,
            args=_list(_NESTED),
            kwargs=_map(_NESTED),
            outputs={"anyOf": [_NESTED, {"type": "null"}]},
        )
    ),
)
_VARIABLE = _object(
    name=_TEXT, path=_TEXT_OR_NULL, checkpoint_key=_TEXT_OR_NULL, dtype=_TEXT, shape=_SHAPE,
    trainable={"type": ["boolean", "null"]}, listed=_BOOL, slot=_BOOL, size_bytes=_COUNT_OR_NULL,
)  # fmt: skip
_TENSOR = _object(key=_TEXT, dtype=_TEXT, shape=_SHAPE, size_bytes=_COUNT_OR_NULL)
_VERDICT = _words("cannot-load", "cannot-run", "no-obstacle-found")
_TARGET_REPORT = _object(
    target=_TEXT,
    kind=_words("tensorflow", "serving", "session", "litert", "cpu", "keras3-layer", "hub.KerasLayer"),
    verdict=_VERDICT,
    releases=_list(_object(release=_TEXT, verdict=_VERDICT)),
    obstacles=_list(
        _object(
            severity=_words("error", "warning", "hint"), code=_TEXT, message=_TEXT,
            when=_words("load", "call"), where=_TEXT, node=_TEXT_OR_NULL, nodes=_COUNT,
            releases=_list(_TEXT), remedy=_TEXT,
        )
    ),
    conversion=_object(
        or_null=True, converted=_BOOL, select_ops=_BOOL, reason=_TEXT, size_bytes=_COUNT_OR_NULL,
        tensorflow_version=_TEXT_OR_NULL,
    ),
)  # fmt: skip
_INSPECT = _document(
    "hubcli inspect --json",
    target=_TEXT,
    path=_TEXT_OR_NULL,
    received_bytes=_COUNT_OR_NULL,
    format=_words("tf2", "tf1", "tf1-hub", "keras2", "keras3-export"),
    root_class=_TEXT_OR_NULL,
    tensorflow_version=_TEXT_OR_NULL,
    fingerprint=_object(
        or_null=True,
        more={
            name: {**_TEXT, "pattern": "^[0-9]+$"}
            for name in (
                *("saved_model_checksum", "graph_def_program_hash", "signature_def_hash"),
                *("saved_object_graph_hash", "checkpoint_hash"),
            )
        },
        version=_COUNT,
        uuid=_TEXT,
    ),
    sizes=_object(
        total=_COUNT_OR_NULL, graph=_COUNT_OR_NULL, variables=_COUNT_OR_NULL, assets=_COUNT_OR_NULL,
        other=_COUNT_OR_NULL,
    ),
    meta_graphs=_list(_META_GRAPH),
    functions=_list(_FUNCTION),
    variables=_list(_VARIABLE),
    parameters=_object(total=_COUNT_OR_NULL, trainable=_COUNT_OR_NULL, in_file=_COUNT_OR_NULL),
    lists=_object(variables=_list(_TEXT, or_null=True), trainable_variables=_list(_TEXT, or_null=True)),
    regularization_losses=_COUNT_OR_NULL,
    checkpoint=_object(
        or_null=True, shards=_COUNT, tensors=_COUNT, size_bytes=_COUNT, partitioned=_list(_TEXT),
        unclaimed=_list(_TENSOR),
    ),
    assets=_list(_object(path=_TEXT, size_bytes=_COUNT_OR_NULL, present={"type": ["boolean", "null"]})),
    findings=_list(_object(severity=_words(*_SEVERITY), code=_TEXT, message=_TEXT, where=_TEXT)),
    reusable=_object(
        conforms=_BOOL,
        problems=_list(
            _object(
                severity=_words("error", "warning", "hint"), code=_TEXT, message=_TEXT, remedy=_TEXT,
            )
        ),
    ),
    compatibility=_list(_TARGET_REPORT),
)  # fmt: skip
_INSPECT["$defs"]["structure"] = _STRUCTURE
_INSPECT["required"].remove("compatibility")  # It is there with --for alone.
_FAULT = _object(
    code=_TEXT, message=_TEXT, file=_TEXT_OR_NULL, tensor=_TEXT_OR_NULL, start=_COUNT_OR_NULL,
    end=_COUNT_OR_NULL,
)  # fmt: skip
_PAIR = _object(
    variable=_TEXT, key=_TEXT, from_=_TEXT, dtype=_TEXT, shape=_SHAPE,
    found_by=_words("key", "objects", "name", "order", "map"),
)  # fmt: skip
_CHANGE = _object(
    variable=_TEXT, key=_TEXT, dtype=_TEXT, shape=_SHAPE, trainable=_BOOL,
    largest_change={"type": ["number", "string", "null"]},
)  # fmt: skip
_FORMATS = ("dir", "tar", "tar.gz")
_AMOUNT = _object(models=_COUNT, leftovers=_COUNT, bytes=_COUNT, disk_bytes=_COUNT)
_BEFORE_AND_AFTER = _object(before=_COUNT_OR_NULL, after=_COUNT_OR_NULL)
_ITEM = _object(
    name=_TEXT,
    handle=_TEXT_OR_NULL,
    kind=_TEXT,
    reason=_TEXT,
    detail=_TEXT_OR_NULL,
    bytes=_COUNT,
    disk_bytes=_COUNT,
    last_used_at=_TIME,
    result=_words("removed", "busy", "changed", "gone", "failed", or_null=True),
    stays_because=_TEXT_OR_NULL,
    freed_bytes=_COUNT,
)
_LOCKED = _object(
    handle=_TEXT,
    resolved=_TEXT_OR_NULL,
    archive=_object(or_null=True, sha256=_SHA256, bytes=_COUNT_OR_NULL),
    tree=_object(sha256=_SHA256, bytes=_COUNT, files=_COUNT),
)
_CHECK = _object(
    section=_words("cache", "network", "credentials", "packages", "settings"),
    name=_TEXT,
    status=_words("ok", "info", "warning", "problem"),
    value={},
    message=_TEXT,
    hint=_TEXT,
)

_TENSOR_VALUES = _object(
    ("kind", "values", "top"),
    dtype=_TEXT,
    shape=_SHAPE,
    kind=_words("ragged", "sparse"),
    values={},
    top=_list(_list(_object(("label",), index=_COUNT, label=_TEXT, value={}))),
)
_RUN = _document(
    "hubcli run --json",
    target=_TEXT,
    signature=_TEXT,
    function=_TEXT,
    arguments={"type": ["object", "array"]},
    runner=_words("c", "python"),
    tensorflow_version=_TEXT,
    load_seconds=_SECONDS,
    outputs={"type": "object", "additionalProperties": _TENSOR_VALUES},
    path=_TEXT,
    rows=_COUNT,
    inputs=_list(_object(("given",), name=_TEXT, dtype=_TEXT, shape=_SHAPE, given=_SHAPE)),
    command=_TEXT,
    repeat=_object(
        ("rows",),
        runs=_COUNT,
        rows=_COUNT,
        p50_seconds=_SECONDS,
        p95_seconds=_SECONDS,
        p99_seconds=_SECONDS,
        mean_seconds=_SECONDS,
        rate={"type": "number", "minimum": 0},
        peak_memory_bytes=_COUNT,
    ),
)
_RUN["required"] = ["schema", "target"]  # What else is there depends on the options.

_PUBLISH_ISSUE = _object(
    severity=_words("hint", "warning", "error", *_SEVERITY),
    code=_TEXT,
    message=_TEXT,
    where=_TEXT_OR_NULL,
    remedy=_TEXT,
)

DOCUMENTS: Mapping[str, _Schema] = {
    "fetch": _document("hubcli fetch --json", models=_list(_FETCHED)),
    "fetch-dry-run": _document(
        "hubcli fetch --dry-run --json",
        dry_run={"const": True},
        models=_list(_WOULD_FETCH),
        to_fetch=_object(models=_COUNT, bytes=_COUNT, unknown=_COUNT),
    ),
    "ls": _document(
        "hubcli ls --json",
        cache_dir=_TEXT,
        models=_list(_LISTED),
        matched=_COUNT,
        bytes=_COUNT,
        leftovers=_COUNT,
    ),
    "search": _document(
        "hubcli search --json",
        query=_TEXT,
        source=_TEXT,
        models=_list(
            _object(
                handle=_TEXT, title=_TEXT, subtitle=_TEXT, owner=_TEXT, framework=_FRAMEWORK,
                version=_TEXT_OR_NULL, bytes=_COUNT_OR_NULL, license=_TEXT_OR_NULL, votes=_COUNT_OR_NULL,
                downloads=_COUNT_OR_NULL, updated_at=_TIME,
            )
        ),
        complete=_BOOL,
        cached_at=_TIME,
    ),
    "versions": _document(
        "hubcli versions --json",
        handle=_TEXT,
        versions=_list(
            _object(
                handle=_TEXT, version=_TEXT, bytes=_COUNT_OR_NULL, published_at=_TIME, cached=_BOOL,
                path=_TEXT_OR_NULL, listed=_BOOL,
            )
        ),
        count=_COUNT_OR_NULL,
        cached_at=_TIME,
    ),
    "info": _document(
        "hubcli info --json",
        handle=_TEXT, title=_TEXT, subtitle=_TEXT, description=_TEXT, license=_TEXT_OR_NULL,
        framework=_FRAMEWORK, version=_TEXT_OR_NULL, bytes=_COUNT_OR_NULL, overview=_TEXT, usage=_TEXT,
        fine_tunable={"type": ["boolean", "null"]}, training_data=_list(_TEXT), base_model=_TEXT_OR_NULL,
        votes=_COUNT_OR_NULL, downloads=_COUNT_OR_NULL, updated_at=_TIME,
        readme=_object(or_null=True, file=_TEXT, text=_TEXT), path=_TEXT_OR_NULL, sources=_list(_TEXT),
        cached_at=_TIME,
    ),
    "inspect": _INSPECT,
    "inspect-diff": _document(
        "hubcli inspect --diff --json",
        target=_TEXT,
        other=_TEXT,
        alike=_BOOL,
        differences=_list(_object(part=_TEXT, name=_TEXT, left=_TEXT_OR_NULL, right=_TEXT_OR_NULL)),
    ),
    "run": _RUN,
    "verify": _document(
        "hubcli verify --json",
        models=_list(
            _object(
                target=_TEXT, handle=_TEXT_OR_NULL, path=_TEXT, ok=_BOOL, faults=_list(_FAULT), files=_COUNT,
                tensors=_COUNT, bytes=_COUNT, seconds=_SECONDS, repaired=_BOOL, notes=_list(_TEXT),
            )
        ),
        broken=_COUNT,
        bytes=_COUNT,
        skipped=_list({}),
    ),
    "export": _document(
        "hubcli export --json",
        "dry_run",
        "edited",
        "conversion",
        source=_TEXT, destination=_TEXT, layout=_words("plain", "serving", "hub"),
        format=_words(*_FORMATS, "tflite", "onnx"), bytes=_COUNT, files=_COUNT, sha256=_SHA256,
        seconds=_SECONDS, dry_run=_BOOL, edited=_EDITED, conversion=_CONVERSION,
    ),
    "publish": _document(
        "hubcli publish --json",
        status=_words("published", "submitted", "already-published", "planned", "declined", "refused"),
        source=_TEXT, target=_TEXT, handle=_TEXT_OR_NULL, version=_TEXT_OR_NULL,
        creates=_list(_words("model", "variation", "version", "archive")),
        public={"type": ["boolean", "null"]}, license=_TEXT_OR_NULL,
        files=_list(_object(path=_TEXT, bytes=_COUNT)), bytes=_COUNT_OR_NULL, sha256=_SHA256,
        compared=_BOOL, seconds=_SECONDS, issues=_list(_PUBLISH_ISSUE), warnings=_list(_PUBLISH_ISSUE),
    ),
    "publish-check": _document(
        "hubcli publish --check --json", source=_TEXT, issues=_list(_PUBLISH_ISSUE)
    ),
    "finetune-export": _document(
        "hubcli finetune-export --json",
        "edited",
        source=_TEXT,
        destination=_TEXT_OR_NULL,
        method=_words("resave", "rewrite"),
        requested_method=_words("auto", "resave", "rewrite"),
        method_reason=_TEXT_OR_NULL,
        format=_words(*_FORMATS, or_null=True),
        bytes=_COUNT_OR_NULL,
        files=_COUNT_OR_NULL,
        sha256=_SHA256,
        seconds=_SECONDS,
        mapping=_object(
            or_null=True, root=_TEXT_OR_NULL, pairs=_list(_PAIR), kept=_list(_TEXT), unused=_list(_TEXT)
        ),
        values=_object(or_null=True, changed=_list(_CHANGE), unchanged=_list(_TEXT), trainable=_COUNT),
        compared=_list(_TEXT),
        not_compared=_list(_object(call=_TEXT, reason=_TEXT)),
        kept=_list(_TEXT),
        carried=_list(_TEXT),
        not_kept=_list(_object(what=_TEXT, reason=_TEXT)),
        edited=_EDITED,
    ),
    "gc": _document(
        "hubcli gc --json, hubcli rm --json",
        cache_dir=_TEXT, dry_run=_BOOL, items=_list(_ITEM), planned=_AMOUNT, removed=_AMOUNT,
        freed_bytes=_COUNT, usage_bytes=_BEFORE_AND_AFTER, free_bytes=_BEFORE_AND_AFTER,
        unmatched=_list(_TEXT),
    ),
    "pin": _document(
        "hubcli pin --json, hubcli unpin --json",
        models=_list(_object(handle=_TEXT_OR_NULL, path=_TEXT, pinned=_BOOL, was_pinned=_BOOL)),
    ),
    "push": _document(
        "hubcli push --json",
        models=_list(
            _object(
                handle=_TEXT, tier=_TEXT, archive_sha256=_SHA256, archive_bytes=_COUNT, was_there=_BOOL,
                seconds=_SECONDS,
            )
        ),
    ),
    "tier-ls": _document("hubcli tier ls --json", tier=_TEXT, models=_list(_IN_TIER)),
    "tier-stat": _document(
        "hubcli tier stat --json",
        tier=_TEXT, models=_COUNT, manifests=_COUNT, archives=_COUNT, archive_bytes=_COUNT,
        orphaned_archives=_COUNT, orphaned_bytes=_COUNT, missing_archives=_COUNT, leases=_COUNT,
        oldest_use=_TIME, newest_use=_TIME,
    ),
    "tier-verify": _document(
        "hubcli tier verify --json",
        tier=_TEXT,
        issues=_list(
            _object(code=_TEXT, severity=_TEXT, message=_TEXT, object=_TEXT_OR_NULL, hint=_TEXT)
        ),
    ),
    "tier-gc": _document(
        "hubcli tier gc --json",
        tier=_TEXT, dry_run=_BOOL, models=_list(_COLLECTED_FROM_TIER), removed_models=_COUNT,
        removed_archives=_COUNT, freed_bytes=_COUNT, orphaned_archives=_COUNT, orphaned_bytes=_COUNT,
        skipped=_COUNT,
    ),
    "doctor": _document(
        "hubcli doctor --json", checks=_list(_CHECK), problems=_COUNT, warnings=_COUNT
    ),
    "error": {
        "title": "A failure of any command with --json",
        **_object(
            ("errors",), schema={"const": 1}, error={"$ref": "#/$defs/error"},
            errors=_list({"$ref": "#/$defs/error"}),
        ),
        "$defs": {"error": _ERROR},
    },
    "hub-index": {
        "title": "index.json of a tree of models",
        **_object(
            schema={"const": 1},
            models=_list(
                _object(
                    ("archive_bytes", "model_bytes", "sha256", "published_at", "kind", "title", "license"),
                    name=_TEXT, version={"type": "string", "pattern": "^[0-9]{1,18}$"},
                    archive_bytes=_COUNT_OR_NULL, model_bytes=_COUNT_OR_NULL, sha256=_SHA256,
                    published_at=_TIME, kind=_TEXT_OR_NULL, title=_TEXT_OR_NULL, license=_TEXT_OR_NULL,
                )
            ),
        ),
    },
    "lock-file": {
        "title": "A lock file of hubcli fetch --lock",
        **_object(hubcli_lock={"const": 1}, models=_list(_LOCKED)),
    },
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the schemas, or compares them; 1 where one differs."""
    files = {SCHEMAS / f"{name}.json": _text(name, schema) for name, schema in DOCUMENTS.items()}
    return write_or_check(files, arguments, __doc__)


def _text(name: str, schema: _Schema) -> str:
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://hubcli.example/docs/schemas/{name}.json",
        **schema,
    }
    return json.dumps(whole, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
