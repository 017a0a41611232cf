"""Parameters in English words."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from .family import Family
from .pixels import Value, third

HUES = {"red": 0, "orange": 28, "yellow": 55, "green": 120, "teal": 175, "blue": 222, "purple": 275, "pink": 325}


def color_words(color: Value, two_words: bool) -> str:
    """The nearest colour word; of a hue about half-way between two, both where `two_words`."""
    if isinstance(color, str):
        return color
    hue, stops = color % 360, [*HUES.items(), ("red", 360)]
    (below, low), (above, high) = next(pair for pair in pairwise(stops) if hue <= pair[1][1])
    share = (hue - low) / (high - low)
    if two_words and 0.33 <= share <= 0.67:
        return f"{below} {above}"
    return below if share <= 0.5 else above


def say(family: Family, template: str, params: Mapping[str, Any], two_words: bool = False, subject: str = "") -> str:
    """A phrasing or a caption of the family with its placeholders filled."""

    def size(key: str, small: str, below: float, large: str, above: float) -> str:
        if key not in params:
            return ""
        span = family.parameters[key]
        share = (params[key] - span.low) / (span.high - span.low)
        rounding = 1e-9  # a frame of 0.06 is not thin, and its share may come out a little below 3 / 11
        return small if share < below - rounding else large if share > above + rounding else ""

    level, place, side = third(params.get("s", 0.5)), params.get("pos", ""), params.get("side", "")
    words = {
        "adv": ("slightly ", "", "very ")[level],
        "more": ("a little ", "", "much ")[level],
        "amt": ("a little", "", "a lot")[level],
        "color": color_words(params.get("c", 0), two_words),
        "color2": color_words(params.get("c2", 0), two_words),
        "shape": params.get("shape", ""),
        "pos": f"in the {place}" + (" corner" if " " in place else ""),
        "side": side,
        "on_side": f"on the {side}" if side in ("left", "right") else f"at the {side}",
        "wide": size("w", "thin ", 3 / 11, "thick ", 7.5 / 11),
        "size": size("r", "small ", 2 / 7, "big ", 5 / 7),
        "subject": subject,
    }
    return " ".join(re.sub(r"\ba orange", "an orange", template.format(**words)).split())
