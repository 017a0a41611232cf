"""Visual Instruction Inversion as a method: learn the edit by a recipe, then apply it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..application import Application
from ..edit_file import Edit
from ..editor import Editor
from ..images import Pair
from ..inversion import InversionSettings, invert_steps
from .method import Learned, Moment


@dataclass(frozen=True, eq=False)
class AppliedEdit:
    """An edit that was learned before, applied with the settings that its file recommends.

    Attributes:
        editor: that it was learned for.
        edit: to apply.
        text: words to add, see `vii.apply`.
        size: of the results, "photo" or "editor".
    """

    editor: Editor
    edit: Edit
    text: str = ""
    size: str = "photo"
    _plans: dict[int, Application] = field(default_factory=dict, repr=False)

    def plan(self, seed: int) -> Application:
        """The edit made ready for photos; made once for each seed."""
        if seed not in self._plans:
            self._plans[seed] = Application(self.editor, self.edit, text=self.text, seed=seed, size=self.size)
        return self._plans[seed]

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`; the pairs are not looked at."""
        return self.plan(seed)(photo)


@dataclass(frozen=True, eq=False)
class Inversion:
    """Learn tokens for a frozen editor from the pairs (arXiv 2307.14331, section 3), then apply them.

    Attributes:
        editor: to learn and apply with.
        recipe: how to learn; the recipe `default` where none is given.
        text: words to add when applying, see `vii.apply`.
    """

    editor: Editor
    recipe: InversionSettings | None = None
    text: str = ""

    def learn(self, pairs: Sequence[Pair], *, seed: int = 0, watch: Callable[[str], None] | None = None) -> Learned:
        """See `Learner`. Ctrl-C is left to the caller: no half of an edit is kept."""
        started, looks = time.perf_counter(), []
        for step in invert_steps(self.editor, pairs, self.recipe, seed=seed, watch=watch):
            if watch:
                watch(f"step {step.step} of {step.steps}, explained {step.explained:.0%}")
            if step.probe is not None:
                looks.append((time.perf_counter() - started, step))
        _, last = looks.pop()  # learning always ends with a look
        moments = [Moment(at, step.samples, self._applied(step.best(), "editor")) for at, step in looks]
        edit = last.finished()
        return Learned(self._applied(edit), edit, time.perf_counter() - started, last.samples, moments)

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`; learns anew for every photo, which `prepare` does once."""
        return self.learn(pairs, seed=seed).transfer(pairs, photo, seed=seed)

    def _applied(self, edit: Edit, size: str = "photo") -> AppliedEdit:
        return AppliedEdit(self.editor, edit, self.text, size)
