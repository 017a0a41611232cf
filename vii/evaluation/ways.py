"""What is compared: edits learned by recipes, an edit file, and no edit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..edit_file import Edit
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair
from ..inversion import InversionSettings, invert_steps
from ..inversion.recipes import load_recipe

NO_EDIT = "no edit"


@dataclass(frozen=True, eq=False)
class Way:
    """A row of the comparison; without a recipe and without an edit the photo stays as it is.

    Attributes:
        name: of the recipe, of the edit file, or `NO_EDIT`.
        recipe: how to learn.
        edit: what was learned before.
    """

    name: str
    recipe: InversionSettings | None = None
    edit: Edit | None = None

    def identity(self) -> dict[str, Any]:
        """What an edit learned this way depends on besides the editor, the pairs and the seed."""
        return {"recipe": asdict(self.recipe) if self.recipe else None}


def ways_for(recipes: Sequence[str] = (), edit: tuple[str, Edit] | None = None) -> list[Way]:
    """No edit, then the edit file, then a way for each recipe; the recipe `default` where neither is given.

    Args:
        recipes: by name or by the path of a file.
        edit: name and edit.

    Raises:
        RecipeError: there is no such recipe.
        UsageError: two ways of one name.
    """
    ways = [Way(NO_EDIT)]
    if edit:
        ways.append(Way(edit[0], edit=edit[1]))
    for recipe in recipes or (() if edit else ("default",)):
        name = Path(recipe).stem if recipe.endswith(".toml") else recipe
        if name in [way.name for way in ways]:
            raise UsageError(f"--recipe {recipe}: something called '{name}' is compared already; rename the file")
        ways.append(Way(name, load_recipe(recipe)))
    return ways


def learn(editor: Editor, pairs: Sequence[Pair], recipe: InversionSettings, seed: int) -> Edit:
    """An edit, learned to the end: unlike `vii.invert` it leaves Ctrl-C to the caller, so that no half is kept."""
    *_, last = invert_steps(editor, pairs, recipe, seed=seed)
    return last.best()
