"""`info`: what a publisher says, on the host and in the model."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.info import info
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, NotFoundError, OfflineError
from hubcli.exporting.hub_index import IndexEntry, index_bytes
from hubcli.publishing import readme
from hubcli.publishing.readme import Readme
from tests import models
from tests.cases import each_of
from tests.fake_kaggle import FakeKaggle
from tests.publishing.conftest import kaggle as kaggle
from tests.publishing.publisher import Listener
from tests.server import HubServer

NAME = "google/nnlm/tensorFlow2/en-dim128"
PAGE = f"https://www.kaggle.com/models/{NAME}"
CARD = b"---\nlicense: 'mit'\ntitle: My model\ntags:\n  - x\n---\n# My model\n\nIt \x1b[31mcomputes\r\n.\n"


def archive_of(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_kaggle_tells_description_license_and_usage(kaggle: FakeKaggle, settings: Settings) -> None:
    facts = {
        "title": "NNLM",
        "subtitle": "Text embedding",
        "description": "# Overview\n\nTrained.",
        "votes": 5,
    }
    kaggle.add(
        NAME, {"a": b"123"}, {"a": b"12"}, model=facts,
        usage="hub.load", overview="Small", fine_tunable=True, training_data=["Wikipedia"],
        overrides={"externalBaseModelUrl": "https://b.example", "downloadCount": 9},
    )  # fmt: skip
    at_fake = kaggle.settings(settings)
    found = info(NAME, at_fake)
    assert (found.title, found.subtitle, found.description) == (
        "NNLM",
        "Text embedding",
        "# Overview\n\nTrained.",
    )
    assert (found.license, found.usage, found.overview) == ("Apache 2.0", "hub.load", "Small")
    assert (found.is_fine_tunable, found.training_data) == (True, ("Wikipedia",))
    assert (found.version, found.size_bytes, found.votes, found.downloads) == ("2", 2, 5, 9)
    assert (found.base_model_url, found.sources) == ("https://b.example", (PAGE,))
    assert (info(f"{NAME}/1", at_fake).version, info(f"{NAME}/1", at_fake).size_bytes) == ("1", None)
    assert info(NAME, replace(at_fake, offline=True)).description == found.description


def test_a_cached_model_adds_its_readme_and_answers_offline_by_it_alone(
    kaggle: FakeKaggle, settings: Settings, tmp_path: Path
) -> None:
    kaggle.add(NAME, {"a": b"1"}, model={"title": "NNLM"}, license_name="")
    files = {**models.example_files(), "README.md": CARD}
    archive = archive_of(files, tmp_path / "model.tar.gz")
    path = fetch(f"{PAGE}/1", settings, FetchOptions(local=str(archive))).path
    offline = info(f"{PAGE}/1", replace(kaggle.settings(settings), offline=True))
    assert (offline.title, offline.license, offline.path) == ("My model", "mit", str(path))
    found = info(f"{PAGE}/1", kaggle.settings(settings))
    assert (found.title, found.license, found.readme) == ("NNLM", "mit", offline.readme)
    assert found.sources == (PAGE, str(path))
    assert info(path.name, kaggle.settings(settings)).title == "NNLM"  # By its key.


def test_a_cached_model_that_its_host_denies_is_told_by_its_readme(
    kaggle: FakeKaggle, settings: Settings, tmp_path: Path
) -> None:
    archive = archive_of({**models.example_files(), "README.md": CARD}, tmp_path / "model.tar.gz")
    fetch(f"{PAGE}/1", settings, FetchOptions(local=str(archive)))
    listener = Listener()
    assert info(f"{PAGE}/1", kaggle.settings(settings), listener).title == "My model"
    assert [note.partition(":")[0] for note in listener.notes] == ["Showing only what the model itself tells"]


def test_a_directory_and_an_archive_tell_by_their_readme(settings: Settings, tmp_path: Path) -> None:
    expected = Readme("README.md", "# My model\n\nIt [31mcomputes\n.", "My model", "mit")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "readme.txt").write_bytes(b"less")
    (folder / "README.md").write_bytes(CARD)
    files = {
        "saved_model.pb": b"x" * 100_000,
        "readme": b"less",
        "README.md": CARD,
        "assets/README.md": b"no",
    }
    places = [folder]
    for prefix in ("", "model/"):
        named = {f"{prefix}{name}": content for name, content in files.items()}
        places.append(archive_of(named, tmp_path / f"{len(places)}.tar.gz"))
    for place in places:
        found = info(str(place), settings)
        assert found.readme == expected
        assert found.path == str(place)
        assert (found.title, found.license, found.sources) == ("My model", "mit", (str(place),))


def test_a_readme_is_read_up_to_a_bound_and_never_through_a_fifo(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme, "MAX_README_BYTES", 1000)
    archive = archive_of({"README.md": b"a" * 5000}, tmp_path / "large.tar.gz")
    (tmp_path / "README.md").write_bytes(b"b" * 5000)
    assert [len(info(str(place), settings).readme.text) for place in (archive, tmp_path)] == [1000, 1000]  # type: ignore[union-attr]
    (tmp_path / "README.md").unlink()
    os.mkfifo(tmp_path / "README.md")
    with pytest.raises(NotFoundError, match=r"no README\.md"):
        info(str(tmp_path), settings)


def test_a_readme_of_the_assets_is_not_the_models(settings: Settings, tmp_path: Path) -> None:
    archive = archive_of({"saved_model.pb": b"x", "assets/README.md": CARD}, tmp_path / "model.tar.gz")
    with pytest.raises(NotFoundError):
        info(str(archive), settings)


@each_of(
    "content, text",
    [
        (b"", ""),
        (b"\xff\xfe\x00", "\ufffd\ufffd"),
        (b"---\nlicense: x", "---\nlicense: x"),
        (b"---\n" + b"license: a\n" * 1000 + b"---\nB", "B"),
        (b"\n\n# A\n\n", "# A"),
    ],
)
def test_what_a_readme_holds_is_text(content: bytes, text: str) -> None:
    assert Readme.parse("README.md", content).text == text


def test_a_host_with_an_index_tells_what_it_has(settings: Settings, server: HubServer) -> None:
    entry = IndexEntry("maker/model", "2", 5, 9, None, 1e9, "TF2", "A model", "MIT")
    server.serve("/index.json", index_bytes([replace(entry, version="1", model_bytes=7), entry]))
    for handle, version, size in (("maker/model", "2", 9), ("maker/model/1", "1", 7)):
        found = info(f"{server.url}/{handle}", settings)
        assert (found.title, found.license, found.version, found.size_bytes) == (
            "A model",
            "MIT",
            version,
            size,
        )
        assert found.sources == (server.url,)


def test_where_nothing_is_known_it_says_so(
    kaggle: FakeKaggle, settings: Settings, server: HubServer, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    for target in ("example://mul/1", str(tmp_path / "model"), f"{server.url}/maker/model/1"):
        with pytest.raises(NotFoundError):
            info(target, settings)
    with pytest.raises(OfflineError):
        info(NAME, replace(kaggle.settings(settings), offline=True))
    with pytest.raises(HubcliError, match="403"):
        info(NAME, kaggle.settings(settings))
