"""Redirects, credentials and statuses, against real servers on loopback."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator

import pytest
import trustme

from hubcli.cli.output import Output
from hubcli.config.environment import NetworkConfig
from hubcli.errors import AuthenticationError, HubcliError, NetworkError, NotFoundError
from hubcli.net.download import DownloadOptions
from hubcli.net.http_source import open_download
from tests.cases import each_of
from tests.server import HubServer, Reply

BODY = b"the body of an answer" * 100


def download(url: str) -> bytes:
    with open_download(url, DownloadOptions(5)) as answer:
        return b"".join(answer.read())


@pytest.fixture
def tls_server(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[HubServer]:
    """A server whose certificate the environment's CA bundle vouches for."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = f"{tmp_path}/ca.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    server = HubServer()
    server.use_tls(context)
    with server.running() as running:
        yield running


def test_the_body_comes_whole(server: HubServer) -> None:
    assert download(server.serve("/m", BODY)) == BODY


def test_the_archive_itself_is_asked_for_not_a_compressed_form(server: HubServer) -> None:
    download(server.serve("/m", BODY))
    assert server.requests[0].headers["Accept-Encoding"] == "identity"
    assert server.requests[0].headers["User-Agent"].startswith("hubcli/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int, server: HubServer, other_server: HubServer) -> None:
    target = other_server.serve("/real", BODY)
    server.redirect("/hop", target, status)
    assert download(server.redirect("/m", "/hop", status)) == BODY


def test_the_final_url_is_told_without_its_signature(server: HubServer) -> None:
    server.serve("/real", BODY)
    start = server.redirect("/m", "/real?X-Goog-Signature=s3cret&generation=5")
    with open_download(start, DownloadOptions(5)) as answer:
        assert answer.name == f"{server.url}/real?generation=5"


def test_a_circle_of_redirects_is_left(server: HubServer) -> None:
    server.redirect("/a", "/b")
    with pytest.raises(NetworkError, match="Too many redirects from .*: more than 10"):
        download(server.redirect("/b", "/a"))
    assert len(server.requests) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "gopher://host", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(target: str, server: HubServer) -> None:
    with pytest.raises(NetworkError, match="not followed|to an invalid URL"):
        download(server.redirect("/m", target))


def test_a_redirect_from_https_to_http_is_refused(tls_server: HubServer, server: HubServer) -> None:
    server.serve("/real", BODY)
    with pytest.raises(NetworkError, match="from https to http"):
        download(tls_server.redirect("/m", f"{server.url}/real"))
    assert server.requests == []


def test_a_redirect_from_http_to_https_is_followed(tls_server: HubServer, server: HubServer) -> None:
    assert download(server.redirect("/m", tls_server.serve("/real", BODY))) == BODY


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tls_server.serve("/m", BODY)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NetworkError, match="Cannot reach.*certificate"):
        download(url)


def test_user_info_is_sent_to_its_own_origin(server: HubServer) -> None:
    server.serve("/real", BODY)
    url = server.redirect("/m", "/real").replace("http://", "http://me:pw@")
    download(url)
    expected = "Basic " + base64.b64encode(b"me:pw").decode()
    assert [request.headers.get("Authorization") for request in server.requests] == [expected, expected]


def test_user_info_is_not_sent_to_another_origin(server: HubServer, other_server: HubServer) -> None:
    target = other_server.serve("/real", BODY)
    download(server.redirect("/m", target).replace("http://", "http://me:pw@"))
    assert "Authorization" not in other_server.requests[0].headers


def test_cookies_stay_with_their_origin(server: HubServer, other_server: HubServer) -> None:
    target = other_server.serve("/real", BODY)
    reply = Reply(status=302, headers={"Location": target, "Set-Cookie": "session=s3cret; Path=/"})
    download(server.serve("/m", reply))
    assert "Cookie" not in other_server.requests[0].headers


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_an_authentication_error(status: int, server: HubServer) -> None:
    with pytest.raises(AuthenticationError, match=f"answers {status}") as caught:
        download(server.serve("/m", Reply(status=status)))
    assert caught.value.exit_status == 5


@pytest.mark.parametrize(
    ("path", "status", "hint"),
    [
        ("/me/model/1", 401, "The host requires credentials: add an entry for 127.0.0.1 to ~/.netrc."),
        (
            "/me/model/1",
            403,
            "Check the path. If the model is private, add an",
        ),
        (
            "/me/model",
            403,
            "Check the path, and add the version, such as HANDLE/1.",
        ),
        ("/me/model/", 403, "Add the version, such as"),
        ("/me/model", 404, "Check the handle, and add its version, such as HANDLE/1."),
        ("/me/model/1", 404, "Check the handle and its version."),
        ("/me/model.tar.gz", 404, "Check the handle and its version."),
    ],
)
def test_the_hint_fits_the_address_and_the_status(
    path: str, status: int, hint: str, server: HubServer
) -> None:
    with pytest.raises(HubcliError) as caught:
        download(server.serve(path, Reply(status=status)))
    assert caught.value.hint.startswith(hint)
    assert caught.value.http_status == status


def test_credentials_that_are_refused_are_not_asked_for(server: HubServer) -> None:
    url = server.serve("/me/model/1", Reply(status=403)).replace("http://", "http://me:pw@")
    with pytest.raises(AuthenticationError) as caught:
        download(url)
    assert caught.value.hint.startswith("The host rejects the credentials for 127.0.0.1")
    assert "pw" not in caught.value.hint


def test_a_404_names_the_address_without_secrets(server: HubServer) -> None:
    with pytest.raises(NotFoundError) as caught:
        download(server.url.replace("http://", "http://me:pw@") + "/nope?token=s3cret")
    assert "/nope answers 404" in caught.value.message
    assert "s3cret" not in caught.value.message
    assert "pw" not in caught.value.message


@pytest.mark.parametrize("location", ["", "http://[", "http://", "//", "\x7f"])
def test_a_redirect_that_makes_no_sense_is_a_network_error(location: str, server: HubServer) -> None:
    with pytest.raises((NetworkError, NotFoundError)):
        download(server.redirect("/m", location))


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_redirect_to_an_impossible_port_is_a_network_error(port: str, server: HubServer) -> None:
    with pytest.raises(NetworkError):
        download(server.redirect("/m", f"http://127.0.0.1:{port}/x"))


@each_of(
    "location",
    [
        "javascript:alert(1)",
        "data:application/gzip;base64,AAAA",
        "https:x",
        "http://[::1",
        "http://[v1.x]/",
        "http://example.invalid:http/",
        f"/{'x' * 70_000}",
        "http://x:99999/",
    ],
)
def test_a_redirect_to_an_address_that_is_none_is_not_retried(location: str, server: HubServer) -> None:
    url = server.serve("/m", Reply(status=302, headers={"Location": location}))
    with pytest.raises(NetworkError, match="/m redirects to an invalid URL$") as caught:
        download(url)
    assert not caught.value.is_transient


def test_a_length_beside_chunks_means_nothing(server: HubServer) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    headers = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    assert download(server.serve("/m", Reply(chunked, headers=headers, sends_length=False))) == BODY


@pytest.mark.parametrize(
    "header",
    [
        ("Content-MD5", hashlib.md5(BODY).hexdigest()),
        ("Content-MD5", "\xff"),
        ("x-goog-hash", "crc32c=\xe9===,md5=!!,,"),
        ("Repr-Digest", "sha-256=:AA:, x"),
    ],
)
def test_a_checksum_that_can_be_none_is_no_promise(header: tuple[str, str], server: HubServer) -> None:
    assert download(server.serve("/m", Reply(BODY, headers=dict([header])))) == BODY


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("https_proxy", "nonsense://x"),
        ("all_proxy", "nonsense://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
    ],
)
def test_settings_of_the_network_that_can_not_be_used_are_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    # As each command reads them: what httpx reads itself differs from one of its versions to the next.
    options = DownloadOptions(5, access=NetworkConfig.read({variable: value}))
    with pytest.raises(NetworkError) as caught, open_download("https://127.0.0.1:9/m", options):
        pass
    assert "PROXY" in caught.value.hint
    assert "SSL_CERT_FILE" in caught.value.hint


def test_what_the_server_says_can_not_command_the_terminal(
    server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Output().error(NetworkError("answers 500 \x1b[31mred\x1b[0m", hint="\x07"))
    assert capsys.readouterr().err == "Error: answers 500 \\x1b[31mred\\x1b[0m\nHint: \\x07\n"
