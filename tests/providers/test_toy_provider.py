"""A kind of host that hubcli doesn't know, added from here alone: every command works on it."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import hubcli
from hubcli import providers
from hubcli.cli.main import main
from hubcli.commands.doctor import DoctorOptions
from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, HandleError, NetworkError, NotFoundError, OfflineError
from hubcli.fetching import byte_sources
from hubcli.fetching.byte_sources import Transfer, download_options
from hubcli.fetching.model_ref import Pattern
from hubcli.net.byte_source import ByteSource
from hubcli.net.download import MIN_SEGMENTED_BYTES, Download
from hubcli.providers.handle import Handle
from hubcli.providers.provider import Credential, CredentialScope, HttpClient, Provider, refusal
from hubcli.urls import origin
from tests import models
from tests.server import HubServer, Reply

MODEL = "toy://maker/mul"


class Toy(Provider):
    """`toy://<maker>/<model>/<version>`, also with `@`; without a version, the latest that the shop tells."""

    name = "toy"
    title = "the toy shop"

    def __init__(self, shop: str) -> None:
        self.shop = shop

    def parse(self, text: str) -> Handle:
        segments = text.removeprefix("toy://").replace("@", "/").rstrip("/").split("/")
        if not 2 <= len(segments) <= 3:
            raise refusal(text, "names no toy", "A toy reads toy://<maker>/<model>@<version>.")
        canonical = f"toy://{'/'.join(segments)}"
        version = segments[2] if len(segments) == 3 else None
        return Handle(text, self, canonical, version, (f"{canonical}/",))

    def needs_version(self, handle: Handle) -> bool:
        return handle.version is None

    def version_url(self, handle: Handle, access: NetworkConfig) -> str:
        return f"{self.shop}/{urlsplit(handle.canonical).netloc}"

    def resolve(self, handle: Handle, client: HttpClient) -> Handle:
        answer = client.get(self.version_url(handle, client.access), 100)
        return self.parse(f"{handle.canonical}@{answer.content.decode()}")


class ToyBytes(ByteSource):
    """A body in memory, of which a connection brings some bytes before it fails, a number of times."""

    def __init__(self, name: str, body: bytes, *, failures: int = 0, piece_bytes: int = 1 << 20) -> None:
        self.name = name
        self.body = body
        self.size_bytes = len(body)
        self.validator = hashlib.sha256(body).hexdigest()
        self.failures = failures
        self.piece_bytes = piece_bytes
        self.requested_ranges: list[tuple[int, int]] = []

    def read(self) -> Iterator[bytes]:
        return self._pieces(0, len(self.body))

    @contextmanager
    def range(self, start: int, end: int) -> Iterator[Iterator[bytes]]:
        self.requested_ranges.append((start, end))
        yield self._pieces(start, end)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        yield self.body[start : min(start + self.piece_bytes, end)]
        if start + self.piece_bytes < end and self.failures:
            self.failures -= 1
            raise NetworkError(f"{self.name} fell off the shelf").transient()
        for position in range(start + self.piece_bytes, end, self.piece_bytes):
            yield self.body[position : min(position + self.piece_bytes, end)]


class Shelf:
    """What the shop has, by address; `opened` are the sources that were taken from it."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.failures = 0
        self.opened: list[ToyBytes] = []

    @contextmanager
    def open(self, address: str, settings: Settings, transfer: Transfer) -> Iterator[ByteSource]:
        if address not in self.bodies:
            raise NotFoundError(f"{address} is sold out", hint="Come again.")
        source = ToyBytes(address, self.bodies[address], failures=self.failures)
        self.opened.append(source)
        download = Download(source, download_options(settings, transfer))
        try:
            yield download
        finally:
            download.close()


@pytest.fixture
def shelf(server: HubServer) -> Iterator[Shelf]:
    shelf = Shelf()
    for number in (1, 2):
        shelf.bodies[f"{MODEL}/{number}"] = models.archive(assets__version=str(number).encode())
    server.serve("/maker", b"2")
    providers.register(Toy(server.url), "toy://")
    byte_sources.register_scheme("toy", shelf.open)
    yield shelf
    providers.unregister("toy://")
    byte_sources.unregister_scheme("toy")


def command_line(capsys: pytest.CaptureFixture[str], cache: Path, *words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command line, in this process."""
    status = main([*words, "--cache-dir", str(cache)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.usefixtures("shelf")
def test_the_command_line_fetches_lists_and_looks_into_it(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = command_line(capsys, cache, "fetch", "-q", f"{MODEL}@1")
    assert status == 0
    assert models.tree_files(Path(out.strip()))["assets/version"] == b"1"

    status, out, _ = command_line(capsys, cache, "ls", "--json")
    assert status == 0
    assert [model["handle"] for model in json.loads(out)["models"]] == [f"{MODEL}/1"]

    for handle in (f"{MODEL}/1/", f"{MODEL}@2"):  # A cached one by its alias; one on the shelf.
        status, out, _ = command_line(capsys, cache, "inspect", handle, "--json")
        assert status == 0, handle
        assert json.loads(out)["target"] == handle.rstrip("/").replace("@", "/")

    status, out, _ = command_line(capsys, cache, "verify", f"{MODEL}@1")
    assert status == 0


@pytest.mark.usefixtures("shelf")
def test_a_lock_file_holds_the_version_that_was_meant(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "models.lock"
    status, _, _ = command_line(capsys, cache, "fetch", "-q", MODEL, "--lock", str(lock))
    assert status == 0
    [locked] = json.loads(lock.read_text())["models"]
    assert (locked["handle"], locked["resolved"]) == (MODEL, f"{MODEL}/2")

    again = ("fetch", "-q", MODEL, "--locked", "--lock", str(lock))
    status, out, _ = command_line(capsys, tmp_path / "other", *again)
    assert status == 0
    assert models.tree_files(Path(out.strip()))["assets/version"] == b"2"


def test_a_lock_file_refuses_other_bytes(
    shelf: Shelf, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "models.lock"
    command_line(capsys, cache, "fetch", f"{MODEL}@1", "--lock", str(lock))
    shelf.bodies[f"{MODEL}/1"] = models.archive(assets__version=b"forged")
    again = ("fetch", f"{MODEL}@1", "--locked", "--lock", str(lock))
    status, _, err = command_line(capsys, tmp_path / "other", *again)
    assert status == 6
    assert f"{MODEL}/1" in err


@pytest.mark.usefixtures("shelf")
def test_collection_knows_its_versions(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        assert command_line(capsys, cache, "fetch", "-q", f"{MODEL}@{number}")[0] == 0
    status, out, _ = command_line(
        capsys, cache, "gc", "--keep-versions", "1", "--grace", "0s", "--json", "-y"
    )
    assert status == 0
    assert [item["handle"] for item in json.loads(out)["items"]] == [f"{MODEL}/1"]


@pytest.mark.usefixtures("shelf")
def test_doctor_counts_it_and_finds_nothing_wrong_with_it(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line(capsys, cache, "fetch", "-q", f"{MODEL}@1")
    _, out, _ = command_line(capsys, cache, "doctor", "--json")
    [entries] = [check for check in json.loads(out)["checks"] if check["name"] == "entries"]
    assert (entries["status"], entries["value"]["models"]) == ("ok", 1)


@pytest.mark.usefixtures("shelf")
def test_python_programs_use_it(settings: Settings) -> None:
    first, second = hubcli.fetch(f"{MODEL}@1", settings), hubcli.fetch(MODEL, settings)
    assert (first.handle, second.handle) == (f"{MODEL}/1", f"{MODEL}/2")
    assert [model.handle for model in hubcli.ls(settings).models] == [first.handle, second.handle]
    assert hubcli.inspect(first.handle, settings).info.functions
    assert hubcli.resolve(f"{MODEL}@1", settings=settings) == str(first.path)

    collected = hubcli.gc(settings, hubcli.Policy(keep_versions=1, grace_s=0), dry_run=True)
    assert [item.handle for item in collected.plan.items] == [first.handle]
    environment = {"HOME": str(settings.cache_root), "HUBCLI_CACHE_DIR": str(settings.cache_root)}
    found = hubcli.doctor(DoctorOptions(), environment=environment)
    assert [check.value["models"] for check in found.checks if check.name == "entries"] == [2]


def test_offline_nothing_is_asked_and_the_miss_is_named(shelf: Shelf, settings: Settings) -> None:
    for handle in (MODEL, f"{MODEL}@1"):
        with pytest.raises(OfflineError, match=MODEL):
            hubcli.fetch(handle, replace(settings, offline=True))
    assert shelf.opened == []


@pytest.mark.usefixtures("shelf")
def test_its_refusals_are_its_own(settings: Settings) -> None:
    with pytest.raises(HandleError, match="names no toy"):
        Handle.parse("toy://alone")
    with pytest.raises(NotFoundError, match="sold out"):
        hubcli.fetch(f"{MODEL}@3", settings)
    assert Pattern.parse("toy://maker/*").fits("key", f"{MODEL}/1")


def test_where_it_fails_a_download_goes_on_in_parts(shelf: Shelf, settings: Settings) -> None:
    big = bytes(range(256)) * (MIN_SEGMENTED_BYTES // 128)
    shelf.bodies[f"{MODEL}/1"] = models.pack({**models.example_files(), "assets/big": big}, level=0)
    shelf.failures = 3
    result = hubcli.fetch(f"{MODEL}@1", settings)
    assert (result.path / "assets" / "big").read_bytes() == big
    [source] = shelf.opened
    assert source.failures == 0
    assert source.requested_ranges
    assert sum(path.name.endswith(".part") for path in settings.cache_root.iterdir()) == 0


@pytest.mark.usefixtures("shelf")
def test_what_is_claimed_already_is_not_given_to_another() -> None:
    for claim in ("toy://", "//tfhub.dev", "gs://", providers.PATH):
        with pytest.raises(ValueError, match="Another provider has"):
            providers.register(Toy(""), claim)
    with pytest.raises(ValueError, match="Another byte source reads"):
        byte_sources.register_scheme("https", Shelf().open)


def test_without_its_line_its_scheme_is_unknown() -> None:
    with pytest.raises(HandleError, match="Unsupported URL scheme 'toy'"):
        Handle.parse(f"{MODEL}@1")


def test_a_directory_in_its_place_is_copied_through_the_same_checks(
    shelf: Shelf, settings: Settings, tmp_path: Path
) -> None:
    """What has files rather than an archive is a byte source, too."""
    byte_sources.unregister_scheme("toy")
    byte_sources.register_scheme("toy", lambda *_: byte_sources.open_path(tmp_path / "model"))
    models.write_tree(tmp_path / "model", models.example_files())
    result = hubcli.fetch(f"{MODEL}@1", settings)
    assert models.tree_files(result.path) == models.example_files()
    assert (result.archive_sha256, shelf.opened) == (None, [])


# --- Over the web, with an account


class ToyByMail(Toy):
    """Toys that come by HTTP, for who has an account: no byte source of its own is needed."""

    def archive(self, handle: Handle, access: NetworkConfig) -> str:
        return f"{self.shop}/toys/{handle.version}"

    def credentials(self, access: NetworkConfig) -> CredentialScope:
        shop = frozenset({origin(self.shop)})
        return CredentialScope(shop, frozenset(), lambda: Credential("Bearer t0y", "the toy box"))

    def explain(self, url: str, status: int, access: NetworkConfig, place: str | None) -> str | None:
        return f"Shake {place}." if origin(url) == origin(self.shop) and status == 403 else None


@pytest.fixture
def by_mail(server: HubServer) -> Iterator[HubServer]:
    server.serve("/maker", b"1")
    providers.register(ToyByMail(server.url), "toy://")
    yield server
    providers.unregister("toy://")


def test_its_credentials_go_to_its_own_origin_alone(
    by_mail: HubServer, other_server: HubServer, settings: Settings
) -> None:
    other_server.serve("/elsewhere", models.archive())
    by_mail.redirect("/toys/1", f"{other_server.url}/elsewhere")
    assert hubcli.fetch(MODEL, settings).handle == f"{MODEL}/1"
    assert {request.headers.get("Authorization") for request in by_mail.requests} == {"Bearer t0y"}
    assert "Authorization" not in other_server.requests[0].headers


def test_its_errors_mean_what_it_says(by_mail: HubServer, settings: Settings) -> None:
    by_mail.serve("/toys/1", Reply(b"", 403))
    with pytest.raises(AuthenticationError) as caught:
        hubcli.fetch(f"{MODEL}@1", settings)
    assert caught.value.hint == "Shake the toy box."


def test_handles_are_copied_and_pickled_with_their_providers() -> None:
    for text in ("https://tfhub.dev/a/b/1", "https://www.kaggle.com/models/a/b/tensorFlow2/c/1", "./here"):
        handle = Handle.parse(text)
        assert pickle.loads(pickle.dumps(handle)) == handle == copy.deepcopy(handle)
        assert handle.provider != Toy("")
