"""Less flicker in the frames of a clip: what an editor makes of one frame is held near what it made of those before.

An editor answers each frame by itself, and a little noise in the source is a little of another picture. What it did is
taken apart as in detail transfer: local transforms of colour and light, which change slowly whatever moves, and the
rest, which lies where things are. The former are smoothed exponentially over time (as the temporal smoothing of
Bonneel et al. 2015, "Blind video temporal consistency", weighs the last result against the new one), the latter only
where the source stays as it was.
"""

import numpy as np

from .detail import apply_grid, bilateral_grid
from .tiles import Array

# A difference between two frames, of values in [0, 1], by which half of the rest is taken from the new one alone.
MOVED = 0.03
# A mean difference between two frames by which they are of two scenes.
CUT = 0.15


class Steady:
    """The smoothing of one clip, frame after frame.

    Attributes:
        share: of what was done to the frames before that is kept, from 0 for nothing to below 1.
    """

    def __init__(self, share: float) -> None:
        """Begin a clip.

        Raises:
            ValueError: a share outside [0, 1).
        """
        if not 0 <= share < 1:
            raise ValueError(f"expected a share from 0 to below 1, got {share}")
        self.share = share
        self._seen: Array | None = None
        self._grid: Array = np.zeros(0)
        self._rest: Array = self._grid

    def __call__(self, seen: Array, made: Array) -> Array:
        """What the editor made of the next frame, steadied.

        Args:
            seen: the frame `(h, w, 3)` in [0, 1] as the editor saw it.
            made: what it made of it, of the same size.

        Returns:
            `(h, w, 3)` float32 in [0, 1]. A frame of another scene, or of another size, begins anew.
        """
        grid = bilateral_grid(seen, made)
        rest = made - apply_grid(grid, seen)
        before = self._seen if self._seen is not None and self._seen.shape == seen.shape else None
        if before is not None and (moved := np.abs(seen - before)).mean() < CUT:
            grid += np.float32(self.share) * (self._grid - grid)
            still = 1 / (1 + np.square(moved.max(2, keepdims=True) / np.float32(MOVED)))
            rest += np.float32(self.share) * still * (self._rest - rest)
        self._seen, self._grid, self._rest = seen, grid, rest
        return np.clip(apply_grid(grid, seen) + rest, 0, 1, dtype=np.float32)
