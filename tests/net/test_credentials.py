"""Credentials: found where kagglehub finds them, sent where they belong, shown nowhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.config.environment import KaggleAccount, NetworkConfig
from hubcli.errors import AuthenticationError, HubcliError, NotFoundError
from hubcli.net import credentials
from hubcli.net.credentials import Credentials
from hubcli.net.download import MIN_SEGMENTED_BYTES, DownloadOptions
from hubcli.net.http_source import open_download
from hubcli.net.retries import RetryPolicy
from hubcli.providers.kaggle_credentials import KaggleLogin
from tests.cases import each_of
from tests.kaggle import API, NAME, PAGE, TOKEN, serve_version
from tests.server import HubServer, Reply

BODY = b"an archive" * 50
LARGE = bytes(range(256)) * (MIN_SEGMENTED_BYTES // 256 + 99)
BEARER = f"Bearer {TOKEN}"


def basic(user: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


def access_to(_server: HubServer | None = None, /, **variables: str) -> NetworkConfig:
    """What the variables say, with the server for Kaggle."""
    endpoint = {"HUBCLI_KAGGLE_ENDPOINT": _server.url} if _server is not None else {}
    return NetworkConfig.read({**endpoint, **variables})


def download(url: str, access: NetworkConfig, spool: Path | None = None) -> bytes:
    options = DownloadOptions(5, RetryPolicy(5), 4, spool, access)
    with open_download(url, options) as answer:
        return b"".join(answer.read())


def authorizations(server: HubServer) -> list[str | None]:
    return [request.headers.get("Authorization") for request in server.requests]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# Where they are found ----------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home that the variables of every test name."""
    return tmp_path / "home"


def header(access: NetworkConfig) -> str | None:
    """What Kaggle is told."""
    return Credentials(access, access.kaggle.endpoint).header(f"{access.kaggle.endpoint}/x")


def test_without_any_nothing_is_sent(server: HubServer) -> None:
    download(serve_version(server, 1, BODY), access_to(server))
    assert authorizations(server) == [None]


def test_a_token_may_be_the_value_of_the_variable(server: HubServer) -> None:
    download(serve_version(server, 1, BODY), access_to(server, KAGGLE_API_TOKEN=TOKEN))
    assert authorizations(server) == [BEARER]


@pytest.mark.parametrize("where", ["{}", "~/{}"])
def test_the_variable_may_name_a_file_with_the_token(where: str, home: Path) -> None:
    write(home / "token", f"{TOKEN}\n")
    value = where.format(home / "token" if where == "{}" else "token")
    assert header(access_to(KAGGLE_API_TOKEN=value)) == BEARER


def test_a_file_may_be_named_from_where_one_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / "token", TOKEN)
    monkeypatch.chdir(home)
    assert header(access_to(KAGGLE_API_TOKEN="token")) == BEARER


def test_each_place_goes_before_the_next(home: Path, tmp_path: Path) -> None:
    """In kagglehub's order."""
    write(home / ".kaggle" / "kaggle.json", json.dumps({"username": "json", "key": "k"}))
    write(tmp_path / "config" / "kaggle.json", json.dumps({"username": "config", "key": "k"}))
    found: dict[str, str] = {}
    headers = [header(access_to(**found))]
    for name, value in (
        ("KAGGLE_CONFIG_DIR", str(tmp_path / "config")),
        ("KAGGLE_USERNAME", "me"),
        ("KAGGLE_KEY", "s3cret"),
    ):
        found[name] = value
        headers.append(header(access_to(**found)))
    write(home / ".kaggle" / "access_token", "from-file")
    headers.append(header(access_to(**found)))
    found["KAGGLE_API_TOKEN"] = TOKEN
    headers.append(header(access_to(**found)))
    config = basic("config", "k")
    assert headers == [basic("json", "k"), config, config, basic("me", "s3cret"), "Bearer from-file", BEARER]


@each_of("empty", ["KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_CONFIG_DIR", "NETRC"])
def test_an_empty_variable_is_none(empty: str) -> None:
    assert header(access_to(**{empty: ""})) is None


UNUSABLE: dict[str, dict[str, str]] = {
    "a line end": {"KAGGLE_API_TOKEN": "s3cret\nX-Evil: 1"},
    "a quote": {"KAGGLE_API_TOKEN": "“s3cret”"},
    "two words": {"KAGGLE_API_TOKEN": "Bearer s3cret"},
    "no such file": {"KAGGLE_API_TOKEN": "/nowhere/s3cret"},
    "the home of nobody": {"KAGGLE_API_TOKEN": "~no-such-user-at-all/s3cret"},
    "a colon": {"KAGGLE_USERNAME": "s3:cret", "KAGGLE_KEY": "s3cret"},
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_what_can_not_be_sent_is_told_by_its_place_alone(fault: str, server: HubServer) -> None:
    with pytest.raises(AuthenticationError, match="KAGGLE_") as caught:
        download(serve_version(server, 1, BODY), access_to(server, **UNUSABLE[fault]))
    assert_unseen("s3cret", caught.value)
    assert caught.value.exit_status == 5
    assert server.requests == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"username": "s3cret"}',
        '{"username": 1, "key": "s3cret"}',
        '["s3cret"]',
        '"s3cret',
        "[" * 9999,
    ],
)
def test_a_key_file_that_makes_no_sense_is_named(text: str, home: Path) -> None:
    file = write(home / ".kaggle" / "kaggle.json", text)
    with pytest.raises(AuthenticationError, match=str(file)) as caught:
        header(access_to())
    assert_unseen("s3cret", caught.value)


def assert_unseen(secret: str, error: BaseException | None) -> None:
    """As `--debug` shows it: with all causes and contexts."""
    while error is not None:
        assert secret not in f"{error!r} {error}"
        assert not isinstance(error, HubcliError) or secret not in error.hint
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_settings_show_no_credentials() -> None:
    access = access_to(KAGGLE_API_TOKEN="s3cret", KAGGLE_USERNAME="s3cret", KAGGLE_KEY="s3cret")
    assert "s3cret" not in repr(access)


# Where they go -----------------------------------------------------------------------------------


def test_kaggles_credentials_go_to_kaggle_alone(server: HubServer, other_server: HubServer) -> None:
    access = access_to(server, KAGGLE_API_TOKEN=TOKEN)
    download(other_server.serve("/m", BODY), access)
    assert authorizations(other_server) == [None]


@pytest.mark.parametrize("url", ["https://www.kaggle.com/x", "https://kaggle.com/x"])
def test_the_names_of_kaggle_are_its_origins(url: str) -> None:
    access = access_to(KAGGLE_API_TOKEN=TOKEN)
    assert Credentials(access, "https://tfhub.dev/m").header(url) == BEARER
    assert Credentials(access, url).header(url) == BEARER


@each_of(
    "url",
    [
        "http://www.kaggle.com/x",
        "https://www.kaggle.com:8443/x",
        "https://kaggle.com.evil/x",
        "https://api.www.kaggle.com/x",
        "https://www.kaggle.com@evil/x",
        "https://storage.googleapis.com/kaggle-models/x",
        "https://tfhub.dev/x",
    ],
)
def test_other_origins_are_not_kaggle(url: str) -> None:
    access = access_to(KAGGLE_API_TOKEN=TOKEN)
    assert Credentials(access, "https://www.kaggle.com/x").header(url) is None
    assert Credentials(access, url).header(url) is None


def test_with_an_endpoint_of_ones_own_kaggle_itself_gets_none(server: HubServer) -> None:
    access = access_to(server, KAGGLE_API_TOKEN=TOKEN)
    assert Credentials(access, server.url).header("https://www.kaggle.com/x") is None


def test_a_redirect_to_another_origin_loses_them(server: HubServer, other_server: HubServer) -> None:
    server.redirect(f"{API}/1/download", other_server.serve("/signed", BODY))
    download(f"{server.url}{API}/1/download", access_to(server, KAGGLE_API_TOKEN=TOKEN))
    assert authorizations(server) == [BEARER]
    assert authorizations(other_server) == [None]


@pytest.mark.parametrize("spooled", [False, True])
def test_ranges_retries_and_expired_addresses_lose_them_too(
    spooled: bool, server: HubServer, other_server: HubServer, tmp_path: Path
) -> None:
    tagged = Reply(LARGE, etag='"one"')
    faults = [
        replace(tagged, cut_at=100_000),
        Reply(b"busy", 503),
        Reply(b"expired", 403),
        replace(tagged, cut_at=100_000),
    ]
    server.redirect(f"{API}/1/download", other_server.serve("/signed", replace(tagged, first=faults)))
    access = access_to(server, KAGGLE_API_TOKEN=TOKEN)
    spool = tmp_path / "part" if spooled else None
    assert download(f"{server.url}{API}/1/download", access, spool) == LARGE
    assert len(other_server.requests) > 4
    assert any("Range" in request.headers for request in other_server.requests)
    assert set(authorizations(other_server)) == {None}
    assert len(server.requests) > 1  # It was asked for a new address.
    assert set(authorizations(server)) == {BEARER}


def test_a_body_that_kaggle_sends_itself_is_asked_for_with_them_each_time(
    server: HubServer, tmp_path: Path
) -> None:
    url = serve_version(server, 1, Reply(LARGE, etag='"one"'))
    assert download(url, access_to(server, KAGGLE_API_TOKEN=TOKEN), tmp_path / "part") == LARGE
    assert len(server.requests) > 1
    assert set(authorizations(server)) == {BEARER}


def test_a_chain_that_left_has_lost_them_for_good(server: HubServer, other_server: HubServer) -> None:
    """Kaggle, another host, Kaggle, a third one: only the first hop holds them."""
    with HubServer().running() as third:
        server.redirect(f"{API}/1/download", f"{other_server.url}/hop")
        other_server.redirect("/hop", f"{server.url}/back")
        server.redirect("/back", f"{third.url}/end")
        third.serve("/end", Reply(LARGE, etag='"one"', first=[Reply(LARGE, etag='"one"', cut_at=70_000)]))
        access = access_to(server, KAGGLE_API_TOKEN=TOKEN)
        assert download(f"{server.url}{API}/1/download", access) == LARGE
        assert authorizations(third) == [None, None]
    assert authorizations(server) == [BEARER, None]
    assert authorizations(other_server) == [None]


def test_a_chain_that_ends_where_it_began_asks_for_ranges_without_them(
    server: HubServer, other_server: HubServer
) -> None:
    cut = Reply(LARGE, etag='"one"', cut_at=70_000)
    server.serve("/back", Reply(LARGE, etag='"one"', first=[cut]))
    server.redirect(f"{API}/1/download", f"{other_server.url}/hop")
    other_server.redirect("/hop", f"{server.url}/back")
    download(f"{server.url}{API}/1/download", access_to(server, KAGGLE_API_TOKEN=TOKEN))
    assert authorizations(server) == [BEARER, None, None]


def test_a_host_that_sends_one_to_kaggle_does_not_use_them(
    server: HubServer, other_server: HubServer
) -> None:
    other_server.redirect("/m", serve_version(server, 1, BODY))
    download(f"{other_server.url}/m", access_to(server, KAGGLE_API_TOKEN=TOKEN))
    assert authorizations(server) == [None]


def test_user_info_of_an_address_goes_before(server: HubServer) -> None:
    url = serve_version(server, 1, BODY).replace("http://", "http://me:pw@")
    download(url, access_to(server, KAGGLE_API_TOKEN=TOKEN))
    assert authorizations(server) == [basic("me", "pw")]


# ~/.netrc ----------------------------------------------------------------------------------------


def test_other_hosts_have_the_entries_of_the_netrc_file(server: HubServer, home: Path) -> None:
    write(home / ".netrc", "machine 127.0.0.1 login me password pw\n").chmod(0o600)
    download(server.serve("/m", BODY), access_to())
    assert authorizations(server) == [basic("me", "pw")]


def test_the_variable_names_another_netrc_file(server: HubServer, home: Path, tmp_path: Path) -> None:
    write(home / ".netrc", "machine 127.0.0.1 login wrong password pw\n").chmod(0o600)
    other = write(tmp_path / "netrc", "machine 127.0.0.1 login me password pw\n")
    download(server.serve("/m", BODY), access_to(NETRC=str(other)))
    assert authorizations(server) == [basic("me", "pw")]


def test_a_home_that_is_no_directory_holds_no_netrc_file(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/dev/null")  # As some systems have it for accounts of services.
    assert download(server.serve("/m", BODY), access_to()) == BODY
    with pytest.raises(AuthenticationError, match="does not exist"):
        download(server.serve("/m", BODY), access_to(NETRC="/dev/null/netrc"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")
def test_in_the_home_of_another_account_there_is_nothing_to_read(server: HubServer, tmp_path: Path) -> None:
    home = tmp_path / "root"
    write(home / ".netrc", "machine 127.0.0.1 login me password pw\n")
    write(home / ".config" / "hubcli" / "config.toml", "offline = true\n")
    write(home / ".kaggle" / "kaggle.json", '{"username": "me", "key": "k"}')
    home.chmod(0o700)
    url = server.serve("/m", BODY)
    program = (
        "import os\n"
        "from hubcli.config.settings import Settings\n"
        "from hubcli.providers.kaggle_credentials import kaggle_credential\n"
        "from hubcli.publishing.answer_cache import account_key\n"
        "from hubcli.net.credentials import netrc_names\n"
        "from tests.net.test_credentials import NetworkConfig, download\n"
        "def read():\n"
        "    settings = Settings.read()\n"
        "    found = kaggle_credential(settings.access.kaggle), netrc_names(settings.access)\n"
        "    return settings, account_key(settings.access.kaggle), *found\n"
        # All is imported before: Python itself may be where the other account can't read.
        f"download({url!r}, NetworkConfig())\n"
        "assert all(read())\n"
        "os.setuid(65534)\n"
        "settings, key, credential, names = read()\n"
        f"print(settings.offline, bool(key), credential, names, len(download({url!r}, settings.access)))\n"
    )
    variables = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "HUBCLI_"))}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**variables, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == f"False True None frozenset() {len(BODY)}\n", result.stderr
    assert authorizations(server) == [None, None]


def test_kaggle_has_none_of_them(server: HubServer, home: Path) -> None:
    write(home / ".netrc", "machine 127.0.0.1 login me password pw\n").chmod(0o600)
    download(serve_version(server, 1, BODY), access_to(server))
    assert authorizations(server) == [None]


@pytest.mark.parametrize("entry", ["default", "machine 127.0.0.1"])
def test_an_entry_stays_with_the_host_that_was_named(
    entry: str, server: HubServer, other_server: HubServer, home: Path
) -> None:
    write(home / ".netrc", f"{entry} login me password pw\n").chmod(0o600)
    cut = Reply(LARGE, etag='"one"', cut_at=70_000)
    other_server.serve("/real", Reply(LARGE, etag='"one"', first=[cut]))
    server.redirect("/hop", f"{other_server.url}/real")
    assert download(server.redirect("/m", "/hop"), access_to()) == LARGE
    assert authorizations(server) == [basic("me", "pw")] * 2
    assert authorizations(other_server) == [None, None]


def test_a_netrc_file_that_makes_no_sense_is_named_by_its_line(server: HubServer, home: Path) -> None:
    write(home / ".netrc", "machine a login b password c\ns3cret\n").chmod(0o600)
    with pytest.raises(AuthenticationError, match=r"netrc has a syntax error near line \d") as caught:
        download(server.serve("/m", BODY), access_to())
    assert_unseen("s3cret", caught.value)


def test_a_netrc_file_that_is_named_must_be_there(server: HubServer) -> None:
    with pytest.raises(AuthenticationError, match="/nowhere/netrc does not exist"):
        download(server.serve("/m", BODY), access_to(NETRC="/nowhere/netrc"))


def test_no_netrc_file_is_one_without_entries(server: HubServer) -> None:
    download(server.serve("/m", BODY), access_to())
    assert authorizations(server) == [None]


# What a refusal says -----------------------------------------------------------------------------


def refused(status: int, server: HubServer, variables: Mapping[str, str] = {}) -> HubcliError:
    url = serve_version(server, 1, Reply(status=status))
    with pytest.raises(HubcliError) as caught:
        download(url, access_to(server, **variables))
    return caught.value


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_without_credentials_names_the_page_and_where_to_put_a_token(
    status: int, server: HubServer
) -> None:
    error = refused(status, server)
    assert (error.code, error.exit_status) == ("authentication", 5)
    for text in (f"{PAGE}, then", "KAGGLE_API_TOKEN", "~/.kaggle/access_token", "kaggle.com/settings"):
        assert text in error.hint


def test_a_403_with_credentials_asks_for_consent_with_their_account(server: HubServer) -> None:
    error = refused(403, server, {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "s3cret"})
    assert f"Accept the license on {PAGE} with the account of KAGGLE_USERNAME and KAGGLE_KEY" in error.hint
    assert_unseen("s3cret", error)


def test_a_401_with_credentials_says_whose_are_not_taken(server: HubServer, home: Path) -> None:
    file = write(home / ".kaggle" / "access_token", "s3cret")
    error = refused(401, server)
    assert f"Kaggle rejects the credentials of {file}" in error.hint
    assert_unseen("s3cret", error)


def test_a_404_of_kaggle_may_be_that_of_a_private_model(server: HubServer) -> None:
    error = refused(404, server)
    assert isinstance(error, NotFoundError)
    assert "if it is private" in error.hint
    assert "private" not in refused(404, server, {"KAGGLE_API_TOKEN": TOKEN}).hint


def test_a_refusal_on_the_way_from_elsewhere_explains_itself_too(
    server: HubServer, other_server: HubServer
) -> None:
    page = server.serve(f"/models/{NAME}/1", Reply(status=403))
    with pytest.raises(AuthenticationError) as caught:
        download(other_server.redirect("/m", page), access_to(server))
    assert PAGE in caught.value.hint


def test_another_hosts_refusal_names_the_netrc_file(server: HubServer) -> None:
    with pytest.raises(AuthenticationError) as caught:
        download(server.serve("/m", Reply(status=401)), NetworkConfig(kaggle=KaggleAccount()))
    assert "an entry for 127.0.0.1 to ~/.netrc" in caught.value.hint


# What stands there instead -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [".netrc", ".kaggle/access_token", ".kaggle/kaggle.json"])
def test_a_fifo_that_nobody_writes_into_is_not_waited_for(
    name: str, server: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_WAIT_S", 0.05)
    monkeypatch.setattr("hubcli.providers.kaggle_credentials._WAIT_S", 0.05)
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(home / name)
    url = serve_version(server, 1, BODY) if "kaggle" in name else server.serve("/m", BODY)
    with pytest.raises(AuthenticationError, match=f"{name}( cannot be read)?$"):
        download(url, access_to(server if "kaggle" in name else None))


def test_a_fifo_may_hold_the_entries_and_a_device_none(server: HubServer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "netrc")
    # The netrc of Python 3.10 knows no letters beyond ASCII.
    password = "p\xe4ss" if sys.version_info >= (3, 11) else "pass"
    text = f"machine 127.0.0.1 login me password {password}\n".encode()
    writer = threading.Thread(target=(tmp_path / "netrc").write_bytes, args=(text,))
    writer.start()
    server.serve("/m", BODY)
    url = server.serve("/old", Reply(status=302, headers={"Location": "/m"}))
    download(url, access_to(NETRC=str(tmp_path / "netrc")))
    writer.join()
    download(url, access_to(NETRC="/dev/null"))
    assert authorizations(server) == [*[basic("me", password)] * 2, None, None]


# What `kaggle auth login` wrote ------------------------------------------------------------------


def login_of(home: Path, token: object = TOKEN, expires: object = "2999-01-02T03:04:05.000006+00:00") -> Path:
    content = {
        "refresh_token": "r3fresh-s3cret",
        "access_token": token,
        "access_token_expiration": expires,
        "username": "me",
        "scopes": [],
    }
    return write(home / ".kaggle" / "credentials.json", json.dumps(content))


def test_a_login_of_kaggles_command_is_used_after_all_others(home: Path, server: HubServer) -> None:
    url = serve_version(server, 1, Reply(BODY))
    login_of(home)
    assert download(url, access_to(server)) == BODY
    write(home / ".kaggle" / "kaggle.json", json.dumps({"username": "me", "key": "k3y"}))
    assert download(url, access_to(server)) == BODY
    assert authorizations(server) == [BEARER, basic("me", "k3y")]


@each_of(
    "token, expires",
    [
        (TOKEN, "2020-01-02T03:04:05+00:00"),
        (TOKEN, ""),
        (TOKEN, None),
        (TOKEN, 7),
        (TOKEN, "now"),
        ("", "2999-01-02T03:04:05+00:00"),
        ("to\nken", "2999-01-02T03:04:05+00:00"),
        (7, "2999-01-02T03:04:05+00:00"),
    ],
)
def test_a_login_that_has_expired_or_is_damaged_keeps_nobody_from_public_models(
    token: object, expires: object, home: Path, server: HubServer
) -> None:
    url = serve_version(server, 1, Reply(BODY))
    login_of(home, token, expires)
    assert download(url, access_to(server)) == BODY
    assert authorizations(server)[-1] is None


@each_of("text", ["", "[]", "{", "null", "[" * 100_000, '{"access_token": "t"}'])
def test_a_file_that_is_no_login_is_passed_over(text: str, home: Path, server: HubServer) -> None:
    url = serve_version(server, 1, Reply(BODY))
    write(home / ".kaggle" / "credentials.json", text)
    assert download(url, access_to(server)) == BODY
    assert authorizations(server)[-1] is None


def test_a_login_shows_no_token(home: Path) -> None:
    login = KaggleLogin.read(login_of(home))
    assert login is not None
    assert login.is_valid
    assert TOKEN not in repr(login)
    assert TOKEN not in repr(login.credential())
