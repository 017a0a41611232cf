"""Tasks from files: folders of pictures (`vii eval`), and a file of edits of one's own (`vii bench --edits`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import strict
from ..errors import ImageError, UsageError, unknown_name
from ..pairs import find_pairs
from ..paths import read_small
from ..pictures import SUFFIXES, find_pictures
from .synthetic import SyntheticEdit, compose, make
from .tasks import ByFiles, ByFormula, Case, Task, refuse_doubles

HALVES = ("before", "after")
LAYOUT = "an example pair 0_0 and 0_1, photos to test on 1_0, 2_0, ..., and their truths 1_1, 2_1, ... where known"
# What an entry may hold: always a name, and then pictures or a formula. `said` is the older name of `describable`.
COMMON = {"name", "words", "describable", "said"}
MAX_BYTES = 1_000_000
PICTURES, FORMULA = {"before", "after", "photos", "truths"}, {"parts"}


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
        return [_of_folder(folder, examples)]
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not any(_has_pictures(path) for path in inside):
        raise ImageError(
            f"{folder}: expected {LAYOUT}, or folders of such pictures; found no pictures ({', '.join(SUFFIXES)})"
        )
    return [_of_folder(path, examples) for path in inside]


def _of_folder(folder: Path, examples: int) -> Task:
    found = find_pairs(folder)
    if len(found.pairs) < examples:
        raise UsageError(f"{folder}: expected {examples} example pairs, found {len(found.pairs)}; lower `examples`")
    pairs = [(Path(before), Path(after)) for before, after in found.pairs]
    queries = [Case(_stem(before, folder), before, after) for before, after in pairs[examples:]]
    queries += [Case(_stem(photo, folder), photo) for photo in map(Path, found.photos)]
    if not queries:
        left = f"{len(pairs)} pairs, of which {examples} are to learn from, and no photo besides"
        raise UsageError(f"{folder}: nothing to test on; expected {LAYOUT}; found {left}")
    return Task(folder.resolve().name, ByFiles(tuple(pairs[:examples]), tuple(queries)))


def _has_pictures(folder: Path) -> bool:
    """Of its own, or in folders that are the halves of a layout; hidden files are other programs'."""
    halves = [path for path in folder.iterdir() if path.is_dir() and path.name.lower() in HALVES]
    paths = [path for place in (folder, *halves) for path in place.iterdir()]
    return any(p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file() for p in paths)


def _stem(path: Path, folder: Path) -> str:
    """Relative to the folder, without the suffix."""
    return path.relative_to(folder).as_posix().rpartition(".")[0]


def read_edits(path: str | Path) -> list[Task]:
    """Edits from a TOML file; docs/evaluation.md says what it holds. Pictures are opened when they are needed.

    Raises UsageError for a file that cannot be read or an entry that is not right, ImageError for missing pictures.
    """
    path = Path(path)
    data = read_small(path, UsageError, MAX_BYTES, "file of edits")
    try:
        content = strict.loads_toml(data.decode())
    except ValueError as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from None
    entries = content.get("edit")
    if set(content) != {"edit"} or not isinstance(entries, list) or not all(isinstance(x, dict) for x in entries):
        raise UsageError(f"{path}: expected [[edit]] entries and nothing else, found {', '.join(content) or 'nothing'}")
    tasks = [_of_entry(entry, path, f"{path}: edit {number}") for number, entry in enumerate(entries, start=1)]
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: two edits are called '{name}'; each needs a name of its own")
    return tasks


def _of_entry(entry: Mapping[str, Any], file: Path, where: str) -> Task:
    for key in entry:
        if key not in COMMON | PICTURES | FORMULA:
            raise UsageError(f"{where}: {unknown_name('key', key, COMMON | PICTURES | FORMULA)}")
    types: dict[str, type] = dict.fromkeys({"name", "words"} | PICTURES, str)
    types |= {"parts": list, "said": bool, "describable": bool}
    for key, kind in types.items():
        if not isinstance(entry.get(key, kind()), kind):
            raise UsageError(f"{where}: {key} must be of type {kind.__name__}, got {entry[key]!r}")
    name, words = entry.get("name", ""), entry.get("words", "")
    describable = entry.get("describable", entry.get("said", False))
    if not name:
        raise UsageError(f"{where}: expected a name")
    if describable and not words:
        raise UsageError(f"{where}: 'describable' means that the words say it exactly; expected words")
    if set(entry) - COMMON == PICTURES:
        before, after, photos, truths = (file.parent / entry[key] for key in ("before", "after", "photos", "truths"))
        find_pictures([before, after])
        return Task(name, ByFiles(((before, after),), _matched(photos, truths)), words, describable)
    if set(entry) - COMMON == FORMULA:
        return Task(name, ByFormula(_formula(entry["parts"], where)), words, describable)
    raise UsageError(
        f"{where}: expected either before, after, photos and truths (pictures) or parts (a formula), "
        f"found {', '.join(sorted(set(entry) - COMMON)) or 'neither'}"
    )


def _formula(parts: Sequence[Any], where: str) -> SyntheticEdit:
    try:
        for part in parts:
            if not isinstance(part, dict) or not isinstance(part.get("family"), str):
                raise UsageError(f"each of parts is {{ family = NAME, parameter = value, ... }}, found {part!r}")
        edits = [make(part["family"], **{key: part[key] for key in part if key != "family"}) for part in parts]
        return edits[0] if len(edits) == 1 else compose(*edits)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _matched(photos: Path, truths: Path) -> tuple[Case, ...]:
    """Photos and their truths: files of the same name in two folders, whatever their suffix."""
    found = []
    for folder in (photos, truths):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: expected a folder of pictures, found a file")
        paths = find_pictures([folder]).paths
        refuse_doubles(paths, str(folder))
        found.append({path.stem: path for path in paths})
    first, second = found
    for stem in [*first, *second]:
        if stem not in first or stem not in second:
            has, lacks = (photos, truths) if stem in first else (truths, photos)
            raise UsageError(f"{has} holds '{stem}' and {lacks} does not; every photo needs a truth of the same name")
    return tuple(Case(stem, path, second[stem]) for stem, path in first.items())
