"""A model in a process of its own: started, called, and ended; its failures are errors here.

A crash in native code, a kill for want of memory or a run that takes too long ends that process alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubcli.config.process_variables import library_variable
from hubcli.errors import TensorFlowError
from hubcli.tf.run_child import LIBRARY_NAMES, LIBRARY_VARIABLE, library_in, package_folder, start_child
from hubcli.tf.run_protocol import ProtocolError, Tensor, receive, send

__all__ = ["RunProcess", "RunnerError", "find_library", "has_package", "one_sentence", "op_libraries"]

_MAX_ERROR_BYTES = 1 << 16
_LONGEST_WAIT_S = 2_000_000.0  # A socket counts its timeout in milliseconds, in 31 bits.
_MEMORY_HINT = "Try a smaller --batch-size, or a machine with more memory."
_EXAMPLE_HINT = (
    "Pass serialized tf.Example messages in a list, or a TFRecord file of them: --input NAME=@FILE"
)
_HINTS = {  # What TensorFlow says, in a part of its message.
    "OOM when allocating": _MEMORY_HINT,
    "Could not parse example": _EXAMPLE_HINT,
    "Expected serialized to be a vector": _EXAMPLE_HINT,
}


class RunnerError(TensorFlowError):
    """What TensorFlow said of an order; `kind` is the class of its error."""

    def __init__(self, message: str, *, kind: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


def find_library() -> str | None:
    """The library with the C API: HUBCLI_TENSORFLOW_LIB, else that of the installed package; none imported.

    The variable names the library or a directory with it. Raises TensorFlowError if it isn't there.
    """
    named = library_variable(LIBRARY_VARIABLE)
    folder = named or package_folder("tensorflow")
    found = None if folder is None else library_in(folder)
    if named and found is None:
        raise TensorFlowError(
            f"{LIBRARY_VARIABLE} is {named}, which has no {LIBRARY_NAMES[0]}",
            hint="Use the directory of an installed tensorflow package, or unset it.",
        )
    return found


def has_package(module: str) -> bool:
    """Whether the package is installed; it isn't imported."""
    return package_folder(module) is not None


def op_libraries(module: str) -> list[str]:
    """The libraries with ops in an installed package, found without importing it; none where it isn't."""
    folder = package_folder(module)
    if folder is None:
        return []
    found = sorted(Path(folder).rglob("*.so"))
    return [str(path) for path in found if not path.name.startswith(("_pywrap", "pywrap"))]


class RunProcess:
    """The process: `runner` is "c", with its `library`, or "python". Raises TensorFlowError.

    `timeout_s` bounds each answer. It starts at once and in parallel: `version` waits for it.
    """

    def __init__(self, runner: str, library: str | None, timeout_s: float) -> None:
        self.runner = runner
        self._tail: deque[bytes] = deque(maxlen=64)
        child = start_child(runner, library or "")
        self._process = child.process
        self._connection = child.connection
        self.limit(timeout_s)
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        self._version: str | None = None

    def limit(self, timeout_s: float) -> None:
        """Bounds each answer from now on."""
        self._timeout_s = min(timeout_s, _LONGEST_WAIT_S)
        self._connection.settimeout(self._timeout_s)

    @property
    def version(self) -> str:
        """TensorFlow's release, once its library is loaded. Raises TensorFlowError if that fails."""
        if self._version is None:
            answer, _ = self.answer(doing="loading TensorFlow")
            self._version = str(answer["version"])
        return self._version

    def ask(
        self, order: str, tensors: Sequence[Tensor] = (), *, doing: str, **fields: Any
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """The answer to an order. Raises RunnerError for what TensorFlow refuses, TensorFlowError."""
        self.send(order, tensors, doing=doing, **fields)
        return self.answer(doing=doing)

    def send(self, order: str, tensors: Sequence[Tensor] = (), *, doing: str, **fields: Any) -> None:
        """Sends an order without waiting for its answer; one may be out at a time."""
        _ = self.version
        try:
            send(self._connection, {"order": order, **fields}, tensors)
        except OSError as error:
            raise self._ended(doing) from error

    def answer(self, *, doing: str) -> tuple[dict[str, Any], list[Tensor]]:
        """The answer to what was sent. Raises as `ask`."""
        try:
            message = receive(self._connection)
        except TimeoutError as error:
            self._kill()
            raise TensorFlowError(
                f"Timed out after {self._timeout_s:g} s {doing}",
                hint="Allow more time: --timeout TIME",
            ) from error
        except (ProtocolError, OSError) as error:
            raise self._ended(doing) from error
        if message is None:
            raise self._ended(doing)
        answer, tensors = message
        if "error" in answer:
            raise _runner_error(str(answer["error"]), str(answer.get("kind", "")))
        return answer, tensors

    def close(self) -> str:
        """Ends the process; what it wrote to its standard streams, the end of it where that was much."""
        with contextlib.suppress(OSError):
            self._connection.close()
        self._kill()
        return self.messages()

    def messages(self) -> str:
        """The end of what TensorFlow and the model wrote to standard output and error."""
        return b"".join(self._tail)[-_MAX_ERROR_BYTES:].decode("utf-8", "replace").strip()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        self._reader.join(timeout=1)

    def _drain(self) -> None:
        """Reads the output, so that its writer never waits, and keeps the end."""
        assert self._process.stdout is not None
        with self._process.stdout as stream, contextlib.suppress(OSError, ValueError):
            while piece := os.read(stream.fileno(), 4096):
                self._tail.append(piece)

    def _ended(self, doing: str) -> TensorFlowError:
        """Why the process is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._kill()
        status = self._process.returncode
        if status == -signal.SIGKILL:
            return TensorFlowError(
                f"The model's process was killed while {doing}: the machine may have run out of memory",
                hint=_MEMORY_HINT,
            )
        name = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        messages = self.messages().splitlines()
        return TensorFlowError(
            f"TensorFlow crashed {name} while {doing}" + (f": {messages[-1][:300]}" if messages else ""),
            hint="See its output: --debug. Run it another way: --runner python",
        )


def _runner_error(text: str, kind: str) -> RunnerError:
    """TensorFlow's message as an error; without what it says of kernels, which doesn't help the user."""
    missing = re.search(r"No OpKernel was registered to support Op '(\w+)'", text)
    if missing is None:
        hint = next((hint for words, hint in _HINTS.items() if words in text), "")
        return RunnerError(one_sentence(text), kind=kind, hint=hint)
    return RunnerError(
        f"TensorFlow has no kernel for the op {missing[1]} on this machine",
        kind=kind,
        hint="Run it with the release of TensorFlow that saved it; see: hubcli inspect",
    )


# Where the node was created: for a graph of TensorFlow 1, where it was loaded.
_FRAME = re.compile(r'File "[^"]*", line \d+, in ')


def one_sentence(text: str) -> str:
    """TensorFlow's message in one line, without generated node names and the stack behind it."""
    lines = [line.strip() for line in text.splitlines()]
    known_lines = [
        line
        for line in lines
        if line and not line.startswith(("[[{{node", "Detected at node", "<stack")) and not _FRAME.match(line)
    ]
    text = " ".join(known_lines).removeprefix("Graph execution error: ").partition(" Hint: If you want")[0]
    return re.sub(r"\{\{function_node [^}]*\}\} *| *\[\[\{\{node [^\]]*\]\]|( *\[\[[^\]]*\]\])+$", "", text)[
        :1000
    ]
