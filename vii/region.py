"""Where in a photo an edit is done: a mask, or a box."""

import torch
from torch import Tensor

from .errors import UsageError
from .images import check_range, resize

Box = tuple[int, int, int, int]
# A mask `(h, w)` or `(1, h, w)` in [0, 1], scaled to the photo, or a box `x, y, w, h` in pixels of the photo.
Region = Tensor | Box


def check_region(region: object) -> None:
    """Raise UsageError for what is neither a mask in [0, 1] nor a box."""
    if isinstance(region, tuple):
        if len(region) != 4 or any(type(number) is not int for number in region):
            raise UsageError(f"a box is four whole numbers of pixels (x, y, w, h), got {region!r:.60}")
    elif not isinstance(region, Tensor) or region.ndim not in (2, 3) or region.shape[:-2] not in ((), (1,)):
        got = tuple(region.shape) if isinstance(region, Tensor) else type(region).__name__
        raise UsageError(f"expected a mask, a tensor (h, w) or (1, h, w) in [0, 1], or a box (x, y, w, h), got {got}")
    else:
        check_range(region.float(), "mask")


def check_box(box: Box, height: int, width: int) -> None:
    """Raise UsageError for a box that has no area or lies outside a photo."""
    x, y, w, h = box
    if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise UsageError(f"the box {x},{y},{w},{h} does not lie inside the photo of {width} x {height}")


def box_mask(box: Box, height: int, width: int) -> Tensor:
    """A mask `(1, height, width)` that is 1 inside `x, y, w, h`, in pixels of the photo; errors as `check_box`."""
    check_region(box)
    check_box(box, height, width)
    x, y, w, h = box
    mask = torch.zeros(1, height, width)
    mask[:, y : y + h, x : x + w] = 1
    return mask


def composite(result: Tensor, photo: Tensor, region: Region) -> Tensor:
    """The result `(3, h, w)` where the region is 1, the photo, of any size, where it is 0, and a blend between.

    A mask is scaled to the result; a box lies inside the photo.
    """
    size = result.shape[-2:]
    mask = box_mask(region, *photo.shape[-2:]) if isinstance(region, tuple) else region.reshape(1, *region.shape[-2:])
    return torch.lerp(resize(photo, *size), result, resize(mask.to(result), *size))
