"""PNG where Pillow does not reach: text of any size that is of no interest, strips, and 16 bits a channel.

Chunks as in the specification (W3C PNG, third edition), sections 5, 9 and 11.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import putchunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Pillow unpacks a little more than this of one text and of all, and calls a picture with more damaged.
MAX_TEXT, MAX_TEXTS = 1_000_000, 32_000_000
# Of zlib: above it, photos take several times as long and get hardly smaller.
LEVEL = 2
# Bytes of pixels that are packed at a time.
BAND = 4_000_000


def chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the contents of every chunk of a PNG, as far as the file goes."""
    place = len(SIGNATURE)
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, place + 8, length
        place += 12 + length
        if kind == b"IEND":
            return


def without_texts(file: IO[bytes]) -> IO[bytes]:
    """The same PNG without the texts that Pillow would refuse; the same file where it has none."""
    drop, total = [], 0
    for kind, start, length in chunks(file):
        if kind in (*TEXTS, b"iCCP"):
            size = _unpacked(file, kind, start, length)
            total += size
            if size > MAX_TEXT or total > MAX_TEXTS:
                total -= size
                drop.append((start - 8, start + length + 4))
    file.seek(0)
    if not drop:
        return file
    kept, place = io.BytesIO(), 0
    for start, end in drop:
        file.seek(place)
        kept.write(file.read(start - place))
        place = end
    file.seek(place)
    kept.write(file.read())
    kept.seek(0)
    return kept


def _unpacked(file: IO[bytes], kind: bytes, start: int, length: int) -> int:
    """Length of a text, unpacked as far as one byte more than Pillow takes; that much, too, where it is damaged."""
    if kind == b"tEXt" or length > MAX_TEXT:
        return length
    file.seek(start)
    _, _, rest = file.read(length).partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return length
        rest = rest[2:].split(b"\0", 2)[-1]
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, MAX_TEXT + 1))
    except zlib.error:
        return MAX_TEXT + 1


def find_exif(picture: Image.Image) -> None:
    """Let Pillow know a PNG's EXIF, for which it would decode the whole picture."""
    file: IO[bytes] = picture.fp  # type: ignore[attr-defined]
    for kind, start, length in chunks(file):
        if kind == b"eXIf" and length <= MAX_TEXT:
            file.seek(start)
            picture.info["exif"] = b"Exif\0\0" + file.read(length)
    if "Raw profile type exif" not in picture.info:
        picture.info.setdefault("exif", b"")


def can_be_read_in_strips(file: IO[bytes]) -> bool:
    """Whether `strips` can read it: 8 bits a sample, neither interlaced nor animated."""
    file.seek(len(SIGNATURE) + 8)
    head = file.read(13)
    return head[8:9] == b"\x08" and head[12:] == b"\0" and all(kind != b"acTL" for kind, _, _ in chunks(file))


def strips(file: IO[bytes], rows: int) -> Iterator[Image.Image]:
    """The picture of a PNG, so many rows at a time and from the top, so that it is never held whole.

    Pillow decodes each strip as a PNG of its own. Its first row is the last one of the strip before, unfiltered: what
    the filters of a row refer to is the row above (section 9).

    Raises:
        OSError: it is cut off, or damaged.
    """
    found = list(chunks(file))
    head, before = b"", []
    for kind, start, length in found:
        if kind in (b"IHDR", b"PLTE", b"tRNS"):
            file.seek(start)
            before.append((kind, file.read(length)))
    (_, head), *palette = before
    width, height = struct.unpack_from(">II", head)
    stride = 1 + width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[head[9]]
    packed = _inflated(file, [(start, length) for kind, start, length in found if kind == b"IDAT"])
    data, above = bytearray(), b""
    for top in range(0, height, rows):
        count = min(rows, height - top)
        while len(data) < count * stride:
            if not (more := next(packed, b"")):
                raise OSError("image file is truncated")
            data += more
        strip = io.BytesIO()
        strip.write(SIGNATURE)
        putchunk(strip, b"IHDR", struct.pack(">II", width, count + bool(above)) + head[8:])
        for kind, content in palette:
            putchunk(strip, kind, content)
        putchunk(strip, b"IDAT", zlib.compress(above + data[: count * stride], 0))
        putchunk(strip, b"IEND", b"")
        strip.seek(0)
        picture: Image.Image = PngImagePlugin.PngImageFile(strip)
        picture.load()
        shift, above = bool(above), b"\0" + picture.crop((0, picture.height - 1, width, picture.height)).tobytes()
        del data[: count * stride]
        yield picture.crop((0, 1, width, picture.height)) if shift else picture


def _inflated(file: IO[bytes], places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """What was packed into these parts of a file, `BAND` bytes at most at a time."""
    unpacker = zlib.decompressobj()
    for start, length in places:
        for offset in range(start, start + length, BAND):
            file.seek(offset)
            rest = file.read(min(BAND, start + length - offset))
            while rest and (data := unpacker.decompress(rest, BAND)):
                yield data
                rest = unpacker.unconsumed_tail


def write_deep(file: IO[bytes], pixels: np.ndarray, extra: Sequence[tuple[bytes, bytes]]) -> None:
    """Write `(h, w, 3)` uint16 as a PNG of 16 bits a channel, band by band, `extra` chunks before the pixels."""
    height, width, _ = pixels.shape
    file.write(SIGNATURE)
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    for kind, data in extra:
        putchunk(file, kind, data)
    packer = zlib.compressobj(LEVEL)
    above = np.zeros((1, width * 6), np.uint8)
    rows = max(1, BAND // (width * 6))
    for top in range(0, height, rows):
        band = pixels[top : top + rows].astype(">u2").reshape(-1, width * 3).view(np.uint8)
        # Every row as its difference from the one above: filter type 2.
        lines = band - np.concatenate([above, band[:-1]])
        above = band[-1:]
        if packed := packer.compress(np.insert(lines, 0, 2, axis=1).tobytes()):
            putchunk(file, b"IDAT", packed)
    putchunk(file, b"IDAT", packer.flush())
    putchunk(file, b"IEND", b"")
