"""Opening a picture file: which formats are read, what is refused before anything is decoded, and in which words.

Pillow's own `Image.open` is not used, for its limit is smaller than the photos of today's phones; the size in the
header is checked here instead.
"""

import logging
import mmap
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# Importing a plug-in is what makes Pillow know the format.
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from ..errors import ImageError, ViiError
from ..paths import expect_file
from .png import without_texts

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "HEIF", "AVIF")
# By name, for folders; what a file is, its first bytes say.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
PLUGINS = {".heic": "HEIF", ".heif": "HEIF", ".avif": "AVIF"}
RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef"),
    *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"),
)
MAX_PIXELS = 256_000_000
MIN_SIDE = 16
MAX_ASPECT = 8.0
# A progressive JPEG is decoded once a scan: encoders write about ten, and each costs what the whole picture has pixels.
MAX_SCANS = 64
MAX_SCANNED_PIXELS = 2_500_000_000
INSTALL = "pip install 'vii[photos]'"
EXPECTED = "PNG, JPEG, WebP, BMP, TIFF, HEIC or AVIF"
# Beginnings of what people take for such a picture.
OTHERS = (
    (rb"GIF8", "a GIF"),
    (rb"8BPS", "a Photoshop document"),
    (rb"%PDF", "a PDF"),
    (rb"\s*(<\?xml[^>]*>\s*)?<svg", "an SVG drawing"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (rb"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (rb"....ftypcrx |FUJIFILMCCD-RAW|IIU\0|II\*\0....CR|IIR[OS]|MMOR", "a camera's raw file"),
)
NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706

# Without a handler of its own what Pillow logs goes to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def opened(path: str | Path, *, to_decode: bool = True) -> Iterator[Image.Image]:
    """A picture whose header has been read and, where it is `to_decode`, its size checked; no pixel is decoded yet.

    Whatever an image library raises within the block becomes an ImageError of one line.
    """
    path = expect_file(path, ImageError, "a picture")
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            picture = identified(path, file)
            if to_decode:
                check_size(path, *picture.size)
            yield picture
    except ViiError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: there is not enough memory to read this picture; scale it down first") from None
    except Exception as error:
        # Plug-ins raise what their author thought of: struct.error, KeyError, zlib.error, RecursionError...
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if reason == "unknown pixel mode":
            raise ImageError(
                f"{path}: samples of a kind that is not read; export it with 8 or 16 bits a channel"
            ) from None
        raise ImageError(f"{path}: the picture is damaged or cannot be read ({reason})") from None


def identified(path: Path, file: IO[bytes]) -> Image.Image:
    """The picture in an open file, by its first bytes; ImageError for a format that cannot be read here."""
    head = file.read(64)
    file.seek(0)
    if path.suffix.lower() in RAW_SUFFIXES:
        raise ImageError(f"{path}: found a camera's raw file; develop it first, to {EXPECTED}")
    name = _format(head)
    _register(name, path)
    if not name:
        for pattern, kind in OTHERS:
            if re.match(pattern, head, re.DOTALL):
                raise ImageError(f"{path}: found {kind}; save it as {EXPECTED}")
        raise ImageError(f"{path}: not a picture that can be read; expected {EXPECTED}")
    source = without_texts(file) if name == "PNG" else file
    picture: Image.Image = Image.OPEN[name][0](source, str(path))
    if name == "TIFF":
        _refuse_previews(path, picture)
    if name == "JPEG":
        _check_scans(path, file, *picture.size)
    return picture


def _format(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        brands = head[8:64]
        return "AVIF" if re.search(rb"avi[fs]", brands) else "HEIF" if re.search(rb"he[iv][cxms]", brands) else ""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if re.match(rb"II\*\0....CR|FUJI", head, re.DOTALL):
        return ""
    starts = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"BM": "BMP"}
    starts |= dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF")
    return next((name for start, name in starts.items() if head.startswith(start)), "")


def readable(suffix: str) -> str:
    """Why files with a suffix of `SUFFIXES` cannot be read here; empty where they can."""
    try:
        _register(PLUGINS.get(suffix.lower(), ""), Path(suffix))
    except ImageError as error:
        return str(error).partition(": ")[2]
    return ""


def _register(name: str, path: Path) -> None:
    """Let Pillow know a format that is not its own; ImageError where the plug-in is not there."""
    try:
        if name == "HEIF":
            import pillow_heif

            if "HEIF" not in Image.OPEN:
                pillow_heif.register_heif_opener()
        elif name == "AVIF":
            from PIL import AvifImagePlugin

            if not AvifImagePlugin.SUPPORTED:
                raise ImportError
    except ImportError:
        needs = "HEIC pictures need a plug-in" if name == "HEIF" else "AVIF pictures need Pillow 11.3 or newer"
        raise ImageError(f"{path}: {needs}: {INSTALL}, or save it as a JPEG") from None


def check_size(path: str | Path, width: int, height: int) -> None:
    """Raise ImageError for what no editor can use, or what no machine should decode."""
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path}: {width} x {height} is {width * height:,} pixels, the limit is {MAX_PIXELS:,}; scale it down first"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{path}: {width} x {height} is too small; both sides must have at least {MIN_SIDE} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"{path}: {width} x {height} is longer than {MAX_ASPECT:g} times its width; crop it first")


def _refuse_previews(path: Path, picture: Image.Image) -> None:
    """Most raw formats are TIFFs whose first page is a thumbnail, which is not the photo."""
    tags = picture.tag_v2  # type: ignore[attr-defined]
    if tags.get(NEW_SUBFILE_TYPE, 0) & 1 or DNG_VERSION in tags:
        raise ImageError(f"{path}: found a camera's raw file, or a preview alone; develop it first, to {EXPECTED}")


def _check_scans(path: Path, file: IO[bytes], width: int, height: int) -> None:
    place = file.tell()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        scans = count_scans(data)
    file.seek(place)
    if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
        raise ImageError(f"{path}: {scans} or more scans of {width} x {height} would take too long; save it anew")


def count_scans(data: bytes | mmap.mmap) -> int:
    """How many scans the JPEG at the start of some data has; counting ends soon after `MAX_SCANS`.

    A walk over the markers (ITU-T T.81, annex B), for entropy-coded data hold `ff` only before 00 and restarts, and a
    thumbnail lies inside a segment.
    """
    marker = re.compile(rb"\xff+[^\x00\xff\xd0-\xd8]")
    place, scans = 2, 0
    while scans <= MAX_SCANS and (found := marker.search(data, place)):
        kind, place = found.group()[-1], found.end()
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        place += int.from_bytes(data[place : place + 2], "big") if kind != 0x01 else 0
    return scans
