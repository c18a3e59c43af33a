"""What a release of TensorFlow can't load of a graph: ops, element types, attributes.

Measured against the releases themselves (tests/interop/test_loads_against_releases.py). `tf.saved_model.load`
makes every function of the library; the session loader makes those that the graph reaches, and looks at the
types of a function when it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hubcli.formats.tensor_layout import DType
from hubcli.issues import Severity
from hubcli.savedmodel.targets.needs import VARIABLE_OPS, Place, Reach, Uses
from hubcli.savedmodel.targets.obstacle import CALL, LOAD, ModelNeeds, Obstacle, obstacle
from hubcli.savedmodel.targets.releases import (
    OpReleases,
    module_of,
    op_releases,
    package_by_op,
    pip_command,
    release_key,
)

__all__ = ["release_obstacles", "releases_text"]

# Packages whose ops TensorFlow Serving includes.
_LINKED_INTO_SERVING = frozenset({"tensorflow-text", "ydf-tf"})
# Attributes that describe a model or tune its speed, and don't change its results.
_HARMLESS = frozenset(
    {
        "batch_padding_policy",
        "config",
        "debug_name",
        "deterministic",
        "disabled_checks",
        "force_synchronous",
        "low_priority_allowed_batch_sizes",
        "low_priority_batch_timeout_micros",
        "low_priority_max_batch_size",
        "low_priority_max_enqueued_batches",
        "metadata",
        "mixed_priority_policy",
        "num_sparsecores_per_device",
        "parallel_copy",
        "use_shardy_partitioner",
        "use_unbounded_threadpool",
    }
)
_PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_ATTRIBUTES_IGNORED_SINCE = "2.5"


def release_obstacles(
    needs: ModelNeeds, releases: tuple[str, ...], *, in_session: bool, in_serving: bool = False
) -> Iterator[Obstacle]:
    """What prevents these releases from loading the graph: by `tf.saved_model.load`, or in a session."""
    table = op_releases()
    yield from _missing_ops(needs, releases, in_session=in_session, in_serving=in_serving)
    yield from _types(needs, releases, table, in_session=in_session)
    yield from _narrowed(needs, releases, table, in_session=in_session)
    yield from _attributes(needs, releases, table, in_session=in_session)
    yield from _kernels(needs, releases, table)
    yield from _python(needs, releases)
    if needs.has_values is False and _restores(needs):
        yield obstacle(
            "values-missing",
            "The graph restores variables, and variables/variables.index is missing",
            "Fetch or copy the model again with variables/",
            part="variables",
            releases=releases,
        )


def _first_seen(
    needs: ModelNeeds, uses: Uses, *, in_session: bool, is_op: bool = False
) -> tuple[str, Place | None]:
    """Whether a loader checks the nodes on load or on call, and the place of the first that it checks.

    For a model of TensorFlow 2, tf.saved_model.load creates all functions, and not the graph itself. A
    session creates the graph, and looks up the ops of functions that it calls; it checks the rest on call.
    """
    if not in_session and needs.objects is not None:
        return LOAD, uses.first(Reach.CALLED, Reach.UNREACHED)
    loaded = uses.first(Reach.GRAPH, *([Reach.CALLED] if is_op else []))
    return (LOAD, loaded) if loaded is not None else (CALL, uses.first(Reach.CALLED))


def _restores(needs: ModelNeeds) -> bool:
    ops = needs.graph.ops
    has_variables = not VARIABLE_OPS.isdisjoint(ops)
    return has_variables and bool(needs.rest.saver_def.restore_op_name)


def _missing_ops(
    needs: ModelNeeds, releases: tuple[str, ...], *, in_session: bool, in_serving: bool = False
) -> Iterator[Obstacle]:
    """Ops that some of the releases lack."""
    table = op_releases()
    for op, uses in sorted(needs.graph.ops.items()):
        lacking = tuple(release for release in releases if not table.has(op, table.place(release)))
        _, place = _first_seen(needs, uses, in_session=in_session, is_op=True)
        if not lacking or place is None:
            continue
        package = package_by_op().get(op, "").split(" ")[0]
        if in_serving and package in _LINKED_INTO_SERVING:
            continue
        message = f"{releases_text(lacking)} has no op {op}{_history(op, table, package)}"
        cure = _cure_of_op(op, uses, table, package, lacking, in_serving=in_serving)
        yield obstacle(
            "custom-op" if table.span(op) is None else "op-missing",
            message,
            cure,
            place=place,
            releases=lacking,
            nodes=uses.count,
        )


def releases_text(releases: Sequence[str]) -> str:
    """The releases as the subject of a sentence: `TensorFlow 2.9 to 2.12`."""
    first, last = releases[0], releases[-1]
    return f"TensorFlow {first}" + ("" if first == last else f" to {last}")


def _history(op: str, table: OpReleases, package: str) -> str:
    span = table.span(op)
    if package:
        return f": {package} registers it"
    if span is None:
        return f": no release from {table.releases[0]} to {table.releases[-1]} and no known package has it"
    if span.first:
        return f", which was added in {table.releases[span.first]}"
    return f", which was removed after {table.releases[span.last]}"


def _cure_of_op(
    op: str, uses: Uses, table: OpReleases, package: str, lacking: tuple[str, ...], *, in_serving: bool
) -> str:
    span, release = table.span(op), lacking[-1]
    if package and in_serving:
        return f"Build the server with the ops of {package}"
    if package:
        command = pip_command(package, release if len(lacking) == 1 else None)
        return f"Import {module_of(package)} before loading: {command}"
    if uses.first(Reach.GRAPH, Reach.CALLED) is None:
        return "Prune functions that no signature calls: hubcli export --serving"
    if span is None:
        return "Load the library that registers it first: tf.load_op_library(FILE)"
    if span.first > table.place(release):
        return f"Use TensorFlow {table.releases[span.first]} or newer, or save the model with {release}"
    return f"Use TensorFlow {table.releases[span.last]} or older"


def _types(
    needs: ModelNeeds, releases: tuple[str, ...], table: OpReleases, *, in_session: bool
) -> Iterator[Obstacle]:
    """Element types that some of the releases don't know."""
    for number, uses in sorted(needs.graph.types.items()):
        since = table.type_span(number)
        lacking = tuple(release for release in releases if since is None or table.place(release) < since)
        when, place = _first_seen(needs, uses, in_session=in_session)
        if not lacking or place is None:
            continue
        newer = "no known release has it" if since is None else f"new in {table.releases[since]}"
        yield obstacle(
            "type-missing",
            f"{releases_text(lacking)} has no type {DType.of(number).name}: {newer}",
            "Save the model with another element type"
            if since is None
            else f"Use TensorFlow {table.releases[since]} or newer",
            when=when,
            place=place,
            releases=lacking,
            nodes=uses.count,
        )


def _narrowed(
    needs: ModelNeeds, releases: tuple[str, ...], table: OpReleases, *, in_session: bool
) -> Iterator[Obstacle]:
    """Element types that an op allows only in some releases."""
    for (op, attribute, number), uses in sorted(needs.graph.narrowed.items()):
        changes = table.allowed_types(op)[attribute]
        refusing = []
        for release in releases:
            allowed = next(
                (types for first, types in reversed(changes) if first <= table.place(release)), None
            )
            if allowed is not None and number not in allowed and table.has(op, table.place(release)):
                refusing.append(release)
        when, place = _first_seen(needs, uses, in_session=in_session)
        if not refusing or place is None:
            continue
        fitting = next(
            (table.releases[first] for first, types in changes if types is None or number in types), ""
        )
        is_later = bool(fitting) and release_key(fitting) > release_key(refusing[-1])
        yield obstacle(
            "type-not-allowed",
            f"{releases_text(refusing)} does not allow {attribute}={DType.of(number).name} of the op {op}",
            f"Use TensorFlow {fitting} or newer"
            if is_later
            else f"Cast its input before {op}, and save again",
            when=when,
            place=place,
            releases=tuple(refusing),
            nodes=uses.count,
        )


def _attributes(
    needs: ModelNeeds, releases: tuple[str, ...], table: OpReleases, *, in_session: bool
) -> Iterator[Obstacle]:
    """Attributes that some of the releases don't know, with a value that isn't the default."""
    for (op, name), uses in sorted(needs.graph.attributes.items()):
        later = table.later_attributes(op)[name]
        lacking = [
            release
            for release in releases
            if table.place(release) < later.first and table.has(op, table.place(release))
        ]
        ignored_since = release_key(_ATTRIBUTES_IGNORED_SINCE)
        refusing = [release for release in lacking if release_key(release) < ignored_since]
        ignoring = lacking[len(refusing) :]
        newer = table.releases[later.first]
        subject = f"the attribute {name} of {op}, new in {newer}"
        when, place = _first_seen(needs, uses, in_session=in_session)
        if refusing and place is not None:
            yield obstacle(
                "attribute-unknown",
                f"{releases_text(refusing)} refuses {subject}",
                f"Use TensorFlow {_ATTRIBUTES_IGNORED_SINCE} or newer",
                when=when,
                place=place,
                releases=tuple(refusing),
                nodes=uses.count,
            )
        if ignoring and place is not None:
            is_harmless = name in _HARMLESS
            effect = "results stay the same" if is_harmless else "results may differ"
            yield obstacle(
                "attribute-ignored",
                f"{releases_text(ignoring)} ignores {subject}: {effect}",
                "Nothing to do" if is_harmless else f"Use TensorFlow {newer} or newer",
                severity=Severity.HINT if is_harmless else Severity.WARNING,
                when=CALL,
                place=place,
                releases=tuple(ignoring),
                nodes=uses.count,
            )


def _kernels(needs: ModelNeeds, releases: tuple[str, ...], table: OpReleases) -> Iterator[Obstacle]:
    """Ops for which a release has no kernel for CPUs, though another release has one; a GPU may have one."""
    reaches = (Reach.CALLED,) if needs.objects is not None else (Reach.GRAPH, Reach.CALLED)
    for op, uses in sorted(needs.graph.ops.items()):
        without = table.lacks_kernel(op)
        lacking = tuple(release for release in releases if release in without)
        place = uses.first(*reaches)
        if lacking and place is not None:
            yield obstacle(
                "no-kernel",
                f"{releases_text(lacking)} has no kernel of {op} for CPUs, so calls fail there",
                "Use another release, or remove the op from the signature",
                severity=Severity.WARNING,
                when=CALL,
                place=place,
                releases=lacking,
                nodes=uses.count,
            )


def _python(needs: ModelNeeds, releases: tuple[str, ...]) -> Iterator[Obstacle]:
    """Calls of Python functions, which only the process that saved the model has."""
    for op in _PYTHON_OPS:
        uses = needs.graph.ops.get(op)
        place = None if uses is None else uses.first(Reach.GRAPH, Reach.CALLED)
        if uses is not None and place is not None:
            yield obstacle(
                "python-op",
                f"{op} calls a Python function of the process that saved the model",
                "Replace tf.py_function and tf.numpy_function with TensorFlow's ops, and save again",
                when=CALL,
                place=place,
                releases=releases,
                nodes=uses.count,
            )
