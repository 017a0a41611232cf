"""A small share of `tests/fuzz.py`, with a fixed seed; run that for longer when something that reads input changes."""

import os

import pytest
from fuzz import KINDS, Fuzzer

COUNT = {"edits": 25, "pictures": 60, "recipes": 60, "hub": 12, "names": 30}


@pytest.mark.skipif(os.name == "nt", reason="alarms are POSIX")
@pytest.mark.parametrize("kind", KINDS)
def test_broken_input_is_one_line(kind, tmp_path):
    fuzzer = Fuzzer(20_000, tmp_path, limit=30)  # beside other work, and with what is loaded the first time
    for number in range(COUNT[kind]):
        fuzzer.run(kind, number)
    assert fuzzer.tried[kind] == COUNT[kind]
    assert not fuzzer.findings
