"""The methods of editing by example, by name. A builder imports its one module when it is called.

Other packages add theirs through the entry point group `vii.methods`, whose values are `MethodEntry` objects:

    [project.entry-points."vii.methods"]
    analogist = "my_package.analogist:ENTRY"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from ..errors import UsageError, unknown_name
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
    "method_names",
    "prepare",
]
GROUP = "vii.methods"


@dataclass(frozen=True)
class MethodEntry:
    """A row of the table.

    Attributes:
        build: makes the method from the keywords in `needs` and `takes`.
        description: one sentence.
        needs: keywords without which it cannot be built: `editor`, an editor of `vii.editors`; `text`, words that say
            the edit.
        takes: keywords that may be left out: `recipe`, how to learn (`InversionSettings`); `text`; and of a method that
            loads weights of its own `model`, `revision`, `device` and `dtype`, which mean what they do for an editor.
        pairs: whether it looks at the pairs.
        learns: whether it learns from them first, so that `build` gives a `Learner`.
    """

    build: Callable[..., Transfer]
    description: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    pairs: bool = True
    learns: bool = False


def _no_edit() -> Transfer:
    from .baselines import no_edit

    return no_edit


def _pixel_delta() -> Transfer:
    from .baselines import pixel_delta

    return pixel_delta


def _words(**options: Any) -> Transfer:
    from .baselines import Words

    return Words(**options)


def _inversion(**options: Any) -> Transfer:
    from .inversion import Inversion

    return Inversion(**options)


METHODS: Mapping[str, MethodEntry] = {
    "inversion": MethodEntry(
        _inversion,
        "learns instruction tokens for a frozen editor by a recipe, then applies them (Visual Instruction Inversion)",
        needs=("editor",),
        takes=("recipe", "text"),
        learns=True,
    ),
    "words": MethodEntry(_words, "gives the editor an instruction in words", needs=("editor", "text"), pairs=False),
    "pixel-delta": MethodEntry(_pixel_delta, "adds the difference of the pair to the photo"),
    "no-edit": MethodEntry(_no_edit, "leaves the photo as it is", pairs=False),
}


def method_names() -> list[str]:
    """Names of the methods, those of other packages last; a name that is taken already is not taken again."""
    return list(dict.fromkeys([*METHODS, *sorted(point.name for point in entry_points(group=GROUP))]))


def find_method(name: str) -> MethodEntry:
    """The entry of a method.

    Raises:
        UsageError: there is none of this name, or the package that brings it cannot be loaded.
    """
    if name in METHODS:
        return METHODS[name]
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        raise UsageError(unknown_name("method", name, method_names()))
    try:
        entry = points[0].load()
    except Exception as error:  # whatever somebody else's package raises
        raise UsageError(f"the method '{name}' ({points[0].value}) cannot be loaded: {error!r}") from None
    if not isinstance(entry, MethodEntry):
        raise UsageError(
            f"the method '{name}' ({points[0].value}): expected a MethodEntry, found {type(entry).__name__}"
        )
    return entry


def load_method(name: str, **options: Any) -> Transfer:
    """Build a method.

    Args:
        name: see `method_names`.
        options: see `MethodEntry.needs` and `MethodEntry.takes`; those that are None count as not given.

    Raises:
        UsageError: no such method, an option that it does not take, or one that it needs is missing.
    """
    entry = find_method(name)
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in entry.needs + entry.takes:
            raise UsageError(f"the method '{name}' does not take {key}; it takes {_listed(entry.needs + entry.takes)}")
    for key in entry.needs:
        if key not in given:
            raise UsageError(f"the method '{name}' needs {key}; got {_listed(tuple(given))}")
    return entry.build(**given)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
