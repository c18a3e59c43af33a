"""URLs as strings: what is hidden of them, and that edits leave the rest as it is spelled."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.urls import (
    address,
    is_address,
    origin,
    printed_url,
    redacted,
    with_query,
    without_query,
    without_secrets,
)
from tests.cases import each_of


@each_of(
    "url, expected",
    [
        ("https://Host/x", ("https", "host", 443)),
        ("http://host/x", ("http", "host", 80)),
        ("https://host:443/x", ("https", "host", 443)),
        ("https://me:pw@host:8443", ("https", "host", 8443)),
        ("http://[::1]:80/", ("http", "::1", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


def test_a_downgrade_is_another_origin() -> None:
    assert origin("https://host/x") != origin("http://host/x")


@each_of(
    "url, expected",
    [
        ("https://h/x", "https://h/x?a=1"),
        ("https://h/x?b=2", "https://h/x?b=2&a=1"),
        ("https://h/x?a=1", "https://h/x?a=1"),
        ("https://h/x?aa=1", "https://h/x?aa=1&a=1"),
        ("https://h/x#top", "https://h/x?a=1"),
        ("https://h/x?s=%2f+%2F~#top", "https://h/x?s=%2f+%2F~&a=1"),
    ],
)
def test_an_item_is_added_to_a_query_once(url: str, expected: str) -> None:
    assert with_query(url, "a=1") == expected
    assert with_query(expected, "a=1") == expected


def test_only_whole_keys_are_dropped() -> None:
    url = "https://h/x?tf-hub-format=compressed&format=%2f&x-tf-hub-format=1&tf-hub-format#top"

    assert without_query(url, re.compile("tf-hub-format")) == "https://h/x?format=%2f&x-tf-hub-format=1"


@each_of(
    "key",
    [
        *("X-Goog-Signature", "X-Goog-Credential", "x-goog-date", "GoogleAccessId", "Signature", "Expires"),
        *("X-Amz-Signature", "X-Amz-Security-Token", "AWSAccessKeyId", "Policy", "Key-Pair-Id"),
        *("sig", "se", "sp", "sv", "skoid"),
        *("token", "access_token", "private-token", "api_key", "apikey", "key", "secret", "client_secret"),
        *("password", "auth", "jwt", "credential"),
    ],
)
def test_a_key_that_carries_a_secret_is_hidden(key: str) -> None:
    assert without_secrets(f"https://h/x?v=1&{key}=hunter2&w=2") == "https://h/x?v=1&w=2"


@each_of("key", ["v", "version", "tf-hub-format", "alt", "keyword", "monkey", "design", "tokenizer"])
def test_a_key_that_carries_none_is_shown(key: str) -> None:
    assert without_secrets(f"https://h/x?{key}=1") == f"https://h/x?{key}=1"


@each_of("user", ["me:hunter2@", "hunter2@", ":hunter2@", "a@b:hunter2@"])
def test_user_info_is_hidden(user: str) -> None:
    assert without_secrets(f"https://{user}h:8443/x") == "https://h:8443/x"


@given(st.text() | st.text().map("https://{}".format) | st.text().map("https://me:pw@h/x?{}".format))
@example("https://@//\u2100")
def test_hiding_secrets_never_fails_and_once_is_enough(text: str) -> None:
    output = without_secrets(text)

    assert without_secrets(output) == output


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="?#\t\r\n")))
def test_the_spelling_of_a_kept_query_is_untouched(query: str) -> None:
    item = f"v={query.replace('&', '')}".rstrip()

    assert without_secrets(f"https://h/x?{item}") == f"https://h/x?{item}"


@each_of(
    "url, expected",
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("https://me:pw@host.example/path?token=x", "https://host.example"),
        ("me:pw@proxy:3128", "http://proxy:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_an_address_is_scheme_host_and_port(url: str, expected: str) -> None:
    assert address(url) == expected
    assert is_address(url)


@each_of(
    "url",
    [
        "http://me:p/w@host",
        "http://me:1/w@host",
        "http://me:p#w@host",
        "http://me:p?w@host",
        "http://host:pw",
        "http://",
        "http:// /",
        "http://[::1",
        "",
    ],
)
def test_what_may_be_a_password_is_no_address(url: str) -> None:
    assert address(url) == "(an invalid URL)"
    assert not is_address(url)


def test_a_password_that_looks_like_a_path_is_not_shown() -> None:
    assert without_secrets("https://me:pa/ss@host/x") == "(an invalid URL)"


@each_of(
    "query, printed",
    [
        *(
            (f"{key}=a.1-B_2", f"{key}=a.1-B_2")
            for key in ("tf-hub-format", "tfhub-redirect", "alt", "v", "rev")
        ),
        ("v=1&format=tar&generation=12", "v=1&format=tar&generation=12"),
        ("v=1&token=s3cret", "v=1"),
        ("v=1&who=s3cret", "v=1&who=***"),
        ("v=1&v=s3cret:s3cret", "v=1&v=***"),
        ("v=aaaaaaaaaaaaaaaaaaaaaaaaa", "v=***"),
        ("v=1;sid=s3cret", "v=1;sid=***"),
        ("v=1?token=s3cret", "v=***"),
        ("v=1&&version=%61", "v=1&version=***"),
    ],
)
def test_an_address_in_a_text_is_printed_as_one_by_itself(query: str, printed: str) -> None:
    url = f"https://h.example/m/1?{query}"

    assert printed_url(url) == redacted(url) == f"https://h.example/m/1?{printed}"
    assert redacted(f'["{url}", 1]') == f'["https://h.example/m/1?{printed}", 1]'


@each_of("url", ["https://me:s3cret@h/m?v=1", "https://h/m;id=s3cret?v=1", "https://h/m?v=1#token=s3cret"])
def test_a_harmless_query_hides_no_secret_before_or_behind_it(url: str) -> None:
    assert "s3cret" not in redacted(url)


@each_of(
    "url, stored, printed",
    [
        ("https://p/https://u:pw1@h/m", "https://p/https://h/m", "https://p/https://h/m"),
        ("https://p/https:/u@h/m@2", "https://p/https:/h/m@2", "https://p/https:/h/m@2"),
        ("https://p/https%3A%2F%2Fu%3Apw1%40h%2Fm", "https://p/https%3A%2F%2Fh%2Fm", None),
        ("https://p/https%253a%252f%252fu:pw1@h/m", "https://p/https%253a%252f%252fh/m", None),
        ("https://p/x%3Ftoken=s3cret", "https://p/x%3F", "https://p/x%3F***"),
        ("https://p/x%3Fa%3D1%26t%6fken%3Ds3cret/y", "https://p/x%3Fa%3D1/y", "https://p/x%3F***/y"),
        ("https://p/x%253fa=1%2526b=2", "https://p/x%253fa=1%2526b=2", "https://p/x%253f***"),
        ("https://h/m%253Bsid=s3cret", "https://h/m", "https://h/m;***"),
        ("https://h/m?token[]=s3cret&x%5Btoken%5D=s3cret", "https://h/m", "https://h/m"),
        ("https://h/m?+token=s3cret", "https://h/m", "https://h/m"),
        ("https://h/m??token=s3cret&api.key=s3cret", "https://h/m", "https://h/m"),
        ("https://h/a@b/m%20x", "https://h/a@b/m%20x", "https://h/a@b/m%20x"),
    ],
)
def test_secrets_of_addresses_within_a_path_and_of_keys_in_brackets_go(
    url: str, stored: str, printed: str | None
) -> None:
    assert without_secrets(url) == stored
    assert printed_url(url) == (printed or stored)
