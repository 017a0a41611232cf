"""Ways of editing by example, and what it costs to make one ready."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...application import apply
from ...edit_file import Edit, to_bytes
from ...editor import Editor
from ...errors import UsageError
from ...images import Pair
from ...inversion import InversionSettings, invert_steps
from ...inversion.recipes import KNOWN_WORDS, load_recipe

NO_EDIT, PIXEL_DELTA, TRUE_WORDS = "no edit", "pixel delta", "true words"


class Transfer(Protocol):
    """Editing by example: pairs and a photo in, the edited photo out; all `(3, h, w)` in [0, 1]."""

    def __call__(self, pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
        """Give the photo the edit that the pairs show."""


@dataclass(frozen=True)
class Moment:
    """A method that learns, had it been stopped after so many seconds and samples."""

    seconds: float
    samples: int
    transfer: Transfer


@dataclass(frozen=True)
class Built:
    """A method made ready for one edit, and what making it cost; see `Score` for the figures.

    `moments` are those on the way at which it looked at its probe set, the last one left out.
    """

    transfer: Transfer
    learn_seconds: float = 0.0
    samples: int = 0
    kilobytes: float = 0.0
    explained: float | None = None
    init_text: str = ""
    moments: Sequence[Moment] = ()


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes:
        name: `no edit`, `pixel delta`, `true words`, or the name of a recipe, with the number of pairs where these are
            several.
        recipe: how to learn, where the method learns.
        pairs: how many pairs it looks at.
    """

    name: str
    recipe: InversionSettings | None = None
    pairs: int = 1

    @property
    def looks_at_the_pair(self) -> bool:
        """Whether another example gives another result; where not, one run is enough for every seed."""
        return self.name not in (NO_EDIT, TRUE_WORDS)

    @property
    def needs_words(self) -> bool:
        """Whether there is nothing it could do with an edit that has no words."""
        return self.name == TRUE_WORDS or (self.recipe is not None and self.recipe.init_text == KNOWN_WORDS)

    def build(self, editor: Editor, words: str, pairs: Sequence[Pair], seed: int) -> Built:
        """Make it ready: learn from the pairs, from the words on where the recipe says so, or take the words."""
        if self.recipe is not None:
            recipe = replace(self.recipe, init_text=words) if self.needs_words else self.recipe
            return by_inversion(editor, recipe, pairs, seed)
        if self.name == TRUE_WORDS:
            return by_words(editor, words)
        return Built({NO_EDIT: no_edit, PIXEL_DELTA: pixel_delta}[self.name])

    def identity(self, words: str) -> dict[str, Any]:
        """All that its results depend on besides the editor, the pictures and the seed."""
        return {
            "method": self.name,
            "recipe": asdict(self.recipe) if self.recipe else None,
            "words": words if self.needs_words else None,
            "pairs": self.pairs,
        }


def methods_for(recipes: Sequence[str], pairs: Sequence[int] = (1,)) -> list[Method]:
    """The methods that need no recipe, then one for each recipe and number of pairs.

    Args:
        recipes: names, paths of recipe files, and folders, which stand for the recipe files in them, sorted by name.
        pairs: numbers of pairs to learn from.

    Raises:
        RecipeError: there is no such recipe.
        UsageError: two recipes of one name, which could not be told apart in a table, or a folder without any.
    """
    methods = [Method(name) for name in (NO_EDIT, PIXEL_DELTA, TRUE_WORDS)]
    for recipe in [file for text in recipes for file in _files(text)]:
        name = Path(recipe).stem if recipe.endswith(".toml") else recipe
        settings = load_recipe(recipe, known_words=True)
        for n in pairs:
            label = f"{name}, {n} pairs" if n > 1 else name
            if label in [method.name for method in methods]:
                raise UsageError(f"--recipe {recipe}: a method called '{label}' is there already; rename the file")
            methods.append(Method(label, settings, n))
    return methods


def _files(recipe: str) -> list[str]:
    if not Path(recipe).is_dir():
        return [recipe]
    found = sorted(map(str, Path(recipe).glob("*.toml")))
    if not found:
        raise UsageError(f"--recipe {recipe}: no recipe files (*.toml) in this folder")
    return found


def no_edit(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
    """The photo as it is: what any method must beat."""
    return image


def pixel_delta(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
    """`C + (B - A)`: the difference of the pair added to the photo."""
    return (image + torch.stack([pair.after - pair.before for pair in pairs]).mean(0)).clamp(0, 1)


def by_words(editor: Editor, words: str) -> Built:
    """The best words for the edit, given to the editor; the pair is not looked at."""

    def transfer(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
        return apply(editor, None, image, text=words, seed=seed)

    return Built(transfer, init_text=words)


def by_inversion(editor: Editor, recipe: InversionSettings, pairs: Sequence[Pair], seed: int) -> Built:
    """Learn the edit by a recipe, then apply it with the settings that its file recommends."""

    def with_edit(edit: Edit) -> Transfer:
        def transfer(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
            return apply(editor, edit, image, seed=seed)

        return transfer

    started = time.perf_counter()
    looks = [
        (time.perf_counter() - started, step)
        for step in invert_steps(editor, pairs, recipe, seed=seed)
        if step.probe is not None
    ]
    seconds, last = looks.pop()  # learning always ends with a look
    edit = last.best()
    moments = [Moment(at, step.samples, with_edit(step.best())) for at, step in looks]
    size = len(to_bytes(edit)) / 1000
    return Built(with_edit(edit), seconds, last.samples, size, last.explained, edit.init_text, moments)
