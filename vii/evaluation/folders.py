"""Tasks from folders of pictures: which are examples, which photos to test on, and which truths."""

from pathlib import Path

from ..errors import ImageError, UsageError
from ..pairs import find_pairs
from ..pictures import SUFFIXES
from .tasks import ByFiles, Case, Task

HALVES = ("before", "after")
LAYOUT = "an example pair 0_0 and 0_1, photos to test on 1_0, 2_0, ..., and their truths 1_1, 2_1, ... where known"


def read_folders(folder: str | Path, examples: int = 1) -> list[Task]:
    """The task that a folder of pictures is, or the tasks that its subfolders are, with `examples` pairs to learn from.

    The authors' layout is `0_0` and `0_1` for the example, `N_0` for a photo to test on, and, which is ours, `N_1` for
    its truth. The other layouts of `vii.pairs` are read too: their first pairs are the examples and each other pair is
    a photo and its truth. A folder without pictures of its own stands for the folders in it, each of them a task.

    Raises:
        ImageError: there is no such folder, or pictures in it that belong to no layout; says which.
        UsageError: fewer pairs than examples, or nothing left to test on.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: expected a folder, {'found a file' if folder.exists() else 'found nothing'}")
    if _has_pictures(folder):
        return [_task(folder, examples)]
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not any(_has_pictures(path) for path in inside):
        raise ImageError(
            f"{folder}: expected {LAYOUT}, or folders of such pictures; found no pictures ({', '.join(SUFFIXES)})"
        )
    return [_task(path, examples) for path in inside]


def _task(folder: Path, examples: int) -> Task:
    found = find_pairs(folder)
    if len(found.pairs) < examples:
        raise UsageError(f"{folder}: expected {examples} example pairs, found {len(found.pairs)}; lower `examples`")
    pairs = [(Path(before), Path(after)) for before, after in found.pairs]
    queries = [Case(_name(before, folder), before, after) for before, after in pairs[examples:]]
    queries += [Case(_name(photo, folder), photo) for photo in map(Path, found.photos)]
    if not queries:
        left = f"{len(pairs)} pairs, of which {examples} are to learn from, and no photo besides"
        raise UsageError(f"{folder}: nothing to test on; expected {LAYOUT}; found {left}")
    return Task(folder.resolve().name, ByFiles(tuple(pairs[:examples]), tuple(queries)))


def _has_pictures(folder: Path) -> bool:
    """Of its own, or in folders that are the halves of a layout; hidden files are other programs'."""
    halves = [path for path in folder.iterdir() if path.is_dir() and path.name.lower() in HALVES]
    paths = [path for place in (folder, *halves) for path in place.iterdir()]
    return any(p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file() for p in paths)


def _name(path: Path, folder: Path) -> str:
    """Relative to the folder, without the suffix."""
    return path.relative_to(folder).as_posix().rpartition(".")[0]
