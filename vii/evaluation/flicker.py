"""How much a clip flickers where nothing happens in it."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Frames = Iterable[npt.NDArray[np.uint8]]
# Levels of 255 by which a pixel of the source may differ from the frame before and still has not changed.
STILL = 4


def flicker(source: Frames, result: Frames) -> float:
    """Mean absolute difference between consecutive results, less that of the source, where the source did not change.

    In levels of 255, over all pixels and channels of all frames but the first. A pixel did not change where none of its
    channels differs by more than `STILL` levels. 0: the result changes there as much as the source does.

    Args:
        source: frames `(h, w, 3)`, uint8.
        result: as many, of the same size.

    Raises:
        ValueError: no two frames, or no pixel that stays.
    """
    total, count = 0.0, 0
    before: tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]] | None = None
    for frames in zip(source, result, strict=True):
        now = (frames[0].astype(np.int16), frames[1].astype(np.int16))
        if before is not None:
            theirs, ours = (np.abs(frame - last) for frame, last in zip(now, before, strict=True))
            still = theirs.max(2) <= STILL
            total += float((ours - theirs)[still].sum())
            count += 3 * int(still.sum())
        before = now
    if not count:
        raise ValueError("expected at least two frames, and pixels that stay as they are")
    return total / count
