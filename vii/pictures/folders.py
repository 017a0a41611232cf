"""Which files of a folder are pictures, and what a folder leaves out."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ImageError
from ..paths import inside, is_file, is_folder, what_is
from ..storage import files_in, is_elsewhere, location
from .formats import PLUGINS, RAW_SUFFIXES, SUFFIXES, readable

LISTED = 3
# What people keep beside photos and would look for among the results.
PLAIN = (".gif", ".svg", ".exr", ".hdr", ".tga", ".ppm", ".pgm", ".ico", ".pdf")
OTHER_PICTURES = {suffix: suffix[1:].upper() for suffix in PLAIN}
OTHER_PICTURES |= {".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".psd": "Photoshop", ".xcf": "GIMP"}


@dataclass(frozen=True)
class Pictures:
    """What some files and folders stand for: pictures in the order asked for, and what is left out of the folders, why.

    Hidden files and sidecars are no pictures and not counted. `within` gives, for pictures in sub-folders, the
    sub-folder, relative to the folder that was named.
    """

    paths: list[Path]
    left_out: dict[Path, str]
    within: dict[Path, Path] = field(default_factory=dict)

    def with_(self, more: "Pictures") -> "Pictures":
        """These, and others after them."""
        return Pictures(self.paths + more.paths, self.left_out | more.left_out, self.within | more.within)

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


def find_pictures(paths: Iterable[str | Path], *, recursive: bool = False, apart: str | Path | None = None) -> Pictures:
    """Files and folders -> picture files: a folder stands for the pictures directly in it, hidden files left out.

    With `recursive` it stands for those in its sub-folders too: hidden ones, links and the folder `apart` left out.
    URLs are taken too; see `vii.storage`.

    Raises ImageError: a path does not exist or is out of reach, or a folder holds no picture.
    """
    found = Pictures([], {})
    for path in map(location, paths):
        if is_elsewhere(path):
            found = found.with_(_elsewhere(path, recursive, apart))
            continue
        if not is_folder(path):
            if (kind := what_is(path)) != "file":
                raise ImageError(f"{path}: {'expected a picture, found ' + kind if kind else 'no such file'}")
            found = found.with_(Pictures([path], {}))
            continue
        here = _in_folder(inside(path, ImageError))
        for folder in _below(path, apart) if recursive else ():
            try:
                below = _in_folder(inside(folder, ImageError))
            except ImageError:
                here.left_out[folder] = "folders that may not be listed"
                continue
            here.paths.extend(below.paths)
            here.left_out.update(below.left_out)
            here.within.update(dict.fromkeys(below.paths, folder.relative_to(path)))
        found = found.with_(_some(here, path, recursive))
    return found


def _some(here: Pictures, folder: Path, recursive: bool) -> Pictures:
    """What was found in a folder, where that is something."""
    if not here.paths:
        more = f"; {here.sentence()}" if here.left_out else ""
        looked = f"(looked for {', '.join(SUFFIXES)})"
        raise ImageError(f"{folder}: no pictures in this folder{' and those below' * recursive} {looked}{more}")
    return here


def _elsewhere(place: Path, recursive: bool, apart: str | Path | None) -> Pictures:
    if place.suffix.lower() in SUFFIXES:
        return Pictures([place], {})
    files = files_in(place, recursive=recursive)
    out = f"{str(apart).rstrip('/')}/" if apart and str(apart).rstrip("/") != str(place).rstrip("/") else "\0"
    here = _in_folder(file for file in files if not str(file).startswith(out))
    folders = ((path, path.parent.relative_to(place)) for path in here.paths)
    within = {path: Path(*folder.parts) for path, folder in folders if folder.parts}
    return _some(Pictures(here.paths, here.left_out, within), place, recursive)


def _in_folder(files: Iterable[Path]) -> Pictures:
    pictures = Pictures([], {})
    for file in files:
        if reason := why_not(file):
            pictures.left_out[file] = reason
        elif file.suffix.lower() in SUFFIXES and (is_elsewhere(file) or is_file(file)):
            pictures.paths.append(file)
    return pictures


def _below(folder: Path, apart: str | Path | None) -> Iterator[Path]:
    """All sub-folders in the order of their names."""
    apart = None if apart is None else os.path.realpath(apart)
    for root, names, _ in os.walk(folder):
        names[:] = sorted(n for n in names if n[0] != "." and os.path.realpath(os.path.join(root, n)) != apart)
        if Path(root) != folder:
            yield Path(root)


def why_not(path: Path) -> str:
    """Why a file that people would take for a photo is left out of a folder; empty for pictures and for all else."""
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return "raw files, to be developed first"
    if suffix in OTHER_PICTURES:
        return f"{OTHER_PICTURES[suffix]}, not read here"
    return readable(suffix) if suffix in PLUGINS else ""
