"""A picture file as an array: upright, in sRGB, on white, with its full depth, and what was done to it."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from . import colour, png, samples
from .formats import opened
from .metadata import ORIENTATION, exif_bytes, texts_of

INTEROP_IFD, INTEROP_INDEX = 0xA005, 1
BAND = 256
# By EXIF orientation (CIPA DC-008, 4.6.5): what makes the picture upright.
UPRIGHT = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).swapaxes(0, 1),
    8: lambda array: np.rot90(array),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """What a picture file holds.

    Attributes:
        pixels: `(h, w, 3)` RGB in sRGB, uint8, or uint16 where the file has more than 8 bits a channel.
        size: width and height of the photo when upright, also where it was decoded smaller.
        format: as in `FORMATS`.
        profile: the ICC profile of the file, from which `pixels` were converted; empty without one.
        exif: the EXIF block of the file; empty without one.
        has_alpha: whether it had transparency, which was laid on white.
        notes: sentences on what was done that its owner may want to know.
    """

    pixels: np.ndarray = field(repr=False)
    size: tuple[int, int]
    format: str
    profile: bytes = field(default=b"", repr=False)
    exif: bytes = field(default=b"", repr=False)
    has_alpha: bool = False
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> int:
        """Bits a channel of `pixels`: 8 or 16."""
        return 8 * self.pixels.itemsize


def read_picture(path: str | Path, *, around: int | None = None) -> Picture:
    """Read a picture: upright by its EXIF orientation, colours in sRGB, transparency laid on white, its first frame.

    Args:
        path: of a file in one of `FORMATS`.
        around: a number of pixels that are enough: a larger photo is decoded reduced by a whole number, to no fewer
            than that many. JPEGs are decoded small to begin with, by up to 8, in a fraction of the time and memory.
            PNGs of 8 bits a channel are decoded in strips, so that they never take their whole size; other formats
            do. Ask for at least four times the pixels that an editor works on. None: all of them.

    Raises:
        ImageError: see `vii.pictures.formats.opened`; or samples whose black and white are not known.
    """
    path = Path(path)
    with opened(path) as picture:
        samples.check_samples(path, picture)
        # Before EXIF, for which Pillow decodes a PNG to its end.
        deep, wide = samples.is_deep(picture), samples.is_wide(picture)
        kind = str(picture.format)
        factor = _factor(*_stored_size(picture), around)
        striped = kind == "PNG" and factor > 1 and not (deep or wide) and png.can_be_read_in_strips(picture.fp)  # type: ignore[attr-defined]
        if striped:
            png.find_exif(picture)
        exif, turn = exif_bytes(picture), orientation(picture)
        profile = picture.info.get("icc_profile") or b""
        whole = _stored_size(picture)
        if around and kind in ("JPEG", "MPO"):
            _draft(picture, around)
        decoded = _decoded_in_strips(picture, factor) if striped else decode(picture)
        if deep or wide:
            result = _deep(path, decoded, picture.info.get("transparency"), profile, around, deep=deep)
        else:
            result = _eight(
                decoded, profile, None if striped else around, adobe=not profile and _names_adobe_rgb(picture)
            )
    pixels, alpha, note = result
    if turn in UPRIGHT:
        pixels = UPRIGHT[turn](pixels)
        whole = whole[::-1] if turn >= 5 else whole
    kind = "JPEG" if kind == "MPO" else kind
    return Picture(np.ascontiguousarray(pixels), whole, kind, profile, exif, alpha, (note,) if note else ())


def pixels_of(picture: Image.Image) -> np.ndarray:
    """A Pillow picture of any mode -> `(h, w, 3)`, upright, in sRGB, on white: uint8, or uint16 for deeper grey.

    Raises ImageError: it cannot be decoded, or its black and white are not known.
    """
    try:
        picture.load()  # which turns a TIFF by itself, and takes the orientation out of its EXIF
        turn = picture.getexif().get(ORIENTATION, 1)
    except Exception as error:  # as in `opened`
        raise ImageError(f"the picture is damaged or cannot be read ({' '.join(str(error).split())[:200]})") from None
    if samples.is_wide(picture):
        pixels = np.repeat(samples.wide(Path("the picture"), picture)[..., None], 3, 2)
    else:
        pixels = _eight(picture, picture.info.get("icc_profile") or b"", None, adobe=False)[0]
    return np.ascontiguousarray(UPRIGHT[turn](pixels)) if turn in UPRIGHT else pixels


def orientation(picture: Image.Image) -> int:
    """EXIF tag 274, read before decoding; from then on Pillow takes the picture to be upright.

    EXIF is never written anew to drop this one tag: blocks of real cameras hold what Pillow cannot write.
    """
    try:
        exif = picture.getexif()
        found = exif.get(ORIENTATION, 1)
        # TIFFs would otherwise be turned by Pillow, which does write EXIF anew.
        exif[ORIENTATION] = 1
    except Exception:  # whatever a damaged block makes Pillow raise
        return 1
    return found if isinstance(found, int) else 1


def decode(picture: Image.Image) -> Image.Image:
    """Decode, and undo what Pillow thinks of a TIFF's size once its orientation is ours to apply."""
    whole, limit = _stored_size(picture), Image.MAX_IMAGE_PIXELS
    if hasattr(picture, "tag_v2") and limit and whole[0] * whole[1] > 2 * limit:
        # Pillow checks its own limit here, unless there is a place for the pixels already; `opened` has checked ours.
        picture.im = Image.core.new(picture.mode, whole)  # type: ignore[attr-defined]
    picture.load()
    return picture if picture.im.size == picture.size else picture.copy()


def _decoded_in_strips(picture: Image.Image, factor: int) -> Image.Image:
    """A PNG of 8 bits a sample, reduced by a whole number, in mode L, RGB or RGBA."""
    rows, result = factor * max(1, BAND // factor), None
    for number, strip in enumerate(png.strips(picture.fp, rows)):  # type: ignore[attr-defined]
        colours, alpha = samples.split_alpha(strip)
        if alpha:
            colours.putalpha(alpha)
        small = colours.reduce(factor)
        result = result or Image.new(small.mode, (small.width, -(-picture.height // factor)))
        result.paste(small, (0, number * rows // factor))
    assert result is not None
    return result


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height as the pixels are stored; Pillow swaps those of a TIFF that is to be turned."""
    if hasattr(picture, "tag_v2"):
        return picture.tag_v2[256], picture.tag_v2[257]
    return picture.size


def _draft(picture: Image.Image, around: int) -> None:
    width, height = picture.size
    for scale in (8, 4, 2):
        if (width // scale) * (height // scale) >= around:
            picture.draft(None, (width // scale, height // scale))  # type: ignore[no-untyped-call]
            return


def _factor(width: int, height: int, around: int | None) -> int:
    return max(1, math.isqrt(width * height // around)) if around else 1


def _eight(picture: Image.Image, profile: bytes, around: int | None, *, adobe: bool) -> tuple[np.ndarray, bool, str]:
    colours, alpha = samples.split_alpha(picture)
    # 32-bit BMPs leave the fourth byte 0 where they mean nothing by it.
    if picture.format == "BMP" and alpha and alpha.getextrema() == (0, 0):
        alpha = None
    if (factor := _factor(*picture.size, around)) > 1:
        if alpha:
            both = Image.merge("RGBA", (*colours.split(), alpha)).reduce(factor)
            colours, alpha = both.convert("RGB"), both.getchannel("A")
        else:
            colours = colours.reduce(factor)
    rgb, note = colour.to_srgb(colours, profile)
    if adobe and rgb.mode == colours.mode:
        pixels = colour.adobe_rgb().to_srgb(np.asarray(rgb).astype(np.uint16) * 257)
        rgb = Image.fromarray(np.round(pixels / 257).astype(np.uint8))
        note = "colours converted from Adobe RGB (named in EXIF) to sRGB"
    if alpha:
        rgb = Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), Image.merge("RGBA", (*rgb.split(), alpha)))
    return _array(rgb if rgb.mode == "RGB" else rgb.convert("RGB")), alpha is not None, note


def _array(picture: Image.Image) -> np.ndarray:
    """The pixels of a picture of mode RGB, copied band by band: Pillow would hold two more copies for a moment."""
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND):
        bottom = min(height, top + BAND)
        pixels[top:bottom] = np.asarray(picture.crop((0, top, width, bottom)))
    return pixels


def _deep(
    path: Path, picture: Image.Image, key: object, profile: bytes, around: int | None, *, deep: bool
) -> tuple[np.ndarray, bool, str]:
    alpha = None
    if deep:
        with opened(path) as again:
            grey_alpha = samples.is_grey_alpha(again)
            samples.low_bytes(again)
            orientation(again)
            pixels = samples.combined(np.asarray(picture), np.asarray(decode(again)), grey_alpha=grey_alpha)
        if picture.mode == "RGBA":
            pixels, alpha = pixels[..., :3], pixels[..., 3]
        elif picture.mode == "RGBX":
            pixels = pixels[..., :3]
        elif isinstance(key, tuple) and len(key) == 3:
            alpha = np.where((pixels == np.array(key)).all(-1), 0, samples.FULL).astype(np.uint16)
    else:
        grey = samples.wide(path, picture)
        pixels = np.repeat(grey[..., None], 3, 2)
        if isinstance(key, int) and picture.mode.startswith("I;16"):
            alpha = np.where(grey == key, 0, samples.FULL).astype(np.uint16)
    note = ""
    if profile:
        pixels, note = _deep_to_srgb(pixels, profile, grey=not deep)
    if alpha is not None:
        pixels = samples.on_white(pixels, alpha)
    if (factor := _factor(pixels.shape[1], pixels.shape[0], around)) > 1:
        pixels = _reduced(pixels, factor)
    return pixels, alpha is not None, note


def _deep_to_srgb(pixels: np.ndarray, profile: bytes, *, grey: bool) -> tuple[np.ndarray, str]:
    found = colour.matrix_profile(profile)
    if found and len(found.curves) == (1 if grey else 3):
        if found.is_srgb:
            return pixels, ""
        _, note = colour.to_srgb(Image.new("L" if grey else "RGB", (1, 1)), profile)
        return found.to_srgb(pixels), note
    eight = Image.fromarray(np.round(pixels / 257).astype(np.uint8))
    rgb, note = colour.to_srgb(eight.convert("L") if grey else eight, profile)
    if not note or "taken as sRGB" in note:
        return pixels, note
    return np.asarray(rgb).astype(np.uint16) * 257, f"{note}, with 8 bits a channel"


def _reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means of squares of this side; what does not fill a square at the right and the bottom is left out."""
    height, width = (side // factor for side in pixels.shape[:2])
    cut = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.round(cut.mean((1, 3), dtype=np.float32)).astype(np.uint16)


def _names_adobe_rgb(picture: Image.Image) -> bool:
    """Cameras that are set to Adobe RGB write no profile, but this interoperability index (DCF 2.0, option file)."""
    try:
        return str(picture.getexif().get_ifd(INTEROP_IFD).get(INTEROP_INDEX, "")).startswith("R03")
    except Exception:  # as in `orientation`
        return False


def read_text(path: str | Path) -> dict[str, str]:
    """The texts that a picture carries, where `write_picture` puts them; no pixel is decoded.

    Of a PNG the text chunks before the pixels; of the other formats what stands in XMP, and EXIF's UserComment as
    `parameters`, as other tools write it. Raises ImageError for what is no picture, or damaged.
    """
    with opened(path, to_decode=False) as picture:
        return texts_of(picture)
