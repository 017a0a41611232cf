"""Running a picture through a function of its pixels, a few rows at a time, on several cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cores import threads

Array = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
# From colours `(3, n)` of the rows `start` to `stop` of a picture, whole rows one after the other, to colours `(3, n)`.
Rows = Callable[[Array, int, int], Array]

# Pixels worked on at once: what a core's own cache holds of all that is computed for each.
TILE = 1 << 14
# Pixels of standard deviation at which what is blurred is sampled well enough.
KEPT = 2.0
# Rows that are scaled at once.
BAND = 16


def by_rows(image: npt.NDArray[Any], evaluate: Rows, *, clip: bool = True) -> npt.NDArray[Any]:
    """`evaluate` of a picture `(h, w, 3)`, a few rows at a time, so that memory stays bounded.

    Args:
        image: of any floating type, read as float32; or of whole numbers, read as shares of the largest of their type.
        evaluate: called from several threads at once, in no fixed order.
        clip: the result to [0, 1].

    Returns:
        a new array `(h, w, 3)`, laid out in memory as the image is: float32, or whole numbers where these were given.
    """
    height, width, _ = image.shape
    whole = np.issubdtype(image.dtype, np.integer)
    most = np.float32(np.iinfo(image.dtype).max if whole else 1)
    result = np.empty_like(image, image.dtype if whole else np.float32)
    rows = max(1, TILE // width)

    def work(start: int) -> None:
        part = image[start : start + rows]
        colors = np.ascontiguousarray(part.reshape(-1, 3).T, np.float32)
        if whole:
            colors /= most
        changed = evaluate(colors, start, start + len(part))
        if clip:
            np.clip(changed, 0, 1, out=changed)
        if whole:
            changed = np.rint(changed * most)
        result[start : start + rows] = changed.T.reshape(part.shape)

    with ThreadPoolExecutor(min(8, threads())) as pool:
        for _ in pool.map(work, range(0, height, rows)):
            pass
    return result


def check_image(name: str, image: Array) -> None:
    """Refuse what is no picture.

    Raises:
        ValueError: not a floating array `(h, w, 3)` with at least one pixel.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or not np.issubdtype(image.dtype, np.floating):
        raise ValueError(
            f"{name}: expected a floating array (h, w, 3) in [0, 1], got {image.shape} {image.dtype}; "
            "divide 8-bit values by 255"
        )


def hats(at: Array, count: int) -> Array:
    """Weights `(n, count)` of linear interpolation between nodes at 0, 1, ... `count - 1`, for positions `(n,)`."""
    return np.maximum(0, 1 - np.abs(np.clip(at, 0, count - 1)[:, None] - np.arange(count)))


def centers(size: int) -> Array:
    """Of so many pixels, as shares of their row's or column's length, `(size,)`."""
    return (np.arange(size) + 0.5) / size


def resampling(source: int, target: int, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
    """A matrix `(target, source)` that scales a row of pixels by cubic convolution (Keys 1981, a = -1/2).

    Widened where the row shrinks, as `PIL.Image.resize` and torch's antialiased `interpolate` do. Of it only some rows
    may be asked for, and of these the columns that are not 0.
    """
    stretch = max(1.0, source / target)
    t = np.abs((centers(target)[rows] * source)[:, None] - (np.arange(source)[columns] + 0.5)) / stretch
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def scaled(image: Array, height: int, width: int) -> Array:
    """`(h, w, 3)` -> `(height, width, 3)` float32 by `resampling`; values may overshoot a little."""
    if image.shape[:2] == (height, width):
        return np.asarray(image, np.float32)
    tall = _resampled(image, height)
    return np.ascontiguousarray(_resampled(tall.swapaxes(0, 1), width).swapaxes(0, 1))


def _resampled(image: Array, target: int) -> Array:
    """`(n, m, 3)` -> `(target, m, 3)` float32, a few rows at a time, each from the few that it is made of."""
    result = np.empty((target, *image.shape[1:]), np.float32)
    for start in range(0, target, BAND):
        stop = min(start + BAND, target)
        result[start:stop] = _some_rows(image, target, start, stop)
    return result


def _some_rows(image: Array, target: int, start: int, stop: int) -> Array:
    source = len(image)
    reach = 2 * max(1.0, source / target)
    first, last = ((at + 0.5) / target * source for at in (start, stop - 1))
    near = slice(max(0, int(first - reach)), int(last + reach) + 1)
    weights = resampling(source, target, slice(start, stop), near).astype(np.float32)
    return np.tensordot(weights, image[near], 1)


def enlarged(image: Array, height: int, width: int) -> Callable[[int, int], Array]:
    """Rows of `(h, w, 3)` scaled up to this size by cubic convolution: start and stop -> `(3, rows * width)`."""
    wide = np.ascontiguousarray(_resampled(image.swapaxes(0, 1), width).transpose(1, 2, 0))

    def rows(start: int, stop: int) -> Array:
        return _some_rows(wide, height, start, stop).swapaxes(0, 1).reshape(3, -1)

    return rows


def blurred(image: Array, sigma: float) -> Array:
    """`(h, w, c)` float32 blurred by a gaussian of so many pixels, the border repeated."""
    reach = int(3 * sigma + 0.5)
    kernel = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * sigma**2)).astype(np.float32)
    image = np.asarray(image, np.float32)
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if at == axis else (0, 0) for at in range(3)], "edge").swapaxes(0, axis)
        result = np.zeros_like(image.swapaxes(0, axis))
        for start, share in enumerate(kernel / kernel.sum()):
            result += share * padded[start : start + len(result)]
        image = result.swapaxes(0, axis)
    return image


def softened(picture: npt.NDArray[Any], radius: float) -> Callable[[int, int], Array]:
    """Rows of a picture `(h, w, 3)` blurred by a gaussian: start and stop -> `(3, rows * width)` in [0, 1].

    What is blurred is the picture at a size at which the gaussian's standard deviation is `KEPT` pixels, where it is
    larger than that: memory depends on the radius and the width, not on the height, and the work not on the radius.

    Args:
        picture: as `by_rows` takes it.
        radius: standard deviation as a share of the shorter side, so that an edit looks the same at every size.
    """
    height, width, _ = picture.shape
    share = min(1.0, KEPT / (radius * min(height, width)))
    small = scaled(picture, *(max(1, round(side * share)) for side in (height, width)))
    if np.issubdtype(picture.dtype, np.integer):
        small = small / np.float32(np.iinfo(picture.dtype).max)
    return enlarged(blurred(small, radius * min(small.shape[:2])), height, width)
