"""Text that somebody else wrote, before a terminal or a page shows it."""

import unicodedata

# Unicode's categories of what is obeyed rather than shown: C0 and C1 controls (escape sequences begin with one), marks
# that turn or hide text (bidirectional controls, zero-width characters), lone surrogates, separators of lines.
_UNPRINTED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# The two joiners are needed to write Persian, Indic scripts and many emoji, and move nothing.
_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """A text in one line, without what a terminal or a page would obey instead of show.

    Control characters and line ends become spaces, marks that turn the direction of text or hide are dropped, and lone
    surrogates (bytes of a file name that are no UTF-8) become U+FFFD. Everything else is kept as it is.

    >>> printable("a\\x1b]0;owned\\x07b")
    'a ]0;owned b'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category not in _UNPRINTED or character in _JOINERS:
        return character
    if category == "Cs":
        return "\ufffd"
    return "" if category == "Cf" else " "


def percent(value: object) -> str:
    """A share as `vii` writes it, such as "63%"; empty where it is no number, or one that is no share.

    Headers of edit files hold whatever JSON can: texts, truth values, numbers of thousands of digits, infinities.

    >>> percent(0.634), percent(10**400), percent(True)
    ('63%', '', '')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -100 < value < 100:
        return ""
    return f"{value:.0%}"


def first_line(error: BaseException) -> str:
    """What an error says first, as part of a sentence; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return printable(lines[0][:300]) if lines else type(error).__name__
