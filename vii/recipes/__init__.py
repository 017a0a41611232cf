"""Recipes: TOML files that say how to learn. Two are always there, `default` and `visii`; others are named by path."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RecipeError, UsageError, unknown_name
from ..inversion import InversionSettings
from ..settings import override

FOLDER = Path(__file__).parent
KEYS = {"description", "base", "inversion", "pair"}


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


def load_recipe(name: str | Path) -> InversionSettings:
    """The settings of a recipe; see `read_recipe`."""
    return read_recipe(name).settings


def read_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or by the path of a TOML file.

    A file holds `description`, optionally `base` (the name of the recipe it starts from, `default` if not said),
    `[inversion]` (fields of `InversionSettings`) and `[pair]` (`before` and `after`, relative to the file).

    Raises:
        RecipeError: there is no such recipe, or it says something unknown.
    """
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        if str(name).endswith(".toml"):
            raise RecipeError(f"{path}: no such recipe file")
        raise RecipeError(unknown_name("recipe", str(name), recipe_names()) + ", or a path that ends in .toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML ({error})") from None
    for key in content:
        if key not in KEYS:
            raise RecipeError(f"{path}: {unknown_name('key', key, KEYS)}")
    base = InversionSettings() if path.parent == FOLDER else load_recipe(content.get("base", "default"))
    try:
        settings = override(base, **{"recipe": path.stem, **content.get("inversion", {})})
    except UsageError as error:
        raise RecipeError(f"{path}: [inversion] {error}") from None
    return Recipe(path.stem, content.get("description", ""), settings, _pair(path, content.get("pair")))


def _pair(path: Path, pair: Mapping[str, Any] | None) -> tuple[Path, Path] | None:
    if pair is None:
        return None
    if set(pair) != {"before", "after"} or not all(isinstance(value, str) for value in pair.values()):
        raise RecipeError(
            f"{path}: [pair] holds 'before' and 'after', paths relative to the recipe; found {list(pair)}"
        )
    return path.parent / pair["before"], path.parent / pair["after"]
