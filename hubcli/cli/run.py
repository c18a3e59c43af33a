"""`hubcli run`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hubcli.cli.completion_hints import BUILT_IN, TAG_SETS, CompletionHint
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    Color,
    Debug,
    NoColor,
    NoProgress,
    Offline,
    Quiet,
    Replace,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, UsageError

if TYPE_CHECKING:
    from hubcli.commands.run import ModelRun, RunOptions
    from hubcli.running.serving import PredictRequest

__all__ = ["run_command"]

_CHOICE = "What to run"
_INPUTS = "Inputs"
_OUTPUTS = "Outputs"
_HOW = "How to run it"

TargetArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="A handle, a directory or an archive.", show_default=False),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
Signature: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A signature. \\[default: serving_default, or the only one]",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
    CompletionHint(of_model="signatures"),
]
Function: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="A traced function, such as __call__ or encoder.__call__.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
    CompletionHint(of_model="functions"),
]
Arguments: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="NAME=JSON",
        help="A Python argument that chooses a trace of the function. Repeatable.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
]
TagSet: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TAG,...",
        help="One MetaGraph of several, by its tags.",
        show_default=False,
        rich_help_panel=_CHOICE,
    ),
    TAG_SETS,
]
Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="[NAME=]VALUE",
        help="JSON, text, @FILE or @- for standard input. Repeat it to stack a batch.",
        show_default=False,
        rich_help_panel=_INPUTS,
    ),
    CompletionHint(of_model="inputs"),
]
Request: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="A predict request of TensorFlow Serving, answered as Serving answers.",
        show_default=False,
        rich_help_panel=_INPUTS,
    ),
]
BatchSize: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Rows in a run. \\[default: 32 of a stream, else all]",
        show_default=False,
        rich_help_panel=_INPUTS,
    ),
]
ImageSize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="HEIGHTxWIDTH",
        help="Resize images, where the signature has no size.",
        show_default=False,
        rich_help_panel=_INPUTS,
    ),
]
Scale: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="LOW,HIGH",
        help="The range of an image's floats. \\[default: 0,1]",
        show_default=False,
        rich_help_panel=_INPUTS,
    ),
]
OutputFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|DIR",
        help="Write .npz, .npy, .json, .jsonl, .csv, or a directory of .npy files.",
        show_default=False,
        rich_help_panel=_OUTPUTS,
    ),
    CompletionHint(files=True, directories=True),
]
JsonLines: TypeAlias = Annotated[
    bool, typer.Option("--json-lines", help="Print one JSON object a row.", rich_help_panel=_OUTPUTS)
]
Top: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        min=1,
        help="Show the K classes with the largest values.",
        show_default=False,
        rich_help_panel=_OUTPUTS,
    ),
]
Labels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="With --top: names of the classes, one a line.",
        show_default=False,
        rich_help_panel=_OUTPUTS,
    ),
]
Repeat: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Measure latency, throughput and memory over N runs.",
        show_default=False,
        rich_help_panel=_HOW,
    ),
]
DryRun: TypeAlias = Annotated[
    bool,
    typer.Option("--dry-run", help="Check the inputs without TensorFlow.", rich_help_panel=_HOW),
]
Runner: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|c|python",
        help="TensorFlow's C library, its Python package, or what fits.",
        rich_help_panel=_HOW,
    ),
    CompletionHint(words=("auto", "c", "python")),
]
Timeout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Stop when loading or a run takes longer. \\[default: 1h]",
        show_default=False,
        rich_help_panel=_HOW,
    ),
]
Unsafe: TypeAlias = Annotated[
    bool,
    typer.Option("--unsafe", help="Run a model in which the scan found something.", rich_help_panel=_HOW),
]


def run_command(
    target: TargetArgument,
    signature: Signature = None,
    function: Function = None,
    arg: Arguments = None,
    tag_set: TagSet = None,
    inputs: Inputs = None,
    request: Request = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    scale: Scale = None,
    output_file: OutputFile = None,
    force: Replace = False,
    json_lines: JsonLines = False,
    top: Top = None,
    labels: Labels = None,
    repeat: Repeat = None,
    dry_run: DryRun = False,
    runner: Runner = "auto",
    timeout: Timeout = None,
    unsafe: Unsafe = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Run a signature or a traced function of a model, without importing TensorFlow.

    The model runs in a process of its own. It is scanned first, and refused where the scan finds an op that
    runs code or touches files: a scan is no sandbox. A handle that isn't cached is fetched. Without --input,
    rows are read from standard input.

    Examples:
    hubcli run example://mul/1 --input "[[1], [2]]"
    hubcli run ./model --input images=@cat.jpg --top 5
    hubcli run ./model --input @rows.jsonl --json-lines
    hubcli run ./model --function __call__ --input x=@x.npy -o out.npz
    """
    from hubcli.cli.signals import disable_garbage_collection

    disable_garbage_collection()
    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
    )
    options = _run_options(
        signature,
        function,
        arg or (),
        tag_set,
        batch_size,
        image_size,
        scale,
        runner,
        timeout,
        unsafe,
        dry_run,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    form = _Form(output_file, force, json_lines, top, labels, repeat, debug)
    form.require_valid(as_json=as_json, has_request=request is not None)
    if request is not None and inputs:
        raise UsageError("--request and --input exclude each other", hint="Leave one of them out.")
    _Run(target, settings, options, output, form).run(tuple(inputs or ()), request)


def _run_options(
    signature: str | None,
    function: str | None,
    arguments: Sequence[str],
    tag_set: str | None,
    batch_size: int | None,
    image_size: str | None,
    scale: str | None,
    runner: str,
    timeout: str | None,
    unsafe: bool,
    dry_run: bool,
) -> RunOptions:
    """The options as values. Raises UsageError."""
    from hubcli.commands.run import DEFAULT_TIMEOUT_S, RunOptions
    from hubcli.running.media import parse_image_size
    from hubcli.units import parse_duration_s

    options = RunOptions(
        signature=signature,
        function=function,
        arguments=dict(map(_argument, arguments)),
        tag_set=None if tag_set is None else frozenset(filter(None, map(str.strip, tag_set.split(",")))),
        batch_size=batch_size,
        image_size=None if image_size is None else parse_image_size(image_size),
        scale=(0.0, 1.0) if scale is None else _scale(scale),
        runner=runner,
        timeout_s=DEFAULT_TIMEOUT_S if timeout is None else parse_duration_s(timeout),
        unsafe=unsafe,
        dry_run=dry_run,
    )
    options.require_valid()
    return options


def _argument(text: str) -> tuple[str, Any]:
    """Name and value of `NAME=JSON`; a word that is no JSON is a text. Raises UsageError."""
    import json

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UsageError(f"Invalid --arg '{text}'", hint="Write --arg NAME=JSON, such as training=false.")
    try:
        return name, json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
    except (ValueError, RecursionError):
        return name, value


def _scale(text: str) -> tuple[float, float]:
    low, _, high = text.partition(",")
    try:
        pair = float(low), float(high)
    except ValueError:
        pair = 0.0, 0.0
    if not abs(pair[0]) < abs(pair[1] - pair[0]) * 1e9 < 1e30:
        raise UsageError(f"Invalid scale '{text}'", hint="Write LOW,HIGH such as --scale=-1,1.")
    return pair


@dataclass(frozen=True, slots=True)
class _Form:
    """What is done with the outputs."""

    file: str | None
    force: bool
    json_lines: bool
    top: int | None
    labels: str | None
    repeat: int | None
    debug: bool

    def require_valid(self, *, as_json: bool, has_request: bool) -> None:
        """Raises UsageError for options that contradict each other."""
        chosen = [
            name
            for name, is_chosen in (
                ("--json", as_json and self.file is None),
                ("--json-lines", self.json_lines),
                ("--output", self.file is not None and self.repeat is None),
                ("--request", has_request and self.file is None),
            )
            if is_chosen
        ]
        if len(chosen) > 1 and not has_request:
            raise UsageError(f"{' and '.join(chosen[:2])} exclude each other", hint="Leave one of them out.")
        if has_request and (self.json_lines or self.top or self.repeat):
            raise UsageError(
                "--request is answered as TensorFlow Serving answers",
                hint="Leave --json-lines, --top and --repeat out, or give --input instead.",
            )
        if self.labels is not None and self.top is None:
            raise UsageError("--labels is for --top", hint="Add --top K, or leave --labels out.")
        if self.file is None and self.force:
            raise UsageError("--force is for --output", hint="Add -o FILE, or leave --force out.")
        if self.repeat is not None and (self.json_lines or self.file is not None):
            raise UsageError("--repeat shows times, no outputs", hint="Leave --json-lines and --output out.")


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the command."""

    target: str
    settings: Settings
    options: RunOptions
    output: Output
    form: _Form

    def run(self, inputs: tuple[str, ...], request: str | None) -> None:
        """Runs the model and shows what comes out."""
        from hubcli.cli.progress import listener_for
        from hubcli.commands.run import open_run

        if request is not None:
            self._answer(request)
            return
        if self.form.file is not None:
            from hubcli.running.outputs import output_form, require_free

            form = output_form(self.form.file)  # Before anything is fetched; once more when it is written.
            require_free(form.path, force=self.form.force, is_directory=form.kind == "dir")
        opened: ModelRun | None = None
        try:
            with (
                listener_for(self.output, patience_s=0.5) as listener,
                open_run(self.target, self.settings, self.options, listener) as opened,
            ):
                texts = self._texts(opened, inputs)
                opened.give_texts(texts)
                self._show(opened, texts)
        finally:
            self._say_log(opened)

    def _texts(self, opened: ModelRun, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """The inputs; standard input stands in for none, where that is no terminal."""
        is_piped = sys.stdin is not None and not sys.stdin.isatty()
        if inputs or not opened.needs_input() or not is_piped:
            return inputs
        return ("@-",)

    def _say_log(self, opened: ModelRun | None) -> None:
        """With --debug, what TensorFlow wrote to its standard error."""
        if self.form.debug and opened is not None and not self.options.dry_run and opened.session.log:
            self.output.say(opened.session.log)

    def _show(self, opened: ModelRun, texts: Sequence[str]) -> None:
        import gc

        from hubcli.cli.views import run as views

        if opened.has_stream:
            gc.enable()  # Rows may be without end.
        if self.options.dry_run:
            command = _command_line(self.target, opened, texts)
            if self.output.as_json:
                self.output.document(views.dry_run_document(opened, command))
            else:
                self.output.payload(views.dry_run_text(opened, command))
        elif self.form.repeat is not None:
            self._time(opened, self.form.repeat)
        elif self.form.file is not None:
            self._write(opened, self.form.file)
        elif self.form.json_lines:
            self._print_lines(opened)
        else:
            self._print_outputs(opened)

    def _print_outputs(self, opened: ModelRun) -> None:
        from hubcli.cli.tables import Style
        from hubcli.cli.views.run import outputs_json, outputs_text
        from hubcli.running.outputs import Collected

        labels, top = self._labels(), self.form.top
        collected = Collected(opened.endpoint, None if self.output.as_json else _SHOWN_ROWS)
        try:
            for batch in opened.outputs():
                collected.add(batch)
        except HubcliError:
            if collected.count and not self.output.as_json:
                self.output.payload(outputs_text(collected, Style.of(self.output), top, labels))
            raise
        self._require_classes(collected)
        if self.output.as_json:
            self.output.text(outputs_json(opened, collected, top, labels) + "\n")
            return
        self._say_ran(opened, sum(collected.seconds), collected.rows)
        self.output.payload(outputs_text(collected, Style.of(self.output), top, labels))

    def _require_classes(self, collected: Any) -> None:
        from hubcli.running.top import has_classes

        if self.form.top is not None and not any(has_classes(parts[0]) for _, parts, _ in collected.values()):
            raise UsageError(
                "--top needs an output with a number for each class",
                hint="Leave --top out to see the outputs.",
            )

    def _say_ran(self, opened: ModelRun, seconds: float, rows: int | None) -> None:
        session = opened.session
        way = "its C library" if session.runner == "c" else "Python"
        counted = "" if rows is None or rows < 2 else f", {rows} rows"
        self.output.say(
            f"Ran the {opened.endpoint.title} in {seconds:.3f} s{counted} "
            f"(TensorFlow {session.version} by {way}; loaded in {session.load_seconds:.2f} s)"
        )

    def _labels(self) -> tuple[str, ...] | None:
        from hubcli.running.top import read_labels

        return None if self.form.labels is None else read_labels(self.form.labels)

    def _print_lines(self, opened: ModelRun) -> None:
        from hubcli.running.json_text import port_rows
        from hubcli.running.outputs import json_lines
        from hubcli.running.top import has_classes, ranked_rows

        labels, top = self._labels(), self.form.top

        def rows_text(port: Any, parts: Any) -> list[str]:
            if top is not None and has_classes(parts[0]):
                return ranked_rows(port, parts[0], top, labels)
            return port_rows(port, parts)

        for text in json_lines(opened.endpoint, opened.outputs(), rows_text):
            self.output.text(text)

    def _write(self, opened: ModelRun, file: str) -> None:
        from hubcli.running.outputs import output_form, write_outputs

        form = output_form(file, opened.endpoint)
        outputs: Iterator[Any] = opened.outputs()
        rows = write_outputs(form, opened.endpoint, outputs, force=self.form.force)
        session = opened.session
        counted = f" with {rows} rows" if rows > 1 else ""
        self.output.say(f"Wrote {form.path}{counted} (TensorFlow {session.version})")
        if self.output.as_json:
            self.output.document(
                {
                    "target": opened.model.name,
                    opened.endpoint.kind: opened.endpoint.name,
                    "runner": session.runner,
                    "tensorflow_version": session.version,
                    "path": str(form.path),
                    "rows": rows,
                }
            )
        else:
            self.output.payload(str(form.path))

    def _time(self, opened: ModelRun, repeat: int) -> None:
        from hubcli.cli.views.run import timing_document, timing_text
        from hubcli.commands.run import timing

        _, measured = timing(opened, repeat)
        if self.output.as_json:
            self.output.document(timing_document(opened, measured))
            return
        self._say_ran(opened, measured.p50, measured.rows)
        self.output.payload(timing_text(measured))

    def _answer(self, file: str) -> None:
        """Answers a request; a failure, too, as TensorFlow Serving has it."""
        import json

        try:
            self._answer_request(_read_request(file))
        except HubcliError as error:
            if not self.output.as_json:  # Then the error is a document of its own.
                self.output.text(json.dumps({"error": error.message}, ensure_ascii=False) + "\n")
            raise

    def _answer_request(self, request: PredictRequest) -> None:
        from dataclasses import replace

        from hubcli.cli.progress import listener_for
        from hubcli.commands.run import open_run
        from hubcli.running.serving import answer_text

        options = self.options
        if request.signature is not None:
            if options.signature not in (None, request.signature):
                raise UsageError(
                    f"The request names the signature {request.signature}, not {options.signature}",
                    hint="Leave --signature out.",
                )
            options = replace(options, signature=request.signature)
        with (
            listener_for(self.output, patience_s=0.5) as listener,
            open_run(self.target, self.settings, options, listener) as opened,
        ):
            opened.give_request(request)
            batches = list(opened.outputs())
            if len(batches) != 1:
                raise UsageError("A request is one run", hint="Leave --batch-size out.")
            text = answer_text(request, opened.endpoint, batches[0]) + "\n"
        if self.form.file is None:
            self.output.text(text)
            return
        from pathlib import Path

        from hubcli.running.outputs import staged_file

        with staged_file(Path(self.form.file).expanduser(), force=self.form.force) as staged:
            staged.write_text(text, encoding="utf-8")
        self.output.payload(self.form.file)


_SHOWN_ROWS = 32


def _read_request(file: str) -> PredictRequest:
    from hubcli.running.files import open_input
    from hubcli.running.serving import PredictRequest

    opened = open_input(file, frozenset(), False)
    try:
        return PredictRequest.parse(opened.json())
    finally:
        opened.close()


def _command_line(target: str, opened: ModelRun, texts: Sequence[str]) -> str:
    """The command with everything in it that was left out: what is run, names of inputs, defaults."""
    import shlex

    endpoint = opened.endpoint
    words = ["hubcli", "run", target, f"--{endpoint.kind}", endpoint.name]
    for name, value in endpoint.call:
        words += ["--arg", f"{name}={value}"]
    names = [port.name for port in endpoint.inputs]
    for text in texts:
        is_named = text.partition("=")[0] in names or len(names) != 1
        words += ["--input", text if is_named else f"{names[0]}={text}"]
    return shlex.join(words)
