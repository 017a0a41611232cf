"""What people drop on the page, looked at before it is used."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ImageError, UsageError
from ..images import ASPECT_TOLERANCE, Pair, load_image, resize
from .bodies import inside

SIDE = 96
# Of 744 pairs (12 photos, one edit of each family of `vii.synthetic`) seven are below: small portholes, halftone dots,
# chalk, dense snow. Of 528 pairs of different photos, edited or not, 11 are not noticed.
SAME_DETAIL, SAME_LIGHT = 0.2, 0.6
SAME_PIXELS = 0.5 / 255
LUMA = (0.299, 0.587, 0.114)


def uploaded(path: Any, folder: Path) -> Path:
    """A file that was uploaded: the browser names it, so it must lie in the folder of uploads.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(path, str) or not inside(path, folder.resolve()):
        raise UsageError("this file was not given to this page; drop it again")
    return Path(path)


def plain(error: Exception, folder: Path) -> str:
    """The message of an error in one line, with the name of an uploaded file in the place of its path."""
    text = " ".join(str(error).split())
    for base in {str(folder), str(folder.resolve())}:
        text = re.sub(re.escape(base) + r"/(?:[^/\s]+/)*", "", text)
    return text


def open_pair(before: Path, after: Path) -> Pair:
    """A pair from two uploads; errors as `Pair.open`, in words that fit the page.

    Raises:
        ImageError: a picture cannot be used, or their shapes differ.
    """
    first, second = load_image(before), load_image(after)
    ratios = [image.shape[2] / image.shape[1] for image in (first, second)]
    if abs(ratios[0] / ratios[1] - 1) > ASPECT_TOLERANCE:
        sizes = [f"{image.shape[2]} x {image.shape[1]}" for image in (first, second)]
        raise ImageError(
            f"the picture before is {sizes[0]}, the one after {sizes[1]}: a pair shows the same frame twice, so both "
            "need the same shape; crop them alike"
        )
    return Pair(first, resize(second, *first.shape[-2:]))


def doubts(pair: Pair) -> str:
    """Why two pictures of one shape do not look like one frame before and after an edit; empty where they do."""
    if (pair.before - pair.after).abs().max() < SAME_PIXELS:
        return "The two pictures are the same, so there is nothing to learn. Drop the edited one as the picture after."
    detail, light = likeness(pair.before, pair.after)
    if detail < SAME_DETAIL and light < SAME_LIGHT:
        return (
            "These do not look like one picture before and after an edit: hardly an edge is in the same place. You can "
            "learn from them, but what comes of it will rarely be of use."
        )
    return ""


def likeness(before: Tensor, after: Tensor) -> tuple[float, float]:
    """How much two pictures of one shape have in common: correlations of where their edges are, and of their light.

    Edges stay where they are under most edits: colours, light, styles, a negative. The second is without its sign, and
    counts where an edit covers the edges.
    """
    first, second = _luma(before), _luma(after)
    return _correlation(_edges(first), _edges(second)), abs(_correlation(first, second))


def _luma(image: Tensor) -> Tensor:
    return (resize(image, SIDE, SIDE) * torch.tensor(LUMA)[:, None, None]).sum(0)


def _edges(luma: Tensor) -> Tensor:
    across, down = luma[:-1, 1:] - luma[:-1, :-1], luma[1:, :-1] - luma[:-1, :-1]
    strength = (across.square() + down.square()).sqrt()
    return torch.nn.functional.avg_pool2d(strength[None, None], 2)[0, 0]


def _correlation(first: Tensor, second: Tensor) -> float:
    first, second = first - first.mean(), second - second.mean()
    length = first.norm() * second.norm()
    return float((first * second).sum() / length) if length > 1e-9 else 0.0
