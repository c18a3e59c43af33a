"""The options and arguments that several commands have, defined once, and what they are completed with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import chain
from typing import Annotated, Any, NamedTuple, TypeAlias, get_type_hints

import typer

from hubcli.cli.output import Output
from hubcli.config.environment import COLORS
from hubcli.config.settings import Settings

__all__ = [
    "ARCHIVE_LIMITS",
    "BUCKET_PANEL",
    "BUILT_IN",
    "GLOBAL_OPTIONS",
    "GLOBAL_PANEL",
    "RARE_PANELS",
    "TAG_SETS",
    "VALUED_GLOBAL_OPTIONS",
    "Anonymous",
    "AsJson",
    "BucketFlags",
    "CaFile",
    "CacheDir",
    "Color",
    "CompletionHint",
    "CompletionWords",
    "Debug",
    "DryRun",
    "GlobalOptions",
    "MinRate",
    "Mirrors",
    "Model",
    "NoColor",
    "NoProgress",
    "NoSync",
    "Offline",
    "Quiet",
    "Replace",
    "RequesterPays",
    "Targets",
    "Timeout",
    "Yes",
    "argument",
    "option",
    "value_option",
    "with_option_groups",
]

GLOBAL_PANEL = "Global options"
ARCHIVE_LIMITS = "Archive limits (raise them for archives that you trust)"
BUCKET_PANEL = "Buckets (s3://, gs://, az://)"
RARE_PANELS = (ARCHIVE_LIMITS, BUCKET_PANEL)  # Which `--help` shows and `-h` doesn't.
VALUED_GLOBAL_OPTIONS = ("--cache-dir", "--color")
GLOBAL_OPTIONS = (
    *("--json", "--quiet", "-q", "--offline", "--no-color", "--no-progress", "--debug"),
    *VALUED_GLOBAL_OPTIONS,
)


class CompletionHint(NamedTuple):
    """What an argument is completed with: cached handles, files, directories and words.

    After a word that ends in `=`, `<` or `>` no space is inserted. `of_model` is what the model on the line
    has: `signatures`, `functions` or `inputs`.
    """

    handles: bool = False
    files: bool = False
    directories: bool = False
    words: tuple[str, ...] = ()
    of_model: str = ""


class CompletionWords(NamedTuple):
    """Words that are looked up when completion is generated: no start of hubcli waits for them."""

    look_up: Callable[[], Iterable[str]]


BUILT_IN = "example://mul/1"
# Those of TensorFlow: tag_constants.py, and the "train" of TF1 Hub modules.
TAG_SETS = CompletionHint(words=("serve", "train", "serve,gpu", "serve,tpu"))


def option(text: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    """A flag, or an option whose default the help shows; `panel` is its part of the help."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


def value_option(metavar: str, text: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    """An option that takes a value and has no default to show; named as its parameter without `names`."""
    return option(text, *names, panel=panel, metavar=metavar, show_default=False, **more)


def argument(metavar: str, text: str) -> Any:
    """An argument that has no default to show."""
    return typer.Argument(metavar=metavar, help=text, show_default=False)


AsJson: TypeAlias = Annotated[bool, option("Print JSON.", "--json", panel=GLOBAL_PANEL)]
Quiet: TypeAlias = Annotated[
    bool, option("Print only paths or handles.", "--quiet", "-q", panel=GLOBAL_PANEL)
]
Offline: TypeAlias = Annotated[
    bool, option("Never use the network. \\[env: HUBCLI_OFFLINE=1]", "--offline", panel=GLOBAL_PANEL)
]
CacheDir: TypeAlias = Annotated[
    str | None,
    value_option(
        "DIR",
        "Cache directory. \\[env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]",
        "--cache-dir",
        panel=GLOBAL_PANEL,
    ),
]
CaFile: TypeAlias = Annotated[
    str | None,
    value_option("FILE", "Trust only the CA certificates in FILE. \\[env: SSL_CERT_FILE]", "--cacert"),
]
Mirrors: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "PREFIX=URL", "Use URL as a mirror for handles with PREFIX. Repeatable. \\[env: HUBCLI_MIRRORS]"
    ),
    CompletionHint(words=("https://tfhub.dev=", "https://www.kaggle.com/models=")),
]
Timeout: TypeAlias = Annotated[
    str | None, value_option("TIME", "Fail after this long without data. \\[default: 30s]")
]
MinRate: TypeAlias = Annotated[
    str | None,
    value_option(
        "SIZE",
        "Minimum rate in bytes per second, averaged over 60s; 0: no minimum. "
        "\\[default: 1KiB] \\[env: HUBCLI_MIN_RATE]",
        "--min-rate",
    ),
]
Color: TypeAlias = Annotated[
    str | None,
    value_option(
        "auto|always|never",
        "When to color the output. \\[env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]",
        "--color",
        panel=GLOBAL_PANEL,
    ),
    CompletionHint(words=COLORS),
]
NoColor: TypeAlias = Annotated[bool, option("Same as --color never.", "--no-color", panel=GLOBAL_PANEL)]
NoProgress: TypeAlias = Annotated[
    bool, option("Hide progress. \\[env: HUBCLI_NO_PROGRESS=1]", "--no-progress", panel=GLOBAL_PANEL)
]
Debug: TypeAlias = Annotated[bool, option("Show tracebacks of errors.", "--debug", panel=GLOBAL_PANEL)]
NoSync: TypeAlias = Annotated[
    bool, option("Do not wait for data to reach the disk. \\[env: HUBCLI_NO_SYNC=1]", "--no-sync")
]
Anonymous: TypeAlias = Annotated[
    bool,
    option(
        "Read buckets without credentials. \\[env: HUBCLI_BUCKET_ANONYMOUS=1]",
        "--anonymous",
        panel=BUCKET_PANEL,
    ),
]
RequesterPays: TypeAlias = Annotated[
    bool,
    option(
        "Read requester-pays buckets, and pay for the traffic. \\[env: HUBCLI_BUCKET_REQUESTER_PAYS=1]",
        "--requester-pays",
        panel=BUCKET_PANEL,
    ),
]
DryRun: TypeAlias = Annotated[bool, option("Show what would be removed, without removing it.", "--dry-run")]
Yes: TypeAlias = Annotated[bool, option("Remove models without asking.", "--yes", "-y")]
Replace: TypeAlias = Annotated[bool, option("Overwrite DEST.", "--force")]
Model: TypeAlias = Annotated[
    str,
    argument("TARGET", "A handle, a directory or an archive."),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
Targets: TypeAlias = Annotated[list[str], argument("HANDLE|PATTERN...", "Handles or globs such as '*bert*'.")]


class GlobalOptions(NamedTuple):
    """The options that every command has. A command with a parameter of this type gets them in it."""

    as_json: AsJson = False
    quiet: Quiet = False
    offline: Offline = False
    cache_dir: CacheDir = None
    color: Color = None
    no_color: NoColor = False
    no_progress: NoProgress = False
    debug: Debug = False

    def settings(self, *, timeout: str | None = None, **more: Any) -> Settings:
        """The settings by these options, the environment and the config file; `more` are the command's own.

        `timeout` is a duration, such as `30s`. Raises UsageError.
        """
        if timeout is not None:
            from hubcli.units import parse_duration_s  # Few runs have the option.

            more["timeout_s"] = parse_duration_s(timeout)
        return Settings.read(
            cache_dir=self.cache_dir,
            offline=self.offline,
            color=self.color,
            no_color=self.no_color,
            no_progress=self.no_progress,
            **more,
        )

    def output(self, settings: Settings) -> Output:
        """The output of a run with these settings."""
        return Output.of(settings, as_json=self.as_json, quiet=self.quiet, debug=self.debug)


class BucketFlags(NamedTuple):
    """How the buckets of a command are reached: keywords of `GlobalOptions.settings`."""

    anonymous: Anonymous = False
    requester_pays: RequesterPays = False

    def keywords(self) -> dict[str, Any]:
        """As `Settings.read` takes them."""
        return {"anonymous": self.anonymous, "requester_pays": self.requester_pays}


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer reads it: in place of a parameter that is a tuple of options stand its fields.

    They stand behind the command's own, the global options last. Annotations are evaluated at each start: one
    that is a name costs a tenth of one that is written out.
    """
    own: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if hasattr(parameter.annotation, "_field_defaults"):
            groups[parameter.name] = parameter.annotation
        else:
            own.append(parameter)
    options = {
        name: _parameters(group)
        for name, group in sorted(groups.items(), key=lambda item: item[1] is GlobalOptions)
    }

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{option.name: values.pop(option.name) for option in options[name]})
        command(**values)

    run.__signature__ = inspect.Signature([*own, *chain(*options.values())])  # type: ignore[attr-defined]
    run.__annotations__ = {}  # The signature has them, evaluated.
    return run


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=group._field_defaults[name], annotation=hints[name]
        )
        for name in group._fields
    ]
