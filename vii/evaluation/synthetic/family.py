"""What a kind of edit is, and the registry of all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .pixels import NEUTRALS, PLACES, SIDES, Array, Value


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
    phrasings: tuple[str, ...]  # the plainest first, with the placeholders that `words.say` fills
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
