"""Pictures out: PNG, JPEG, WebP or TIFF by the name of the file, with what says how they were made."""

import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import UsageError
from ..files import replacing
from . import colour
from .formats import INSTALL
from .metadata import EXIF_IFD, GPS_IFD, SOFTWARE, written_exif, written_xmp
from .png import LEVEL as PNG_LEVEL
from .png import write_deep
from .reading import Picture

OUTPUT_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
DEEP = ("PNG", "TIFF")
QUALITY = 95
MAX_SIDE = {"JPEG": 65_535, "WEBP": 16_383}
TAG_XMP = 700
# Maker, model, program's date, artist, copyright: what a TIFF of 16 bits carries over.
PLAIN_TAGS = (271, 272, 306, 315, 33432)
RENDERING_INTENT = b"\0"


def output_format(path: str | Path) -> str:
    """The format that the name of a result asks for: PNG, JPEG, WEBP or TIFF; UsageError for any other name."""
    suffix = PurePath(str(path)).suffix  # of a URL too
    if found := OUTPUT_FORMATS.get(suffix.lower()):
        return found
    raise UsageError(f"{path}: expected a name that ends in {', '.join(OUTPUT_FORMATS)}, got {suffix or 'no suffix'}")


def write_picture(
    pixels: np.ndarray,
    path: str | Path,
    *,
    text: Mapping[str, str] | None = None,
    quality: int = QUALITY,
    photo: Picture | None = None,
    keep_metadata: bool = False,
    keep_location: bool = False,
) -> None:
    """Write a picture in the format that its name asks for, whole or not at all.

    Args:
        pixels: `(h, w, 3)` RGB in sRGB, uint8 or uint16; PNG and TIFF keep 16 bits, the others are rounded to 8.
        path: see `output_format`.
        text: what to say with it, such as `parameters`; `read_text` gives it back.
        quality: of JPEG and WebP, 1 to 100.
        photo: what the result was made from.
        keep_metadata: whether the photo's EXIF and its RGB colour profile are carried over, the pixels converted to
            that profile. Location, maker's notes and thumbnail are not; a TIFF of 16 bits keeps `PLAIN_TAGS` alone.
        keep_location: whether the photo's GPS tags are carried over too.

    Raises:
        UsageError: an unknown suffix, a quality out of range, pixels of another shape or type, a side longer than the
            format can hold.
        OutputError: the file cannot be written.
    """
    kind = _checked(pixels, path, quality)
    if pixels.dtype == np.uint16 and kind not in DEEP:
        pixels = np.round(pixels / 257).astype(np.uint8)
    profile, text = b"", dict(text or {})
    kept = photo.exif if photo and keep_metadata else b""
    if photo and keep_metadata and photo.profile:
        pixels, profile = _in_profile(pixels, photo.profile)
    exif = written_exif(text, kept, location=keep_location)
    with replacing(path) as temporary:
        if kind == "PNG":
            _write_png(pixels, temporary, text, profile, exif if kept else None)
        elif pixels.dtype == np.uint16:
            _write_deep_tiff(pixels, temporary, text, profile, exif)
        else:
            options: dict[str, Any] = {"icc_profile": profile or colour.srgb_profile(), "exif": exif}
            if (packet := written_xmp(text)) and kind == "TIFF":
                exif[TAG_XMP] = packet
            elif packet:
                options["xmp"] = packet
            if kind == "TIFF":
                # Pillow writes the directories within EXIF under a key of their own, and not when it compresses.
                if kept:
                    exif.update({tag: dict(exif.get_ifd(tag)) for tag in (EXIF_IFD, GPS_IFD) if exif.get_ifd(tag)})
                else:
                    options["compression"] = "tiff_adobe_deflate"
            else:
                options |= {"quality": quality} | ({"subsampling": 0} if kind == "JPEG" and quality >= 90 else {})
            Image.fromarray(pixels).save(temporary, format=kind, **options)


def _checked(pixels: np.ndarray, path: str | Path, quality: int) -> str:
    kind = output_format(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16) or not pixels.size:
        raise UsageError(f"expected (h, w, 3) of uint8 or uint16, got {tuple(pixels.shape)} of {pixels.dtype}")
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise UsageError(f"quality: expected a whole number from 1 to 100, got {quality!r}")
    side, limit = max(pixels.shape[:2]), MAX_SIDE.get(kind)
    if limit and side > limit:
        raise UsageError(f"{path}: a {kind} has at most {limit:,} pixels a side, this picture {side:,}; write a PNG")
    return kind


def _in_profile(pixels: np.ndarray, profile: bytes) -> tuple[np.ndarray, bytes]:
    """Pixels in the colours of a profile, and the profile; unchanged, and none, where it is no profile for RGB."""
    matrix = colour.matrix_profile(profile)
    if matrix and len(matrix.curves) == 3:
        if matrix.is_srgb:
            return pixels, profile
        if pixels.dtype == np.uint16:
            return matrix.from_srgb(pixels), profile
    if pixels.dtype == np.uint16:
        return pixels, b""
    picture, used = colour.from_srgb(Image.fromarray(pixels), profile)
    return np.asarray(picture), used


def _write_png(
    pixels: np.ndarray, path: Path, text: Mapping[str, str], profile: bytes, exif: Image.Exif | None
) -> None:
    info, deep = PngImagePlugin.PngInfo(), pixels.dtype == np.uint16
    if not profile:
        info.add(b"sRGB", RENDERING_INTENT)
    elif deep:
        info.add(b"iCCP", b"ICC\0\0" + zlib.compress(profile))
    # Text before pixels, in tEXt where Latin-1 holds it, for not every reader looks further.
    for key, value in ({"Software": SOFTWARE} | dict(text)).items():
        try:
            info.add_text(key, value)
        except UnicodeEncodeError:
            info.add_itxt(key.encode("latin-1", "replace"), value.encode("utf-8", "replace"))
    if deep:
        extra = [(kind, data) for kind, data, *_ in info.chunks]
        extra += [(b"eXIf", exif.tobytes()[6:])] if exif is not None else []
        with open(path, "wb") as file:
            write_deep(file, pixels, extra)
        return
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if exif is not None:
        options["exif"] = exif
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=info, compress_level=PNG_LEVEL, **options)


def _write_deep_tiff(pixels: np.ndarray, path: Path, text: Mapping[str, str], profile: bytes, exif: Image.Exif) -> None:
    try:
        import tifffile
    except ImportError:
        raise UsageError(f"TIFFs of 16 bits a channel need tifffile: {INSTALL}, or write a PNG") from None
    packet = written_xmp(text)
    described = {number: str(exif[number]) for number in PLAIN_TAGS if number in exif}
    extra: list[Any] = [(number, 2, 0, value, True) for number, value in described.items()]
    extra += [(TAG_XMP, 1, len(packet), packet, True)] if packet else []
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        rowsperstrip=64,
        iccprofile=profile or colour.srgb_profile(),
        software=SOFTWARE,
        metadata=None,
        extratags=extra,
    )
