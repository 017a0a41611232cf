"""Text from somebody's file, before it is shown."""
# ruff: noqa: RUF001 (letters of other scripts are what is tested)

import unicodedata

from vii.text import percent, printable


def test_what_would_be_obeyed_is_taken_out():
    cases = {
        "plain": "plain",
        "\x1b]0;owned\x07title": " ]0;owned title",
        "\x9b31mred": " 31mred",
        "two\r\nlines\u2028and\u2029more": "two  lines and more",
        "gpj\u202egnp.exe\u202c": "gpjgnp.exe",
        "a\u2066b\u2069c\u200ed\u061ce\ufefff\u200bg": "abcdefg",
        "name \udcff.png": "name \ufffd.png",
        "夏 été 🧑\u200d🎨 می\u200cخواهم": "夏 été 🧑\u200d🎨 می\u200cخواهم",
    }
    for given, shown in cases.items():
        assert printable(given) == shown


def test_no_control_character_of_unicode_is_left():
    shown = printable("".join(map(chr, range(0x110000))))
    left = {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not left
    assert {character for character in shown if unicodedata.category(character) == "Cf"} == {"\u200c", "\u200d"}
    shown.encode("utf-8")


def test_shares_are_what_a_header_says_or_nothing():
    assert [percent(value) for value in (0.634, 1, 0, -0.2)] == ["63%", "100%", "0%", "-20%"]
    for value in (True, None, "0.5", [0.5], 10**400, -(10**400), float("nan"), float("inf"), 1e300):
        assert percent(value) == ""
