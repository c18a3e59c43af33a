"""What TensorFlow says in an exception, without the frames that it writes into its messages.

An error of a graph begins with a line without news ("Graph execution error:"),
tells where the op was traced, and says what is wrong behind that.
"""

from __future__ import annotations

import re

__all__ = ["first_line", "frames_in", "one_line"]

# AutoGraph puts the line of code below, one step further in.
_FRAME = re.compile(r'^( *)File "(.+)", line (\d+), in .*(?:\n\1 +\S.*)?$', re.MULTILINE)
_NO_NEWS = re.compile(
    r"^ *(?:in user code:|Graph execution error:|Detected at node .*|<stack traces .*>|\[\[\{\{node .*)$",
    re.MULTILINE,
)


def first_line(error: BaseException) -> str:
    r"""The first line of the message that says something, "" where none does.

    >>> first_line(ValueError("Graph execution error:\n\nNo such file\n\t [[{{node table}}]]"))
    'No such file'
    """
    return next(iter(_news(error)), "")


def one_line(error: BaseException) -> str:
    """The whole message in one line."""
    return " ".join(_news(error))


def frames_in(error: BaseException) -> list[tuple[str, int]]:
    """File and line of the frames in the message, the innermost last."""
    return [(file, int(line)) for _, file, line in _FRAME.findall(str(error))]


def _news(error: BaseException) -> list[str]:
    lines = _NO_NEWS.sub("", _FRAME.sub("", str(error).expandtabs(1))).splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]
