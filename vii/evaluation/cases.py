"""Which pictures of a folder are examples, photos to test on, and truths."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError, UsageError
from ..pairs import match_pairs
from ..pictures import SUFFIXES

HALVES = ("before", "after")
LAYOUT = "an example pair 0_0 and 0_1, photos to test on 1_0, 2_0, ..., and their truths 1_1, 2_1, ... where known"


@dataclass(frozen=True)
class Photo:
    """A photo to test on.

    Attributes:
        name: of the file, relative to its folder, without its suffix.
        path: of the photo.
        truth: the right answer for it, where there is one.
    """

    name: str
    path: Path
    truth: Path | None = None


@dataclass(frozen=True)
class Case:
    """One edit: what shows it, and what it is tested on.

    Attributes:
        name: of its folder.
        examples: paths (before, after) of the pairs to learn from, at least one.
        photos: what to test on, at least one.
    """

    name: str
    examples: tuple[tuple[Path, Path], ...]
    photos: tuple[Photo, ...]


def read_cases(folder: str | Path, examples: int = 1) -> list[Case]:
    """The case that a folder of pictures is, or the cases that its subfolders are.

    The authors' layout is `0_0` and `0_1` for the example, `N_0` for a photo to test on, and, which is ours, `N_1` for
    its truth. The other layouts of `vii.pairs` are read too: their first pairs are the examples and each other pair is
    a photo and its truth. A folder without pictures of its own stands for the folders in it, each of them a case.

    Args:
        folder: of pictures, or of such folders.
        examples: how many pairs to learn from, the first in the order of their names, numbers by their value.

    Raises:
        ImageError: there is no such folder, or pictures in it that belong to no layout; says which.
        UsageError: fewer pairs than examples, or nothing left to test on.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: expected a folder, {'found a file' if folder.exists() else 'found nothing'}")
    if _pictures(folder):
        return [_case(folder, examples)]
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not any(_pictures(path) for path in inside):
        raise ImageError(
            f"{folder}: expected {LAYOUT}, or folders of such pictures; found no pictures ({', '.join(SUFFIXES)})"
        )
    return [_case(path, examples) for path in inside]


def _case(folder: Path, examples: int) -> Case:
    try:
        found = match_pairs(_pictures(folder))
    except ImageError as error:
        raise ImageError(f"{folder}: {error}") from None
    if len(found.pairs) < examples:
        raise UsageError(f"{folder}: expected {examples} example pairs, found {len(found.pairs)}; lower --examples")
    pairs = [(folder / before, folder / after) for before, after in found.pairs]
    photos = [Photo(_stem(before), folder / before, folder / after) for before, after in found.pairs[examples:]]
    photos += [Photo(_stem(photo), folder / photo) for photo in found.photos]
    if not photos:
        left = f"{len(found.pairs)} pairs, of which {examples} are to learn from, and no photo besides"
        raise UsageError(f"{folder}: nothing to test on; expected {LAYOUT}; found {left}")
    return Case(folder.resolve().name, tuple(pairs[:examples]), tuple(photos))


def _pictures(folder: Path) -> list[str]:
    """Names of the pictures of one case, relative to its folder, with `/`.

    Hidden files are other programs'. Folders count only where they are the halves of a layout.
    """
    halves = [path for path in folder.iterdir() if path.is_dir() and path.name.lower() in HALVES]
    paths = [path for place in (folder, *halves) for path in place.iterdir()]
    return [
        path.relative_to(folder).as_posix()
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
