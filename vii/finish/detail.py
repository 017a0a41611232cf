"""Detail transfer: from what an editor saw and what it made at its own size to the photo's own pixels.

Local affine colour transforms in a bilateral grid (Chen et al. 2016, "Bilateral guided upsampling", section 3; Gharbi
et al. 2017, "Deep bilateral learning for real-time image enhancement", section 3), applied to the photo, plus the
residual: the part of what was made that no such transform explains.
"""

import numpy as np

from .tiles import Array, Integers, blurred, by_rows, centers, check_image, enlarged, hats

# ITU-R BT.709.
LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)
# Cells of the grid along the shorter side, and bins of brightness.
CELLS, BINS = 8, 8
# How strongly a cell is held to the transform of the whole picture: so many pixels of it count in each. With a tenth of
# a pixel, the blocks that JPEG leaves in a photo's colours became blotches where these hardly vary.
RIDGE = 2.0


def transfer(photo: Array, seen: Array, made: Array, residual: float | None, correction: Array | None = None) -> Array:
    """The photo changed as `seen` was changed into `made`; linear in `made` up to clipping.

    Args:
        photo: `(H, W, 3)` in [0, 1], of any size.
        seen: `(h, w, 3)` in [0, 1]: the whole photo at the editor's size.
        made: `(h, w, 3)` in [0, 1]: what the editor made of it.
        residual: None leaves the residual out (colour and light); a positive number adds it, blurred by a gaussian of
            this standard deviation as a share of the shorter side (light and soft things); 0 adds it as it is (frames,
            lines, drawn things).
        correction: `(7, 3)`: a linear function of 1, photo and result to add to the result.

    Returns:
        `(H, W, 3)` float32 in [0, 1]. It works by rows: besides the result it needs tens of megabytes.
    """
    for name, image in (("photo", photo), ("seen", seen), ("made", made)):
        check_image(name, image)
    if seen.shape != made.shape:
        raise ValueError(f"seen and made must have one size, got {seen.shape} and {made.shape}")
    grid = bilateral_grid(seen, made)
    rest: Array | None = None
    if residual is not None:
        rest = made - apply_grid(grid, seen)
        rest = blurred(rest, residual * min(seen.shape[:2])) if residual else rest
    return apply_grid(grid, photo, rest, correction, clip=True)


def upsampled(photo: Array, made: Array) -> Array:
    """What the editor made, scaled to the photo's size by cubic convolution and clipped to [0, 1]."""
    if made.shape == photo.shape:
        return np.clip(made, 0, 1, dtype=np.float32)
    upward = enlarged(made, *photo.shape[:2])
    return by_rows(photo, lambda colors, start, stop: upward(start, stop))


def bilateral_grid(seen: Array, made: Array, cells: int = CELLS, bins: int = BINS, ridge: float = RIDGE) -> Array:
    """Affine colour transforms `(3, 4)` that take `seen` to `made`, around each node of a grid.

    Args:
        seen: `(h, w, 3)` in [0, 1].
        made: `(h, w, 3)` in [0, 1].
        cells: along the shorter side.
        bins: of brightness.
        ridge: how much a cell is drawn to the transform of the whole picture, in pixels.

    Returns:
        `(gh, gw, bins, 12)` float32.
    """
    height, width, _ = seen.shape
    gh, gw = (max(2, round(side / min(height, width) * cells)) for side in (height, width))
    x = np.concatenate([seen, np.ones((height, width, 1))], 2).astype(np.float32)
    moments = np.concatenate([x[..., :, None] * x[..., None, :], made[..., :, None] * x[..., None, :]], 2)
    moments = moments.reshape(height, width, 28).astype(np.float32)
    down, across = (_spread(hats(centers(n) * g - 0.5, g)).astype(np.float32) for n, g in ((height, gh), (width, gw)))
    bright = hats((seen @ LUMA).ravel() * (bins - 1), bins).reshape(height, width, bins).astype(np.float32)
    grid = np.zeros((gh, gw * bins, 28))
    for share, level, moment in zip(down, bright, moments, strict=True):
        weights = (across[:, :, None] * level[:, None]).reshape(width, -1)
        grid += share[:, None, None] * (weights.T @ moment)
    grid = np.einsum("cb,yxbm->yxcm", _spread(np.eye(bins)), grid.reshape(gh, gw, bins, 28))
    gram, cross = grid[..., :16].reshape(gh, gw, bins, 4, 4), grid[..., 16:].reshape(gh, gw, bins, 3, 4)
    count = gram[..., 3, 3].sum()
    whole_gram, whole_cross = gram.sum((0, 1, 2)) / count + 1e-3 * np.eye(4), cross.sum((0, 1, 2)) / count
    gram, cross = gram + ridge * whole_gram, cross + ridge * whole_cross
    return np.linalg.solve(gram, cross.swapaxes(-1, -2)).swapaxes(-1, -2).reshape(gh, gw, bins, 12).astype(np.float32)


def _spread(weights: Array) -> Array:
    """Weights of nodes `(n, count)`, each shared with its neighbours as 1 : 2 : 1, the border repeated."""
    padded = np.pad(weights, ((0, 0), (1, 1)))
    shared = (padded[:, :-2] + 2 * weights + padded[:, 2:]) / 4
    shared[:, 0] += weights[:, 0] / 4
    shared[:, -1] += weights[:, -1] / 4
    return shared


def apply_grid(
    grid: Array, photo: Array, rest: Array | None = None, correction: Array | None = None, *, clip: bool = False
) -> Array:
    """The transforms of a grid at the place and brightness of each pixel, then `rest` `(h, w, 3)` scaled up and added.

    For each row of pixels the grid makes a table of transforms over columns and brightness, and each pixel is a sum of
    four rows of that table: memory is read once, in a core's own cache.
    """
    height, width = photo.shape[:2]
    gh, gw, bins, _ = grid.shape
    left, right_share = _between(width, gw)
    top, low_share = _between(height, gh)
    neighbours = np.array([0, 1, bins, bins + 1])[:, None]
    if rest is not None:
        upward = enlarged(rest, height, width)

    def evaluate(colors: Array, start: int, stop: int) -> Array:
        x, count = np.clip(colors, 0, 1), stop - start
        tables = grid[top[start:stop]]
        tables = tables + low_share[start:stop, None, None, None] * (grid[top[start:stop] + 1] - tables)
        level = LUMA @ x * (bins - 1)
        base = np.minimum(np.floor(level), np.float32(bins - 2))
        across, up = np.tile(right_share, count), level - base
        first = (np.arange(count)[:, None] * (gw * bins) + left * bins).ravel() + base.astype(np.int64)
        weights = np.stack([(1 - across) * (1 - up), (1 - across) * up, across * (1 - up), across * up])
        local = np.einsum("kn,knc->nc", weights, tables.reshape(-1, 12).take(first + neighbours, 0))
        result = np.ascontiguousarray(local.T).reshape(3, 4, -1)
        result = result[:, 0] * x[0] + result[:, 1] * x[1] + result[:, 2] * x[2] + result[:, 3]
        if rest is not None:
            result += upward(start, stop)
        if correction is not None:
            result = np.clip(result, 0, 1)
            result += correction[:1].T + correction[1:4].T @ x + correction[4:].T @ result
        return result

    return by_rows(photo, evaluate, clip=clip)


def _between(size: int, nodes: int) -> tuple[Integers, Array]:
    """For each pixel of a row the node before it `(size,)`, and how far it is on the way to the next one, in [0, 1]."""
    at = np.clip(centers(size) * nodes - 0.5, 0, nodes - 1)
    before = np.minimum(at.astype(np.int64), nodes - 2)
    return before, (at - before).astype(np.float32)
