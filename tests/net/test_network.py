"""Certificates and proxies: whom hubcli believes, and by way of whom it asks."""

from __future__ import annotations

import base64
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
import trustme

import hubcli as package
from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import Settings
from hubcli.errors import NetworkError, UsageError
from hubcli.net.download import DownloadOptions
from hubcli.net.http_source import open_download
from tests import models
from tests.cases import each_of
from tests.conftest import Run
from tests.kaggle import TOKEN, serve_version
from tests.proxy import Proxy
from tests.server import HubServer
from tests.tls import https_server

BODY = b"an archive" * 50


def download(url: str, access: NetworkConfig | None = None) -> bytes:
    with open_download(url, DownloadOptions(5, access=access or NetworkConfig.read({}))) as answer:
        return b"".join(answer.read())


# Certificates -------------------------------------------------------------------------------------


def test_an_authority_that_nobody_named_is_not_believed(secure: HubServer) -> None:
    url = secure.serve("/m", BODY)
    with pytest.raises(NetworkError, match="CERTIFICATE_VERIFY_FAILED"):
        download(url)
    assert secure.requests == []


_PAST, _FUTURE, _LATER = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2020, 2090, 2091))


@each_of(
    "name, validity, hint",
    [
        ("127.0.0.1", {"not_after": _PAST}, "Check this machine's clock (date)."),
        ("127.0.0.1", {"not_before": _FUTURE, "not_after": _LATER}, "Check this machine's clock (date)."),
        ("other.example", {}, "Check the URL: the certificate is that of another host."),
        (None, {}, "trust it: --cacert FILE or SSL_CERT_FILE=FILE"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_not_requested_again(
    name: str | None, validity: dict[str, datetime], hint: str, tmp_path: Path
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    (other if name is None else authority).cert_pem.write_to_path(str(file))
    with (
        https_server(authority, name or "127.0.0.1", **validity) as server,
        pytest.raises(NetworkError, match="CERTIFICATE_VERIFY_FAILED") as refused,
    ):
        download(server.serve("/m", BODY), NetworkConfig.read({}, str(file)))
    assert hint in refused.value.hint
    assert not refused.value.is_transient


@each_of("address", ["https://.../x", f"https://{'a' * 80}.example/x", "https://xn--/x"])
def test_a_redirect_to_a_name_that_no_host_can_have_is_not_tried_again(
    address: str, server: HubServer
) -> None:
    server.redirect("/m", address)
    with pytest.raises(NetworkError) as refused:
        download(f"{server.url}/m")
    assert not refused.value.is_transient
    assert refused.value.hint == "Check the URL."


def test_the_flag_names_an_authority(secure: HubServer, bundle: Path) -> None:
    assert download(secure.serve("/m", BODY), NetworkConfig.read({}, str(bundle))) == BODY


def test_the_variable_of_openssl_names_one(secure: HubServer, bundle: Path) -> None:
    assert download(secure.serve("/m", BODY), NetworkConfig.read({"SSL_CERT_FILE": str(bundle)})) == BODY


def test_the_other_variable_names_a_folder_of_them(secure: HubServer, bundle: Path) -> None:
    url, folder = secure.serve("/m", BODY), bundle.parent / "certificates"
    folder.mkdir()
    access = NetworkConfig.read({"SSL_CERT_DIR": str(folder)})
    with pytest.raises(NetworkError, match="CERTIFICATE_VERIFY_FAILED"):
        download(url, access)
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl, to name the file by its hash")
    named = subprocess.run(
        [openssl, "x509", "-hash", "-noout", "-in", bundle], capture_output=True, text=True, check=True
    )
    (folder / f"{named.stdout.strip()}.0").write_bytes(bundle.read_bytes())
    assert download(url, access) == BODY


def test_the_flag_goes_before_the_variable(secure: HubServer, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    url = secure.serve("/m", BODY)
    assert download(url, NetworkConfig.read({"SSL_CERT_FILE": str(other)}, str(bundle))) == BODY
    with pytest.raises(NetworkError, match="CERTIFICATE_VERIFY_FAILED"):
        download(url, NetworkConfig.read({"SSL_CERT_FILE": str(bundle)}, str(other)))


def test_a_certificate_of_another_host_is_refused(authority: trustme.CA, bundle: Path) -> None:
    with https_server(authority, "models.example") as server:
        url = server.serve("/m", BODY)
        with pytest.raises(NetworkError, match="not valid for '127.0.0.1'"):
            download(url, NetworkConfig.read({}, str(bundle)))


def test_the_authorities_of_the_system_are_believed_by_default(
    secure: HubServer, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reads this variable by itself: it stands in for the file that an administrator changed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert download(secure.serve("/m", BODY), NetworkConfig.read({})) == BODY


def test_a_flag_that_names_no_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--cacert"):
        Settings.read({}, ca_file=str(tmp_path / "nowhere.pem"))


def test_a_file_that_holds_no_certificates_is_named(server: HubServer, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here")
    with pytest.raises(NetworkError) as caught:
        download(server.serve("/m", BODY), NetworkConfig.read({}, str(empty)))
    assert "--cacert" in caught.value.hint


def test_the_command_line_has_the_flag(secure: HubServer, bundle: Path, hubcli: Run) -> None:
    url = secure.serve("/m/1", models.archive())
    refused = hubcli("fetch", url, "--retries", "0")
    assert (refused.returncode, "certificate" in refused.stderr) == (5, True)
    assert hubcli("fetch", url, "--cacert", str(bundle)).returncode == 0


def test_nothing_turns_the_verification_off(hubcli: Run) -> None:
    help_text = hubcli("fetch", "--help", COLUMNS="200").stdout
    assert "insecure" not in help_text
    assert "no-verify" not in help_text
    sources = "".join(path.read_text() for path in Path(package.__file__).parent.rglob("*.py"))
    assert "def fetch(" in sources
    assert not any(word in sources for word in ("CERT_NONE", "verify=False", "check_hostname ="))


# Proxies ------------------------------------------------------------------------------------------


def test_an_http_address_goes_by_way_of_the_proxy(
    server: HubServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    url = server.serve("/m", BODY)
    assert download(url) == BODY
    assert proxy.seen == [f"GET {url}"]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_an_https_address_goes_through_a_tunnel_of_the_proxy_and_is_verified(
    variable: str, secure: HubServer, bundle: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    url = secure.serve("/m", BODY)
    assert download(url, NetworkConfig.read({}, str(bundle))) == BODY
    assert proxy.seen == [f"CONNECT 127.0.0.1:{secure.port}"]
    with pytest.raises(NetworkError, match="CERTIFICATE_VERIFY_FAILED"):
        download(url)


@pytest.mark.parametrize("hosts", ["127.0.0.1", "example.com,127.0.0.1", "*"])
def test_hosts_without_a_proxy_are_asked_directly(
    hosts: str, server: HubServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", hosts)
    assert download(server.serve("/m", BODY)) == BODY
    assert proxy.seen == []


def test_the_proxys_password_goes_to_the_proxy_alone(
    server: HubServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://me:pw@"))
    download(server.serve("/m", BODY))
    assert proxy.authorizations == ["Basic " + base64.b64encode(b"me:pw").decode()]
    assert "Proxy-Authorization" not in server.requests[0].headers
    assert "Authorization" not in server.requests[0].headers


def test_kaggles_token_is_hidden_from_the_proxy(
    secure: HubServer, bundle: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    url = serve_version(secure, 1, BODY)
    variables = {"HUBCLI_KAGGLE_ENDPOINT": secure.url, "KAGGLE_API_TOKEN": TOKEN}
    assert download(url, NetworkConfig.read(variables, str(bundle))) == BODY
    assert secure.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert proxy.seen == [f"CONNECT 127.0.0.1:{secure.port}"]


@pytest.mark.parametrize(
    "proxy_url",
    [
        "http://me:s3cret@127.0.0.1:1",
        "nonsense://me:s3cret@x",
        "http://me:s3cret@[",
        "socks5://me:s3cret@x:1",
    ],
)
def test_a_proxy_that_fails_shows_no_password(proxy_url: str, server: HubServer, hubcli: Run) -> None:
    result = hubcli("fetch", server.serve("/m/1", BODY), "--debug", "--retries", "0", HTTP_PROXY=proxy_url)
    assert result.returncode == 5
    assert "s3cret" not in result.stdout + result.stderr
    assert "PROXY" in result.stderr
