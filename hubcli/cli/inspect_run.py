"""A run of `hubcli inspect`: reads, shows, and says what the asked-for checks found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.cli.output import Output, printable
from hubcli.cli.progress import listener_for
from hubcli.cli.tables import Style
from hubcli.cli.views.inspect_text import Part
from hubcli.commands.inspect import Inspection, InspectOptions, inspect
from hubcli.config.settings import Settings
from hubcli.errors import ExitStatus, UsageError
from hubcli.issues import FINDING_SEVERITIES, Severity
from hubcli.redaction import redacted
from hubcli.suggestions import did_you_mean
from hubcli.units import format_size

if TYPE_CHECKING:
    from hubcli.savedmodel.compare.diff import Difference

__all__ = ["InspectRun", "parse_severity", "parse_tag_set"]


def parse_tag_set(text: str | None) -> frozenset[str] | None:
    """The tags in `serve,gpu`; none at all in an empty text."""
    return None if text is None else frozenset(filter(None, (tag.strip() for tag in text.split(","))))


def parse_severity(text: str) -> Severity:
    """The severity of that name; raises UsageError for another word."""
    words = {severity.word: severity for severity in FINDING_SEVERITIES}
    if text.lower() not in words:
        raise UsageError(
            f"'{text}' is no severity{did_you_mean(text, words)}", hint=f"Write {', '.join(words)}."
        )
    return words[text.lower()]


@dataclass(frozen=True, slots=True)
class InspectRun:
    """What the command line asks for."""

    settings: Settings
    options: InspectOptions
    output: Output
    parts: tuple[Part, ...] = ()
    check: bool = False
    fail_on: Severity | None = None
    svg: str | None = None
    depth: int | None = None

    def inspect(self, target: str) -> int:
        """Shows the model; the exit status."""
        inspection = self._read(target)
        if self.output.as_json:
            from hubcli.cli.views.inspect_json import inspection_document

            self.output.document(inspection_document(inspection))
        elif self.output.quiet:
            self.output.payload(printable(str(inspection.path or inspection.target)))
        else:
            self.output.payload(self._text(inspection, Style.of(self.output)))
        if self.svg is not None:
            self._write_picture(inspection, self.svg)
        return int(ExitStatus.FOUND if self._finds_something(inspection) else ExitStatus.DONE)

    def diff(self, target: str, other: str) -> int:
        """Shows what differs between the two; the exit status."""
        from hubcli.savedmodel.compare.diff import compare

        left, right = self._read(target), self._read(other)
        differences = compare(left.info, right.info)
        if self.output.as_json:
            from hubcli.cli.views.inspect_json import diff_document

            self.output.document(diff_document(left.target, right.target, differences))
        elif differences:
            names = (f"--- {printable(left.target)}", f"+++ {printable(right.target)}")
            self.output.payload("\n".join((*names, *map(_difference_text, differences))))
        else:
            self.output.say("No difference")
        return int(ExitStatus.FOUND if differences else ExitStatus.DONE)

    def _read(self, target: str) -> Inspection:
        with listener_for(self.output) as listener:
            inspection = inspect(target, self.settings, self.options, listener)
        if inspection.received_bytes is not None:
            self.output.say(
                f"Read {format_size(inspection.received_bytes)} of the archive; nothing is stored"
            )
        return inspection

    def _text(self, inspection: Inspection, style: Style) -> str:
        from hubcli.cli.views.inspect_text import inspection_text

        deep = self.options.submodules
        return inspection_text(inspection, self.parts, style, in_full=deep, depth=self.depth)

    def _finds_something(self, inspection: Inspection) -> bool:
        worst = max((finding.severity for finding in inspection.info.findings), default=None)
        is_grave = self.fail_on is not None and worst is not None and worst >= self.fail_on
        return is_grave or (self.check and not inspection.info.reusable.conforms)

    def _write_picture(self, inspection: Inspection, file: str) -> None:
        from hubcli.cli.output import PICTURE_COLUMNS, write_svg

        style = Style(PICTURE_COLUMNS, is_styled=True, has_color=True)
        title = redacted(f"hubcli inspect {inspection.target}")
        write_svg(redacted(self._text(inspection, style)), title, Path(file).expanduser())


def _difference_text(difference: Difference) -> str:
    name = f"{difference.part} {difference.name}".rstrip()
    if difference.right is None:
        return printable(f"- {name}: {difference.left}")
    if difference.left is None:
        return printable(f"+ {name}: {difference.right}")
    return printable(f"~ {name}: {difference.left} => {difference.right}")
