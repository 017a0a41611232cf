"""JSON and TOML: what is taken is what the standards say, and everything else is one kind of error."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vii import strict

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\[{]}', max_size=4), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(PLAIN)
def test_plain_values_come_back(value):
    assert strict.loads(strict.dumps(value)) == value
    assert strict.loads(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "-Infinity", "[1e400]", '{"a": -1e999}', "1" * 41, "-" + "1" * 5000, '"\\ud800"', "[" * 65 + "]" * 65,
        "[" * 1_000_000, '{"a":' * 70 + "1" + "}" * 70, "", "{", b"\xff", '"' + '\\"' * 1_000_000, "1 2", "'a'",
    ],
)  # fmt: skip
def test_what_is_no_json_is_a_value_error_and_soon(text):
    started = time.process_time()
    with pytest.raises(ValueError):  # noqa: PT011 (one kind is the point)
        strict.loads(text)
    assert time.process_time() - started < 2


def test_brackets_in_texts_are_no_nesting():
    assert strict.loads('["' + "[" * 100 + '"]') == ["[" * 100]
    assert strict.loads('["\\"[", "' + "{" * 100 + '\\\\"]') == ['"[', "{" * 100 + "\\"]


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}])
def test_nothing_that_is_no_json_is_written(value):
    with pytest.raises(ValueError, match="JSON"):
        strict.dumps(value)


def test_figures_that_could_not_be_measured_are_null():
    found = {"a": [1, float("nan"), True], "b": ({"c": float("-inf")}, "NaN"), "d": 1e308}
    assert strict.dumps(strict.finite(found)) == '{"a": [1, null, true], "b": [{"c": null}, "NaN"], "d": 1e+308}'


@pytest.mark.parametrize(
    "text",
    ["a = " + "1" * 5000, "a = " + "1" * 50, "a = " + "[" * 5000, "a",
     ".".join(["a"] * 20_000) + " = 1", "a = 0x" + "f" * 60],
)  # fmt: skip
def test_toml_likewise(text):
    with pytest.raises(ValueError):  # noqa: PT011
        strict.loads_toml(text)


def test_toml_that_is_sound():
    assert strict.loads_toml('a = 1\n[b]\nc = [1.5, "x"]') == {"a": 1, "b": {"c": [1.5, "x"]}}
