"""A plan for photos, carried out on the frames of a clip."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..clips import change
from ..record import chunks
from .jobs import Plan, digest


def edit_clip(source: Path, target: Path, plan: Plan[Any], *, advance: Callable[[], None] = lambda: None) -> int:
    """Edit every frame of a clip: from the same noise, and a few at a time, so that memory does not grow.

    Args:
        source: the clip.
        target: where the result goes; its metadata say as `comment` and `description` what a picture says as
            `parameters` and `vii`.
        plan: what to do with its frames.
        advance: called for each frame that is done.

    Returns:
        how many frames there are.

    Raises:
        ViiError: see `vii.clips.change`, and what the plan refuses.
    """
    sha256 = digest(source)

    def edited(frames: Iterator[np.ndarray]) -> Iterable[np.ndarray]:
        for result in plan.edit(map(plan.prepare, frames)):
            yield plan.pixels(result, 8)
            advance()

    def texts(width: int, height: int) -> dict[str, str]:
        told = chunks({**plan.record, "size": [width, height], "source": {"sha256": sha256}}, plan.settings)
        return {"comment": told["parameters"], "description": told["vii"]}

    return change(source, target, edited, texts=texts)
