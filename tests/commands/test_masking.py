"""What was sent as a credential, and what URLs may hold of one, comes back nowhere: printed or stored."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from hubcli import urls
from hubcli.cli.entrypoint import run
from hubcli.cli.output import Output
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError
from hubcli.net.credentials import remember_authorization
from hubcli.urls import (
    redacted,
    remember_secret,
    remember_url,
    stored_url,
    without_known_secrets,
)
from tests import models
from tests.cases import each_of
from tests.kaggle import everything_below
from tests.net.raw import RawServer, raw_server
from tests.server import HubServer, Reply

ARCHIVE = models.pack(models.example_files())
PASSWORD = "hunter2/pass+word"
TOKEN = "KGAT_s3cret-token-of-mine"
KAGGLE = "google/nnlm/tensorFlow2/en-dim128/1"


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "_remembered", {})


def spellings(secret: str) -> list[str]:
    """How a secret may come back."""
    based = base64.b64encode(f"me:{secret}".encode()).decode()
    return [secret, quote(secret, safe=""), based, base64.b64encode(secret.encode()).decode().rstrip("=")]


def credential_of(head: bytes) -> str:
    """What the request's Authorization header holds."""
    return head.partition(b"uthorization: ")[2].partition(b"\r\n")[0].decode("latin-1")


def _decoded(credential: str) -> str:
    scheme, _, token = credential.partition(" ")
    return base64.b64decode(token).decode() if scheme == "Basic" else token


Echo = Callable[[str], bytes]
ECHOES: dict[str, Echo] = {
    "the reason phrase": lambda sent: f"HTTP/1.1 503 {sent}\r\nContent-Length: 0\r\n\r\n".encode(),
    "the reason phrase of a refusal": lambda sent: (
        f"HTTP/1.1 403 {sent}\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "a status line that is none": lambda sent: f"HTTP/1.1 {sent}\r\n\r\n".encode(),
    "a header that is none": lambda sent: f"HTTP/1.1 200 OK\r\n{sent}\r\n\r\n".encode(),
    "a redirect to another scheme": lambda sent: (
        f"HTTP/1.1 302 x\r\nLocation: ftp://h/{sent.replace(' ', '/')}\r\n\r\n".encode()
    ),
    "a redirect, quoted": lambda sent: (
        f"HTTP/1.1 302 x\r\nLocation: ftp://h/{quote(sent, safe='')}\r\n\r\n".encode()
    ),
    "a redirect's query": lambda sent: (
        f"HTTP/1.1 302 x\r\nLocation: ftp://h/?who={quote(_decoded(sent))}\r\n\r\n".encode()
    ),
    "a redirect's user": lambda sent: (
        f"HTTP/1.1 302 x\r\nLocation: ftp://{quote(_decoded(sent), safe='')}@h/x\r\n\r\n".encode()
    ),
    "a redirect's host": lambda sent: (
        f"HTTP/1.1 302 x\r\nLocation: http://{_decoded(sent).rpartition(':')[2].split('/')[0]}.invalid/x\r\n\r\n".encode()
    ),
    "a chunk's size": lambda sent: (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{sent}\r\n".encode()
    ),
    "JSON": lambda sent: _whole(json.dumps({"message": sent, "errors": [_decoded(sent)]}).encode()),
    "a page": lambda sent: _whole(f"<html>{_decoded(sent)}".encode()),
    "the name of a member": lambda sent: _whole(models.pack({f"../{_decoded(sent)}": b"x"})),
    "an ETag": lambda sent: _whole(ARCHIVE, f'ETag: "{sent}"\r\nAccept-Ranges: bytes\r\n'),
    "an ETag in base64": lambda sent: _whole(
        ARCHIVE, f'ETag: "{base64.b64encode(_decoded(sent).encode()).decode()}"\r\nAccept-Ranges: bytes\r\n'
    ),
}


def _whole(body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def echoing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], RawServer]]:
    """A server that sends back what it was sent, with credentials for it in every place."""
    contexts = []

    def start(name: str) -> RawServer:
        def answer(connection: socket.socket, head: bytes) -> None:
            sent = credential_of(head)
            assert sent
            connection.sendall(ECHOES[name](sent))

        context = raw_server(answer)
        server = context.__enter__()
        contexts.append(context)
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HUBCLI_CACHE_DIR", str(tmp_path / "cache"))
        return server

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def require_nothing(text: str, folder: Path, *secrets: str) -> None:
    """No spelling of a secret is in the text or in a file below the folder."""
    stored = everything_below(folder) if folder.exists() else b""
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in text, text
            assert spelling.encode() not in stored


@pytest.mark.parametrize("options", [["--debug"], ["--json", "--debug"]])
@pytest.mark.parametrize("name", ECHOES)
def test_a_password_that_the_server_sends_back_is_masked(
    name: str,
    options: list[str],
    echoing: Callable[[str], RawServer],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = echoing(name)
    status = run(["fetch", f"{server.url}/m.tar.gz", "--retries", "1", "--timeout", "5", *options])
    assert status != 1
    require_nothing("".join(capfd.readouterr()), tmp_path / "cache", PASSWORD)


@pytest.mark.parametrize("name", ECHOES)
def test_a_token_for_kaggle_that_is_sent_back_is_masked(
    name: str,
    echoing: Callable[[str], RawServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = echoing(name)
    monkeypatch.setenv("HUBCLI_KAGGLE_ENDPOINT", server.url)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    for handle in (KAGGLE, KAGGLE.removesuffix("/1")):
        assert run(["fetch", handle, "--retries", "0", "--timeout", "5", "--debug"]) != 1
    require_nothing("".join(capfd.readouterr()), tmp_path / "cache", TOKEN)


def test_a_password_in_a_proxys_address_that_the_proxy_sends_back_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(f"HTTP/1.1 407 {credential_of(head)}\r\nContent-Length: 0\r\n\r\n".encode())

    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(tmp_path / "cache"))
    with raw_server(answer) as proxy:
        place = proxy.url.replace("//", f"//me:{quote(PASSWORD, safe='')}@")
        monkeypatch.setenv("HTTPS_PROXY", place)
        monkeypatch.setenv("HTTP_PROXY", place)
        for url in ("https://host.invalid/m.tar.gz", "http://host.invalid/m.tar.gz"):
            assert run(["fetch", url, "--debug"]) == 5
    output = "".join(capfd.readouterr())
    assert "407 Proxy Authentication Required" in output
    assert "retrying" not in output  # A wrong password that is sent again and again locks accounts.
    assert output.count("Hint: Check user and password of the proxy: HTTPS_PROXY=") == 2
    require_nothing(output, tmp_path / "cache", PASSWORD)


def test_the_reason_phrase_is_the_standards(settings: Settings) -> None:
    response = b"HTTP/1.1 503 all is well\r\nContent-Length: 0\r\n\r\n"
    with (
        raw_server(lambda connection, _: connection.sendall(response)) as raw,
        pytest.raises(HubcliError) as caught,
    ):
        fetch(f"{raw.url}/m.tar.gz", settings, FetchOptions(retries=0))
    assert "answers 503 Service Unavailable" in caught.value.message
    assert "all is well" not in caught.value.message


def test_a_signature_in_the_handle_that_is_sent_back_is_masked(
    settings: Settings, server: HubServer, tmp_path: Path
) -> None:
    secret = "s1gnature0fMine"
    server.serve(f"/echo/{secret}/m.tar.gz", Reply(ARCHIVE, headers={"ETag": f'"{secret}"'}))
    start = server.redirect("/m.tar.gz", f"/echo/{secret}/m.tar.gz")
    result = fetch(f"{start}?X-Amz-Signature={secret}&v=2", settings)
    require_nothing(str(result), settings.cache_root, secret)
    assert result.handle.endswith("/m.tar.gz?v=2")


# What is printed --------------------------------------------------------------------------------


@each_of(
    "text, expected",
    [
        ("https://h/m?who=s3cret", "https://h/m?who=***"),
        (
            "https://h/m?v=2&tf-hub-format=compressed&alt=media",
            "https://h/m?v=2&tf-hub-format=compressed&alt=media",
        ),
        ("https://h/m?v=a%2Fs3cret", "https://h/m?v=***"),
        ("https://h/m?V=" + "s3cret" * 9, "https://h/m?V=***"),
        ("https://h/m?s3cret", "https://h/m?***"),
        ("https://h/m?czNjcmV0cw==", "https://h/m?***"),
        ("https://h/m?a=1&a=s3cret;b=s3cret", "https://h/m?a=***&a=***;b=***"),
        ("https://h/m;jsessionid=s3cret/x;p?v=1", "https://h/m;***/x;***?v=1"),
        ("https://h/m%3Bjsessionid=s3cret/x", "https://h/m;***/x"),
        ("https://me:s3cret@h/m", "https://h/m"),
        ("https://h/m#s3cret", "https://h/m"),
        ("https://h/m?u=https%3A%2F%2Fh%2F%3Fsig%3Ds3cret", "https://h/m?u=***"),
        ("https://h/m?%73ig=s3cret&access%5Ftoken=s3cret&v=1", "https://h/m?v=1"),
        ("HTTPS://H/m?Sig=s3cret&accessToken=s3cret", "HTTPS://H/m".replace("HTTPS", "https")),
        ("gs://b/o?x=s3cret", "gs://b/o?x=***"),
        (
            "'https://h/m?x=s3cret' and \"https://h/n?y=s3cret\".",
            "'https://h/m?x=***' and \"https://h/n?y=***\".",
        ),
        ("(https://h/m?x='s3cret')", "(https://h/m?x=***')"),
        ("no address; at all? x=1", "no address; at all? x=1"),
        ("https://h/a/b/1: it ends", "https://h/a/b/1: it ends"),
    ],
)
def test_what_is_printed_of_an_address(text: str, expected: str) -> None:
    masked = redacted(text)
    assert "s3cret" not in masked
    assert masked.replace("')", ")") == expected.replace("')", ")")
    assert redacted(masked) == masked


def test_errors_are_masked_whoever_makes_them() -> None:
    error = HubcliError("https://h/m?who=s3cret fails", hint="See https://h/;id=s3cret")
    assert (error.message, error.hint) == ("https://h/m?who=*** fails", "See https://h/;***")
    assert str(error) == error.message


def test_a_redirects_query_is_masked_in_print_and_kept_in_store(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(tmp_path / "cache"))
    server.serve("/real.tar.gz", ARCHIVE)
    url = server.redirect("/m.tar.gz", "/real.tar.gz?odd=s3cret-value&X-Goog-Signature=s3cret-signature")
    assert run(["fetch", url, "--json", "--debug"]) == 0
    for words in (["ls"], ["ls", "--json"], ["verify"], ["verify", "--json"], ["inspect", url, "--json"]):
        assert run(words) == 0
    output, stored = "".join(capfd.readouterr()), everything_below(tmp_path / "cache")
    assert "s3cret" not in output
    assert b"odd=s3cret-value" in stored  # It tells this address from another one.
    assert b"s3cret-signature" not in stored


def test_quiet_prints_handles_for_the_next_command_and_masks_messages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(quiet=True)
    output.payload("https://h/m?model=one\nhttps://h/m?model=two\nproblem: https://h/m?model=one")
    assert capsys.readouterr().out == (
        "https://h/m?model=one\nhttps://h/m?model=two\nproblem: https://h/m?model=***\n"
    )


def test_lines_notes_and_tables_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.note("https://h/m?who=s3cret")
    output.payload("HANDLE  SIZE\nhttps://h/m?who=s3cret  1 MB")
    output.document({"source": "https://h/m?who=s3cret", "handle": "https://h/m?who=me", "rows": [["a", 1]]})
    printed = "".join(capsys.readouterr())
    assert "s3cret" not in printed
    assert '"handle": "https://h/m?who=me"' in printed


# What is stored ---------------------------------------------------------------------------------


def test_what_tells_two_handles_apart_stays(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m.tar.gz", ARCHIVE)
    first, two = (fetch(f"{url}?model={name}", settings) for name in ("one", "two"))
    assert first.path != two.path
    assert first.handle.endswith("?model=one")


@pytest.mark.parametrize(
    "url",
    ["{}/m.tar.gz;jsessionid=s3cret?v=2", "{}/a;s3cret/m.tar.gz?token=s3cret&v=2", "{}/m.tar.gz?v=2#s3cret"],
)
def test_parameters_of_the_path_are_sent_and_not_stored(
    url: str, settings: Settings, server: HubServer
) -> None:
    full = url.format(server.url)
    path = full.removeprefix(server.url).partition("?")[0]
    server.serve(path, ARCHIVE)
    fetch(full, settings)
    assert server.requests[0].path == path
    assert b"s3cret" not in everything_below(settings.cache_root)
    fetch(full.replace("s3cret", "an0ther"), settings)  # The same model: found in the cache.
    assert len(server.requests) == 1


def test_a_lock_file_holds_no_secret(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(tmp_path / "cache"))
    server.serve("/m.tar.gz;id=s3cret", ARCHIVE)
    url = f"{server.url}/m.tar.gz;id=s3cret?token=s3cret&model=one"
    assert run(["fetch", url, "--lock", str(tmp_path / "models.lock")]) == 0
    lock_text = (tmp_path / "models.lock").read_text()
    assert "model=one" in lock_text
    assert "s3cret" not in lock_text + "".join(capfd.readouterr())


# What is remembered -----------------------------------------------------------------------------


def test_short_words_are_not_taken_for_secrets() -> None:
    remember_url("https://me:on@h/x")
    assert redacted("it depends on the host") == "it depends on the host"


def test_all_that_a_header_holds_is_remembered() -> None:
    remember_authorization("Basic " + base64.b64encode(b"me:hunter22").decode())
    remember_authorization("Bearer t0ken-of-mine")
    remember_authorization("Basic not base64")
    assert redacted("hunter22 t0ken-of-mine me:hunter22") == "*** *** ***"


def test_what_is_remembered_is_bounded() -> None:
    for number in range(5000):
        remember_secret(f"secret-number-{number}")
    assert len(urls._remembered) == 4096
    text = "secret-number-903 secret-number-904 secret-number-4999"
    assert redacted(text) == "secret-number-903 *** ***"
    remember_secret("secret-number-904")  # One that is sent again is the latest.
    remember_secret("secret-number-5000")
    assert redacted("secret-number-904 secret-number-905") == "*** secret-number-905"


def test_addresses_that_nobody_can_parse_are_remembered_without_a_fault() -> None:
    for url in ("https://[::1", "http://me:hunter22@[x", "", "://", "//@", "https://me:hun%ff@h", "me:pw"):
        remember_url(url)
    assert "hunter22" not in redacted("hunter22")


@each_of(
    "text",
    [
        "S3CR=T/TOK N+\xc4",
        "s3cr=t/tok%20n+%C3%84",
        "s3cr%3dt/tok n%2b\xc4",
        "%53%33cr=t%2fTok%20n+%c3%84",
        "%2553%33cr%25253dt/tok%20n+\xc4",
    ],
)
def test_a_secret_is_masked_in_any_case_and_with_any_of_its_letters_encoded(text: str) -> None:
    remember_secret("S3cr=t/Tok n+\xc4")
    assert redacted(f"http://h/{text}/x 100%") == "http://h/***/x 100%"
    assert without_known_secrets(f"caf\xe9 {text}") == "caf\xe9 ***"


def test_secrets_that_overlap_are_masked_as_one() -> None:
    remember_secret("abcd1")
    remember_secret("d1efg")
    assert redacted("x %61bcd1ef%67 y") == "x *** y"


def test_a_token_in_the_name_of_a_host_is_masked_though_that_is_in_small_letters(cache: Path) -> None:
    with (
        raw_server(
            lambda c, head: c.sendall(
                b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: http://KGAT-S3cret.invalid/\r\n\r\n"
            )
        ) as server,
        pytest.raises(HubcliError) as failed,
    ):
        fetch(
            f"{server.url}/m/1?token=KGAT-S3cret", Settings.read({}, cache_dir=cache), FetchOptions(retries=0)
        )
    assert "s3cret" not in failed.value.message.lower()
    assert "***.invalid" in failed.value.message


def test_of_a_secret_with_a_semicolon_no_half_is_left_in_an_address_that_echoes_it() -> None:
    remember_secret("hunter2;x=y?z#w")
    for echoed in ("hunter2;x=y?z#w", "hunter2%3Bx=y%3Fz%23w", "Hunter2;x%3Dy?z#w"):
        assert stored_url(f"http://h/a/{echoed}/m?v=1") in ("http://h/a/***/m?v=1", "http://h/a/***?v=1")
    remember_url("http://me:http@h/")
    assert stored_url("http://me:http@h/x?token=1&v=2") == "***://h/x?v=2"
