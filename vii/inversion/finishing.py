"""The last part of learning: which finish an edit needs, decided on its pairs by what the editor makes of them."""

import dataclasses
from collections.abc import Sequence

from ..application import Application
from ..edit import Edit
from ..editor import Editor
from ..finish import Example, fit_finish
from ..images import Pair, resize, spread

# Pairs that the editor is asked for: as many more would change a choice as seldom as they would cost time.
MOST_PAIRS = 8


def with_finish(editor: Editor, pairs: Sequence[Pair], edit: Edit, *, seed: int = 0) -> Edit:
    """The edit with the finish that its pairs, at their own size, call for; see `vii.finish.fit_finish`.

    The edit is applied to its own pairs, to `MOST_PAIRS` of them at most, at weight 1 with the settings that it
    recommends, and every way to bring that to the photo's own pixels is compared with the picture after.
    """
    pairs = spread(pairs, MOST_PAIRS)
    plan = Application(editor, edit, seed=seed, finish="none", size="editor")
    examples = []
    for pair, made in zip(pairs, plan.many(pair.before for pair in pairs), strict=True):
        seen = resize(pair.before, *made.shape[-2:])
        images = [image.permute(1, 2, 0).float().cpu().numpy() for image in (pair.before, pair.after, seen, made)]
        examples.append(Example(*images))
    return dataclasses.replace(edit, finish=fit_finish(examples))
