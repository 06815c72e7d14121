"""JSON and YAML of clients: values as before, and bounds that name what was exceeded."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from certferry.runtime.bounded_input import MAX_DEPTH, InvalidInput, load_json, load_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"))
"""Without the line breaks that YAML 1.1 folds differently in PyYAML's two parsers."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_yaml_of_any_value_is_read_as_pyyaml_reads_it(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text) == yaml.safe_load(text) == value


@pytest.mark.parametrize(
    "text", ["a: 0x10", "a: 1_000", "a: yes", "a: ~", "a: .inf", "a: 1e3", "a: '5'", "a: 012", "", "# x"]
)
def test_plain_scalars_have_the_types_of_yaml_1_1(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


def test_a_date_stays_text() -> None:
    assert load_yaml("a: 2029-03-15") == {"a": "2029-03-15"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x 1\nb: *x", "aliases"),
        ("[" * (MAX_DEPTH + 1), "deeper"),
        ("a: !!python/name:os.system", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("a\n---\nb", "one YAML document"),
        ("? [1]\n: 2", "key"),
        ("a: [", "line 2"),
    ],
)
def test_an_exceeded_bound_of_yaml_is_reported(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        load_yaml(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_json_is_rejected(depth: int) -> None:
    with pytest.raises(InvalidInput, match="deeper"):
        load_json(b"[" * depth + b"]" * depth)


def test_json_at_the_bound_is_read() -> None:
    assert load_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


@pytest.mark.parametrize(
    "number", ["1" * 3_000_000, ":".join(["59"] * 900_000), "0b" + "1" * 3_000_000, "1." + "0" * 99]
)
def test_a_long_plain_value_is_text_at_once(number: str) -> None:
    assert load_yaml(f"a: {number}") == {"a": number}


def test_a_long_number_by_its_tag_is_rejected() -> None:
    with pytest.raises(InvalidInput, match="more than 100 characters"):
        load_yaml("a: !!int " + ":".join(["59"] * 900_000))
