"""A strip of pictures of how an edit is learned: [before | after | step 0 | ... | best], as the authors' train.py."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..application import apply
from ..edit_file import Edit
from ..editor import Editor
from ..images import Pair, save_image
from ..inversion import Step
from .sheets import contact_sheet

# Pictures while learning: few, for each takes a whole sampling.
SNAPSHOTS = 4


def snapshot_steps(steps: int, count: int = SNAPSHOTS) -> list[int]:
    """Numbers of updates after which to take a picture: 0 and, evenly spaced, others before the end."""
    return sorted({index * steps // count for index in range(count)})


def caption(edit: Edit, step: int | None = None) -> str:
    """What is written above a picture of an edit after so many updates, or of the one that was kept."""
    if step is None:
        return f"best: step {edit.training['best_step']}"
    return f"step {step}" if step else f"step 0: {edit.init_text or 'no words'}"


class Preview:
    """The strip of one run, written anew at every snapshot, whole, so that it can be watched.

    A snapshot is the edit as it would be if learning stopped there, that is, the best so far on the probe set, applied
    to the photo it is learned from with its recommended settings. `show` is called with every strip `(3, h, w)` in [0,
    1] and the number of updates.
    """

    def __init__(
        self,
        editor: Editor,
        pair: Pair,
        path: Path,
        steps: int,
        *,
        seed: int = 0,
        show: Callable[[Tensor, int], None] | None = None,
    ) -> None:
        self.editor, self.pair, self.path, self.seed, self.show = editor, pair, path, seed, show
        self.wanted = snapshot_steps(steps)
        self.row = [("before", pair.before), ("after", pair.after)]

    def see(self, step: Step) -> None:
        """Add a picture if this is one of the steps to show."""
        if step.step in self.wanted:
            edit = step.best()  # without a finish, which would take as long again
            self._add(caption(edit, step.step), edit, step.step)

    def finish(self, edit: Edit, step: Step) -> None:
        """Add the result: the edit that was learned, after the last step."""
        self._add(caption(edit), edit, step.step)

    def _add(self, label: str, edit: Edit, step: int) -> None:
        self.row.append((label, apply(self.editor, edit, self.pair.before, seed=self.seed)))
        sheet = contact_sheet([self.row])
        save_image(sheet, self.path)
        if self.show:
            self.show(sheet, step)
