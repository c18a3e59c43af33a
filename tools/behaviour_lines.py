"""The command lines whose output and exit status tools/compare_behaviour.py compares.

They run one after the other; scenes that change a cache have one of their own, the others share one. A line
that begins with `*` runs in each form of output: as it is, with `-q`, with `--json`; with `+` not with `-q`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["WORKSPACES", "Line", "lines"]

_HELP = """
--help
-h
help
fetch --help
ls --help
inspect --help
verify --help
export --help
finetune-export --help
gc --help
rm --help
pin --help
unpin --help
doctor --help
help ls
help lss
--version
-V
"""

_USAGE = """
fetsh
cache ls
pull example://mul/1
version
--nope
ls --limt 3
+ ls --sort sise
ls --sort size:up
+ ls --filter 'size>much'
ls --filter 'size>2'
ls --filter colour=red
ls --limit -1
ls --limit x
ls --cache-dir gs://bucket
ls --color sometimes
gc --max-size much
+ gc --older-than 2
gc --keep-versions 0
gc --cache-dir /
inspect
inspect model keras
inspect model --fail-on grave
inspect model --depth 0
export model
export model out --format zip
export model out --layout shelf
finetune-export model
finetune-export model out
finetune-export model out --weights tuned.safetensors --method guess
* fetch
fetch --jobs 0 example://mul/1
fetch --timeout soon example://mul/1
fetch --mirror nonsense example://mul/1
fetch a/b/1 c/d/1 --from model
fetch --locked example://mul/1
fetch -r unclear.txt
fetch -r absent.txt
pin
unpin
rm
verify --nope
doctor --timeout soon
"""

_HANDLES = """
+ fetch tfhub.dev/x
fetch ''
fetch google/nnlm-en-dim50/2
fetch https://www.kaggle.com/datasets/a/b
fetch https://www.kaggle.com/models/a/b
fetch example://none/1
inspect tfhub.dev/x
verify tfhub.dev/x
pin tfhub.dev/x
rm tfhub.dev/x
"""

_LISTING = """
* ls
+ ls '*text*'
ls '*text*' --sort size --limit 1 --json
ls --sort used:desc -q
ls --sort fetched
ls --filter kind=Keras
ls --filter 'size>20kB' -q
ls --filter state!=ok --json
ls --path https://tfhub.dev/maker/text/1
ls --path
ls --size
ls -q --size
* ls '*nothing*'
ls --cache-dir nowhere
ls --cache-dir nowhere --json
"""

_INSPECTING = """
* inspect https://tfhub.dev/maker/text/1
* inspect keras
+ inspect tensorflow-1
+ inspect http://models.example/maker/of-tensorflow-hub/1
inspect model.tar.gz
inspect keras --signatures
inspect keras --functions --all
inspect keras --variables --json
inspect keras --assets --ops
inspect keras --tree
inspect keras --tree --depth 1
inspect keras --tag-set serve --signatures
inspect keras --tag-set serve,gpu
* inspect model --check
* inspect keras --check
inspect tensorflow-1 --check
* inspect model --scan
inspect model --scan --fail-on info
+ inspect model --diff model
* inspect model --diff keras
inspect model --svg model.svg -q
* inspect https://models.example/maker/new/1
inspect https://models.example/maker/new/1 --fetch -q
inspect https://models.example/maker/absent/1
inspect --offline https://models.example/maker/absent/1
+ inspect damaged
+ inspect not-a-model
inspect truncated.tar.gz
inspect absent
inspect notes.txt
"""

_VERIFYING = """
* verify
verify --quick
* verify https://tfhub.dev/maker/text/1 https://tfhub.dev/maker/absent/1
* verify model
verify model.tar.gz
* verify damaged
verify flipped
+ verify not-a-model
verify truncated.tar.gz
verify absent
verify --repair --offline flipped
"""

_FETCHING = """
* fetch https://tfhub.dev/maker/text/1
fetch -q https://tfhub.dev/maker/text/1 https://tfhub.dev/maker/text/2 example://mul/1
* fetch --jobs 1 --dry-run https://models.example/maker/new/1 https://tfhub.dev/maker/text/1
fetch --dry-run --json model
* fetch https://models.example/maker/new/1
fetch --force https://models.example/maker/new/1
fetch --json --pin https://models.example/maker/pinned/1
fetch --refresh https://tfhub.dev/maker/newest --offline
+ fetch --from model.tar.gz https://models.example/maker/imported/1
fetch --from model https://models.example/maker/imported/2
fetch --from - https://models.example/maker/imported/3 < model.tar.gz
fetch model.tar.gz
+ fetch model
fetch --jobs 1 -r models.txt --offline
fetch --jobs 1 -r - --offline < models.txt
* fetch --locked --jobs 1 --offline -r models.lock
fetch -q --lock new.lock https://tfhub.dev/maker/text/1
fetch --kagglehub https://www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim128/1
fetch https://www.kaggle.com/models/google/nnlm/tensorFlow2/en-dim128/4
+ fetch --offline https://models.example/maker/other/1
+ fetch https://models.example/maker/absent/1
fetch --retries 0 https://models.example/maker/failing/1
fetch https://models.example/maker/forbidden/1
fetch --retries 0 https://models.example/maker/cut/1
+ fetch --retries 0 https://models.example/maker/checksum/1
fetch https://models.example/maker/garbage/1
fetch https://models.example/maker/not-a-model/1
fetch https://models.example/maker/outside/1
+ fetch --sha256 0000000000000000000000000000000000000000000000000000000000000000 example://mul/1 --force
fetch --max-unpacked 1kB https://models.example/maker/other/1
fetch --max-members 2 https://models.example/maker/other/1
* fetch --jobs 1 tfhub.dev/x https://models.example/maker/absent/1 example://mul/1
fetch absent.tar.gz
fetch truncated.tar.gz
fetch --retries 0 --mirror https://models.example=http://127.0.0.1:9 https://models.example/maker/other/1
fetch --cache-dir notes.txt example://mul/1
+ fetch --cache-dir notes.txt/cache example://mul/1
"""

_EXPORTING = """
* export https://tfhub.dev/maker/text/1 out --force
export https://tfhub.dev/maker/text/1 out
export model out.tar
export model out.tar.gz --json
export keras archive --format tar.gz
export --layout serving https://tfhub.dev/maker/text/2 served --json
export --layout serving model served --name half --version 3
export --layout hub https://tfhub.dev/maker/text/2 hub
export --layout hub model hub
export model out.zip
export damaged out2
+ export absent out2
export --offline https://tfhub.dev/maker/absent/1 out2
export model notes.txt/out
"""

_FINETUNING = """
* finetune-export model tuned --weights tuned.safetensors --method rewrite --force
finetune-export model tuned --weights tuned.safetensors --method rewrite
* finetune-export model --weights tuned.safetensors --dry-run
finetune-export model same --weights same.safetensors --method rewrite
finetune-export model same --weights same.safetensors --method rewrite --allow-unchanged -q
finetune-export model infinite --weights infinite.safetensors --method rewrite
finetune-export model wrong --weights shapes.safetensors --method rewrite
+ finetune-export model wrong --weights names.safetensors --method rewrite
finetune-export model wrong --weights absent.safetensors
finetune-export model wrong --weights notes.txt
finetune-export absent wrong --weights tuned.safetensors
"""

_CHANGING = """
* pin https://tfhub.dev/maker/text/1
pin https://tfhub.dev/maker/text/1 https://tfhub.dev/maker/absent/1
* unpin https://tfhub.dev/maker/text/1
unpin '*nothing*'
pin '*kaggle*' --json
rm https://tfhub.dev/maker/text/1
* rm '*text*' --dry-run
rm -y https://tfhub.dev/maker/text/2
rm -y --force https://tfhub.dev/maker/text/2 --json
rm -y https://tfhub.dev/maker/text/1
+ rm -y https://tfhub.dev/maker/absent/1
* gc --dry-run
* gc --dry-run --older-than 50d
gc --dry-run --keep-versions 1 --grace 0s
* gc --dry-run --max-size 1kB --grace 0s
gc --dry-run --min-free 900TB --grace 0s -q
gc --dry-run --broken
gc --dry-run --older-than 50d '*maker*' --json
gc --older-than 50d
gc --keep-partial 99999d
gc --json
gc
gc --older-than 50d -y -q
gc --older-than 50d -y --json
ls
"""

# What stands before the line runs in its process, so that it ends with a status of its own.
_BEFORE = {
    "internal": "import os; os.scandir = None",
    "interrupted": "import os, signal; os.scandir = lambda *_: signal.raise_signal(signal.SIGINT)",
    "without-tensorflow": "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None",
    "closed-output": "import os; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)",
}
_STATUSES = """
internal: ls --json
interrupted: ls
interrupted: ls --json
without-tensorflow: export network.keras network
without-tensorflow: export network.keras network --json
without-tensorflow: finetune-export model trained --train train.py:train
closed-output: ls --json
closed-output: ls
closed-output: inspect model
"""

_DOCTOR = """
doctor --json
"""

_SCENES = {
    "help": _HELP, "usage": _USAGE, "handles": _HANDLES, "listing": _LISTING, "inspecting": _INSPECTING,
    "verifying": _VERIFYING, "fetching": _FETCHING, "exporting": _EXPORTING, "finetuning": _FINETUNING,
    "changing": _CHANGING, "statuses": _STATUSES, "doctor": _DOCTOR,
}  # fmt: skip


WORKSPACES = ("shared", "fetching", "changing")
# Options by which a command that reads writes something.
_WRITES = {"--fetch", "--repair", "--svg"}
_FORMS = {"* ": ("", " -q", " --json"), "+ ": ("", " --json")}


@dataclass(frozen=True, slots=True)
class Line:
    """A command line; `before` is Python that its process runs first, `stdin` a file of the directory."""

    scene: str
    text: str
    words: tuple[str, ...]
    stdin: str | None = None
    before: str = ""

    @property
    def workspace(self) -> str:
        """Lines of the same one run in the same directory, on the same cache."""
        return self.scene if self.scene in WORKSPACES else "shared"

    @property
    def only_reads(self) -> bool:
        """Whether it fails at once, or reads alone: it leaves all files as they are, and its process too."""
        if self.before or self.stdin or _WRITES.intersection(self.words):
            return False
        return (
            self.scene in ("help", "usage", "handles")
            or self.words[0] in ("ls", "inspect", "verify")
            or "--dry-run" in self.words
        )

    @property
    def name(self) -> str:
        """By which it is known, in records and in what is printed."""
        return f"{self.scene}: {self.text}"


def lines() -> Iterator[Line]:
    """Every line of every scene, in order."""
    for scene, table in _SCENES.items():
        for text in table.strip().splitlines():
            forms = _FORMS.get(text[:2])
            for form in forms or ("",):
                yield _line(scene, (text[2:] if forms else text) + form)


def _line(scene: str, text: str) -> Line:
    before, separator, rest = text.partition(": ")
    code = _BEFORE.get(before, "") if separator else ""
    words, _, stdin = (rest if code else text).partition(" < ")
    return Line(scene, text, tuple(shlex.split(words)), stdin or None, code)
