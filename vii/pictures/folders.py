"""Which files of a folder are pictures, and what a folder leaves out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from ..paths import inside, is_file, is_folder, what_is
from .formats import RAW_SUFFIXES, SUFFIXES, readable

LISTED = 3
# What people keep beside photos and would look for among the results.
PLAIN = (".gif", ".svg", ".exr", ".hdr", ".tga", ".ppm", ".pgm", ".ico", ".pdf")
OTHER_PICTURES = {suffix: suffix[1:].upper() for suffix in PLAIN}
OTHER_PICTURES |= {".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".psd": "Photoshop", ".xcf": "GIMP"}
HEIC = {".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF"}


@dataclass(frozen=True)
class Pictures:
    """What some files and folders stand for: the pictures in the order asked for, and what of the folders is left out,
    why.

    Hidden files and sidecars are no pictures and not counted.
    """

    paths: list[Path]
    left_out: dict[Path, str]

    def sentence(self) -> str:
        """What was left out, counted and named; empty where nothing was."""
        if not self.left_out:
            return ""
        parts = []
        for reason, count in Counter(self.left_out.values()).items():
            names = [path.name for path, why in self.left_out.items() if why == reason]
            more = f" and {count - LISTED} more" if count > LISTED else ""
            parts.append(f"{reason}: {', '.join(names[:LISTED])}{more}")
        total = len(self.left_out)
        return f"{total} file{'s' * (total > 1)} left out ({'; '.join(parts)})"


def find_pictures(paths: Iterable[str | Path]) -> Pictures:
    """Files and folders -> picture files: a folder stands for the pictures directly in it, hidden files left out.

    Raises ImageError: a path does not exist or is out of reach, or a folder holds no picture.
    """
    found: list[Path] = []
    left_out: dict[Path, str] = {}
    for path in map(Path, paths):
        if not is_folder(path):
            if (kind := what_is(path)) != "file":
                raise ImageError(f"{path}: {'expected a picture, found ' + kind if kind else 'no such file'}")
            found.append(path)
            continue
        pictures = []
        for file in inside(path, ImageError):
            if reason := why_not(file):
                left_out[file] = reason
            elif file.suffix.lower() in SUFFIXES and is_file(file):
                pictures.append(file)
        if not pictures:
            here = {file: why for file, why in left_out.items() if file.parent == path}
            more = f"; {Pictures([], here).sentence()}" if here else ""
            raise ImageError(f"{path}: no pictures in this folder (looked for {', '.join(SUFFIXES)}){more}")
        found.extend(pictures)
    return Pictures(found, left_out)


def why_not(path: Path) -> str:
    """Why a file that people would take for a photo is left out of a folder; empty for pictures and for all else."""
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return "raw files, to be developed first"
    if suffix in OTHER_PICTURES:
        return f"{OTHER_PICTURES[suffix]}, not read here"
    return readable(suffix) if suffix in HEIC else ""
