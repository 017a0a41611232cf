"""Masks: where an edit acts, from a picture file."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from . import samples
from .formats import opened
from .reading import UPRIGHT, decode, orientation

ASPECT_TOLERANCE = 0.02
# A mask drawn in white has nearly white somewhere; one whose brightest level is below this of 255 holds labels.
DIMMEST = 16 / 255
# Channels that differ by more are a colour, of somebody's brush or a label, and do not say how much to edit.
COLOURED = 64
# ITU-R BT.601, as Pillow has it.
LUMA = (0.299, 0.587, 0.114)


def read_mask(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Where to edit: white edits, black leaves the photo, grey and soft edges lie between; nothing is inverted.

    Transparency limits it: what is transparent is not edited, whatever its colour. A mask of the levels 0 and 1, as
    programs write them, is understood. Colour profiles have no say.

    Args:
        path: a picture that shows the photo's frame, at any scale.
        size: height and width of the photo.

    Returns:
        `(h, w)` float32 in [0, 1].

    Raises:
        ImageError: it cannot be read, has another shape than the photo, or its levels are no mask's.
    """
    path = Path(path)
    with opened(path) as picture:
        samples.check_samples(path, picture)
        turn = orientation(picture)
        levels, alpha = _levels(path, decode(picture))
    if turn in UPRIGHT:
        levels = UPRIGHT[turn](levels)
    height, width = levels.shape
    if abs(width / height / (size[1] / size[0]) - 1) > ASPECT_TOLERANCE:
        raise ImageError(
            f"{path}: the mask is {width} x {height} and the photo {size[1]} x {size[0]}: a mask must show the photo's "
            "frame, so both need one aspect ratio; crop them alike"
        )
    brightest = float(levels.max())
    if alpha and brightest == 0:
        raise ImageError(f"{path}: the mask is black wherever it is not transparent; paint white where to edit")
    if 0 < brightest < DIMMEST:
        raise ImageError(
            f"{path}: the mask's brightest level is {brightest * 255:.3g} of 255; paint white where to edit"
        )
    if (height, width) != tuple(size):
        image = Image.fromarray(np.ascontiguousarray(levels, dtype=np.float32))
        levels = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(levels, dtype=np.float32).clip(0, 1)


def _levels(path: Path, picture: Image.Image) -> tuple[np.ndarray, bool]:
    """Lightness times opacity, `(h, w)` in [0, 1], and whether there is any transparency."""
    if samples.is_wide(picture):
        grey, alpha, full = samples.wide(path, picture), None, samples.FULL
    else:
        colours, cover = samples.split_alpha(picture)
        colours = colours if colours.mode == "L" else colours.convert("RGB")
        grey, full = np.asarray(colours), 255
        alpha = np.asarray(cover) / 255 if cover else None
    if grey.max() == 1:
        full = 1
    levels = grey.astype(np.float32) / full
    if levels.ndim == 3:
        if (np.ptp(grey, axis=-1) * (1 if alpha is None else alpha)).max() > COLOURED:
            raise ImageError(f"{path}: the mask has colours; paint white where to edit, and black elsewhere")
        levels = levels @ np.array(LUMA, np.float32)
    if alpha is None or (alpha == 1).all() or (picture.format == "BMP" and not alpha.any()):
        return levels, False
    return levels * alpha, True
