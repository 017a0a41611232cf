"""What people drop on the page, looked at before it is used."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ImageError, UsageError
from ..images import Pair, load_image, resize
from ..pictures import ASPECT_TOLERANCE
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
    """An upload at no more than `side` pixels, which is all that a page shows of it; errors as `load_image`."""
    image = load_image(path)
    return inside_square(image, side) if max(image.shape[-2:]) > side else image


def open_pair(before: Path, after: Path, side: int = 0) -> Pair:
    """A pair from two uploads; errors as `Pair.open`, in words that fit the page.

    Args:
        before: an upload.
        after: likewise.
        side: for a look, pixels at most; 0 for the pictures as they are.

    Raises:
        ImageError: a picture cannot be used, or their shapes differ.
    """
    first, second = (look_at(path, side) if side else load_image(path) for path in (before, after))
    ratios = [image.shape[2] / image.shape[1] for image in (first, second)]
    if abs(ratios[0] / ratios[1] - 1) > ASPECT_TOLERANCE:
        shapes = [f"{ratio:.2f} times as wide as high" for ratio in ratios]
        raise ImageError(
            f"the picture before is {shapes[0]}, the one after {shapes[1]}: a pair shows the same frame twice, so both "
            "need the same shape; crop them alike"
        )
    return Pair(first, resize(second, *first.shape[-2:]))
