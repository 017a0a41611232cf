"""The methods of editing by example, by name: those in here, and those that other packages offer by entry points.

A package adds a method through the group `vii.methods`, whose values are `MethodEntry` objects:

    [project.entry-points."vii.methods"]
    analogist = "my_package.analogist:ENTRY"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, unknown_name
from ..plugins import Entry, Table
from .method import Learned, Learner, Moment, Transfer, prepare

__all__ = [
    "METHODS",
    "Learned",
    "Learner",
    "MethodEntry",
    "Moment",
    "Transfer",
    "find_method",
    "load_method",
    "model_of",
    "prepare",
]
GROUP = "vii.methods"
# The small models that ship with the package, in folders called like their methods, and what `model` calls them all.
MODELS, SHIPPED = Path(__file__).parent / "models", "embedded"


@dataclass(frozen=True)
class MethodEntry(Entry[Transfer]):
    """A row of the table.

    Attributes:
        build: see `Entry`; it takes the keywords in `needs` and `takes`.
        description: one sentence.
        needs: keywords without which it cannot be built: `editor`, an editor of `vii.editors`; `text`, words that say
            the edit; `model`, weights of its own, which may be left out where a small model ships, see `model_of`.
        takes: keywords that may be left out: `recipe`, how to learn (`InversionSettings`); `text`; `vlm`, a
            vision-language model that finds the text; `settings`, texts `NAME=VALUE`; and of a method that loads
            weights of its own `model`, `revision`, `device` and `dtype`, which mean what they do for an editor.
        pairs: whether it looks at the pairs.
        learns: whether it learns from them first, so that `build` gives a `Learner`.
    """

    error = UsageError
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    pairs: bool = True
    learns: bool = False


OWN: Mapping[str, MethodEntry] = {
    "inversion": MethodEntry(
        "vii.methods.inversion:Inversion",
        "learns instruction tokens for a frozen editor by a recipe, then applies them (Visual Instruction Inversion)",
        needs=("editor",),
        takes=("recipe", "text"),
        learns=True,
    ),
    "words": MethodEntry(
        "vii.methods.baselines:Words", "gives the editor an instruction in words", needs=("editor", "text"), pairs=False
    ),
    "pixel-delta": MethodEntry("vii.methods.baselines:PixelDelta", "adds the difference of the pair"),
    "color-map": MethodEntry(
        "vii.methods.color_map:ColorMap", "fits a map of colours to the pairs, without an editor", learns=True
    ),
    "analogist": MethodEntry(
        "vii.methods.analogist:load_analogist",
        "has a frozen inpainting model fill the fourth cell of a grid, its attention imitating the pair (Analogist)",
        needs=("model",),
        takes=("text", "vlm", "settings", "revision", "device", "dtype"),
    ),
    "imagebrush": MethodEntry(
        "vii.methods.imagebrush:load_imagebrush",
        "has a diffusion model that was trained on grids complete one, without words (ImageBrush)",
        needs=("model",),
        takes=("settings", "revision", "device", "dtype"),
    ),
    "visual-prompting": MethodEntry(
        "vii.methods.visual_prompting:load_visual_prompting",
        "has a masked autoencoder fill the fourth cell of a grid in one pass (visual prompting, MAE-VQGAN)",
        needs=("model",),
        takes=("settings", "device"),
    ),
    "impromptu": MethodEntry(
        "vii.methods.impromptu:load_impromptu",
        "has a small agent that was trained on analogies of drawn scenes make the fourth picture (Im-Promptu)",
        needs=("model",),
        takes=("device",),
    ),
    "no-edit": MethodEntry("vii.methods.baselines:NoEdit", "leaves the photo as it is", pairs=False),
}


METHODS: Mapping[str, MethodEntry] = Table(GROUP, OWN, MethodEntry.offered)


def find_method(name: str) -> MethodEntry:
    """The entry of a method.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in METHODS:
        raise UsageError(unknown_name("method", name, METHODS))
    return METHODS[name]


def model_of(name: str, model: str | None = None) -> str | None:
    """Where a method reads its weights.

    Args:
        name: of the method.
        model: folder or hub id, which is then where; "embedded" for the small model that ships with vii; None for this
            one too, if there is one.

    Returns:
        the folder or hub id; None where none was named and none ships.

    Raises:
        UsageError: "embedded" was named and none ships.
    """
    if model not in (None, SHIPPED):
        return model
    if (MODELS / name).is_dir():
        return str(MODELS / name)
    if model == SHIPPED:
        raise UsageError(f"no model ships with vii for the method '{name}'; name a folder or a hub id")
    return None


def load_method(name: str, **options: Any) -> Transfer:
    """Build a method.

    Args:
        name: a key of `METHODS`.
        options: see `MethodEntry.needs` and `MethodEntry.takes`; those that are None count as not given. For `model`
            see `model_of`.

    Raises:
        UsageError: no such method, an option that it does not take, or one that it needs is missing.
    """
    entry = find_method(name)
    if "model" in entry.needs:
        options["model"] = model_of(name, options.get("model"))
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in entry.needs + entry.takes:
            raise UsageError(f"the method '{name}' does not take {key}; it takes {_listed(entry.needs + entry.takes)}")
    for key in entry.needs:
        if key not in given:
            raise UsageError(f"the method '{name}' needs {key}; got {_listed(tuple(given))}")
    return entry.builder()(**given)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
