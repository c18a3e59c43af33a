"""Where the command lines of tools/behaviour_lines.py run: a cache of 0.1.0, models, values, a server."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import models
from tests import old_cache as old
from tests.server import HubServer, Reply

__all__ = ["workspace"]


@contextmanager
def workspace(folder: Path) -> Iterator[dict[str, str]]:
    """Fills the folder: `work/` to run in, `cache/`, `kagglehub/`; gives the environment."""
    copy = old.OldCache.unpack(folder, locks_of_this_host=False)  # Whose name may be of any length.
    work = folder / "work"
    _write_models(work, copy)
    _write_values(work)
    (work / "notes.txt").write_text("a person's own file\n")
    (work / "models.txt").write_text(
        f"# Two of three\n{old.FETCHED}  # cached\nhttps://models.example/maker/x/1\n"
    )
    (work / "unclear.txt").write_text(f"{old.FETCHED} --sha265=0\n")
    (work / "train.py").write_text("def train(model):\n    model.v.assign(3.0)\n")
    copy.lock_file.rename(work / "models.lock")
    (folder / "home").mkdir()
    with HubServer().running() as server:
        _serve(server)
        yield {
            "HOME": str(folder / "home"),
            "HUBCLI_CACHE_DIR": str(copy.root),
            "KAGGLEHUB_CACHE": str(copy.kagglehub),
            "HUBCLI_MIRRORS": f"https://tfhub.dev={server.url} https://models.example={server.url}",
            "HUBCLI_KAGGLE_ENDPOINT": server.url,
            "HUBCLI_NO_SYNC": "1",
            "no_proxy": "127.0.0.1",
            "COLUMNS": "100",
            "TERM": "dumb",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }


def _write_models(work: Path, copy: old.OldCache) -> None:
    """Models as directories and archives: whole ones, and some that are not."""
    example = models.example_files()
    models.write_tree(work / "model", example)
    models.write_tree(work / "keras", models.tree_files(copy.model(old.KERAS)))
    models.write_tree(work / "tensorflow-1", models.tree_files(copy.model(old.TENSORFLOW_1)))
    shard = "variables/variables.data-00000-of-00001"
    models.write_tree(work / "flipped", {**example, shard: b"\xff" + example[shard][1:]})
    models.write_tree(work / "damaged", {**example, "saved_model.pb": example["saved_model.pb"][:2000]})
    models.write_tree(work / "not-a-model", {"readme.txt": b"nothing"})
    archive = models.archive()
    (work / "model.tar.gz").write_bytes(archive)
    (work / "truncated.tar.gz").write_bytes(archive[:2000])
    with zipfile.ZipFile(work / "network.keras", "w") as file:
        for name in ("metadata.json", "config.json"):
            file.writestr(name, "{}")


def _write_values(work: Path) -> None:
    """Files of values for the example, whose variable is a scalar 2.0."""
    models.write_safetensors(work / "tuned.safetensors", v=[3.0])
    models.write_safetensors(work / "same.safetensors", v=[2.0])
    models.write_safetensors(work / "infinite.safetensors", v=[float("inf")])
    models.write_safetensors(work / "shapes.safetensors", v=[3.0, 4.0])
    models.write_safetensors(work / "names.safetensors", other=[3.0])


def _serve(server: HubServer) -> None:
    archive = models.archive()
    for name in ("new", "pinned", "other"):
        server.serve(f"/maker/{name}/1", Reply(archive, etag='"one"'))
    server.serve("/maker/failing/1", Reply(b"", 500))
    server.serve("/maker/forbidden/1", Reply(b"", 403))
    server.serve("/maker/cut/1", Reply(archive, cut_at=1000))
    server.serve("/maker/checksum/1", Reply(archive, headers={"x-goog-hash": f"md5={'A' * 22}=="}))
    server.serve("/maker/garbage/1", b"not an archive")
    server.serve("/maker/not-a-model/1", models.pack({"readme.txt": b"nothing"}))
    server.serve("/maker/outside/1", models.pack({"../outside": b"x"}, prefix=""))
