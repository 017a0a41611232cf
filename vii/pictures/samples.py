"""What a decoded Pillow picture says: samples of any format as RGB of 8 or 16 bits, and its transparency.

Samples are scaled by the range of their own format; formats whose white is not known are refused by name.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
MIN_IS_WHITE = 0
SIGNED, FLOAT, UNSIGNED = 2, 3, (1, 4)
FULL = 65535
# Pillow keeps the first byte that an unpacker of 16-bit samples names: these name the other one.
LOW = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
# Grey and transparency of a PNG have four bytes a pixel, which can be taken as they are.
GREY_ALPHA = "LA;16B"
DEEP_MODES = ("RGB", "RGBA", "RGBX")


def check_samples(path: Path, picture: Image.Image) -> None:
    """Raise ImageError for samples whose black and white are not known, and for planes that Pillow would misread."""
    kinds = _tag(picture, SAMPLE_FORMAT, (1,))
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    for kind in kinds:
        if kind not in (*UNSIGNED, FLOAT):
            name = "signed whole numbers" if kind == SIGNED else f"samples of kind {kind}"
            raise ImageError(f"{path}: a TIFF of {name}, whose black and white are not known; export it as unsigned")
    # Pillow unpacks planes of 16 bits that are not compressed as if they had 8.
    if max(_bits(picture), default=8) > 8 and any(_rawmode(tile) in tuple("RGBACMYK") for tile in _tiles(picture)):
        raise ImageError(f"{path}: a TIFF of 16 bits in planes, which is not read; export it interleaved or compressed")


def is_wide(picture: Image.Image) -> bool:
    """Whether it is grey with more than 8 bits a pixel, which Pillow would clip and not scale."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def wide(path: Path, picture: Image.Image) -> np.ndarray:
    """A grey picture of 12, 16 or 32 bits, or of floats in [0, 1], others refused -> `(h, w)` uint16."""
    array = np.asarray(picture)
    if picture.mode == "F":
        low, high = float(array.min()), float(array.max())
        if not (low >= -0.01 and high <= 1.01):
            raise ImageError(
                f"{path}: a TIFF of floating-point samples from {low:g} to {high:g}; expected 0 to 1; "
                "export it with 16 bits a channel"
            )
        array = np.round(array.clip(0, 1) * FULL).astype(np.uint16)
    elif picture.mode == "I" and hasattr(picture, "tag_v2"):
        array = np.round(array.view(np.uint32).astype(np.float64) / (2**32 - 1) * FULL).astype(np.uint16)
    else:
        scale = FULL / (2 ** min(16, _bits(picture)[0]) - 1)
        array = np.round(array.astype(np.float64) * scale).clip(0, FULL).astype(np.uint16)
    return FULL - array if _tag(picture, PHOTOMETRIC, 1) == MIN_IS_WHITE else array


def is_grey_alpha(picture: Image.Image) -> bool:
    """Whether it is a PNG of grey and transparency with 16 bits each, which is not yet decoded."""
    return any(_rawmode(tile) == GREY_ALPHA for tile in _tiles(picture))


def is_deep(picture: Image.Image) -> bool:
    """Whether its colours have 16 bits a channel, of which Pillow keeps eight."""
    tiles = _tiles(picture)
    return picture.mode in DEEP_MODES and bool(tiles) and all(_is_deep(picture.mode, tile) for tile in tiles)


def low_bytes(picture: Image.Image) -> None:
    """Let a picture that is not yet decoded decode the lower byte of every 16-bit sample instead of the higher."""
    changed = []
    for tile in _tiles(picture):
        raw, args = _rawmode(tile), tile[3]
        raw = "RGBA" if raw == GREY_ALPHA else raw[:-4] + LOW[raw[-4:]]
        args = raw if isinstance(args, str) else (raw, *args[1:])
        changed.append(tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args))
    picture.tile = changed  # type: ignore[attr-defined]


def _is_deep(mode: str, tile: Any) -> bool:
    raw = _rawmode(tile)
    return raw[-4:] in LOW and (raw[:-4] in (mode, f"{mode}X") or raw == GREY_ALPHA)


def combined(high: np.ndarray, low: np.ndarray, *, grey_alpha: bool) -> np.ndarray:
    """Both bytes of every sample, `(h, w, n)` uint8 each -> `(h, w, n)` uint16."""
    if grey_alpha:
        pairs = low.astype(np.uint16)
        return (pairs[..., 0::2] << 8 | pairs[..., 1::2])[..., [0, 0, 0, 1]]
    return high.astype(np.uint16) << 8 | low


def _tiles(picture: Image.Image) -> list[Any]:
    return list(getattr(picture, "tile", ()))


def _rawmode(tile: Any) -> str:
    args = tile[3]
    return args if isinstance(args, str) else str(args[0]) if args else ""


def split_alpha(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in mode L, RGB, CMYK or LAB, and the transparency, mode L, where there is any."""
    if picture.mode.endswith(("A", "a")) or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return picture.convert("RGB"), picture.getchannel("A")
    if picture.mode == "1":
        return picture.convert("L"), None
    return (picture if picture.mode in ("L", "RGB", "CMYK", "LAB") else picture.convert("RGB")), None


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`(h, w, 3)` uint16 with transparency `(h, w)` uint16 laid on white, by rows to save memory."""
    result = np.empty_like(pixels)
    for row in range(0, len(pixels), 256):
        cover = alpha[row : row + 256, :, None].astype(np.float32) / FULL
        band = pixels[row : row + 256].astype(np.float32)
        result[row : row + 256] = np.round(band * cover + FULL * (1 - cover)).astype(np.uint16)
    return result


def _bits(picture: Image.Image) -> tuple[int, ...]:
    found = _tag(picture, BITS, (16 if is_wide(picture) else 8,))
    return found if isinstance(found, tuple) else (found,)


def _tag(picture: Image.Image, number: int, default: Any) -> Any:
    tags = getattr(picture, "tag_v2", None)
    return default if tags is None else tags.get(number, default)
