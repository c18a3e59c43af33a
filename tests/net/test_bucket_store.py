"""Buckets as object stores, on servers of S3, Google's XML API and Azure, and where these fail."""

from __future__ import annotations

import asyncio
import http.client
import os
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hubcli.config.settings import Settings
from hubcli.errors import (
    AuthenticationError,
    BodyChangedError,
    HandleError,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    UnsupportedError,
)
from hubcli.net.object_store import ObjectStore
from tests.bucket_proxy import BucketProxy, Fault
from tests.bucket_servers import BucketServer
from tests.cases import each_of
from tests.server import HubServer, Reply

obstore = pytest.importorskip("obstore", reason="buckets need obstore")

from hubcli.net.bucket_store import PART_BYTES, BucketStore, open_store  # noqa: E402 - behind the skip

IS_FOREIGN = "HUBCLI_TEST_S3" in os.environ  # A server of the user's own, such as Ceph.
SLOW_SERVERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("s3_server", "azure_server")]
SERVERS = ["gcs_server", *SLOW_SERVERS]  # Ours starts in 0.2 s.


@pytest.fixture(params=SERVERS)
def bucket_server(request: pytest.FixtureRequest) -> BucketServer:
    found: BucketServer = request.getfixturevalue(request.param)
    return found


def settings_of(server: BucketServer, **more: Any) -> Settings:
    return replace(
        Settings.read({**server.variables, "HUBCLI_CACHE_DIR": "/nowhere"}), **{"retries": 0, **more}
    )


def store_of(server: BucketServer, address: str | None = None, **more: Any) -> ObjectStore:
    return open_store(address or f"{server.new_bucket()}/some/prefix", settings_of(server, **more))


def test_objects_are_written_read_listed_and_removed(bucket_server: BucketServer) -> None:
    store = store_of(bucket_server)

    assert store.head("a/b") is None
    assert store.read("a/b", 10) is None
    store.put("a/b", b"1")
    store.put("a/b", b"23")
    store.put("c", b"")
    content, info = store.read("a/b", 10) or (b"", None)
    assert (content, info) == (b"23", store.head("a/b"))
    assert info is not None
    assert (info.key, info.size_bytes) == ("a/b", 2)
    assert abs(info.modified - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert [found.key for found in store.list_objects()] == ["a/b", "c"]
    assert [found.key for found in store.list_objects("a/")] == ["a/b"]
    with pytest.raises(IntegrityError, match="2 bytes, more than 1"):
        store.read("a/b", 1)
    assert store.delete("a/b")
    assert store.head("a/b") is None
    store.delete("a/b")
    with pytest.raises(NotFoundError), store.open("a/b"):
        pass


def test_many_objects_are_removed_at_once_and_missing_ones_passed_over(bucket_server: BucketServer) -> None:
    store = store_of(bucket_server)
    keys = [f"a/{number}" for number in range(20)]
    for key in keys[::2]:
        store.put(key, b"1")
    store.put("b", b"1")
    store.delete_all(keys)
    store.delete_all([])
    assert [found.key for found in store.list_objects()] == ["b"]


@pytest.mark.slow
def test_on_s3_one_request_removes_many_objects(s3_server: BucketServer, s3_proxy: BucketProxy) -> None:
    store = store_of(s3_server.through(s3_proxy.url), f"{s3_server.new_bucket()}/tier")
    keys = [f"a/{number}" for number in range(20)]
    for key in keys:
        store.put(key, b"1")
    s3_proxy.requests.clear()
    store.delete_all(keys)
    assert len(s3_proxy.requests) == 1
    assert list(store.list_objects()) == []
    s3_proxy.faults[:] = [Fault("denied", "POST .*delete")]
    with pytest.raises(AuthenticationError):
        store.delete_all(keys)


@each_of(
    "status, body, kind",
    [
        (
            200,
            b"<DeleteResult><Deleted><Key>p/a</Key></Deleted><Error><Key>p/b</Key>"
            b"<Code>AccessDenied</Code><Message>words</Message></Error></DeleteResult>",
            AuthenticationError,
        ),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", NotFoundError),
        (404, b"", NotFoundError),
    ],
)
def test_one_object_that_is_not_removed_is_an_error(
    status: int, body: bytes, kind: type[HubcliError], server: HubServer
) -> None:
    server.serve("/bucket", Reply(body, status=status))
    server.requests.clear()
    keys = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    store = open_store("s3://bucket/p", Settings.read({**keys, "HUBCLI_CACHE_DIR": "/nowhere"}))
    with pytest.raises(kind):
        store.delete_all(["a", "b"])
    assert len(server.requests) == 1


def test_one_of_many_creates_an_object(bucket_server: BucketServer) -> None:
    store, won = store_of(bucket_server), list[int]()

    def create(number: int) -> None:
        if store.create("lease", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (store.read("lease", 10) or (b"",))[0] == b"%d" % won[0]
    store.require_conditional_writes()
    assert [info.key for info in store.list_objects()] == ["lease"]  # The probe is gone.


def test_a_swap_takes_place_once_and_not_after_another_write(bucket_server: BucketServer) -> None:
    store = store_of(bucket_server)
    store.put("lease", b"1")
    before = store.head("lease")
    assert before is not None

    assert store.replace("lease", b"2", before)
    assert not store.replace("lease", b"3", before)
    after = store.head("lease")
    assert after is not None
    store.delete("lease")
    assert not store.replace("lease", b"4", after)
    assert store.head("lease") is None


@pytest.mark.slow
def test_large_objects_go_and_come_in_parts(bucket_server: BucketServer, tmp_path: Path) -> None:
    store, file, sent = store_of(bucket_server), tmp_path / "file", list[int]()
    file.write_bytes(os.urandom(2 * PART_BYTES + 7))

    info = store.upload("large", file, sent.append)

    assert sum(sent) == info.size_bytes == 2 * PART_BYTES + 7
    with store.open("large", tmp_path / "spool") as source:
        assert b"".join(source.read()) == file.read_bytes()
    with store.open("large") as source, source.range(5, 12) as blocks:
        assert b"".join(blocks) == file.read_bytes()[5:12]


def test_an_upload_that_is_aborted_leaves_nothing_to_see(bucket_server: BucketServer, tmp_path: Path) -> None:
    store, file = store_of(bucket_server), tmp_path / "file"
    file.write_bytes(bytes(3 * PART_BYTES))

    def abort(size_bytes: int) -> None:
        raise NetworkError("enough")

    with pytest.raises(HubcliError):
        store.upload("large", file, abort)
    assert list(store.list_objects()) == []


@pytest.mark.slow
def test_the_clock_is_that_of_the_server(s3_server: BucketServer, s3_proxy: BucketProxy) -> None:
    s3_proxy.clock_offset_s = 3600.0
    store = store_of(s3_server.through(s3_proxy.url))

    assert abs(store.now() - datetime.now(timezone.utc) - timedelta(hours=1)) < timedelta(seconds=10)
    count = len(s3_proxy.requests)
    store.now()
    assert len(s3_proxy.requests) == count


@pytest.mark.slow
def test_an_object_that_changes_under_the_reader_is_told(s3_server: BucketServer, tmp_path: Path) -> None:
    store = store_of(s3_server)
    store.put("model", b"old" * 100)
    with store.open("model") as source:
        store.put("model", b"new" * 100)
        with pytest.raises(BodyChangedError, match="changed during the download"):
            b"".join(source.read())
    with store.open("model") as source:
        store.delete("model")
        with pytest.raises(NotFoundError), source.range(0, 3) as blocks:
            b"".join(blocks)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("gcs_server", marks=pytest.mark.slow),
        # moto takes a minute to be filled, Azurite two.
        pytest.param("s3_server", marks=pytest.mark.soak),
        pytest.param("azure_server", marks=pytest.mark.soak),
    ],
)
def test_ten_thousand_keys_are_listed_page_by_page(name: str, request: pytest.FixtureRequest) -> None:
    bucket_server: BucketServer = request.getfixturevalue(name)
    store = store_of(bucket_server)
    inner = obstore.store.from_url(store.address, **bucket_server.store_options())
    keys = [f"k/{number:05}" for number in range(10_000)]

    async def fill() -> None:
        for start in range(0, len(keys), 200):
            await asyncio.gather(*(obstore.put_async(inner, key, b"x") for key in keys[start : start + 200]))

    asyncio.run(fill())
    assert [info.key for info in store.list_objects()] == keys
    assert [info.key for info in store.list_objects("k/", start_after="k/09997")] == ["k/09998", "k/09999"]


@pytest.mark.slow
def test_keys_with_odd_names_are_read_as_they_are(s3_server: BucketServer) -> None:
    store = store_of(s3_server)
    odd = ["a b", "é/ü", "back\\slash", "100%25", "plus+", "~tilde", "quote'\"", "日本"]
    for key in odd:
        store.put(key, key.encode())

    assert {info.key for info in store.list_objects()} == set(odd)
    assert all((store.read(key, 100) or (b"",))[0] == key.encode() for key in odd)


@pytest.mark.parametrize("key", ["a//b", "a/%2e%2e/b", "a/./b", "a/x%0Ay"])
@pytest.mark.slow
def test_a_listing_with_a_key_that_nobody_can_name_is_refused(key: str, s3_server: BucketServer) -> None:
    address = s3_server.new_bucket()
    # No client of a cloud's would normalize it; obstore itself refuses to write it.
    connection = http.client.HTTPConnection(s3_server.url.removeprefix("http://"))
    connection.request("PUT", f"/{address.removeprefix('s3://')}/{key}", body=b"x")
    if connection.getresponse().status != 200:
        pytest.skip("the server refuses the key")
    store = store_of(s3_server, address)

    with pytest.raises(IntegrityError, match="key has an empty segment, '.', '..' or a control character"):
        list(store.list_objects("a/"))
    for bad in ("a//b", "a/../b", "a/x\ny"):
        with pytest.raises(HandleError, match="has an unsupported key"):
            store.put(bad, b"x")


@pytest.mark.slow
def test_transient_errors_are_tried_again_and_told(s3_server: BucketServer, s3_proxy: BucketProxy) -> None:
    notes = list[str]()
    settings = settings_of(s3_server.through(s3_proxy.url), retries=3)
    store = open_store(s3_server.new_bucket(), settings, notes.append)
    s3_proxy.faults += [Fault("unavailable", "PUT .*/a", times=1), Fault("dropped", "GET .*/a", times=1)]
    s3_proxy.faults += [Fault("conflict", "PUT .*/lease", times=1)]

    store.put("a", b"1")
    assert store.read("a", 9) is not None
    assert store.create("lease", b"mine")
    assert "503 SlowDown" in notes[0]
    assert "is being written by another process" in notes[-1]


@pytest.mark.slow
def test_a_create_whose_answer_was_lost_is_known_for_ones_own(
    s3_server: BucketServer, s3_proxy: BucketProxy
) -> None:
    store = store_of(s3_server.through(s3_proxy.url), retries=3)
    s3_proxy.faults.append(Fault("lost", "PUT .*/lease", times=1))

    assert store.create("lease", b"mine")
    assert not store.create("lease", b"other")


@pytest.mark.slow
@pytest.mark.skipif(IS_FOREIGN, reason="it checks signatures, and the proxy changes headers")
def test_a_bucket_that_loses_conditions_is_found_out(s3_server: BucketServer, s3_proxy: BucketProxy) -> None:
    s3_proxy.faults.append(Fault("unconditional"))
    store = store_of(s3_server.through(s3_proxy.url))

    with pytest.raises(UnsupportedError, match="does not support conditional writes") as caught:
        store.require_conditional_writes()
    assert "mode=read," in caught.value.hint
    assert list(store.list_objects()) == []


def test_a_server_that_takes_etags_without_quotes_alone_is_known_by_a_probe(
    bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(bucket_server)
    if bucket_server.scheme == "gs" or IS_FOREIGN:
        pytest.skip("Google compares generations, and Ceph needs no emulation")
    assert isinstance(store, BucketStore)
    put = obstore.put

    def as_ceph_16(*arguments: Any, mode: Any = None, **more: Any) -> Any:
        if isinstance(mode, dict):
            # A quoted one never matches there; without quotes, the right one does.
            mode = {"e_tag": '"none"' if mode["e_tag"].startswith('"') else f'"{mode["e_tag"]}"'}
        return put(*arguments, **({"mode": mode} if mode else {}), **more)

    monkeypatch.setattr(obstore, "put", as_ceph_16)
    store.put("lease", b"1")
    before = store.head("lease")
    assert before is not None
    assert store.replace("lease", b"2", before)
    assert not store.replace("lease", b"3", before)
    assert [info.key for info in store.list_objects()] == ["lease"]


@pytest.mark.slow
@pytest.mark.skipif(IS_FOREIGN, reason="Ceph needs no emulation")
def test_a_bucket_that_refuses_the_right_etag_is_found_out_at_each_swap(
    s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, put = store_of(s3_server), obstore.put

    def without_matches(*arguments: Any, mode: Any = None, **more: Any) -> Any:
        return put(*arguments, **({"mode": {"e_tag": '"none"'}} if isinstance(mode, dict) else {}), **more)

    store.put("lease", b"1")
    before = store.head("lease")
    assert before is not None
    monkeypatch.setattr(obstore, "put", without_matches)
    # Each time: what was learned of its ETags while it was probed is forgotten.
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="does not support compare-and-swap"):
            store.replace("lease", b"2", before)
    assert (store.read("lease", 10) or (b"",))[0] == b"1"
    assert [info.key for info in store.list_objects()] == ["lease"]


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_named(s3_server: BucketServer) -> None:
    store = open_store("s3://no-such-bucket-here/x", settings_of(s3_server))
    for ask in (lambda: store.put("a", b""), lambda: list(store.list_objects())):
        with pytest.raises(NotFoundError, match="^s3://no-such-bucket-here does not exist$"):
            ask()
    assert store.head("a") is None


# --- What a service answers, by a server that says it


KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cr3t-key"}


def _xml(code: str) -> bytes:
    return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>hunter2</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (
            403,
            "RequestTimeTooSkewed",
            AuthenticationError,
            "clock of this machine is more than 15 minutes off",
        ),
        (400, "ExpiredToken", AuthenticationError, "session token in AWS_ACCESS_KEY_ID has expired"),
        (403, "InvalidAccessKeyId", AuthenticationError, "AWS rejects the credentials in AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", AuthenticationError, "denied to the credentials in AWS_ACCESS_KEY_ID"),
        (401, "Unauthorized", AuthenticationError, "AWS rejects the credentials"),
        (400, "UserProjectMissing", AuthenticationError, "requester-pays bucket"),
        (404, "NoSuchBucket", NotFoundError, "^s3://models does not exist$"),
        (503, "SlowDown", NetworkError, "answers 503"),
        (400, "Strange", NetworkError, "answers 400 Strange"),
        (301, "PermanentRedirect", NetworkError, "is in another region"),
    ],
)
def test_an_answer_is_said_in_a_sentence_without_the_servers_words(
    status: int, code: str, kind: type[HubcliError], message: str, server: HubServer
) -> None:
    server.serve("/models/x", Reply(_xml(code), status=status))
    server.serve("/models", Reply(b"", status=403))
    variables = {**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"}
    store = open_store("s3://models", replace(Settings.read(variables), retries=0))

    for ask in (lambda: store.read("x", 9), lambda: store.head("x")):
        with pytest.raises(kind, match=message) as caught:
            ask()
        text = f"{caught.value} {caught.value.hint}"
        assert "hunter2" not in text
        assert "s3cr3t" not in text
        assert "\n" not in text
        if code == "NoSuchBucket":  # HEAD says nothing of a bucket.
            return


@pytest.mark.parametrize("key", ["tests/identity", "metadata", "sts/timeout", "a b"])
def test_the_words_of_a_key_are_no_reason_for_a_failure(key: str) -> None:
    # "requests" has "sts" in it, "identity" is a service for tokens: obstore's text names the URL.
    variables = {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "HUBCLI_CACHE_DIR": "/nowhere"}
    store = open_store("s3://models", replace(Settings.read(variables), retries=0))

    for ask in (
        lambda: store.read(key, 9),
        lambda: store.head(key),
        lambda: list(store.list_objects(f"{key}/")),
    ):
        with pytest.raises(NetworkError, match="cannot be reached") as caught:
            ask()
        assert caught.value.is_transient


@each_of("status", [304, 409, 412])
def test_a_failed_condition_that_nobody_set_is_an_error_of_the_network(
    status: int, server: HubServer
) -> None:
    server.serve("/models/x", Reply(b"", status=status))
    server.serve("/models", Reply(b"", status=status))
    variables = {**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"}
    store = open_store("s3://models", replace(Settings.read(variables), retries=0))

    for ask in (
        lambda: store.head("x"),
        lambda: store.read("x", 9),
        lambda: list(store.list_objects("x/")),
        lambda: store.delete("x"),
        lambda: store.delete_all(["x"]),
    ):
        with pytest.raises(NetworkError, match=f"answers {status}"):
            ask()


@each_of("page", [b"Log in", b"{}", b"<ListBucketResult><Contents><Key>a</Key></Cont"])
def test_a_page_in_place_of_a_listing_is_not_called_a_closed_connection(
    page: bytes, server: HubServer
) -> None:
    server.serve("/models", Reply(page))
    variables = {**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"}
    store = open_store("s3://models", replace(Settings.read(variables), retries=0))

    with pytest.raises(NetworkError, match=f"^The answer from {server.url} for s3://models is invalid$"):
        list(store.list_objects())


def test_a_session_token_of_the_environment_is_not_sent_with_the_keys_of_a_profile(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dates = {"Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
    server.serve("/models/x", Reply(b"m", etag='"1"', headers=dates))
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = FILE\naws_secret_access_key = s3cr3t-of-file\n")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0ken-of-another-session")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    variables = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_ENDPOINT_URL": server.url}

    open_store("s3://models", Settings.read({**variables, "HUBCLI_CACHE_DIR": "/nowhere"})).read("x", 9)

    headers = server.requests[-1].headers
    assert "Credential=FILE/" in headers["authorization"]
    assert "x-amz-security-token" not in headers
    assert os.environ["AWS_SESSION_TOKEN"] == "t0ken-of-another-session"


@pytest.mark.parametrize("account", ["other", None])
def test_the_signature_of_one_azure_account_is_not_sent_to_another(
    account: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"AZURE_STORAGE_ACCOUNT": "mine", "AZURE_STORAGE_SAS_TOKEN": "sig=s3cr3t-of-mine"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    opened = list[tuple[dict[str, Any], str | None]]()

    def record(container: str, *, config: dict[str, Any], **options: Any) -> Any:
        opened.append((config, os.environ.get("AZURE_STORAGE_SAS_TOKEN")))
        raise obstore.exceptions.GenericError("enough")

    monkeypatch.setattr(obstore.store, "AzureStore", record)
    address = "az://models" + (f"?account={account}" if account else "")
    with pytest.raises(HubcliError):
        open_store(address, replace(Settings.read(variables), retries=0)).head("x")
    # obstore would read the variable by itself.
    assert [("sas_key" in config, seen) for config, seen in opened] == [(account is None, None)]


def test_a_bucket_in_another_region_is_asked_there(server: HubServer) -> None:
    body = Reply(b"model", etag='"one"', headers={"Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"})
    moved = {"x-amz-bucket-region": "eu-west-1"}
    server.serve("/models/x", replace(body, first=[Reply(_xml("PermanentRedirect"), status=301)]))
    server.serve("/models", Reply(b"", status=403, headers=moved))
    settings = Settings.read({**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"})

    store = open_store("s3://models", replace(settings, retries=0))

    assert (store.read("x", 9) or (b"",))[0] == b"model"
    signed = [found.headers["authorization"] for found in server.requests if found.path == "/models/x"]
    assert ["us-east-1" in text for text in signed] == [True, False]
    assert "eu-west-1" in signed[1]
    question = next(found for found in server.requests if found.path == "/models")
    assert "authorization" not in question.headers


def _page(*keys: str, more: bool = False) -> bytes:
    found = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-11-29T00:00:00Z</LastModified><Size>1</Size></Contents>"
        for key in keys
    )
    token = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" * more
    return f"<?xml version='1.0'?><ListBucketResult>{token}{found}</ListBucketResult>".encode()


def test_a_listing_begins_again_in_the_region_of_the_bucket(server: HubServer) -> None:
    elsewhere = Reply(_xml("PermanentRedirect"), status=301)
    region = Reply(b"", status=403, headers={"x-amz-bucket-region": "eu-west-1"})
    server.serve("/models", Reply(_page("a", "b"), first=[elsewhere, region]))
    settings = Settings.read({**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"})

    store = open_store("s3://models", replace(settings, retries=0))

    assert [info.key for info in store.list_objects()] == ["a", "b"]  # Not an empty one.


def test_a_service_that_sorts_each_folder_by_itself_hides_no_object(server: HubServer) -> None:
    keys = ["m/assets/a", "m/assets.extra/b", "m/variables/c", "m/variables-d"]
    server.serve("/models", Reply(_page(*keys, keys[-1])))
    settings = Settings.read({**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"})
    store = open_store("s3://models", replace(settings, retries=0))

    assert [info.key for info in store.list_objects("m/")] == keys
    # One that ignores where to start, as Azurite does.
    assert [info.key for info in store.list_objects("m/", start_after=keys[2])] == []
    assert [info.key for info in store.list_objects("m/", start_after=keys[0])] == keys[2:]


def _paged(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, *replies: Reply, retries: int = 3
) -> ObjectStore:
    """A bucket with pages of two objects, which come in turn; the last one is that of all later requests."""
    monkeypatch.setattr("hubcli.net.bucket_client._PAGE", 2)
    monkeypatch.setattr("hubcli.net.retries.FIRST_WAIT_S", 0.01)
    server.serve("/models", replace(replies[-1], first=list(replies[:-1])))
    settings = Settings.read({**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"})
    return open_store("s3://models", replace(settings, retries=retries))


def test_a_listing_that_fails_while_its_keys_happen_to_be_in_order_leaves_none_out(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By folders: `m/` stands before `m-2/`, though its keys come after.
    first, second = Reply(_page("m/a", "m/b", more=True)), Reply(_page("m-2/a", "m-2/b"))
    store = _paged(server, monkeypatch, first, Reply(b"", status=503), first, second)

    assert [info.key for info in store.list_objects()] == ["m/a", "m/b", "m-2/a", "m-2/b"]


def test_a_listing_that_begins_anew_without_its_last_object_is_an_error(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _paged(
        server, monkeypatch, Reply(_page("b", "a", more=True)), Reply(b"", status=503), Reply(_page("b", "c"))
    )
    with pytest.raises(NetworkError, match="^The objects in s3://models changed while they were listed$"):
        list(store.list_objects())


@each_of(
    "bucket, variables, is_in_order",
    [
        ("s3://models", KEYS, True),
        ("s3://models--use1-az4--x-s3", KEYS, False),
        ("s3://models", {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, False),
        ("gs://models", {}, True),
        ("az://models?account=mine", {}, False),
    ],
)
def test_only_services_that_promise_an_order_are_listed_on_from_a_key(
    bucket: str, variables: dict[str, str], is_in_order: bool
) -> None:
    settings = Settings.read({**variables, "HUBCLI_CACHE_DIR": "/nowhere"})
    store = open_store(bucket, settings)
    assert isinstance(store, BucketStore)
    assert store._client.lists_in_order is is_in_order


def test_many_pages_below_an_earlier_key_are_not_called_a_repetition(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [("z1", "z2"), *((f"a{number:02}", f"b{number:02}") for number in range(20))]
    store = _paged(server, monkeypatch, *(Reply(_page(*keys, more=keys != pages[-1])) for keys in pages))

    assert [info.key for info in store.list_objects()] == [key for keys in pages for key in keys]


def test_a_listing_without_an_end_is_left(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubcli.net.bucket_client._PAGE", 2)
    server.serve("/models", Reply(_page("a", "b", more=True)))
    settings = Settings.read({**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"})
    store = open_store("s3://models", replace(settings, retries=0))

    with pytest.raises(NetworkError, match="lists the same objects over and over"):
        list(store.list_objects())
    server.serve("/models", Reply(_page(more=True)))
    monkeypatch.setattr("hubcli.net.bucket_client._ANSWER_S", 0.05)
    store = open_store("s3://models", replace(settings, retries=0, timeout_s=0.1))
    with pytest.raises(NetworkError, match="Timed out waiting for data"):
        list(store.list_objects())
    server.serve("/models", Reply(_page()))  # Its thread ends, too.


def test_requester_pays_and_anonymous_reach_the_service(server: HubServer) -> None:
    server.serve(
        "/models/x", Reply(b"m", etag='"1"', headers={"Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"})
    )
    variables = {**KEYS, "AWS_ENDPOINT_URL": server.url, "HUBCLI_CACHE_DIR": "/nowhere"}

    open_store("s3://models", Settings.read(variables, requester_pays=True)).read("x", 9)
    open_store("s3://models", Settings.read(variables, anonymous=True)).read("x", 9)

    paying, anonymous = (found.headers for found in server.requests)
    assert paying["x-amz-request-payer"] == "requester"
    assert "authorization" not in anonymous


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_certificates_that_cannot_be_used_are_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    variables = {**KEYS, "AWS_CA_BUNDLE": str(file), "AWS_ENDPOINT_URL": "https://127.0.0.1:9"}
    store = open_store("s3://models", replace(Settings.read(variables, cache_dir=tmp_path), retries=0))

    with pytest.raises(HubcliError) as caught:
        store.read("x", 9)
    assert not isinstance(caught.value, NotFoundError)
    assert caught.value.message


def test_a_service_without_ranges_is_read_as_a_whole(server: HubServer, tmp_path: Path) -> None:
    server.serve("/models/x", Reply(b"model", headers={"ETag": '"1"'}))
    variables = {**KEYS, "AWS_ENDPOINT_URL": server.url}
    store = open_store("s3://models", replace(Settings.read(variables, cache_dir=tmp_path), retries=0))

    with store.open("x") as source:
        assert b"".join(source.read()) == b"model"
        with pytest.raises(BodyChangedError, match="sent as a whole") as caught, source.range(1, 3) as blocks:
            b"".join(blocks)
    assert not caught.value.has_ranges
