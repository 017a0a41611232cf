"""Pairs that do not lie on each other to the pixel: shifted, or cropped a little.

Lucas and Kanade 1981, "An iterative image registration technique", with an affine motion (Bergen et al. 1992), from
coarse to fine. What is compared is the brightness after the edit with what a smooth function of the colour before
predicts of it, so that even a negative can be laid onto its photo.
"""

import numpy as np

from .terms import Terms
from .tiles import Array, Mask, scaled

# Longer side of the pictures compared, from coarse to fine, and rounds at each.
SIZES, ROUNDS = (64, 128, 256, 512, 1024), 8
# A motion counts where it moves a pixel by this much, none by more than this share of the side, and where it takes
# this share of the error away.
LEAST, MOST, GAIN = 0.3, 0.06, 0.3
# The part of the pixels whose error counts: a frame or a drawn thing is no sign of a motion.
TRUSTED = 0.8
LUMA = np.array((0.2126, 0.7152, 0.0722))


def align(before: Array, after: Array) -> tuple[Array, Mask, float]:
    """The picture after, laid onto the picture before.

    Args:
        before: `(h, w, 3)` in [0, 1].
        after: `(h, w, 3)` in [0, 1].

    Returns:
        the picture after, `(h, w, 3)` float32; where it is known, `(h, w)` bool; and by how many pixels the corners
        moved at most: 0, and everything unchanged, where no motion explains the pair better.
    """
    height, width, _ = before.shape
    still = np.zeros(6)
    motion, gain = still, 0.0
    for size in SIZES:
        share = min(1.0, size / max(height, width))
        h, w = max(16, round(height * share)), max(16, round(width * share))
        first, second = scaled(before, h, w).astype(np.float64), scaled(after, h, w).astype(np.float64)
        for _ in range(ROUNDS):
            step = _step(first, second, motion)
            motion = motion + step
            if np.abs(motion).max() > MOST:
                return after, np.ones((height, width), bool), 0.0
            if np.abs(step).max() * max(h, w) < 0.01:
                break
        unmoved = _error(first, second, still)
        gain = (unmoved - _error(first, second, motion)) / max(unmoved, 1e-9)
        if share == 1:
            break
    corners = np.array([(1, y, x) for y in (-1, 1) for x in (-1, 1)]) / (1, 2, 2)
    moved = float(np.abs(corners @ motion.reshape(2, 3).T * (height, width)).max())
    if gain < GAIN or moved < LEAST:
        return after, np.ones((height, width), bool), 0.0
    warped, inside = _warped(after, motion, order=3)
    return warped.clip(0, 1).astype(np.float32), inside, moved


def _coordinates(height: int, width: int) -> tuple[Array, Array]:
    """Of pixels, from the middle, as shares of the sides: rows `(h, 1)`, columns `(1, w)`."""
    return ((np.arange(height) + 0.5) / height - 0.5)[:, None], ((np.arange(width) + 0.5) / width - 0.5)[None]


def _warped(image: Array, motion: Array, order: int = 1) -> tuple[Array, Mask]:
    """The picture at the places that the motion `(6,)` points to, and which of those lie inside it."""
    from scipy import ndimage  # here, for only learning needs it

    height, width, _ = image.shape
    down, across = _coordinates(height, width)
    rows = np.arange(height)[:, None] + (motion[0] + motion[1] * down + motion[2] * across) * height
    columns = np.arange(width)[None] + (motion[3] + motion[4] * down + motion[5] * across) * width
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    moved = [
        ndimage.map_coordinates(channel, (rows, columns), order=order, mode="nearest")
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.stack(moved, 2), inside


def _difference(before: Array, after: Array, motion: Array) -> tuple[Array, Array, Mask]:
    """Predicted less moved brightness `(h, w)`, the latter, and where it is known; the border is left out."""
    moved, inside = _warped(after, motion)
    inside[[0, -1]] = inside[:, [0, -1]] = False
    features = Terms(2).matrix(before.reshape(-1, 3))
    luma = moved @ LUMA
    use = inside.ravel()
    fitted = features[use]
    for _ in range(2):  # again without what fits worst
        solution = np.linalg.lstsq(fitted.T @ fitted + 1e-6 * np.eye(10), fitted.T @ luma.ravel()[use], rcond=None)[0]
        difference = features @ solution - luma.ravel()
        use = inside.ravel() & (np.abs(difference) <= np.quantile(np.abs(difference[inside.ravel()]), TRUSTED))
        fitted = features[use]
    return difference.reshape(luma.shape), luma, use.reshape(luma.shape)


def _step(before: Array, after: Array, motion: Array) -> Array:
    difference, luma, use = _difference(before, after, motion)
    height, width = luma.shape
    down, across = _coordinates(height, width)
    steep_down, steep_across = np.gradient(luma)
    columns = [
        steep * side * at for steep, side in ((steep_down, height), (steep_across, width)) for at in (1, down, across)
    ]
    jacobian = np.stack([np.broadcast_to(column, luma.shape)[use] for column in columns], 1)
    gram = jacobian.T @ jacobian
    return np.linalg.solve(gram + (1e-4 * np.trace(gram) + 1e-9) * np.eye(6), jacobian.T @ difference[use])


def _error(before: Array, after: Array, motion: Array) -> float:
    difference, _, use = _difference(before, after, motion)
    return float(np.square(difference[use]).mean())
