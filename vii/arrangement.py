"""What is done to a photo around the one run of an editor: colours before it, what it made carried over, colours after.

Numpy only: where no editor runs, an edit is applied without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from .edit import Edit
from .errors import UsageError, unknown_name
from .finish import Colors, EditorStep, Finish, arrange
from .finish.combining import PLAIN
from .finish.tiles import Array, Rows, by_rows

# As edits were fitted to be finished, or what the editor made, scaled up.
FINISHES = ("auto", "none")
# The size of results: the photo's own, or that at which the editor works.
SIZES = ("photo", "editor")


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The steps of `vii.finish.arrange`, which runs an editor once at most, between colour transforms.

    Where no editor runs, all transforms stand in `before`.
    """

    before: tuple[Colors, ...] = ()
    run: EditorStep | None = None
    after: tuple[Colors, ...] = ()


def arrangement(
    edits: Sequence[tuple[Edit, float]], *, words: bool = False, joined: bool = False, finish: str = "auto"
) -> Arrangement:
    """What edits and words do to a photo.

    Args:
        edits: with their weights.
        words: whether there are words.
        joined: whether the words stand after the tokens of the first edit, which then is sampled, whatever its finish.
        finish: "auto", by the rule of `vii.finish.arrange`; "none": all edits and words are sampled at their weights,
            and the editor's picture is scaled up.

    Raises UsageError for another finish, or an edit without tokens where an editor is to be given some.
    """
    check_choice("finish", finish, FINISHES)
    joined = joined and words and bool(edits)
    if finish == "none":
        every = tuple((number, weight) for number, (_, weight) in enumerate(edits))
        found = Arrangement(run=EditorStep(every, Finish("editor"), False, 1.0))
    else:
        finishes = [(edit.finish, weight) for edit, weight in edits]
        if joined:  # the words, which need all that the editor made, in the place of the edit
            finishes[0] = (PLAIN, finishes[0][1])
        steps = arrange(finishes, words=words and not joined)
        run = next((step for step in steps if isinstance(step, EditorStep)), None)
        at = steps.index(run) if run else len(steps)
        found = Arrangement(_colors(steps[:at]), run, _colors(steps[at + 1 :]))
    for number, _ in found.run.branches if found.run else ():
        if not edits[number][0].num_tokens:
            name = edits[number][0].title or "one of the edits"
            raise UsageError(f"{name} has no tokens that an editor could be given; leave out `finish` and `join_text`")
    return found


def _colors(steps: Sequence[Colors | EditorStep]) -> tuple[Colors, ...]:
    return tuple(step for step in steps if isinstance(step, Colors))


def chained(steps: Sequence[Colors], picture: npt.NDArray[Any]) -> Rows:
    """Colour transforms one after the other, for the rows of a picture `(h, w, 3)`; see `by_rows`."""
    changes: list[Rows] = []

    def evaluate(colors: Array, start: int, stop: int) -> Array:
        for change in changes:
            colors = change(colors, start, stop)
        return colors

    for step in steps:  # what looks around a pixel looks at what those before have made
        around = changes and step.transform.looks_around
        changes.append(step.rows(by_rows(picture, evaluate) if around else picture))
    return evaluate


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise UsageError for a value that is none of the choices."""
    if value not in choices:
        raise UsageError(unknown_name(name, str(value), choices))
