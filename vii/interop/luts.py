"""Look-up tables: an edit that is a colour map goes out as one, and one that people have comes in as an edit.

Nothing here needs torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..demo import photo_files
from ..edit import Edit
from ..edit_list import weighted_edits
from ..errors import ImageError, UsageError
from ..finish import Finish, Lut, bake, from_hald, hald, read_cube, write_cube
from ..finish.color import ColorTransform
from ..finish.tiles import Array
from ..pictures import OUTPUT_FORMATS, read_picture, write_picture

# Kind -> formats by name; a picture that is packed with losses is no table.
KINDS = {"cube": (".cube",), "hald": (".png", ".tif", ".tiff")}
# Points a side: a table of more than what an edit file holds (87) is sampled anew with so many.
MOST_STORED, RESAMPLED = 87, 65


@dataclass(frozen=True)
class LutError:
    """How far a written table is from the edit itself, over all pixels of the shipped photos.

    `psnr` in dB is at most 120, which is more than 16 bits can tell; `largest` is the largest difference of any
    channel, in levels of 255.
    """

    psnr: float
    largest: float

    def __str__(self) -> str:
        on = "on the shipped photos"
        return f"{self.psnr:.1f} dB against the edit itself {on}, at most {self.largest:.2f} levels of 255 off"


def color_map(edit: Edit) -> ColorTransform | Lut:
    """The colour map that an edit is; UsageError, with the reason, where it is none."""
    if edit.finish and edit.finish.color and edit.finish.is_color_map:
        return edit.finish.color
    cause = "what the picture shows" if edit.needs_editor else "its place in the picture or on what is around it"
    raise UsageError(
        f"this edit is no colour map ({edit.consists_of}): what becomes of a colour depends on {cause}, which no "
        "look-up table can know"
    )


def export_lut(edit: Edit, path: str | Path, kind: str, *, weight: float = 1.0) -> LutError:
    """Write an edit as a 3D LUT of 33 points a side (`cube`), or as a Hald CLUT of level 8, 16 bits a channel (`hald`).

    A table that was imported goes out with its own points. Returns what the file, read back, makes of the shipped
    photos, against the edit itself.

    Raises UsageError where the edit is no colour map, the weight is no number in its range, or the name does not fit.
    """
    ((_, weight),) = weighted_edits([(edit, weight)])
    transform = color_map(edit)
    check_lut_name(path, kind)

    def weighted(image: Array) -> Array:
        return transform(image, weight)

    if kind == "cube":
        write_cube(transform if isinstance(transform, Lut) and weight == 1 else bake(weighted), path, edit.title)
    else:
        write_picture(np.round(hald(weighted) * 65535).astype(np.uint16), path)
    return _difference(weighted, read_lut(path))


def check_lut_name(path: str | Path, kind: str) -> None:
    """Raise UsageError for a name that does not fit a kind of table."""
    if Path(path).suffix.lower() not in KINDS[kind]:
        raise UsageError(f"{path}: {kind} files are named *{', *'.join(KINDS[kind])}")


def import_lut(path: str | Path) -> tuple[Edit, LutError | None]:
    """An edit, without a title, from a `.cube` file or a picture that is a Hald CLUT; it needs no editor.

    The table is kept as it is, 12 bytes a point: 431 kB for 33 points a side, 3.3 MB for 65. One of more than 87 does
    not fit into an edit file, and is sampled anew with 65; only then the second value says how far it is from the file.

    Raises ImageError where the file is no valid table.
    """
    lut, error = read_lut(path), None
    if len(lut.table) > MOST_STORED:
        lut, whole = bake(lut, RESAMPLED), lut
        error = _difference(whole, lut)
    source = {"imported": "cube" if is_cube(path) else "hald", "points": len(lut.table)}
    return Edit(finish=Finish("color", lut), training=source), error


def is_lut_name(path: str | Path) -> bool:
    """Whether a file is named as a `.cube` file or as a picture that may be a Hald CLUT."""
    return is_cube(path) or Path(path).suffix.lower() in OUTPUT_FORMATS


def is_cube(path: str | Path) -> bool:
    """Whether a file is named as a `.cube` file."""
    return Path(path).suffix.lower() == ".cube"


def read_lut(path: str | Path) -> Lut:
    """The table in a `.cube` file, or in a picture that is a Hald CLUT; ImageError where it is no valid one."""
    if is_cube(path):
        return read_cube(path)
    picture = read_picture(path)
    try:
        return from_hald(picture.pixels.astype(np.float32) / np.float32(np.iinfo(picture.pixels.dtype).max))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def _difference(edit: Callable[[Array], Array], lut: Lut) -> LutError:
    squares, count, largest = 0.0, 0, 0.0
    for file in photo_files():
        photo = read_picture(file).pixels.astype(np.float32) / 255
        wrong = lut(photo) - edit(photo)
        squares += float(np.square(wrong, dtype=np.float64).sum())
        count, largest = count + wrong.size, max(largest, float(np.abs(wrong).max()))
    return LutError(-10 * math.log10(max(squares / count, 1e-12)), 255 * largest)
