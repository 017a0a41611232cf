"""Of `vii apply`: which edits, photos and places its arguments name."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..clips import is_clip
from ..edit import Edit
from ..edit_file import load_edit
from ..errors import UsageError
from ..library import find_edit, written_as_path
from ..pictures import SUFFIXES, Pictures, find_pictures

NamedEdit = tuple[Path, Edit, float]
# Pickles are named as edits too, so that they meet the refusal that explains why and not "not a picture".
EDIT_ARGUMENT = re.compile(
    r"(?i)(?P<path>.+\.(?:safetensors|pt|pth|bin|ckpt|pkl))(?::(?P<weight>[^:/\\]*))?", re.DOTALL
)


def edits_and_photos(inputs: Sequence[str], output: str, recursive: bool) -> tuple[list[NamedEdit], Pictures]:
    """The edits, with their files and weights, and the photos that arguments name; OUTPUT is not among the photos.

    Raises:
        ViiError: an edit or a photo that is not there or cannot be read, a weight that is none, or no photo.
    """
    named = [(text, _named_edit(text)) for text in inputs]
    edits = [(found[0], load_edit(found[0]), _weight(text, found[1])) for text, found in named if found]
    photos = [text for text, found in named if not found]
    if not photos:
        raise UsageError("expected at least one photo or a folder of photos")
    return edits, find_pictures(photos, recursive=recursive, apart=output)


def _named_edit(text: str) -> tuple[Path, str | None] | None:
    """The edit file and the weight that an argument names; None where it names photos.

    Files come before the library, so that what is in a folder means the same whatever the library holds.
    """
    if "://" in text:
        return None
    if match := EDIT_ARGUMENT.fullmatch(text):
        return Path(match["path"]), match["weight"]
    name, weight = text.rsplit(":", 1) if ":" in text else (text, None)
    if name.lower().endswith(".cube"):
        raise UsageError(f"{text}: a look-up table becomes an edit by 'vii import {name} -o EDIT.safetensors'")
    if os.path.exists(text) or written_as_path(name) or name.lower().endswith(SUFFIXES) or is_clip(Path(name)):
        return None
    return find_edit(name), weight


def _weight(argument: str, text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        raise UsageError(f"{argument}: expected EDIT:WEIGHT with a number, such as :0.8") from None
