"""Contact sheets: pictures in labelled rows."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..errors import ImageError
from ..images import Pair, from_pil, resize, save_image, to_pil

MARGIN, TEXT_HEIGHT, FONT_SIZE = 8, 20, 13
MAX_THUMBNAIL = 2048
DATA_URL = "data:image/jpeg;base64,"
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)


def contact_sheet(rows: Sequence[Sequence[tuple[str, Tensor]]], cell: int = 192) -> Tensor:
    """Rows of labelled pictures `(3, h, w)` in [0, 1] on white, as one `(3, H, W)`; rows may differ in length.

    Every picture is scaled to fit into a square of `cell` pixels a side, keeping its shape.
    """
    columns = max(len(row) for row in rows)
    width = columns * (cell + MARGIN) + MARGIN
    height = len(rows) * (cell + TEXT_HEIGHT + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for i, row in enumerate(rows):
        for j, (label, image) in enumerate(row):
            x, y = MARGIN + j * (cell + MARGIN), MARGIN + i * (cell + TEXT_HEIGHT + MARGIN)
            draw.text((x, y), _shortened(label, font, cell), fill=INK, font=font)
            scaled = inside(image, cell)
            offset_x, offset_y = (cell - scaled.shape[2]) // 2, (cell - scaled.shape[1]) // 2
            sheet.paste(to_pil(scaled), (x + offset_x, y + TEXT_HEIGHT + offset_y))
    return from_pil(sheet)


def edit_sheet(pair: Pair, results: Mapping[str, tuple[Tensor, Tensor]], cell: int = 160) -> Tensor:
    """A pair and what was learned from it: the upper row before the edit, the lower row after.

    `results`: name -> (photo, the edited photo).
    """
    upper = [("before", pair.before), *((name, photo) for name, (photo, _) in results.items())]
    lower = [("after", pair.after), *(("edited", edited) for _, edited in results.values())]
    return contact_sheet([upper, lower], cell)


def inside(image: Tensor, side: int) -> Tensor:
    """A picture scaled to fit into a square of this side, keeping its shape."""
    height, width = image.shape[-2:]
    scale = side / max(height, width)
    return resize(image, max(1, round(height * scale)), max(1, round(width * scale)))


def at_most(image: Tensor, side: int) -> Tensor:
    """A picture scaled down where a side of it is longer than this."""
    return inside(image, side) if max(image.shape[-2:]) > side else image


def strip(images: Sequence[Tensor], height: int = 192) -> Tensor:
    """Pictures side by side at one height, `(3, height, sum of widths)`."""
    return torch.cat([resize(x, height, max(1, round(x.shape[2] * height / x.shape[1]))) for x in images], dim=2)


def _shortened(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(label + "…") > width:
        label = label[:-1]
    return label + "…"


def thumbnail_of(pair: Pair, side: int = 128) -> str:
    """The pair side by side as a `data:image/jpeg;base64,...` text, for an edit file's header."""
    return data_url(strip([inside(pair.before, side), inside(pair.after, side)], side), quality=80)


def data_url(image: Tensor, quality: int) -> str:
    """A picture as a `data:image/jpeg;base64,...` text; `quality` as Pillow's, from 1 to 95."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, "JPEG", quality=quality)
    return DATA_URL + base64.b64encode(buffer.getvalue()).decode()


def thumbnail_image(thumbnail: str) -> Tensor:
    """The picture of an edit file's header, `(3, h, w)` in [0, 1]; what else the text holds goes nowhere.

    Raises ImageError where there is none, it is not a JPEG, or it is larger than a thumbnail can be.
    """
    if not thumbnail:
        raise ImageError("this edit file holds no picture; learn with `thumbnail=True` to store one")
    try:
        data = base64.b64decode(thumbnail.removeprefix(DATA_URL), validate=True)
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            # A header of few bytes can claim a picture that fills the memory.
            if max(picture.size) > MAX_THUMBNAIL:
                raise ValueError(f"{picture.width} x {picture.height} pixels, at most {MAX_THUMBNAIL} a side")
            return from_pil(picture)
    except Exception as error:  # somebody else's bytes: image libraries raise whatever they run into
        raise ImageError(f"the picture in the edit file is damaged or too large ({error})") from None


def save_thumbnail(thumbnail: str, path: Path) -> None:
    """Write the picture of an edit file's header, decoded and encoded again, as a PNG; errors as above."""
    save_image(thumbnail_image(thumbnail), path)
