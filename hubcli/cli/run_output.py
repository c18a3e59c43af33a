"""What a run of `hubcli run` prints or writes: a table, a document, lines, a file, times, an answer.

Apart from the options of the command, which every start of hubcli reads.
"""

from __future__ import annotations

import gc
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hubcli.cli.main import LazyImports
from hubcli.cli.output import Output
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, UsageError

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Style
    from hubcli.cli.views.run import (
        dry_run_document,
        dry_run_text,
        outputs_json,
        outputs_text,
        timing_document,
        timing_text,
    )
    from hubcli.commands.run import open_run, timing
    from hubcli.running.files import open_input
    from hubcli.running.json_text import has_classes, json_lines, port_rows, ranked_rows, read_labels
    from hubcli.running.output_file import output_form, require_free, response_file, staged_file
    from hubcli.running.outputs import Collected, write_outputs
    from hubcli.running.serving import PredictRequest, answer_text

if TYPE_CHECKING:
    from hubcli.commands.run import ModelRun, RunOptions
    from hubcli.running.endpoints import Endpoint

__all__ = ["OutputOptions", "RunOutput"]

_SHOWN_ROWS = 32


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is done with the outputs."""

    file: str | None
    force: bool
    json_lines: bool
    top: int | None
    labels: str | None
    repeat: int | None
    debug: bool

    def words(self) -> list[str]:
        """The options that are given, as words of a command line."""
        given = {
            "--output": self.file,
            "--top": self.top,
            "--labels": self.labels,
            "--repeat": self.repeat,
        }
        flags = {"--force": self.force, "--json-lines": self.json_lines}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return [*words, *(name for name, is_given in flags.items() if is_given)]

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
            raise UsageError(
                f"{' and '.join(chosen[:2])} cannot be used together", hint="Use only one of them."
            )
        if has_request and (self.json_lines or self.top or self.repeat):
            raise UsageError(
                "--request prints only a TensorFlow Serving response",
                hint="Remove --json-lines, --top and --repeat, or use --input.",
            )
        if self.top is not None and (self.file is not None or self.repeat is not None):
            other = "--output" if self.repeat is None else "--repeat"
            raise UsageError(f"--top and {other} cannot be used together", hint="Use only one of them.")
        if self.labels is not None and self.top is None:
            raise UsageError("--labels requires --top", hint="Add --top K, or remove --labels.")
        if self.file is None and self.force:
            raise UsageError("--force requires --output", hint="Add -o FILE, or remove --force.")
        if self.repeat is not None and (self.json_lines or self.file is not None):
            raise UsageError("--repeat prints timings, not outputs", hint="Remove --json-lines and --output.")


@dataclass(frozen=True, slots=True)
class RunOutput:
    """One run of the command."""

    target: str
    settings: Settings
    options: RunOptions
    output: Output
    form: OutputOptions

    def run(self, inputs: tuple[str, ...], request: str | None) -> None:
        """Runs the model and shows what comes out."""
        self._require_free_place(has_request=request is not None)
        if request is not None:
            self._answer(request)
            return
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

    def _require_free_place(self, *, has_request: bool) -> None:
        """Before anything is fetched; once more when it is written."""
        if self.form.file is None:
            return
        if has_request:
            require_free(response_file(self.form.file), force=self.form.force)
            return
        form = output_form(self.form.file)
        require_free(form.path, force=self.form.force, is_directory=form.kind == "dir")

    def _texts(self, opened: ModelRun, inputs: tuple[str, ...]) -> tuple[str, ...]:
        """The inputs; without any, those on standard input, unless it is a terminal."""
        is_piped = sys.stdin is not None and not sys.stdin.isatty()
        if inputs or not opened.needs_input() or not is_piped:
            return inputs
        self.output.say("Reading rows from standard input")
        return ("@-",)

    def _say_log(self, opened: ModelRun | None) -> None:
        """With --debug, what TensorFlow wrote to its standard error."""
        if self.form.debug and opened is not None and not self.options.dry_run and opened.session.log:
            for line in opened.session.log.splitlines():
                self.output.say(line)

    def _show(self, opened: ModelRun, texts: Sequence[str]) -> None:
        if opened.has_stream:
            gc.enable()  # Rows may be without end.
        if self.options.dry_run:
            self._show_dry_run(opened, _input_words(opened.endpoint, texts))
        elif self.form.repeat is not None:
            self._time(opened, self.form.repeat)
        elif self.form.file is not None:
            self._write(opened, self.form.file)
        elif self.form.json_lines:
            self._print_lines(opened)
        else:
            self._print_outputs(opened)

    def _show_dry_run(self, opened: ModelRun, input_words: Sequence[str]) -> None:
        """What would be run, and the command with everything in it that was left out."""
        self._labels()  # A file that can't be read would end the run, too.
        opened.check_rows()
        options = (*_option_words(self.options), *self.form.words())
        command = shlex.join(["hubcli", "run", self.target, *_endpoint_words(opened), *input_words, *options])
        if self.output.as_json:
            self.output.document(dry_run_document(opened, command))
        else:
            self.output.payload(dry_run_text(opened, command))

    def _print_outputs(self, opened: ModelRun) -> None:
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
        text = outputs_text(collected, Style.of(self.output), top, labels)
        if text:
            self.output.payload(text)
        else:
            self.output.note(f"The {opened.endpoint.title} has no outputs")

    def _require_classes(self, collected: Any) -> None:
        if self.form.top is not None and not any(has_classes(parts[0]) for _, parts, _ in collected.values()):
            raise UsageError(
                "--top requires an output with a number for each class",
                hint="Remove --top to see the outputs.",
            )

    def _say_ran(self, opened: ModelRun, seconds: float, rows: int | None) -> None:
        session = opened.session
        library = "its C library" if session.runner == "c" else "Python"
        counted = "" if rows is None or rows < 2 else f", {rows} rows"
        self.output.say(
            f"Ran the {opened.endpoint.title} in {_duration(seconds)}{counted} "
            f"(TensorFlow {session.version} by {library}; loaded in {session.load_seconds:.2f} s)"
        )

    def _labels(self) -> tuple[str, ...] | None:
        return None if self.form.labels is None else read_labels(self.form.labels)

    def _print_lines(self, opened: ModelRun) -> None:
        labels, top = self._labels(), self.form.top

        def rows_text(port: Any, parts: Any) -> list[str]:
            if top is not None and has_classes(parts[0]):
                return ranked_rows(port, parts[0], top, labels)
            return port_rows(port, parts)

        for text in json_lines(opened.endpoint, opened.outputs(), rows_text):
            self.output.text(text)

    def _write(self, opened: ModelRun, file: str) -> None:
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
        _, measured = timing(opened, repeat)
        if self.output.as_json:
            self.output.document(timing_document(opened, measured))
            return
        self._say_ran(opened, measured.p50, measured.rows)
        self.output.payload(timing_text(measured))

    def _answer(self, file: str) -> None:
        """Answers a request; a failure, too, as TensorFlow Serving has it."""
        try:
            self._answer_request(_read_request(file), file)
        except HubcliError as error:
            if not self.output.as_json:  # Then the error is a document of its own.
                self.output.text(json.dumps({"error": error.message}, ensure_ascii=False) + "\n")
            raise

    def _answer_request(self, request: PredictRequest, file: str) -> None:
        options = self.options
        if request.signature is not None:
            if options.signature not in (None, request.signature):
                raise UsageError(
                    f"The request asks for the signature {request.signature}, not {options.signature}",
                    hint="Remove --signature.",
                )
            options = replace(options, signature=request.signature)
        with (
            listener_for(self.output, patience_s=0.5) as listener,
            open_run(self.target, self.settings, options, listener) as opened,
        ):
            opened.give_request(request)
            if options.dry_run:
                self._show_dry_run(opened, ("--request", file))
                return
            batches = list(opened.outputs())
            if len(batches) != 1:
                raise UsageError("--batch-size cannot be used with --request", hint="Remove --batch-size.")
            text = answer_text(request, opened.endpoint, batches[0]) + "\n"
        if self.form.file is None:
            self.output.text(text)
            return
        with staged_file(response_file(self.form.file), force=self.form.force) as staged:
            staged.write_text(text, encoding="utf-8")
        self.output.payload(self.form.file)


def _duration(seconds: float) -> str:
    """How long a run took: small models take microseconds."""
    return f"{seconds:.3f} s" if seconds >= 0.0095 else f"{seconds * 1000:.2g} ms"


def _read_request(file: str) -> PredictRequest:
    opened = open_input(file, frozenset(), False)
    try:
        return PredictRequest.parse(opened.json())
    finally:
        opened.close()


def _endpoint_words(opened: ModelRun) -> list[str]:
    """The options that choose what is run."""
    endpoint = opened.endpoint
    words = [f"--{endpoint.kind}", endpoint.name]
    for name, value in endpoint.call:
        words += ["--arg", f"{name}={value}"]
    return words


def _input_words(endpoint: Endpoint, texts: Sequence[str]) -> list[str]:
    """The values with the names of their inputs."""
    words = []
    names = [port.name for port in endpoint.inputs]
    for text in texts:
        is_named = text.partition("=")[0] in names or len(names) != 1
        words += ["--input", text if is_named else f"{names[0]}={text}"]
    return words


def _option_words(options: RunOptions) -> list[str]:
    """The other options of the run that are not the defaults."""
    defaults = type(options)()
    tags, size = options.tag_set, options.image_size
    given = {
        "--tag-set": None if tags is None else ",".join(sorted(tags)),
        "--batch-size": options.batch_size,
        "--image-size": None if size is None else f"{size[0]}x{size[1]}",
        "--runner": None if options.runner == defaults.runner else options.runner,
        "--timeout": None if options.timeout_s == defaults.timeout_s else f"{options.timeout_s:.16g}s",
    }
    words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    if options.scale != defaults.scale:  # One word: the first number may be negative.
        words.append("--scale={:.16g},{:.16g}".format(*options.scale))
    return [*words, *(["--unsafe"] if options.unsafe else [])]
