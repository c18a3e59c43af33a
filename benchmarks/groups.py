"""The rows of `benchmarks.rows`, in groups that take turns: the commands, their peers and their bounds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.floors import copying_after, hashing, parsing, rewriting
from benchmarks.measure import Contender, tool_beside
from benchmarks.models import is_built
from benchmarks.row import Group, Row
from benchmarks.run import build_models, one_input
from hubcli.cache.layout import INDEX_NAME

__all__ = ["QUIET_TENSORFLOW", "ROUND_TRIP_MS", "Groups"]

QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3"}
ROUND_TRIP_MS = 80
_EXAMPLE = "example://mul/1"
_LARGE = "https://tfhub.dev/maker/large/1"
_RULES = ("--older-than", "300d", "--keep-versions", "2", "--max-size", "10MB", "-q")
_RESOLVE = "import sys, tensorflow_hub as hub; hub.resolve(sys.argv[1])"
_TRAIN = """
def train(obj):
    for variable in obj.trainable_variables:
        variable.assign_add(variable * 0.001 + 0.001)
"""
_BY_HAND = """
import sys, tensorflow as tf
sys.path.insert(0, sys.argv[3])
from train import train
obj = tf.saved_model.load(sys.argv[1])
train(obj)
tf.saved_model.save(obj, sys.argv[2], signatures=obj.signatures)
"""


class Groups:
    """All groups, for one interpreter and a directory with what they read."""

    def __init__(self, python: Path, inputs: Path, work: Path) -> None:
        self.python = python
        self.inputs = inputs
        self.work = work
        self.hubcli = tool_beside(python, "hubcli")

    def of_hosts(self, port: int, far_port: int) -> dict[str, Callable[[], Group]]:
        """What makes each group, by its name: of nginx at the port, and of a delaying proxy before it."""
        host, slow = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/slow"
        return {
            "start": self.starts,
            "help": self.helps,
            "inspect": self.inspections,
            "inspect of a host": lambda: self.remote_inspections(slow),
            "large caches": self.listings,
            "larger caches": self.longer_listings,
            "verify": self.verifications,
            "fetch": lambda: self.fetches(host),
            "fetch, 20 MB/s a connection": lambda: self.slow_fetches(slow),
            "fetch on 2 cores": lambda: self.pinned_fetches(host, 2),
            "fetch on 4 cores": lambda: self.pinned_fetches(host, 4),
            "fetch on 8 cores": lambda: self.pinned_fetches(host, 8),
            "fetch of an export": lambda: self.stored_fetches(host),
            "fetch of 4 GB": lambda: self.huge_fetches(host),
            "fetch of several": lambda: self.several_fetches(host),
            f"fetch, {ROUND_TRIP_MS} ms away": lambda: self.far_fetches(f"http://127.0.0.1:{far_port}"),
            "run": self.runs,
            "export": self.exports,
            "export, not synced": self.unsynced_exports,
            "finetune-export, rewrite": self.rewrites,
            "finetune-export": self.trainings,
        }

    def starts(self) -> Group:
        """Commands that touch no model, and a cached fetch."""
        cache = ("--cache-dir", str(self.work / "small"))
        self._do("fetch", "-q", _EXAMPLE, *cache)
        peer = Contender("import typer", lambda _: [str(self.python), "-c", "import typer"])
        lines = {
            "ls": ("ls",),
            "pin": ("pin", _EXAMPLE),
            "rm of nothing": ("rm", "-y", "https://tfhub.dev/nobody/nothing/1"),
            "usage error": ("ls", "--sort", "colour"),
            "fetch -q, cached": ("fetch", "-q", _EXAMPLE),
        }
        statuses = {"rm of nothing": 4, "usage error": 2}
        rows = [
            Row(
                name,
                self._fixed(name, *line, *cache, exit_status=statuses.get(name, 0)),
                peer.name,
                1.6 if "cached" in name else 1.4,
            )
            for name, line in lines.items()
        ]
        return Group(15, rows, [peer])

    def helps(self) -> Group:
        """Help, which loads rich."""
        lines = [" ".join((name, "--help")).strip() for name in ("", "fetch", "finetune-export", "run")]
        return Group(9, [Row(line, self._fixed(line, *line.split()), "", 0.15, "seconds") for line in lines])

    def inspections(self) -> Group:
        """Models that Keras 2 saved; the peer imports TensorFlow."""
        rows, peers = [], []
        for model, bound in (("resnet50", 40), ("mobilenet_v2", 32)):
            path = str(self.inputs / model)
            show = [tool_beside(self.python, "saved_model_cli"), "show", "--dir", path, "--all"]
            peers.append(_quiet(f"saved_model_cli show --all, {model}", show))
            own = self._fixed(f"inspect, {model}", "inspect", path)
            rows.append(Row(own.name, own, peers[-1].name, bound, "speed"))
        floor = parsing(self.python, "typer and protobuf alone, resnet50", self.inputs / "resnet50")
        rows.append(Row("inspect, resnet50, by itself", rows[0].own, "", 0.18, "seconds"))
        rows.append(Row("inspect, resnet50, against its floor", rows[0].own, floor.name))
        return Group(3, rows, [*peers, floor])

    def remote_inspections(self, host: str) -> Group:
        """An archive of ours on a host with 20 MB/s a connection, against a fetch of it."""
        url, archive = f"{host}/ours.tar.gz", self.inputs / "www/ours.tar.gz"
        if not archive.exists():
            self._do("export", "-q", str(self.inputs / "resnet50"), str(archive))
        fetch = self._fetching("fetch of the same", url)
        own = Contender("inspect, not cached", lambda _: [self.hubcli, "inspect", url], _cache)
        return Group(3, [Row(own.name, own, fetch.name, 1.0)], [fetch])

    def listings(self) -> Group:
        """A cache of 10,000 models and 70,000 links, by its index of records, and before it has one."""
        root = self.inputs / "listed"
        first = self._fixed("ls, first", "ls", "--cache-dir", str(root))

        def without_index(folder: Path) -> Sequence[str]:
            (root / INDEX_NAME).unlink(missing_ok=True)
            return first.command(folder)

        return self._listings(
            root, "10,000", 5, 0.5, 0.8, Row("ls of 10,000, first", replace(first, command=without_index))
        )

    def longer_listings(self) -> Group:
        """A cache ten times as large, which takes ten minutes to build: only where that was asked for."""
        group = self._listings(self.inputs / "listed-100000", "100,000", 3, 5.0, 8.0)
        is_there = (self.inputs / "listed-100000.done").exists()
        return group if is_there else replace(group, skipped="needs --with-100000, which builds its cache")

    def _listings(
        self, root: Path, count: str, rounds: int, ls_s: float, collection_s: float, *more: Row
    ) -> Group:
        cache = ("--cache-dir", str(root))
        collection = ("gc", "--dry-run", *_RULES, *cache)
        return Group(
            rounds,
            [
                Row(f"ls of {count}", self._fixed("ls", "ls", *cache), "", ls_s, "seconds"),
                *more,
                Row(f"ls --json of {count}", self._fixed("ls --json", "ls", "--json", *cache)),
                Row(f"gc --dry-run of {count}", self._fixed("gc", *collection), "", collection_s, "seconds"),
            ],
        )

    def verifications(self) -> Group:
        """A model of 1 GiB in the page cache."""
        caches = {}
        for shards in (1, 2):
            caches[shards] = ("--cache-dir", str(self.inputs / f"cache-{shards}"))
            source = str(self.inputs / f"large-{shards}")
            self._do("fetch", "-q", _LARGE, "--from", source, *caches[shards])
        files = [str(path) for path in sorted((self.inputs / "large-1").rglob("*")) if path.is_file()]
        cat = Contender("cat", lambda _: ["sh", "-c", 'exec cat "$@" > /dev/null', "cat", *files])
        has_cores = len(os.sched_getaffinity(0)) > 1
        forms: list[tuple[str, tuple[str, ...], float | None]] = [
            ("verify DIR", (str(self.inputs / "large-1"),), 2.0),
            ("verify --quick", ("--quick", _LARGE, *caches[1]), 2.0),
            ("verify, SHA-256, one shard", (_LARGE, *caches[1]), 6.0 if has_cores else None),
            ("verify, SHA-256, two shards", (_LARGE, *caches[2]), 5.0 if has_cores else None),
        ]
        rows = [Row(name, self._fixed(name, "verify", *line), cat.name, bound) for name, line, bound in forms]
        floors, words = [], {1: "one shard", 2: "two shards"}
        for shards, hashed in zip(words, rows[-2:], strict=True):
            data = sorted((self.inputs / f"large-{shards}").rglob("*.data-*"))
            floors.append(hashing(self.python, f"typer and SHA-256 alone, {words[shards]}", data))
            rows.append(Row(f"{hashed.name}, against its floor", hashed.own, floors[-1].name, 1.1))
        return Group(5, rows, [cat, *floors])

    def fetches(self, host: str) -> Group:
        """A model of 400 MB from loopback, synced to the disk at the end, as are the peers."""
        url = f"{host}/model.tar.gz"
        own, unsynced = self._fetching("fetch", url), self._fetching("fetch --no-sync", url, "--no-sync")
        curl, pigz = (
            _pipeline(f"curl | {words}, synced", words, url) for words in ("tar xz", "pigz -dc | tar x")
        )
        resolve = Contender(
            "hub.resolve",
            lambda _: [str(self.python), "-c", _RESOLVE, url],
            lambda folder: {"TFHUB_CACHE_DIR": str(folder), **QUIET_TENSORFLOW},
        )
        rows = [
            Row("fetch, against curl and tar", own, curl.name, 0.45),
            Row("fetch, against hub.resolve", own, resolve.name, 0.23),
            Row("fetch, memory", own, "", 80, "megabytes"),
            Row("fetch --no-sync", unsynced),
            Row("fetch, against --no-sync", own, unsynced.name, 1.1),
        ]
        missing = _missing("pigz")
        rows.insert(1, Row("fetch, against pigz", own, pigz.name, 0.85, skipped=missing))
        return Group(3, rows, [curl, *([] if missing else [pigz]), resolve])

    def slow_fetches(self, host: str) -> Group:
        """The peers download without unpacking."""
        url = f"{host}/model.tar.gz"
        own = self._fetching("fetch", url)
        download = ["aria2c", "-q", "-x8", "-s8", "-k1M", "--file-allocation=none"]
        curl = Contender("curl", lambda folder: ["curl", "-sfo", f"{folder}/x", url])
        aria2c = Contender("aria2c -x8", lambda folder: [*download, "-d", str(folder), "-o", "x", url])
        missing = _missing("aria2c")
        rows = [
            Row("fetch, against curl", own, curl.name, 0.16),
            Row("fetch, against aria2c", own, aria2c.name, 1.15, skipped=missing),
        ]
        return Group(1, rows, [curl, *([] if missing else [aria2c])], warms_up=False)

    def pinned_fetches(self, host: str, cores: int) -> Group:
        """All on so many cores, where the machine has them; rapidgzip inflates one stream on all of them."""
        url, here = f"{host}/model.tar.gz", sorted(os.sched_getaffinity(0))
        pin = ["taskset", "-c", ",".join(map(str, here[:cores]))]
        own = Contender("fetch", lambda _: [*pin, self.hubcli, "fetch", "-q", url], _cache)
        curl = _pipeline("curl | tar xz, synced", "tar xz", url, pin)
        words = f"rapidgzip -dc -P {cores} | tar x"
        rapidgzip = _pipeline(f"curl | {words}, synced", words, url, pin)
        missing = _missing("rapidgzip")
        skipped = f"the machine has {len(here)} cores" if len(here) < cores else _missing("taskset")
        name = f"fetch on {cores} cores"
        rows = [
            Row(name, own, curl.name, 0.45),
            Row(f"{name}, against rapidgzip", own, rapidgzip.name, skipped=missing),
        ]
        return Group(2, rows, [curl, *([] if missing else [rapidgzip])], skipped)

    def stored_fetches(self, host: str) -> Group:
        """An archive of ours with 400 MB: its blocks are stored, which costs no inflating."""
        archive = self.inputs / "www/export.tar.gz"
        if not archive.exists():
            self._do("export", "-q", str(self.inputs / "medium"), str(archive))
        url = f"{host}/{archive.name}"
        curl = _pipeline("curl | tar xz, synced", "tar xz", url)
        return Group(2, [Row("fetch of an export", self._fetching("fetch", url), curl.name, 0.45)], [curl])

    def huge_fetches(self, host: str) -> Group:
        """4 GB: memory does not grow with the model."""
        own = self._fetching("fetch", f"{host}/huge.tar.gz")
        return Group(1, [Row("fetch of 4 GB, memory", own, "", 80, "megabytes")], warms_up=False)

    def several_fetches(self, host: str) -> Group:
        """Ten models of 40 MB, against one of 400 MB."""
        urls = [f"{host}/part-{number}.tar.gz" for number in range(10)]
        single = self._fetching("one of 400 MB", f"{host}/model.tar.gz")
        names = {jobs: f"ten of 40 MB, --jobs {jobs}" for jobs in (1, 2, 4)}
        rows = [
            Row(name, self._fetching(name, *urls, "--jobs", str(jobs)), single.name)
            for jobs, name in names.items()
        ]
        rows.append(Row("ten of 40 MB, --jobs 4, memory", rows[-1].own, "", 100, "megabytes"))
        return Group(2, rows, [single])

    def far_fetches(self, host: str) -> Group:
        """A model of 40 MB from a host with a round trip of 80 ms, over several connections."""
        url = f"{host}/part-0.tar.gz"
        curl = Contender("curl, without unpacking", lambda folder: ["curl", "-sfo", f"{folder}/x", url])
        names = {count: f"fetch, --connections {count}" for count in (1, 8, 32)}
        rows = [
            Row(name, self._fetching(name, url, "--connections", str(count)), curl.name)
            for count, name in names.items()
        ]
        return Group(2, rows, [curl])

    def runs(self) -> Group:
        """One input of a tiny model."""
        if not is_built(self.inputs, "tiny"):
            build_models(self.python, self.inputs, with_resnet=False)
        own, _, peer = one_input(self.python, self.inputs, self.work, "tiny", (1, 1))
        rows = [
            Row("run, tiny model", own, peer.name, 4.5, "speed"),
            Row("run, tiny model, by itself", own, "", 0.6, "seconds"),
        ]
        return Group(3, rows, [peer])

    def exports(self) -> Group:
        """A directory of 1 GiB, synced."""
        source = str(self.inputs / "large-1")
        script = 'cp -r "$1" "$2/out" && find "$2" -exec sync {} +'
        copy = Contender("cp -r, synced", lambda folder: ["sh", "-c", script, "sh", source, str(folder)])
        own = Contender("export", lambda folder: [self.hubcli, "export", "-q", source, str(folder / "out")])
        return Group(3, [Row("export DIR", own, copy.name, 1.3)], [copy])

    def unsynced_exports(self) -> Group:
        """Without sync: for 400 MB the start takes as long as the copy, for 2 GiB an eighth of it."""
        rows, peers, small = [], [], self.work / "example"
        self._do("export", "-q", _EXAMPLE, str(small), "--cache-dir", str(self.work / "small"))
        for size, model in (("400 MB", "medium"), ("2 GiB", "huge")):
            source = str(self.inputs / model)
            command = [self.hubcli, "export", "-q", "--no-sync", source]
            peers.append(_copying(f"cp -r, {size}", source))
            own = Contender(f"export --no-sync, {size}", _into(*command))
            rows.append(Row(own.name, own, peers[-1].name, 1.3))
            peers.append(copying_after(self.hubcli, f"its start, then cp -r, {size}", small, Path(source)))
            rows.append(Row(f"{own.name}, against its parts", own, peers[-1].name, 1.1))
        start = Contender("export --no-sync, its start", _into(*command[:-1], str(small)))
        return Group(3, [*rows, Row(start.name, start)], peers)

    def rewrites(self) -> Group:
        """ResNet50, each number changed, without TensorFlow; `cp -r` of it imports nothing."""
        model, tuned = str(self.inputs / "resnet50"), self.inputs / "resnet50-tuned"
        if not tuned.exists():
            tune = [str(self.python), "-m", "benchmarks.finetune_export", "--run", "tune", model]
            subprocess.run([*tune, str(tuned)], check=True)
        words = ("finetune-export", model, "-q", "--weights", str(tuned), "--method", "rewrite")
        own = Contender("finetune-export --method rewrite", _into(self.hubcli, *words))
        copy = _copying("cp -r", model)
        parts = rewriting(self.python, "imports, cp -r twice, sync and read-back", words, self.work)
        rows = [Row(own.name, own, copy.name), Row(f"{own.name}, against its parts", own, parts.name, 1.0)]
        return Group(3, rows, [copy, parts])

    def trainings(self) -> Group:
        """ResNet50, each number changed; by hand means loaded, changed and saved, without a check."""
        scripts, model = self.work / "scripts", str(self.inputs / "resnet50")
        scripts.mkdir()
        (scripts / "train.py").write_text(_TRAIN)
        function = f"{scripts / 'train.py'}:train"
        own = ["finetune-export", "-q", model]
        training = Contender(
            "finetune-export --train",
            lambda folder: [self.hubcli, *own, str(folder / "out"), "--train", function],
            lambda _: QUIET_TENSORFLOW,
        )
        by_hand = Contender(
            "by hand",
            lambda folder: [str(self.python), "-c", _BY_HAND, model, str(folder / "out"), str(scripts)],
            lambda _: QUIET_TENSORFLOW,
        )
        return Group(1, [Row(training.name, training, by_hand.name, 1.15)], [by_hand], warms_up=False)

    def _do(self, *arguments: str) -> None:
        subprocess.run([self.hubcli, *arguments], check=True, stdout=subprocess.DEVNULL)

    def _fixed(self, name: str, *arguments: str, exit_status: int = 0) -> Contender:
        return Contender(name, lambda _: [self.hubcli, *arguments], exit_status=exit_status)

    def _fetching(self, name: str, *arguments: str) -> Contender:
        return Contender(name, lambda _: [self.hubcli, "fetch", "-q", *arguments], _cache)


def _cache(folder: Path) -> Mapping[str, str]:
    return {"HUBCLI_CACHE_DIR": str(folder)}


def _quiet(name: str, command: Sequence[str]) -> Contender:
    return Contender(name, lambda _: command, lambda _: QUIET_TENSORFLOW)


def _missing(program: str) -> str:
    """Why rows with the program as a peer aren't measured; "" where it is installed."""
    return "" if shutil.which(program) else f"{program} is not installed"


def _into(*command: str) -> Callable[[Path], Sequence[str]]:
    """The command with a fresh directory as its last argument."""
    return lambda folder: [*command, str(folder / "out")]


def _copying(name: str, source: str) -> Contender:
    return Contender(name, _into("cp", "-r", source))


def _pipeline(name: str, unpacker: str, url: str, before: Sequence[str] = ()) -> Contender:
    script = f'set -o pipefail; curl -sf "$0" | {unpacker} -C "$1" && find "$1" -exec sync {{}} +'
    return Contender(name, lambda folder: [*before, "bash", "-c", script, url, str(folder)])
