"""What people drop on the page, looked at before it is used."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UsageError
from ..images import load_image
from ..rendering.sheets import at_most
from ..text import printable
from .bodies import inside


def uploaded(path: Any, folder: Path) -> Path:
    """A file that was uploaded: the browser names it, so it must lie in the folder of uploads, or UsageError."""
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
    return at_most(load_image(path, around=side * side), side)
