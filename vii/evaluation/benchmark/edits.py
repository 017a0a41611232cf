"""What is to be learned, from which example, and on which photos it is judged."""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ...demo import FOLDER as DEMO_FOLDER
from ...errors import UsageError, unknown_name
from ...images import Pair, find_images, load_image, resize, spread
from ..synthetic import SAID, UNSAID, SyntheticEdit, compose, make

# What an entry of an edits file may hold: always a name, and then pictures or a formula.
COMMON, PICTURES, FORMULA = {"name", "words", "said"}, {"before", "after", "photos", "truths"}, {"parts"}


@dataclass(frozen=True, eq=False)
class Task:
    """One edit made concrete.

    Attributes:
        examples: the pairs to learn from; a method may take the first few of them.
        tests: a photo never seen while learning (`before`) and the right answer for it (`after`), by name.
    """

    examples: tuple[Pair, ...]
    tests: Mapping[str, Pair]

    def sha256(self) -> str:
        """Hex digest of all pictures as 8-bit pixels: another photo, formula or parameter gives another one."""
        return hashlib.sha256(
            " ".join(pair.sha256() for pair in (*self.examples, *self.tests.values())).encode()
        ).hexdigest()


class Source(Protocol):
    """Where the pictures of an edit come from."""

    def task(self, photos: Mapping[str, Tensor], seed: int, side: int, examples: int = 1) -> Task:
        """The task of one seed, all pictures `(3, side, side)`; `photos` has that size already.

        Raises:
            UsageError: there are not as many examples, or nothing is left to test on.
        """


@dataclass(frozen=True)
class ByFormula:
    """An edit that is known as a formula; the seed says which photos become examples, the others are for testing."""

    edit: SyntheticEdit

    def task(self, photos: Mapping[str, Tensor], seed: int, side: int, examples: int = 1) -> Task:
        """See `Source`."""
        if examples >= len(photos):
            raise UsageError(
                f"{len(photos)} photos, and {examples} of them are to make examples: none is left to test on; give "
                "more photos, or ask for fewer pairs"
            )
        pairs = {name: Pair(photo, self.edit.apply(photo)) for name, photo in photos.items()}
        names = list(pairs)
        return Task(tuple(pairs.pop(names[(seed + index) % len(names)]) for index in range(examples)), pairs)


@dataclass(frozen=True)
class ByPictures:
    """An edit that is known from pictures only: one example, the same for every seed, and (photo, truth) to test on."""

    example: tuple[Path, Path]
    tests: tuple[tuple[Path, Path], ...]

    def task(self, photos: Mapping[str, Tensor], seed: int, side: int, examples: int = 1) -> Task:
        """See `Source`."""
        if examples > 1:
            raise UsageError(f"{self.example[0]}: an edit that is made of pictures has one example, not {examples}")
        tests = {photo.stem: _open((photo, truth), side) for photo, truth in self.tests}
        return Task((_open(self.example, side),), tests)


@dataclass(frozen=True)
class Subject:
    """An edit to be learned.

    Attributes:
        name: what tables call it.
        source: its pictures.
        words: the closest instruction; empty where there is none, and then no row of `true words`.
        said: whether those words say it exactly.
    """

    name: str
    source: Source
    words: str = ""
    said: bool = False


def shipped_edits() -> list[Subject]:
    """The edits of `..synthetic`: first those that a short instruction says exactly, then those that none says."""
    return [
        Subject(name, ByFormula(edit), words, said)
        for said, edits in ((True, SAID), (False, UNSAID))
        for name, (edit, words) in edits.items()
    ]


def choose(subjects: Sequence[Subject], names: Sequence[str] = (), few: int | None = None) -> list[Subject]:
    """The subjects of these names; without names all, or `few` said and as many unsaid ones, spread evenly.

    Raises:
        UsageError: a name that is not there.
    """
    for name in names:
        if name not in [subject.name for subject in subjects]:
            raise UsageError(unknown_name("edit", name, [subject.name for subject in subjects]))
    if names:
        return [subject for subject in subjects if subject.name in names]
    if few is None:
        return list(subjects)
    return [one for said in (True, False) for one in spread([s for s in subjects if s.said == said], few)]


def read_photos(folder: str | Path | None, count: int, side: int, examples: int = 1) -> dict[str, Tensor]:
    """Photos by name: `count` to test on and as many more as there are examples, spread evenly over the sorted names.

    Args:
        folder: of photos; None for those that ship with the package.
        count: all photos are taken where there are fewer.
        side: the centre of each is cut out as a square and scaled to `(3, side, side)`.
        examples: made of photos.

    Raises:
        ImageError: no such folder, or a photo that cannot be read.
        UsageError: fewer than two photos, or two of one name.
    """
    paths = find_images([folder] if folder else [DEMO_FOLDER / "astronaut.jpg", DEMO_FOLDER / "photos"])
    if len(paths) < 2:
        raise UsageError(f"{folder}: one photo makes the example and others are to test on; expected two at least")
    _refuse_doubles(paths, "photos")
    return {path.stem: square(load_image(path), side) for path in spread(paths, count + examples)}


def read_edits(path: str | Path) -> list[Subject]:
    """Edits from a TOML file; the README beside this file says what it holds. Pictures are opened when they are needed.

    Raises:
        UsageError: the file cannot be read, or an entry is not right.
        ImageError: a picture or a folder that it names does not exist.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from None
    entries = content.get("edit")
    if set(content) != {"edit"} or not isinstance(entries, list) or not all(isinstance(x, dict) for x in entries):
        raise UsageError(f"{path}: expected [[edit]] entries and nothing else, found {', '.join(content) or 'nothing'}")
    subjects = [_subject(entry, path, f"{path}: edit {number}") for number, entry in enumerate(entries, start=1)]
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: two edits are called '{name}'; each needs a name of its own")
    return subjects


def _subject(entry: Mapping[str, Any], file: Path, where: str) -> Subject:
    for key in entry:
        if key not in COMMON | PICTURES | FORMULA:
            raise UsageError(f"{where}: {unknown_name('key', key, COMMON | PICTURES | FORMULA)}")
    for key, kind in {**dict.fromkeys({"name", "words"} | PICTURES, str), "said": bool, "parts": list}.items():
        if not isinstance(entry.get(key, kind()), kind):
            raise UsageError(f"{where}: {key} must be of type {kind.__name__}, got {entry[key]!r}")
    name, words, said = entry.get("name", ""), entry.get("words", ""), entry.get("said", False)
    if not name:
        raise UsageError(f"{where}: expected a name")
    if said and not words:
        raise UsageError(f"{where}: 'said' means that the words say it exactly; expected words")
    if set(entry) - COMMON == PICTURES:
        before, after, photos, truths = (file.parent / entry[key] for key in ("before", "after", "photos", "truths"))
        find_images([before, after])
        return Subject(name, ByPictures((before, after), _matched(photos, truths)), words, said)
    if set(entry) - COMMON == FORMULA:
        return Subject(name, ByFormula(_formula(entry["parts"], where)), words, said)
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


def _matched(photos: Path, truths: Path) -> tuple[tuple[Path, Path], ...]:
    """Photos and their truths: files of the same name in two folders, whatever their suffix."""
    found = []
    for folder in (photos, truths):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: expected a folder of pictures, found a file")
        paths = find_images([folder])
        _refuse_doubles(paths, str(folder))
        found.append({path.stem: path for path in paths})
    first, second = found
    for stem in [*first, *second]:
        if stem not in first or stem not in second:
            has, lacks = (photos, truths) if stem in first else (truths, photos)
            raise UsageError(f"{has} holds '{stem}' and {lacks} does not; every photo needs a truth of the same name")
    return tuple((path, second[stem]) for stem, path in first.items())


def _refuse_doubles(paths: Sequence[Path], where: str) -> None:
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise UsageError(f"{where}: two pictures are called '{path.stem}'; rename one")


def _open(paths: tuple[Path, Path], side: int) -> Pair:
    pair = Pair.open(*paths)
    return Pair(square(pair.before, side), square(pair.after, side))


def square(image: Tensor, side: int) -> Tensor:
    """The central square of a photo, scaled to `(3, side, side)`."""
    height, width = image.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(image[:, top : top + short, left : left + short], side, side)
