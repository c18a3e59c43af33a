"""The entry point: answers at once what needs no command, and runs the rest.

Every start pays for what stands here: nothing is imported before it is needed.
"""

from __future__ import annotations

import sys

from hubcli import __version__

TYPE_CHECKING = False  # typing takes as long to load as Python itself.
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status of the process."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if argv in (["--version"], ["-V"]) and _said(f"hubcli {__version__}\n"):
        return 0
    if argv[:1] == ["__complete"]:  # What a shell asks for at each TAB.
        from hubcli.cli.model_words import print_model_words

        return print_model_words(argv[1:])
    from hubcli.cli.entrypoint import run

    return run(argv)


def _said(text: str) -> bool:
    """Whether standard output took the text; where it didn't, the long way tells why."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True
