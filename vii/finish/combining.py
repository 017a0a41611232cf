"""In which order the finishes of several edits, and words, come to a photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .color import ColorTransform
from .finish import Finish
from .lut import Lut
from .tiles import Array, Rows

# What carries over the result of words, and of edits that were kept without a finish: all that the editor made.
PLAIN = Finish("detail", residual=0.0)


@dataclass(frozen=True, eq=False)
class Colors:
    """A colour transform to apply to the whole picture, with its weight."""

    transform: ColorTransform | Lut
    weight: float

    def __call__(self, picture: Array) -> Array:
        """The picture `(h, w, 3)` with its colours changed."""
        return self.transform(picture, self.weight)

    def rows(self, picture: npt.NDArray[Any]) -> Rows:
        """The same for the rows of a picture."""
        return self.transform.rows(picture, self.weight)


@dataclass(frozen=True, eq=False)
class EditorStep:
    """One run of the editor, and how its result is carried over to the picture's own pixels.

    Attributes:
        branches: numbers of the edits to sample, in the order given, and the weight of each branch; words are one more.
        finish: how what was made is carried over.
        correct: whether its correction is used.
        fade: how much of the difference to the picture before the run is kept.
    """

    branches: tuple[tuple[int, float], ...]
    finish: Finish
    correct: bool
    fade: float

    def __call__(self, picture: Array, seen: Array, made: Array) -> Array:
        """The result at the size of the picture `(h, w, 3)`, from what the editor saw of it and what it made."""
        result = self.finish.finish(picture, seen, made, correct=self.correct)
        if self.fade != 1:  # in place, for pictures are large
            result -= picture
            result *= np.float32(self.fade)
            result += picture
        return result


Step = Colors | EditorStep


def arrange(edits: Sequence[tuple[Finish | None, float]], words: bool = False) -> list[Step]:
    """The steps by which edits with weights, and words, change a photo, one after the other.

    - A colour transform is a function of the picture, and such edits apply in the order given: black and white, then a
      red frame, keeps the frame red; the other way round the frame is grey.
    - Edits that need the editor are sampled together, each as a guidance branch with its weight, where the first of
      them stands. Words are one more branch of that run; without such an edit they come last.
    - A run of one edit alone, without words, at a weight in (0, 1] is sampled at weight 1, finished as it was fitted,
      with its correction, and the result is faded: at 1 it is what was chosen on the pair, at 0 the photo, and between
      them nothing jumps. Any other run is sampled at its weights, for beyond these an editor knows better than a
      straight line what is more of an edit, or its opposite; a correction, which was fitted to the edit alone, is left
      out.
    - What several branches made together is carried over with the most residual that one of them needs: all of it,
      its soft part, or none. Words need all, and so do edits whose own finish is the editor's picture scaled up.
    - An edit without a finish, alone, is sampled at its weight and scaled up, as such edits always were; beside others
      it needs all of the residual.
    - Weight 0 leaves an edit out.

    Args:
        edits: the finish of each edit, None for one without, and its weight.
        words: whether there are words besides.
    """
    used = [(number, finish, float(weight)) for number, (finish, weight) in enumerate(edits) if weight]
    sampled = [(number, finish, weight) for number, finish, weight in used if finish is None or finish.color is None]
    steps: list[Step] = []
    pending = bool(sampled) or words
    for _, finish, weight in used:
        if finish is not None and finish.color is not None:
            steps.append(Colors(finish.color, weight))
        elif pending:
            steps.append(_run(sampled, words))
            pending = False
    return [*steps, _run(sampled, words)] if pending else steps


def _run(sampled: Sequence[tuple[int, Finish | None, float]], words: bool) -> EditorStep:
    branches = tuple((number, weight) for number, _, weight in sampled)
    if len(sampled) > 1 or words:
        finishes = [PLAIN] * words + [finish or PLAIN for _, finish, _ in sampled]
        return EditorStep(branches, Finish("detail", residual=_most([_residual(f) for f in finishes])), False, 1.0)
    number, finish, weight = sampled[0]
    if finish is None:
        return EditorStep(branches, Finish("editor"), False, 1.0)
    if 0 < weight <= 1:
        return EditorStep(((number, 1.0),), finish, True, weight)
    return EditorStep(branches, finish, False, 1.0)


def _residual(finish: Finish) -> float | None:
    return 0.0 if finish.kind == "editor" else finish.residual


def _most(residuals: Sequence[float | None]) -> float | None:
    """The residual that keeps most: the least blurred one; none where all do without."""
    return min((residual for residual in residuals if residual is not None), default=None)
