"""What is compared: the baselines, an edit learned before, methods of `vii.methods`, and recipes of inversion."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..edit_file import Edit, to_bytes
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair
from ..inversion import InversionSettings
from ..inversion.recipes import KNOWN_WORDS, load_recipe
from ..methods import SHIPPED, Learned, MethodEntry, Transfer, find_method, load_method, model_of, prepare
from ..methods.inversion import AppliedEdit

# What `vii bench` always has beside the recipes -> what tables call it.
BASELINES: Mapping[str, str] = {
    "no-edit": "no edit",
    "pixel-delta": "pixel delta",
    "color-map": "colour map",
    "words": "true words",
}
NO_EDIT, COLOR_MAP = BASELINES["no-edit"], BASELINES["color-map"]
# The row of the last recipe without its finish.
TOKENS = "tokens"


@dataclass(frozen=True, eq=False)
class Method:
    """A row of the comparison.

    Attributes:
        name: what tables call it.
        method: its name in `vii.methods`.
        options: for its builder, besides the editor and the words.
        pairs: how many pairs it looks at.
        edit: learned before, and applied instead of what `method` would do.
        finished: whether the finish of an edit is applied; where not, what the editor made is scaled up.
    """

    name: str
    method: str = "inversion"
    options: Mapping[str, Any] = field(default_factory=dict)
    pairs: int = 1
    edit: Edit | None = None
    finished: bool = True

    @property
    def entry(self) -> MethodEntry:
        """Its row in the table of methods."""
        return find_method(self.method)

    @property
    def recipe(self) -> InversionSettings | None:
        """How it learns, where a recipe says so."""
        return self.options.get("recipe")

    @property
    def needs_words(self) -> bool:
        """Whether there is nothing it could do with an edit that has no words."""
        return "text" in self.entry.needs or (self.recipe is not None and self.recipe.init_text == KNOWN_WORDS)

    @property
    def looks_at_the_pair(self) -> bool:
        """Whether another example gives another result; where not, one run is enough for every seed."""
        return self.entry.pairs and self.edit is None

    def prepare(self, editor: Editor, words: str, pairs: Sequence[Pair], seed: int) -> Learned:
        """Make it ready for one edit: learn from the pairs, from the words on where the recipe says so.

        What two rows learn alike they need not learn twice: `shown` gives each what it applies.
        """
        if self.edit:
            return Learned(AppliedEdit(editor, self.edit), self.edit)
        options = dict(self.options)
        if self.recipe and self.recipe.init_text == KNOWN_WORDS:
            options["recipe"] = replace(self.recipe, init_text=words)
        options |= {name: value for name, value in (("editor", editor), ("text", words)) if name in self.entry.needs}
        build = _with_weights if options and {*options} == {"model"} else load_method
        return prepare(build(self.method, **options), pairs, seed=seed)

    def shown(self, editor: Editor, learned: Learned) -> Learned:
        """What it applies of what was prepared: all of it, or the tokens alone, which are not looked at on the way."""
        if self.finished or learned.edit is None:
            return learned
        tokens = replace(learned.edit, finish=None)
        return replace(learned, transfer=AppliedEdit(editor, tokens), edit=tokens, moments=())

    def identity(self, words: str = "") -> dict[str, Any]:
        """All that its results depend on besides the code, the editor, the pictures and the seed."""
        return self.learning(words) | {"finished": self.finished}

    def learning(self, words: str = "") -> dict[str, Any]:
        """All that what it learns depends on, besides those."""
        plain = {name: asdict(value) if name == "recipe" else value for name, value in self.options.items()}
        if "model" in plain:
            plain["files"] = _state_of(model_of(self.method, self.options["model"]) or "")
        edit = {"edit": hashlib.sha256(to_bytes(self.edit)).hexdigest()} if self.edit else {}
        return {"method": self.method, **plain, "words": words if self.needs_words else None, **edit}


def methods_for(
    recipes: Sequence[str] = (),
    *,
    baselines: Sequence[str] = tuple(BASELINES),
    methods: Sequence[str] = (),
    edit: tuple[str, Edit] | None = None,
    pairs: Sequence[int] = (1,),
    known_words: bool = False,
    tokens: bool = False,
) -> list[Method]:
    """The rows of a comparison: baselines, an edit, methods by name, and one for each recipe and number of pairs.

    Args:
        recipes: names, paths of recipe files, and folders, which stand for the recipe files in them, sorted by name.
        baselines: keys of `BASELINES`; what looks at the pairs is shown as many as the last row.
        methods: names in `vii.methods`, or `NAME=MODEL` for one that loads other weights of its own than ship.
        edit: name of an edit and the edit.
        pairs: numbers of pairs to learn from.
        known_words: whether the edits have words, for recipes that start from them.
        tokens: whether the last row, where it is a recipe that fits a finish, has one before it, called `TOKENS`: the
            same edits without their finish.

    Raises RecipeError for an unknown recipe, UsageError for an unknown method, two rows of one name, an empty folder.
    """
    found = [Method(BASELINES[name], name, pairs=max(pairs) if find_method(name).pairs else 1) for name in baselines]
    found += [Method(edit[0], edit=edit[1])] if edit else []
    named: list[tuple[str, str, dict[str, Any]]] = []
    for text in methods:
        name, _, model = text.partition("=")
        if "model" in (needs := find_method(name).needs) and not model:
            if not model_of(name):
                raise UsageError(f"method {name}: it needs weights; say {name}=MODEL, with a folder or a hub id")
            model = SHIPPED
        if model and "model" not in needs + find_method(name).takes:
            raise UsageError(f"method {name}: it loads no weights of its own; got {text}")
        named.append((name, name, {"model": model} if model else {}))
    for recipe in [file for text in recipes for file in _files(text)]:
        options = {"recipe": load_recipe(recipe, known_words=known_words)}
        named.append((Path(recipe).stem if recipe.endswith(".toml") else recipe, "inversion", options))
    for name, method, options in named:
        for n in pairs if find_method(method).pairs else (1,):
            label = f"{name}, {n} pairs" if n > 1 else name
            if label in [row.name for row in found]:
                kind = "recipe" if "recipe" in options else "method"
                raise UsageError(f"{kind} {name}: something called '{label}' is compared already; rename the file")
            found.append(Method(label, method, options, n))
    last = found[-1]
    if tokens and last.recipe and last.recipe.finish != "none":
        found.insert(-1, replace(last, name=TOKENS, finished=False))
    return found


@lru_cache(maxsize=2)
def _with_weights(method: str, model: str) -> Transfer:
    """A method on weights of its own, read once for all edits."""
    return load_method(method, model=model)


def _state_of(model: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's files, so that scores of weights that were trained on are not used again."""
    found = sorted(path for path in Path(model).rglob("*") if path.is_file())
    return [(str(path.relative_to(model)), path.stat().st_size, path.stat().st_mtime_ns) for path in found]


def _files(recipe: str) -> list[str]:
    if not Path(recipe).is_dir():
        return [recipe]
    found = sorted(map(str, Path(recipe).glob("*.toml")))
    if not found:
        raise UsageError(f"recipe {recipe}: no recipe files (*.toml) in this folder")
    return found
