"""What travels with a picture besides its pixels: how it was made, and EXIF where its owner asks for it.

A PNG has texts. The other formats have XMP (ISO 16684-1), in whose own namespace the texts stand as attributes, and
EXIF, whose UserComment is where other tools look for `parameters`.
"""

import html
import re
import warnings
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from PIL import ExifTags, Image

from .. import __version__

SOFTWARE = f"vii {__version__}"
ORIENTATION = 274
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
TAG_SOFTWARE, TAG_COMMENT = 305, 0x9286
# Both, JPEG holds in one segment of 64 KiB.
MAX_XMP, MAX_COMMENT = 60_000, 28_000
NAMESPACE = "urn:vii:texts"
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:vii="{}"
{}/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
# What describes a photo and its owner, of the first directory: the others there describe how its pixels are stored.
KEPT = (270, 271, 272, 306, 315, 316, 33432, 18246, 18249)
# Of the directory of the exposure: what cannot be moved or no longer holds (the maker's note, which may hold a
# location or a preview; the size, the colour space, pointers) and what is written anew.
DROPPED = (0x927C, TAG_COMMENT, 0xA000, 0xA001, 0xA002, 0xA003, 0xA005)


def exif_bytes(picture: Image.Image) -> bytes:
    """The EXIF block as it stands in the file; of a TIFF, written from its tags. Empty where that fails."""
    try:
        found = picture.info.get("exif") or (picture.getexif().tobytes() if hasattr(picture, "tag_v2") else b"")
        return found if isinstance(found, bytes) else b""
    except Exception:  # whatever a damaged block makes Pillow raise
        return b""


def written_exif(text: Mapping[str, str], kept: bytes = b"", *, location: bool = False) -> Image.Exif:
    """The EXIF of a result: the program, `parameters` as UserComment, and what is kept of a photo's EXIF block.

    The orientation is left out, for results are upright; so is the thumbnail, which shows the photo before the edit.
    The GPS directory goes along where the `location` is wanted.
    """
    exif = Image.Exif()
    for directory, tag, value in _kept(kept, location=location):
        _put(exif, directory, tag, value)
    exif[TAG_SOFTWARE] = SOFTWARE
    comment = b"UNICODE\0" + text.get("parameters", "").encode("utf-16-be", "replace")
    if 8 < len(comment) <= MAX_COMMENT:
        exif.get_ifd(EXIF_IFD)[TAG_COMMENT] = comment
    return exif


def _kept(block: bytes, *, location: bool) -> list[tuple[int, int, object]]:
    source = Image.Exif()
    found: list[tuple[int, int, object]] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source.load(block)
        found += [(0, tag, source[tag]) for tag in KEPT if tag in source]
        inner = source.get_ifd(EXIF_IFD)
        found += [(EXIF_IFD, tag, value) for tag, value in inner.items() if tag in ExifTags.TAGS and tag not in DROPPED]
        if location:
            found += [(GPS_IFD, tag, value) for tag, value in source.get_ifd(GPS_IFD).items()]
    except Exception:  # as above; what was read so far is kept
        pass
    return found


def _put(exif: Image.Exif, directory: int, tag: int, value: object) -> None:
    """Add a value, unless it is one that Pillow can read and not write."""
    trial = Image.Exif()
    try:
        (trial.get_ifd(directory) if directory else trial)[tag] = value
        trial.tobytes()
    except Exception:  # struct.error, KeyError, TypeError, by what the camera wrote
        return
    (exif.get_ifd(directory) if directory else exif)[tag] = value


def written_xmp(text: Mapping[str, str]) -> bytes:
    """The texts as an XMP packet; empty where there are none, or too many for a JPEG."""
    marks = str.maketrans({"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
    lines = [
        f"vii:{key}={quoteattr(_printable(value)).translate(marks)}"
        for key, value in text.items()
        if re.fullmatch(r"[A-Za-z_]\w*", key)
    ]
    packet = XMP.format(NAMESPACE, "\n".join(lines)).encode("utf-8", "replace")
    return packet if lines and len(packet) <= MAX_XMP else b""


def _printable(value: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", value)


def texts_of(picture: Image.Image) -> dict[str, str]:
    """The texts of a picture whose header has been read; see `read_text`."""
    if picture.format == "PNG":
        return {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
    found = {}
    try:
        comment = picture.getexif().get_ifd(EXIF_IFD).get(TAG_COMMENT, b"")
        if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
            found["parameters"] = comment[8:].decode("utf-16-be", "replace")
    except Exception:  # as above
        pass
    xmp = picture.info.get("xmp", b"")
    packet = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    if NAMESPACE in packet[:MAX_XMP]:
        texts = re.findall(r"""\svii:(\w+)=(?:"([^"]*)"|'([^']*)')""", packet[:MAX_XMP])
        found |= {key: html.unescape(first or second) for key, first, second in texts}
    return found
