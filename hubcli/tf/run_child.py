"""The process of a run, started: `hubcli.tf.run_process` talks to it, `hubcli.tf.run_server` is what it does.

It takes longer to get ready than the command line and the reading of the model together, so `hubcli run`
starts it before anything else, on another core. Little is imported here.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from importlib.util import find_spec

from hubcli.config.process_variables import library_variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LIBRARY_NAMES",
    "LIBRARY_VARIABLE",
    "Child",
    "library_in",
    "package_folder",
    "start_ahead",
    "start_child",
    "start_process",
]

LIBRARY_VARIABLE = "HUBCLI_TENSORFLOW_LIB"
LIBRARY_NAMES = ("libtensorflow_cc.so.2", "libtensorflow_cc.2.dylib", "libtensorflow_cc.so")
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); from hubcli.tf.run_server import main; main()"
)
# With these words `hubcli run` starts nothing, or another runner.
_WITHOUT_CHILD = frozenset({"--dry-run", "--help", "-h", "python", "--runner=python"})


class Child:
    """A process and the socket to it; its standard streams are one pipe."""

    def __init__(self, runner: str, library: str) -> None:
        self.runner, self.library = runner, library
        self.connection, theirs = socket.socketpair()
        with theirs:
            self.process = start_process(runner, library, theirs)


def start_process(runner: str, library: str, connection: socket.socket) -> subprocess.Popen[bytes]:
    """The runner in a new interpreter, at the other end of the connection; its output is a pipe."""
    return subprocess.Popen(  # noqa: S603 - this interpreter, and paths of ours
        [*_interpreter(runner), _paths(runner), str(connection.fileno()), runner, library],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(connection.fileno(),),
        # TensorFlow's log at errors, unless somebody chose otherwise.
        env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
    )


def _interpreter(runner: str) -> list[str]:
    """Without site-packages and user settings for the C runner, which needs none: 20 ms less."""
    return [sys.executable, "-I", *(["-S"] if runner == "c" else []), "-c", _START]


def _paths(runner: str) -> str:
    """Where the process imports from: hubcli and the standard library; for Python, what this one has."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - pathlib takes 4 ms
    if runner == "c":
        standard = [path for path in sys.path if path and not path.endswith("site-packages")]
        return "\n".join([package, *standard])
    return "\n".join([package, *filter(None, sys.path)])


_ahead: list[Child] = []


def start_ahead(arguments: Sequence[str]) -> None:
    """Starts the process that `hubcli run` with the arguments most likely needs; `start_child` gives it.

    It ends with this process if it is never used, as after a usage error.
    """
    if not arguments or not _WITHOUT_CHILD.isdisjoint(arguments):
        return
    folder = library_variable(LIBRARY_VARIABLE) or package_folder("tensorflow")
    library = None if folder is None else library_in(folder)
    if library is not None:
        try:
            _ahead.append(Child("c", library))
        except OSError:  # The second start says why.
            return
        atexit.register(_end)


def start_child(runner: str, library: str) -> Child:
    """A process of the runner, the one that was started ahead where it fits. Raises OSError."""
    while _ahead:
        child = _ahead.pop()
        if (child.runner, child.library) == (runner, library) and child.process.poll() is None:
            return child
        child.process.kill()
    return Child(runner, library)


def _end() -> None:
    for child in _ahead:
        child.process.kill()


def library_in(folder: str) -> str | None:
    """The library with the C API in the directory; the path itself where it is a file."""
    folder = os.path.expanduser(folder)  # noqa: PTH111
    if os.path.isfile(folder):  # noqa: PTH113
        return folder
    paths = (f"{folder}/{name}" for name in LIBRARY_NAMES)
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113


def package_folder(module: str) -> str | None:
    """The directory of an installed package, which isn't imported; None if it isn't there."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return next(iter(places)) if places else None
