"""Where text goes: payload to standard output, the rest to standard error; pictures of it as SVG."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from hubcli.errors import BrokenPipe, HubcliError, MappingError, OutputError, UsageError
from hubcli.urls import redacted, without_known_secrets, without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from hubcli.config.settings import Settings

__all__ = [
    "JSON_SCHEMA",
    "PICTURE_COLUMNS",
    "Output",
    "discard_unwritten_messages",
    "error_document",
    "errors_document",
    "own_standard_output",
    "printable",
    "svg_of",
    "write_failure",
    "write_svg",
    "write_text",
]

JSON_SCHEMA = 1
_MAX_INDENTED_ROWS = 1000
# Keys of a document whose values name a model to the next command.
_IDENTITIES = frozenset({"handle", "aliases", "resolved", "target", "path"})


def error_document(error: HubcliError) -> dict[str, Any]:
    """The error as a script sees it."""
    document: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if error.trained_values is not None:
        document["trained_values"] = error.trained_values
        document["export_command"] = error.export_command
    if isinstance(error, MappingError):
        document["candidates"] = [
            {
                "root": candidate.root,
                "fits": candidate.fits,
                "wanted": candidate.required,
                "misfits": list(candidate.misfits),
            }
            for candidate in error.candidates
        ]
    return document


def errors_document(errors: Sequence[tuple[str | None, HubcliError]]) -> dict[str, Any]:
    """What a document tells of targets that failed, the first of them as `error`; nothing where none did.

    A target is None if no single one failed.
    """
    documents = [
        {"handle": None if target is None else without_secrets(target), **error_document(error)}
        for target, error in errors
    ]
    return {"error": documents[0], "errors": documents} if documents else {}


class _Forgiving:
    """A stream that drops what can't be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output:
    """The two streams of a run, and how they are to be written."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        color: str = "auto",
        progress: bool = True,
        debug: bool = False,
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.color = color
        self.progress = progress
        self.debug = debug
        self._one_at_a_time = threading.RLock()  # Lines of several threads stay whole.

    @classmethod
    def of(cls, settings: Settings, *, as_json: bool, quiet: bool, debug: bool = False) -> Output:
        """The output of a run with these settings; warns of keys and variables that it may not mean."""
        output = cls(
            as_json=as_json, quiet=quiet, color=settings.color, progress=settings.progress, debug=debug
        )
        for text in (*settings.config.unknown, *settings.unclear):
            output.warn(text)
        return output

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees the payload."""
        return sys.stdout is not None and sys.stdout.isatty()

    @property
    def has_color(self) -> bool:
        """Whether the payload may have colours, and with them any control sequence; JSON never has."""
        return self._is_colored(sys.stdout)

    @property
    def has_unicode(self) -> bool:
        """Whether standard output can hold more than ASCII."""
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        return encoding.lower().replace("-", "") in ("utf8", "utf16", "utf32")

    @property
    def shows_progress(self) -> bool:
        """Whether to show progress: standard error is a terminal, and no option hides it."""
        return self.progress and not self.quiet and self.speaks_to_terminal

    @property
    def speaks_to_terminal(self) -> bool:
        """Whether a person sees the messages: standard error is a terminal."""
        return sys.stderr is not None and sys.stderr.isatty()

    def require_terminal(self, action: str, hint: str) -> None:
        """Raises UsageError unless a person can be asked before the action, on a terminal."""
        streams = (sys.stdin, sys.stdout, sys.stderr)
        if self.as_json or any(stream is None or not stream.isatty() for stream in streams):
            raise UsageError(f"Cannot ask before {action}: no terminal", hint=hint)

    def ask(self, question: str) -> bool:
        """Whether the person answers with y or yes."""
        from select import select  # Few runs ask.

        self._to_standard_error(f"{redacted(question)} [y/N] ")
        # Ctrl-C just before the wait begins doesn't end it: it is seen when the wait is over.
        while not select([sys.stdin], [], [], 0.1)[0]:
            pass
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def console(self) -> Console:
        """A rich console on standard error; a closed terminal is not an error."""
        from rich.console import Console

        stream = cast("TextIO", _Forgiving(sys.stderr))
        # Always passed: rich would read NO_COLOR, which an option may have overruled.
        return Console(file=stream, no_color=not self._is_colored(sys.stderr), highlight=False)

    def payload(self, text: str) -> None:
        """Writes the payload: without secrets, except in handles that the next command takes.

        Raises BrokenPipe if the reader has exited, OutputError if the
        stream can't be written.
        """
        if not self.quiet:
            self._write(redacted(text))
            return
        # A line of one word is the handle or path that the next command takes.
        self._write(
            "\n".join(
                redacted(line) if " " in line else without_known_secrets(line) for line in text.split("\n")
            )
        )

    def text(self, text: str) -> None:
        """Writes values that a model gave, as they are. Raises as `payload`."""
        self._write(text)

    def _write(self, text: str) -> None:
        if sys.stdout is None:
            raise BrokenPipe("Standard output is closed")
        try:
            write_text(sys.stdout, text if text.endswith("\n") else text + "\n")
        except OSError as error:
            raise write_failure(sys.stdout, error) from error

    def document(self, content: dict[str, Any]) -> None:
        """Writes the one JSON document of the run."""
        import json  # Most runs write none.

        # Python's encoder is quick without indentation alone: a long document does without.
        rows = max((len(value) for value in content.values() if isinstance(value, list)), default=0)
        indent = 2 if rows <= _MAX_INDENTED_ROWS else None
        # ASCII, so that a path that is not valid text is a valid string too.
        text = json.dumps({"schema": JSON_SCHEMA, **content}, indent=indent)
        if redacted(text) != text:
            text = json.dumps(_redacted_document({"schema": JSON_SCHEMA, **content}), indent=indent)
        self._write(text)

    def say(self, text: str) -> None:
        """Writes a line to standard error, unless `--quiet`."""
        if not self.quiet:
            self._to_standard_error(f"{printable(redacted(text))}\n")

    def note(self, text: str) -> None:
        """Prints a note for the user that is not an error."""
        self.say(f"Note: {text}")

    def warn(self, text: str) -> None:
        """Tells what is ignored, and what to correct."""
        self.say(f"Warning: {text}")

    def error(self, error: HubcliError, name: str = "") -> None:
        """Writes the error and its hint to standard error, with `debug` its traceback first.

        `name` is the target that failed, where there are several.
        """
        if self.debug:
            self.trace(error)
        bold, plain = ("\x1b[1;31m", "\x1b[0m") if self._is_colored(sys.stderr) else ("", "")
        hint = f"Hint: {printable(error.hint)}\n" if error.hint else ""
        name = redacted(name)
        message = error.message if name in error.message else f"{name}: {error.message}"
        self._to_standard_error(f"{bold}Error:{plain} {printable(message)}\n{hint}")

    def trace(self, error: BaseException) -> None:
        """Writes the traceback of the error, and of those behind it, to standard error."""
        import traceback  # Few errors are traced.

        self._to_standard_error(redacted("".join(traceback.format_exception(error))))

    def _to_standard_error(self, text: str) -> None:
        """Nothing is lost where it can't be written: the payload and the exit status tell."""
        if sys.stderr is not None:
            with suppress(OSError, ValueError), self._one_at_a_time:
                write_text(sys.stderr, text)

    def _is_colored(self, stream: TextIO | None) -> bool:
        if stream is None or self.as_json or self.color == "never":
            return False
        return self.color == "always" or stream.isatty()


def _redacted_document(content: Any, key: str = "") -> Any:
    """The document with each text as it may be printed; handles, which the next command takes, as stored."""
    if isinstance(content, dict):
        return {name: _redacted_document(value, name) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_redacted_document(value, key) for value in content]
    if not isinstance(content, str):
        return content
    return without_known_secrets(content) if key in _IDENTITIES else redacted(content)


def printable(text: str) -> str:
    """The text with what could command a terminal escaped as Python writes it."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or "\udc80" <= character <= "\udcff" else ascii(character)[1:-1]
        for character in text
    )


@contextmanager
def own_standard_output() -> Iterator[None]:
    """Sends to standard error what is written to standard output within, by any library or child too.

    For commands that run code of others: what that prints stays visible, and the payload stays pure.
    """
    out, err = sys.stdout, sys.stderr
    if out is None:
        yield
        return
    out.flush()
    payload, number = os.dup(out.fileno()), out.fileno()
    try:
        # Standard error may be closed; then nobody reads it.
        os.dup2(err.fileno() if err is not None else os.open(os.devnull, os.O_WRONLY), number)
        yield
    finally:
        for stream in (sys.stdout, out):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os.dup2(payload, number)
        os.close(payload)
        # That code may have put others in their place, or have closed them.
        if out.closed:
            out = open(number, "w", encoding=out.encoding, errors=out.errors, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = out, err


def write_failure(stream: TextIO, error: OSError) -> BrokenPipe | OutputError:
    """The error of hubcli for one of standard output, which is redirected to the null device.

    Otherwise Python flushes it once more at exit, and reports the error again.
    """
    _redirect_to_null(stream)
    if isinstance(error, BrokenPipeError):
        return BrokenPipe("The reader of standard output went away")
    return OutputError(
        f"Cannot write to standard output: {error.strerror}", hint="Check the pipe or the redirection."
    )


def discard_unwritten_messages() -> None:
    """Redirects standard error to the null device if it can't be written: a full disk, a closed terminal.

    Otherwise Python tries again at exit, and the exit status is 120 instead of the command's.
    """
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        with suppress(OSError):
            _redirect_to_null(sys.stderr)
    except ValueError:  # It is closed.
        return


def _redirect_to_null(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def write_text(stream: TextIO, text: str) -> None:
    """Writes the text at once, in UTF-8 if the stream's encoding can't represent it. Raises OSError."""
    try:
        stream.write(text)
    except UnicodeEncodeError:  # A path that the locale has no letters for: its bytes as they are.
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()


PICTURE_COLUMNS = 100


def write_svg(text: str, title: str, file: Path) -> None:
    """Writes the styled text as an SVG file; raises OutputError where it can't be written."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, file=io.StringIO(), width=PICTURE_COLUMNS, force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    picture = svg_of(console, title, "hubcli")
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"Cannot write {file}: {error.strerror}", hint="Specify another file.") from error


def svg_of(console: Console, title: str, name: str) -> str:
    """The SVG of what the console recorded; `name` begins the ids in it.

    rich cuts the picture close below the last line's letters, through what reaches lower, such as an
    underscore, and defines no rectangle for that line to be clipped to: an empty line takes its place.
    """
    console.print()
    return console.export_svg(title=title, unique_id=name)
