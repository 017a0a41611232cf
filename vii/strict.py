"""JSON and TOML of anybody's making, read and written strictly.

Python's parsers take more than the standards say (NaN, lone surrogates, numbers that overflow) and leave a caller
with errors of several kinds for what is too deep or too long. Here it is one: ValueError.
"""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
MAX_DIGITS = 40
# What opens and closes in JSON, and the strings in which a bracket means nothing.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+\\?"?|[\[\]{}]', re.DOTALL)
_LONG_KEY = re.compile(rf"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}""")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def dumps(value: Any, *, indent: int | None = None, sort_keys: bool = True) -> str:
    """Plain values -> JSON which any parser takes; ValueError for a number that is not finite."""
    return json.dumps(value, sort_keys=sort_keys, allow_nan=False, indent=indent)


def finite(value: Any) -> Any:
    """Plain values with None for numbers that are not finite: figures that could not be measured, on their way out."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def loads(text: str | bytes) -> Any:
    """JSON -> plain values whose numbers are finite and whose texts can be encoded; ValueError for all else.

    So for what is nested more than `MAX_DEPTH` deep, and for numbers of more than `MAX_DIGITS` digits.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
    value = json.loads(text, parse_int=_whole, parse_float=_fraction, parse_constant=_refused)
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, which is a ValueError
    return value


def loads_toml(text: str) -> dict[str, Any]:
    """TOML -> plain values; errors as in `loads`, but for `nan` and `inf`, which TOML has."""
    if _LONG_KEY.search(text):  # the parser takes minutes for it
        raise ValueError(f"a key of more than {MAX_DEPTH} parts")
    try:
        content = tomllib.loads(text)
        _check_numbers(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return content


def _check_numbers(value: Any) -> None:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item)
    elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is not finite")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
