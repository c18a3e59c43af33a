"""Errors at the Python door: hubcli's classes and tensorflow_hub's, naming handle and address."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest

import hubcli
from hubcli.commands.fetch import fetch
from hubcli.config.settings import Mirror, Settings
from hubcli.drop_in.load import tensorflow_hub_errors
from hubcli.errors import (
    BodyChangedError,
    BrokenModelError,
    ChecksumError,
    DiskFullError,
    HandleError,
    HubcliError,
    IntegrityError,
    MappingError,
    NetworkError,
    NoModelError,
    NotFoundError,
    OfflineError,
    TensorFlowError,
    UnsafeArchiveError,
    about_model,
)
from hubcli.finetuning import FinetuneOptions
from tests import models
from tests.cases import each_of
from tests.server import HubServer, Reply


def at_the_door(error: HubcliError, cause: BaseException | None = None) -> HubcliError:
    """The error as whoever called `load` gets it."""
    with pytest.raises(HubcliError) as raised, tensorflow_hub_errors():
        raise error from cause
    return raised.value


@each_of(
    "error, cause, classes",
    [
        (NetworkError("x"), None, (URLError, OSError)),
        (BodyChangedError("x", has_ranges=False), None, (URLError,)),
        (OfflineError("x"), None, (OSError,)),
        (NotFoundError("x"), None, (OSError,)),
        (ChecksumError("x"), None, (OSError,)),
        (UnsafeArchiveError("x"), None, (OSError, ValueError)),
        (BrokenModelError("x"), None, (OSError, ValueError)),
        (NoModelError("x"), None, (OSError, ValueError)),
        (HandleError("x"), None, (OSError, ValueError)),
        (MappingError("x", candidates=(1,)), None, (ValueError,)),
        (DiskFullError("x"), OSError(28, "No space left"), (OSError,)),
        (TensorFlowError("x"), ValueError("tags"), (ValueError,)),
        (TensorFlowError("x"), KeyError("name"), (KeyError,)),
        (TensorFlowError("x"), FileNotFoundError(2, "gone", "f"), (FileNotFoundError,)),
        (TensorFlowError("x"), ModuleNotFoundError("no tensorflow"), (ImportError,)),
        (TensorFlowError("x"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), (ValueError,)),
        (TensorFlowError("x"), None, ()),
    ],
)
def test_each_is_of_both_classes_and_stays_what_it_was(
    error: HubcliError, cause: BaseException | None, classes: tuple[type[Exception], ...]
) -> None:
    error.hint, error.handle, error.address = "Try this.", "https://host/m/1", "https://mirror/m/1"
    raised = at_the_door(error, cause)
    assert isinstance(raised, (type(error),))
    assert all(isinstance(raised, base) for base in classes)
    assert type(raised).__name__ == type(error).__name__
    assert (raised.code, raised.exit_status, raised.hint) == (error.code, error.exit_status, "Try this.")
    assert raised.__cause__ is cause
    assert raised.__suppress_context__
    assert str(raised) == "x (handle https://host/m/1, address https://mirror/m/1)"
    for again in (pickle.loads(pickle.dumps(raised)), copy.copy(raised), copy.deepcopy(raised)):
        assert type(again) is type(raised)
        assert (str(again), again.hint, again.args) == (str(raised), raised.hint, raised.args)
    if cause is not None and isinstance(cause, OSError):
        assert raised.errno == cause.errno == pickle.loads(pickle.dumps(raised)).errno  # type: ignore[attr-defined]


def test_a_traceback_leads_to_where_it_was_raised_and_shows_one_error() -> None:
    def fails() -> None:
        raise ChecksumError("bytes differ")

    with pytest.raises(OSError, match="bytes differ") as raised, tensorflow_hub_errors():
        fails()
    text = "".join(traceback.format_exception(raised.value))
    assert "in fails" in text
    assert text.count("bytes differ\n") == 1
    assert text.endswith("hubcli.errors.ChecksumError: bytes differ\n")


def test_within_hubcli_no_error_of_the_network_or_of_bytes_is_one_of_the_disk() -> None:
    """An `except OSError` of a reader would swallow it."""
    for kind in (NetworkError, IntegrityError, NotFoundError, HandleError):
        assert not issubclass(kind, (OSError, ValueError)), kind


def test_what_the_text_names_already_is_not_named_again() -> None:
    with pytest.raises(HubcliError) as raised, about_model("https://host/m/1", "https://host/m/1?a=b"):
        raise NetworkError("https://host/m/1?a=b answers 500")
    assert str(raised.value) == "https://host/m/1?a=*** answers 500"
    with pytest.raises(HubcliError) as outer, about_model("other", "place"):
        raise raised.value
    assert outer.value.handle == "https://host/m/1"


class TestRealFailures:
    @pytest.fixture
    def mirrored(self, settings: Settings, server: HubServer) -> Settings:
        return replace(settings, mirrors=(Mirror("https://tfhub.dev", server.url),))

    @pytest.mark.parametrize("resolve", [hubcli.resolve, hubcli.load])
    @pytest.mark.parametrize(
        ("reply", "ours", "theirs"),
        [
            (Reply(status=404), NotFoundError, URLError),
            (Reply(status=403), NetworkError, URLError),
            (Reply(status=418), NetworkError, URLError),
            (Reply(b"<html>no archive</html>"), IntegrityError, OSError),
            (Reply(models.archive()[:-20]), IntegrityError, OSError),
            (Reply(models.pack({"readme.txt": b"no model"})), BrokenModelError, ValueError),
            (Reply(models.pack({"../out": b"", "saved_model.pb": b""})), UnsafeArchiveError, ValueError),
        ],
        ids=["404", "403", "418", "page", "cut", "no model", "leads out"],
    )
    def test_a_host(
        self,
        reply: Reply,
        ours: type[HubcliError],
        theirs: type[Exception],
        resolve: Callable[..., object],
        mirrored: Settings,
        server: HubServer,
    ) -> None:
        server.serve("/maker/model/1", reply)
        handle = "https://tfhub.dev/maker/model/1"
        with pytest.raises(theirs) as raised:
            resolve(f"{handle}?token=SECRET", settings=mirrored)
        assert isinstance(raised.value, ours)
        assert handle in str(raised.value)
        assert f"{server.url}/maker/model/1" in str(raised.value)
        assert "SECRET" not in str(raised.value)
        assert "SECRET" not in repr(raised.value)
        if reply.status != 200:
            assert raised.value.http_status == reply.status

    def test_nobody_listens(self, settings: Settings) -> None:
        with pytest.raises(URLError, match=r"127\.0\.0\.1:9/m/1") as raised:
            hubcli.resolve("http://me:SECRET@127.0.0.1:9/m/1", settings=settings)
        assert "SECRET" not in str(raised.value)

    @pytest.mark.parametrize("handle", ["ftp://host/model", "https://", "https://h:port/m/1", ""])
    def test_handles_that_cannot_be(self, handle: str, settings: Settings) -> None:
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - the class is the point
            hubcli.resolve(handle, settings=settings)
        assert isinstance(raised.value, HandleError)
        assert isinstance(raised.value, OSError)

    def test_offline_the_address_is_named(self, mirrored: Settings, server: HubServer) -> None:
        with pytest.raises(OSError, match=server.url):
            hubcli.resolve("https://tfhub.dev/maker/model/1", settings=replace(mirrored, offline=True))

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, settings: Settings) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="example://mul/1"):
            hubcli.resolve("example://mul/1", settings=replace(settings, cache_root=tmp_path / "file"))

    def test_the_other_functions_name_handle_and_address_too(
        self, mirrored: Settings, server: HubServer, tmp_path: Path
    ) -> None:
        server.serve("/maker/model/1", Reply(status=418))
        weights = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
        tuned = FinetuneOptions(weights=weights)
        handle = "https://tfhub.dev/maker/model/1"
        for call in (
            lambda: fetch(handle, mirrored),
            lambda: hubcli.inspect(handle, mirrored),
            lambda: hubcli.export(handle, tmp_path / "out", mirrored),
            lambda: hubcli.finetune_export(handle, tmp_path / "out", mirrored, tuned),
        ):
            with pytest.raises(HubcliError) as raised:
                call()
            assert handle in str(raised.value)
            assert f"{server.url}/maker/model/1" in str(raised.value)
            assert handle not in raised.value.message  # The command line names it in its own way.
