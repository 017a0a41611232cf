"""What a kind of edit is, the registry of all of them, and their parameters in English words."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .pixels import NEUTRALS, PLACES, SIDES, Array, Value, third

HUES = {"red": 0, "orange": 28, "yellow": 55, "green": 120, "teal": 175, "blue": 222, "purple": 275, "pink": 325}


@dataclass(frozen=True)
class Parameter:
    """A number from `low` to `high`, or one of `words`; `word_share` of the random draws are words."""

    low: float = 0.0
    high: float = 1.0
    words: tuple[str, ...] = ()
    word_share: float = 0.0

    def draw(self, rng: np.random.Generator) -> Value:
        """A random value."""
        if rng.random() < self.word_share:
            return self.words[rng.integers(len(self.words))]
        return float(rng.uniform(self.low, self.high))

    def accepts(self, value: object) -> bool:
        """Whether an edit can be made with this value."""
        if isinstance(value, (int, float)):
            return self.word_share < 1 and self.low <= value <= self.high
        return value in self.words

    def __str__(self) -> str:
        numbers = [f"a number from {self.low:g} to {self.high:g}"] if self.word_share < 1 else []
        return " or ".join([*numbers, *self.words])


@dataclass(frozen=True)
class Family:
    """One kind of edit: its formula, the ways to ask for it, and the parameters that both take."""

    name: str
    group: str  # 'color', 'light' and 'style' change the picture; 'overlay', 'weather', 'local' come on top of that
    phrasings: tuple[str, ...]  # the plainest first, with the placeholders that `say` fills
    captions: tuple[str, ...]  # of the result, the plainest first; at least one begins with '{subject}'
    parameters: Mapping[str, Parameter]
    weight: float  # relative share of `sample`; 0: never drawn
    strength: tuple[float, float]  # what the formula gets as `s` for a strength of 0 and of 1
    formula: Callable[..., Array]  # (h, w, 3) and the parameters -> (h, w, 3 or 1), not yet clipped to [0, 1]


FAMILIES: dict[str, Family] = {}


def family(
    name: str,
    group: str,
    formula: Callable[..., Array],
    *phrasings: str,
    captions: tuple[str, ...],
    weight: float = 1,
    s: tuple[float, float] | None = None,
    **parameters: Parameter,
) -> None:
    """Register a family; `s` gives it a strength."""
    known = parameters if s is None else {**parameters, "s": Parameter(0, 1)}
    FAMILIES[name] = Family(name, group, phrasings, captions, known, weight, s or (0, 1), formula)


def color(word_share: float = 0.0, words: tuple[str, ...] = tuple(NEUTRALS)) -> Parameter:
    """A hue in degrees or a neutral colour."""
    return Parameter(0, 360, words, word_share)


PLACE = Parameter(words=tuple(PLACES), word_share=1)
SIDE = Parameter(words=SIDES, word_share=1)
SHAPE = Parameter(words=("circle", "square", "triangle", "star", "heart"), word_share=1)


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
