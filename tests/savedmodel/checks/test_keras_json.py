"""The JSON of a Keras config: whichever way it is parsed, a key that stands twice is found."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hubcli.savedmodel.checks.keras_json import KerasConfig
from tests.cases import each_of

_KEYS = st.sampled_from(["a", "b", ":", "", "class_name", 'x"', '":', " :"])
_VALUES = st.recursive(
    st.sampled_from(["1", "null", '""', '":"', '"a: b"', '"\\":"', '"\\u003a"', '" \\t:"']),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(
            st.tuples(_KEYS.map(json.dumps), st.sampled_from([":", " : ", "\n:"]), inner), max_size=4
        ).map(lambda members: "{" + ",".join(map("".join, members)) + "}"),
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_a_config_and_its_first_repeated_key_are_those_that_pairs_of_keys_and_values_show(text: str) -> None:
    repeated = list[str]()

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend([key for place, key in enumerate(keys) if key in keys[:place]])
        return dict(pairs)

    value = json.loads(f'{{"top": {text}}}', object_pairs_hook=collect)
    config = KerasConfig.parse(f'{{"top": {text}}}')
    assert config.value == value
    assert config.repeated_key == (repeated[0] if repeated else None)


@each_of(
    "text, repeated",
    [
        ('{"a": 1, "a": 2}', "a"),
        ('{"a" : 1, "a" : 2}', "a"),
        ('{"b": {"a": 1, "a": 2}, "c": "x:y"}', "a"),
        ('{"a": 1, "\\u0061": 2}', "a"),
        ('{":": 1, ":": 2}', ":"),
        ('{"b": ":", "a": 1}', None),
        ('{"b": "a\\":"}', None),
    ],
)
def test_a_colon_in_a_string_hides_no_repeated_key(text: str, repeated: str | None) -> None:
    assert KerasConfig.parse(text).repeated_key == repeated
    assert KerasConfig.parse(text.encode()).repeated_key == repeated
