"""What people drop on the page, looked at before it is used."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ImageError, UsageError
from ..images import Pair, from_array, load_image, resize
from ..pictures import ASPECT_TOLERANCE, read_picture
from ..rendering.sheets import inside as inside_square
from ..text import printable
from .bodies import inside


def uploaded(path: Any, folder: Path) -> Path:
    """A file that was uploaded: the browser names it, so it must lie in the folder of uploads.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(path, str) or not inside(path, folder.resolve()):
        raise UsageError("this file was not given to this page; drop it again")
    if not Path(path).is_file():
        raise UsageError(f"{Path(path).name} was dropped too long ago and is forgotten; drop it again")
    return Path(path)


def plain(error: Exception, folder: Path) -> str:
    """The message of an error in one line, with the name of an uploaded file in the place of its path."""
    text = " ".join(printable(str(error)).split())
    for base in {str(folder), str(folder.resolve())}:
        text = re.sub(re.escape(base) + r"/(?:[^/\s]+/)*", "", text)
    return text


def look_at(path: Path, side: int) -> Tensor:
    """An upload at no more than `side` pixels a side, decoded no larger than that takes; errors as `load_image`."""
    image = load_image(path, around=side * side)
    return inside_square(image, side) if max(image.shape[-2:]) > side else image


def open_pair(before: Path, after: Path, side: int | None = None) -> Pair:
    """A pair from two uploads; errors as `Pair.open`, in words that fit the page.

    Args:
        before: an upload.
        after: likewise.
        side: for a look: about so many pixels a side are enough; None for the pictures as they are.

    Raises:
        ImageError: a picture cannot be used, or their shapes differ.
    """
    first, second = (read_picture(path, around=side and side * side) for path in (before, after))
    ratios = [picture.size[0] / picture.size[1] for picture in (first, second)]
    if abs(ratios[0] / ratios[1] - 1) > ASPECT_TOLERANCE:
        sizes = [" x ".join(map(str, picture.size)) for picture in (first, second)]
        raise ImageError(
            f"the picture before is {sizes[0]}, the one after {sizes[1]}: a pair shows the same frame twice, so both "
            "need the same shape; crop them alike"
        )
    image = from_array(first.pixels)
    return Pair(image, resize(from_array(second.pixels), *image.shape[-2:]))
