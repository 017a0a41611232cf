"""Recipes: TOML files that say how to learn. Two are always there, `default` and `visii`; others are named by path."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import strict
from ...captions.blip import DEFAULT_MODEL as BLIP
from ...captions.lavis import DEFAULT_MODEL as LAVIS
from ...editors.loading import DEFAULT_CLIP as CLIP
from ...errors import RecipeError, UsageError, unknown_name
from ...paths import is_file, read_small
from ...settings import assignable, override
from ...text import printable
from .. import InversionSettings

FOLDER = Path(__file__).parent
# Key -> its type, and what that is called.
KEYS = {"description": (str, "text"), "base": (str, "text"), "inversion": (dict, "table"), "pair": (dict, "table")}
MAX_BASES, MAX_BYTES = 20, 100_000
# Models that a recipe may have fetched: those that vii itself chooses where none is named.
OWN_CAPTIONERS = ("", CLIP, BLIP, LAVIS)
# As a starting text: the closest words of the edit that is learned, which only `vii bench` knows.
KNOWN_WORDS = "{words}"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe file.

    Attributes:
        name: stem of the file.
        description: one sentence.
        settings: how to learn.
        pair: paths of the before and after pictures it was written for, or None where any pair will do.
    """

    name: str
    description: str
    settings: InversionSettings
    pair: tuple[Path, Path] | None = None


def recipe_names() -> list[str]:
    """Names of the recipes that are always there."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str | Path, *, known_words: bool = False) -> InversionSettings:
    """The settings of a recipe; see `read_recipe`."""
    return read_recipe(name, known_words=known_words).settings


def read_recipe(name: str | Path, *, known_words: bool = False) -> Recipe:
    """A recipe by name, or by the path of a TOML file.

    A file holds `description`, optionally `base` (the recipe it starts from, by name or by a path relative to the
    file; `default` if not said), `[inversion]` (fields of `InversionSettings`, by old names too) and `[pair]` (`before`
    and `after`, relative to the file).

    Args:
        name: of the recipe, or a path that ends in `.toml`.
        known_words: whether the caller can put the words of an edit in place of the starting text `KNOWN_WORDS`.

    Raises:
        RecipeError: there is no such recipe, it says something unknown, or it starts from words that nobody knows.
    """
    recipe = _read(name, ())
    if recipe.settings.init_text == KNOWN_WORDS and not known_words:
        raise RecipeError(
            f"{name}: init_text {KNOWN_WORDS} stands for the known words of a benchmark edit, which only 'vii bench' "
            "has; write the words themselves"
        )
    return recipe


def _read(name: str | Path, above: tuple[Path, ...]) -> Recipe:
    """A recipe; `above` are the files whose base it is, directly or through others."""
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if "\0" in str(path):
        raise RecipeError(f"{str(name)!r} is no name of a recipe: it holds a NUL character")
    if not str(name).endswith(".toml") and not is_file(path):
        raise RecipeError(unknown_name("recipe", str(name), recipe_names()) + ", or a path that ends in .toml")
    data = read_small(path, RecipeError, MAX_BYTES, "recipe file")
    try:
        content = strict.loads_toml(data.decode())
    except ValueError as error:
        raise RecipeError(f"{path}: not valid TOML ({printable(str(error)[:200])})") from None
    for key, value in content.items():
        if key not in KEYS:
            raise RecipeError(f"{path}: {printable(unknown_name('key', key[:40], KEYS))}")
        kind, word = KEYS[key]
        if not isinstance(value, kind):
            raise RecipeError(f"{path}: {key} must be a {word}, got {printable(str(value)[:40])!r}")
    base = InversionSettings() if path.parent == FOLDER else _base(path, content.get("base", "default"), above)
    given = content.get("inversion", {})
    try:
        for setting in InversionSettings.current(given):
            if setting not in (known := assignable(base)):
                raise UsageError(unknown_name("setting", setting, known))
        settings = override(base, **given, recipe=path.stem)
    except UsageError as error:
        raise RecipeError(f"{path}: [inversion] {printable(str(error))}") from None
    if settings.captioner not in OWN_CAPTIONERS and not os.path.exists(settings.captioner):
        raise RecipeError(
            f"{path}: it names the captioner '{printable(settings.captioner[:80])}', and a recipe by itself makes "
            "nothing be downloaded; leave it out there and, if you trust it, say captioner=... yourself"
        )
    return Recipe(path.stem, content.get("description", ""), settings, _pair(path, content.get("pair")))


def _base(path: Path, base: str, above: tuple[Path, ...]) -> InversionSettings:
    above = (*above, path.resolve())
    named = path.parent / base if base.endswith(".toml") else base
    if "\0" not in base and isinstance(named, Path) and named.resolve() in above:
        raise RecipeError(f"{path}: base '{base}' leads back to the recipe itself; name another one")
    if len(above) > MAX_BASES:
        raise RecipeError(f"{path}: more than {MAX_BASES} recipes stand one on another")
    return _read(named, above).settings


def _pair(path: Path, pair: Mapping[str, Any] | None) -> tuple[Path, Path] | None:
    if pair is None:
        return None
    if set(pair) != {"before", "after"} or not all(isinstance(value, str) for value in pair.values()):
        raise RecipeError(
            f"{path}: [pair] holds 'before' and 'after', paths relative to the recipe; found {list(pair)}"
        )
    return path.parent / pair["before"], path.parent / pair["after"]
