"""What people drop on the page, looked at before it is used."""

import re
from pathlib import Path
from typing import Any

from ..errors import ImageError, UsageError
from ..images import Pair, load_image, resize
from ..pictures import ASPECT_TOLERANCE
from .bodies import inside


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
