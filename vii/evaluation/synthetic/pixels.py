"""What formulas share: pictures as arrays `(h, w, 3)` in [0, 1], brightness and masks as `(h, w, 1)`.

Lengths in pixels are those of a picture with a short side of 128; `scale` carries them over to other sizes.
"""

import colorsys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

Array = np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]
Value = float | str

NEUTRALS = {"white": 1.0, "black": 0.0, "gray": 0.5}
ROWS, COLUMNS = {"top ": 0.22, "": 0.5, "bottom ": 0.78}, {"left": 0.22, "": 0.5, "right": 0.78}
PLACES = {(row + column).strip() or "center": (x, y) for row, y in ROWS.items() for column, x in COLUMNS.items()}
SIDES = ("left", "right", "top", "bottom")

# Short and many, so they read as a list.
# fmt: off

def channels(red: float, green: float, blue: float) -> Array:
    """A colour."""
    return np.array((red, green, blue), np.float32)

def rgb(color: Value, saturation: float = 0.9, value: float = 1.0) -> Array:
    """The colour of a hue in degrees or of a neutral word."""
    if isinstance(color, str):
        return np.full(3, NEUTRALS[color] * value, np.float32)
    return channels(*colorsys.hsv_to_rgb(color % 360 / 360, saturation, value))

def luma(x: Array) -> Array:
    """Brightness as Rec. 601 has it."""
    return (x @ channels(0.299, 0.587, 0.114))[..., None]

def saturate(x: Array, factor: float) -> Array:
    """The distance to gray times this factor."""
    return luma(x) + (x - luma(x)) * factor

def blend(x: Array, over: Array | float, share: Array | float) -> Array:
    """This share of `over`, the rest of `x`."""
    return x * (1 - share) + over * share

def palette(level: Array, *colors: tuple[float, float, float]) -> Array:
    """The colour at a level `(h, w, 1)`, from the first at 0 to the last at 1."""
    at = np.linspace(0, 1, len(colors))
    return np.concatenate([np.interp(level, at, channel) for channel in zip(*colors, strict=True)], -1)

def third(s: float) -> int:
    """Which third of [0, 1]: 0, 1 or 2."""
    return min(2, int(s * 3))

def scale(x: Array) -> float:
    """Pixels for a length of one."""
    return min(x.shape[:2]) / 128

def soften(x: Array, sigma: float) -> Array:
    """Gaussian blur."""
    return ndimage.gaussian_filter(x, (sigma * scale(x), sigma * scale(x), 0))

def edges(x: Array, sigma: float) -> Array:
    """Steepness of the softened brightness, per pixel of this picture."""
    softened = soften(luma(x), sigma)[..., 0]
    return np.hypot(ndimage.sobel(softened, 0), ndimage.sobel(softened, 1))[..., None]

def outlines(x: Array, sigma: float, gain: float, cut: float) -> Array:
    """Lines in [0, 1] where the brightness changes; relative to it, so that dark parts have lines too."""
    steepness = edges(x, sigma) * scale(x) / (soften(luma(x), 8) + 0.2)
    return np.clip(steepness * gain - cut, 0, 1)

def by_pillow(x: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    """What Pillow makes of the picture, in 8 bits."""
    return np.asarray(change(Image.fromarray((x * 255 + 0.5).astype(np.uint8))), np.float32) / 255

def median(x: Array, width: float) -> Array:
    """Median filter."""
    odd = max(3, round(width * scale(x)) // 2 * 2 + 1)
    return by_pillow(x, lambda picture: picture.filter(ImageFilter.MedianFilter(odd)))

def mosaic(x: Array, block: float) -> Array:
    """Flat blocks of the mean colour."""
    (height, width), block = x.shape[:2], block * scale(x)
    blocks = max(1, round(width / block)), max(1, round(height / block))
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    return by_pillow(x, lambda picture: picture.resize(blocks, box).resize((width, height), nearest))

def drawn(x: Array, draw: Callable[[ImageDraw.ImageDraw, int, int], None]) -> Array:
    """A mask of what `draw` paints on a canvas of a height and width, four times as large: smooth edges."""
    height, width = x.shape[:2]
    canvas = Image.new("L", (4 * width, 4 * height))
    draw(ImageDraw.Draw(canvas), 4 * height, 4 * width)
    return np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32)[..., None] / 255

def centers(x: Array) -> tuple[Array, Array]:
    """Rows `(h, 1, 1)` and columns `(1, w, 1)` of the pixel centres, as shares of the height and the width."""
    height, width = x.shape[:2]
    return (np.arange(height)[:, None, None] + 0.5) / height, (np.arange(width)[None, :, None] + 0.5) / width

def lengths(x: Array) -> tuple[Array, Array]:
    """The same as lengths from the top and from the left."""
    (rows, columns), (height, width) = centers(x), x.shape[:2]
    return rows * height / scale(x), columns * width / scale(x)

def distance(x: Array, place: str) -> Array:
    """From a place, in shares of the height and the width."""
    (rows, columns), (across, down) = centers(x), PLACES[place]
    return np.hypot(rows - down, columns - across)

def radius(x: Array) -> Array:
    """Distance from the middle as a share of the short side: circles are round."""
    down, across = lengths(x)
    return np.hypot(down - down.mean(), across - across.mean()) / 128

def to_border(x: Array) -> Array:
    """Distance from the nearest border, in shares of the height and the width."""
    rows, columns = centers(x)
    return np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns))

def inward(x: Array, side: str) -> Array:
    """How far in from a side, as a share of the way to the opposite one."""
    rows, columns = centers(x)
    from_top_or_left = columns if side in ("left", "right") else rows
    return from_top_or_left if side in ("left", "top") else 1 - from_top_or_left

def within(x: Array, side: str, share: float) -> Array:
    """1 on this share of the picture next to a side, 0 on the rest."""
    depth = inward(x, side)
    return np.clip((share - depth) * depth.size + 0.5, 0, 1)
