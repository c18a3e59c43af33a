"""The doctor on the network: as it is set up, and with `--network` as it answers."""

from __future__ import annotations

import socket
import sys
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from hubcli.diagnosing.context import Status
from hubcli.errors import UsageError
from tests.cases import each_of
from tests.doctor import check_named, diagnose, names
from tests.proxy import Proxy
from tests.server import HubServer, Reply
from tests.tls import https_server


def place(url: str) -> str:
    return url.partition("://")[2]


# As it is set up ----------------------------------------------------------------------------------


def test_offline_by_the_variable_is_a_warning_and_by_the_flag_a_wish() -> None:
    assert check_named(diagnose(), "offline").value is False
    assert check_named(diagnose({"HUBCLI_OFFLINE": "1"}), "offline").status is Status.WARNING
    assert check_named(diagnose({"HUBCLI_OFFLINE": "1"}), "offline").hint == "unset HUBCLI_OFFLINE"
    assert check_named(diagnose(offline=True), "offline").status is Status.INFO
    unclear = check_named(diagnose({"HUBCLI_OFFLINE": "n"}), "HUBCLI_OFFLINE")
    assert (unclear.status, unclear.message) == (Status.WARNING, "'n', which counts as on")
    assert unclear.hint == "Use HUBCLI_OFFLINE=1 or HUBCLI_OFFLINE=0."


def test_mirrors_are_told_without_their_credentials() -> None:
    found = diagnose(
        {"HUBCLI_MIRRORS": "https://tfhub.dev=https://me:s3cret@mirror.example/tfhub"},
        mirrors=("https://a.example=https://b.example?token=s3cret",),
    )
    assert check_named(found, "mirrors").value == {
        "https://a.example": "https://b.example",
        "https://tfhub.dev": "https://mirror.example/tfhub",
    }
    assert "s3cret" not in repr(found.checks)


def test_a_mirror_that_is_none_is_a_problem_beside_those_that_are() -> None:
    found = diagnose({"HUBCLI_MIRRORS": "nonsense, https://a.example=https://b.example"})
    problem, working = [check for check in found.checks if check.name == "mirrors"]
    assert (problem.status, working.status) == (Status.PROBLEM, Status.OK)
    assert "Invalid mirror 'nonsense'" in problem.message
    assert "HUBCLI_MIRRORS=https://" in problem.hint


def test_a_mirror_without_a_clear_host_is_a_problem_and_is_not_asked() -> None:
    found = diagnose({"HUBCLI_MIRRORS": "https://tfhub.dev=https://me:s3/cret@mirror.example"})
    assert check_named(found, "mirrors").status is Status.PROBLEM
    assert "%2F" in check_named(found, "mirrors").hint
    assert "s3/cret" not in repr(found.checks)
    assert check_named(found, "hosts").value == {"hosts": ["www.kaggle.com", "storage.googleapis.com"]}


def test_an_endpoint_that_is_none_is_a_problem() -> None:
    found = diagnose({"HUBCLI_KAGGLE_ENDPOINT": "http://kaggle.example"})
    assert check_named(found, "kaggle-endpoint").status is Status.PROBLEM
    assert check_named(found, "kaggle-endpoint").hint
    other = check_named(diagnose({"HUBCLI_KAGGLE_ENDPOINT": "https://kaggle.example"}), "kaggle-endpoint")
    assert other.status is Status.INFO


def test_without_proxies_all_is_asked_directly() -> None:
    check = check_named(diagnose(), "proxies")
    hosts = ["tfhub.dev", "www.kaggle.com", "storage.googleapis.com"]
    assert check.value == {"hosts": dict.fromkeys(hosts), "no_proxy": []}


def test_each_host_is_told_by_way_of_whom_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"HTTPS_PROXY": "http://me:s3cret@proxy.example:3128", "no_proxy": "googleapis.com"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check = check_named(diagnose(variables), "proxies")
    assert check.status is Status.OK
    assert check.message == (
        "http://proxy.example:3128 (HTTPS_PROXY): tfhub.dev, www.kaggle.com; "
        "directly, by NO_PROXY: storage.googleapis.com"
    )
    assert check.value["hosts"]["tfhub.dev"] == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("socks5://me:s3cret@proxy.example:1080", "socksio"),
        ("ftp://me:s3cret@proxy.example", "Invalid proxy URL"),
        ("http://me:s3/cret@proxy.example:3128", "Invalid proxy URL"),
        ("http://me:s3#cret@proxy.example:3128", "Invalid proxy URL"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_a_problem(
    value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    found = diagnose({"HTTPS_PROXY": value})
    assert check_named(found, "proxies").status is Status.PROBLEM
    assert problem in check_named(found, "proxies").message
    assert not {"s3", "cret", "me:"} & set(repr(found.checks).replace("@", " ").replace("/", " ").split())
    assert "s3cret" not in repr(found.checks)


@each_of("scheme", ["socks5", "socks5h", "SOCKS5"])
def test_a_socks_proxy_without_its_package_says_what_to_install(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://proxy.example:1080")
    check = check_named(diagnose({"HTTPS_PROXY": f"{scheme}://proxy.example:1080"}), "proxies")
    assert check.message == "HTTPS_PROXY is a SOCKS proxy, which needs the package socksio"
    assert check.hint == "Run: pip install 'httpx[socks]'"


def test_what_no_proxy_can_not_say_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "*.corp.example,10.0.0.0/8,.fine"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert check_named(diagnose(variables), "no-proxy").value == ["*.corp.example", "10.0.0.0/8"]


def test_certificates_are_counted(bundle: Path) -> None:
    check = check_named(diagnose(ca_file=str(bundle)), "certificates")
    assert check.value == {"source": "--cacert", "path": str(bundle), "authorities": 1, "expired": 0}
    assert (
        check_named(diagnose({"SSL_CERT_FILE": str(bundle)}), "certificates").value["source"]
        == "SSL_CERT_FILE"
    )
    assert check_named(diagnose(), "certificates").value["source"] == "system"
    assert check_named(diagnose(), "tls").status is Status.OK


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_a_problem(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    for found in (diagnose(ca_file=str(file)), diagnose({"SSL_CERT_FILE": str(file)})):
        assert check_named(found, "certificates").status is Status.PROBLEM
        assert str(file) in check_named(found, "certificates").message


def test_a_folder_without_hashed_names_is_a_problem(tmp_path: Path) -> None:
    check = check_named(diagnose({"SSL_CERT_DIR": str(tmp_path)}), "certificates")
    assert check.status is Status.PROBLEM
    assert "openssl rehash" in check.hint


def test_a_bundle_that_hubcli_does_not_read_is_a_warning(bundle: Path) -> None:
    check = check_named(diagnose({"REQUESTS_CA_BUNDLE": str(bundle)}), "other-certificates")
    assert check.hint == f"export SSL_CERT_FILE={bundle}"
    assert "other-certificates" not in names(
        diagnose({"REQUESTS_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(bundle)})
    )


# As it answers ------------------------------------------------------------------------------------


def test_nothing_is_sent_without_the_option(server: HubServer, proxy: Proxy) -> None:
    variables = {
        "HUBCLI_KAGGLE_ENDPOINT": server.url,
        "HUBCLI_MIRRORS": f"https://tfhub.dev={server.url}",
        "HTTPS_PROXY": proxy.url,
    }
    assert check_named(diagnose(variables), "hosts").message.startswith("not checked")
    assert (server.requests, proxy.seen) == ([], [])


def test_hosts_without_the_option_are_refused() -> None:
    with pytest.raises(UsageError, match="requires --network"):
        diagnose(hosts=("tfhub.dev",))


@each_of("host", ["https://me:s3/cret@a.example", "a.example:port", "http://", " "])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(UsageError) as refused:
        diagnose(network=True, hosts=(host,))
    assert "s3" not in refused.value.message


def test_credentials_in_an_address_are_neither_sent_nor_shown(server: HubServer) -> None:
    url = server.url.replace("//", "//me:s3cret@")
    for found in (
        diagnose(network=True, hosts=(f"{url}/x?token=s3cret", "https://me:s3cret@nowhere.invalid/")),
        diagnose({"HUBCLI_MIRRORS": f"https://tfhub.dev={url}"}, network=True, hosts=(url,)),
    ):
        assert "s3cret" not in repr(found.checks)
        assert check_named(found, place(server.url)).value["url"] == server.url
    assert not [request for request in server.requests if "Authorization" in request.headers or request.query]


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_may_be_bare(host: str) -> None:
    found = diagnose(network=True, hosts=(host,), timeout_s=0.5)
    assert check_named(found, "[::1]").value["url"] == "https://[::1]"


@pytest.mark.parametrize(("variables", "offline"), [({}, True), ({"HUBCLI_OFFLINE": "1"}, False)])
def test_offline_and_network_are_refused(variables: dict[str, str], offline: bool) -> None:
    with pytest.raises(UsageError, match="cannot be used offline"):
        diagnose(variables, network=True, offline=offline)


def test_a_host_that_answers_is_told_step_by_step(secure: HubServer, bundle: Path) -> None:
    secure.serve("/", b"hello")
    found = diagnose(network=True, hosts=(place(secure.url),), ca_file=str(bundle))
    check = check_named(found, place(secure.url))
    assert check.status is Status.OK
    assert check.value["http_status"] == 200
    assert check.value["addresses"] == ["127.0.0.1"]
    assert check.value["tls"] == "TLSv1.3"
    assert None not in [check.value[f"{step}_s"] for step in ("dns", "connect", "tls", "total")]
    assert check_named(found, "clock").status is Status.OK
    assert len(secure.requests) == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Status.OK),
        (401, Status.OK),
        (404, Status.OK),
        (503, Status.WARNING),
        (429, Status.WARNING),
        (511, Status.PROBLEM),
    ],
)
def test_any_answer_reaches_the_host(server: HubServer, status: int, expected: Status) -> None:
    server.serve("/x", Reply(status=status, headers={"Location": "https://nowhere.invalid/"}))
    check = check_named(diagnose(network=True, hosts=(f"{server.url}/x",)), place(server.url))
    assert (check.status, check.value["http_status"]) == (expected, status)
    assert len(server.requests) == 1


def test_no_credentials_are_sent(server: HubServer, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password s3cret")
    netrc.chmod(0o600)
    variables = {"HUBCLI_KAGGLE_ENDPOINT": server.url, "KAGGLE_API_TOKEN": "s3cret", "NETRC": str(netrc)}
    diagnose({**variables, "HUBCLI_MIRRORS": f"https://tfhub.dev={server.url}"}, network=True)
    assert len(server.requests) == 1
    assert "Authorization" not in server.requests[0].headers


def test_the_endpoint_and_the_mirrors_take_the_place_of_the_usual_hosts(
    server: HubServer, other_server: HubServer
) -> None:
    found = diagnose(
        {"HUBCLI_KAGGLE_ENDPOINT": server.url, "HUBCLI_MIRRORS": f"https://tfhub.dev={other_server.url}/hub"},
        network=True,
        mirrors=(f"{server.url}={server.url}/api",),
    )
    assert {place(server.url), place(other_server.url)} <= names(found)
    assert not {"tfhub.dev", "www.kaggle.com", "storage.googleapis.com"} & names(found)


def test_a_name_without_an_address_is_a_problem() -> None:
    check = check_named(diagnose(network=True, hosts=("nowhere.invalid",)), "nowhere.invalid")
    assert (check.status, check.value["failed_step"]) == (Status.PROBLEM, "name")
    assert "has no address" in check.message


def test_a_port_where_nobody_listens_is_a_problem() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        check = check_named(diagnose(network=True, hosts=(host,)), host)
    assert (check.status, check.value["failed_step"]) == (Status.PROBLEM, "connect")
    assert "Connection refused" in check.message


def test_a_host_that_is_silent_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        check = check_named(diagnose(network=True, hosts=(host,), timeout_s=0.2), host)
    assert (check.status, check.value["failed_step"]) == (Status.PROBLEM, "tls")
    assert "Timed out" in check.message


def test_an_authority_that_nobody_named_is_a_problem_with_a_remedy(secure: HubServer) -> None:
    check = check_named(diagnose(network=True, hosts=(place(secure.url),)), place(secure.url))
    assert (check.status, check.value["failed_step"]) == (Status.PROBLEM, "tls")
    assert "CERTIFICATE_VERIFY_FAILED" in check.message
    assert "SSL_CERT_FILE" in check.hint
    assert secure.requests == []


def test_a_certificate_of_the_past_or_the_future_may_be_a_wrong_clock(
    bundle: Path, authority: trustme.CA
) -> None:
    past = datetime(2001, 1, 1, tzinfo=timezone.utc)
    with https_server(authority, not_before=past, not_after=past + timedelta(1)) as server:
        check = check_named(
            diagnose(network=True, hosts=(place(server.url),), ca_file=str(bundle)), place(server.url)
        )
    assert "expired" in check.message
    assert check.hint.startswith("Check this machine's clock")


def test_a_clock_that_differs_is_a_warning(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import http.server

    ahead = format_datetime(datetime.now(timezone.utc) + timedelta(hours=2), usegmt=True)
    monkeypatch.setattr(
        http.server.BaseHTTPRequestHandler, "date_time_string", lambda handler, timestamp=None: ahead
    )
    check = check_named(diagnose(network=True, hosts=(server.url,)), "clock")
    assert check.status is Status.WARNING
    assert "behind" in check.message
    assert check.value["ahead_s"] == pytest.approx(-7200, abs=60)


def test_a_proxy_is_asked_for_what_is_behind_it(
    secure: HubServer, proxy: Proxy, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = proxy.url.replace("//", "//me:s3cret@")
    monkeypatch.setenv("HTTPS_PROXY", address)
    found = diagnose({"HTTPS_PROXY": address}, network=True, hosts=(place(secure.url),), ca_file=str(bundle))
    check = check_named(found, place(secure.url))
    assert check.status is Status.OK
    assert check.value["proxy"] == proxy.url
    assert check.value["tls"] == "TLSv1.3"
    assert proxy.seen == [f"CONNECT {place(secure.url)}"]
    assert "s3cret" not in repr(found.checks)


def test_a_proxy_that_refuses_is_told_as_the_one_who_does(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web server answers CONNECT with 501."""
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    check = check_named(
        diagnose({"HTTPS_PROXY": server.url}, network=True, hosts=("a.example",)), "a.example"
    )
    assert (check.status, check.value["failed_step"]) == (Status.PROBLEM, "proxy")
    assert server.url in check.message


def test_hosts_are_asked_at_the_same_time_and_told_in_their_order() -> None:
    """The first one answers when the second one was asked too."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:

        def answer() -> None:
            for end in [listening.accept()[0] for listening in (first, second)]:
                with end:
                    end.recv(9999)
                    end.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        hosts = [f"127.0.0.1:{listening.getsockname()[1]}" for listening in (first, second)]
        found = diagnose(network=True, hosts=tuple(f"http://{host}/" for host in (*hosts, hosts[0])))
        thread.join()
    hosts_checked = [check.name for check in found.checks if check.name in hosts]
    assert hosts_checked == hosts
    assert [check_named(found, host).value["http_status"] for host in hosts] == [204, 204]
