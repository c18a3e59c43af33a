"""Policies as text, in HUBCLI_GC and in a config file."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.cache.gc.plan import Policy
from hubcli.errors import UsageError
from tests.cases import each_of


@each_of(
    "text, policy",
    [
        ("", Policy()),
        ("max-size=20GB", Policy(max_size_bytes=20 * 10**9)),
        ("older-than=90d,max-size=1GiB", Policy(older_than_s=90 * 86400, max_size_bytes=2**30)),
        (" min-free = 10GB , keep-versions = 2, ", Policy(min_free_bytes=10**10, keep_versions=2)),
        (
            "broken,grace=2h,keep-partial=1d",
            Policy(is_broken_wanted=True, grace_s=7200, keep_partial_s=86400),
        ),
    ],
)
def test_a_policy_is_understood(text: str, policy: Policy) -> None:
    assert Policy.parse(text, "HUBCLI_GC") == policy


@each_of(
    "text",
    [
        *("max-size", "max-size=", "max-size=much", "size=1GB", "older-than=1GB", "keep-versions=0"),
        *(
            "keep-versions=-1",
            "keep-versions=x",
            "keep-versions=²",
            "broken=yes",
            "max-size=1GB older-than=9d",
        ),
    ],
)
def test_what_is_no_policy_is_refused_with_the_rule_and_its_place(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Policy.parse(text, "HUBCLI_GC")
    assert refused.value.hint
    assert "HUBCLI_GC" in refused.value.message


@given(
    st.text()
    | st.lists(st.sampled_from(["max-size=", "1GB", ",", "broken", "=", "9d", "grace"])).map("".join)
)
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    with suppress(UsageError):
        Policy.parse(text, "HUBCLI_GC")
