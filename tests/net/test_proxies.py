"""By way of whom a URL is asked: what hubcli tells is what httpx does."""

from __future__ import annotations

import itertools
import os

import httpx
import pytest

from hubcli.net.client import translate
from hubcli.net.connections import Proxies, ProxyRoute
from tests.cases import each_of

PROXIES: tuple[dict[str, str], ...] = (
    {"HTTPS_PROXY": "http://p:1"},
    {"HTTP_PROXY": "http://y:1", "HTTPS_PROXY": "http://p:1"},
    {"ALL_PROXY": "http://q:2", "https_proxy": "r:3", "HTTPS_PROXY": "http://s:4"},
    {
        "http_proxy": "http://x:1",
        "HTTP_PROXY": "http://y:1",
        "HTTPS_PROXY": "http://z:2",
        "REQUEST_METHOD": "GET",
    },
    {"HTTP_PROXY": "http://y:1", "REQUEST_METHOD": "GET"},
    {},
)
EXEMPT = (
    *("", "*", "com", "example.com", ".example.com", "*.example.com", "EXAMPLE.com", "example.com/x"),
    *(
        "example.com:8080",
        "example.com:443",
        "https://example.com",
        "http://example.com",
        "a,  www.example.com ",
    ),
    *("https://example.com:8080", "all://www.example.com", "10.0.0.0/8", "10.0.0.1", "10.0.0.1:99"),
    *("localhost", "::1"),
)
URLS = (
    *("https://example.com/", "https://www.example.com/x", "https://notexample.com", "http://example.com"),
    *("https://example.com:8080/", "https://example.com:443/", "http://10.0.0.1/", "https://10.1.2.3"),
    *("http://10.0.0.1:99/", "http://localhost:8080", "http://[::1]:5/"),
)


@pytest.mark.parametrize("exempt", EXEMPT)
def test_every_url_takes_the_way_that_httpx_chooses(exempt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, url in itertools.product(PROXIES, URLS):
        with monkeypatch.context() as patched:
            for name, value in {**variables, "NO_PROXY": exempt}.items():
                patched.setenv(name, value)
            with httpx.Client(verify=False) as client:
                transport = client._transport_for_url(httpx.URL(url))
                chosen = getattr(transport._pool, "_proxy_url", None)  # type: ignore[attr-defined]
            proxy = Proxies.read(os.environ).route(url).proxy
        names = None if chosen is None else f"{chosen.host.decode()}:{chosen.port}"
        assert (None if proxy is None else proxy.rpartition("/")[2]) == names, (variables, url)


def test_the_variable_that_decides_is_told() -> None:
    variables = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.example", "all_proxy": "http://q:2"}
    proxies = Proxies.read(variables)
    assert proxies.route("https://a.example/") == ProxyRoute("http://p:1", "HTTPS_PROXY")
    assert proxies.route("http://a.example/") == ProxyRoute("http://q:2", "all_proxy")
    assert proxies.route("https://b.example/") == ProxyRoute(None, "NO_PROXY")
    assert Proxies.read({}).route("https://b.example/") == ProxyRoute()


@each_of(
    "words, is_transient, hint",
    [
        ("407 Proxy Authentication Required", False, "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"),
        ("403 Forbidden", False, "what the proxy allows"),
        ("429 Too Many Requests", True, "Try again"),
        ("502 Bad Gateway", True, "Try again"),
        ("the end of the connection", True, "Try again"),
        ("9999999999", True, "Try again"),
    ],
)
def test_a_refusal_of_the_proxy_is_not_retried_and_a_failure_is(
    words: str, is_transient: bool, hint: str
) -> None:
    error = translate(httpx.ProxyError(words), "https://a.example/x")

    assert error.is_transient is is_transient
    assert error.was_sent is False
    assert hint in error.hint
