"""Tasks: what is to be learned, from which examples, and on which photos it is measured."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..demo import FOLDER as DEMO_FOLDER
from ..errors import UsageError, unknown_name
from ..images import Pair, find_images, load_image, resize, spread
from .synthetic import SAID, UNSAID, SyntheticEdit


def as_it_is(image: Tensor) -> Tensor:
    """The picture itself."""
    return image


@dataclass(frozen=True, eq=False)
class Query:
    """A photo to test on, and the right answer for it where it is known; tensors, or files that are read when needed.

    Attributes:
        name: of the photo.
        photo: `(3, h, w)` in [0, 1].
        truth: likewise, or None.
        cut: what is done to the pictures of files, such as `square`.
    """

    name: str
    photo: Tensor | Path
    truth: Tensor | Path | None = None
    cut: Callable[[Tensor], Tensor] = as_it_is

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Photo and truth, of one size.

        Raises:
            ImageError: a file cannot be read, or the two do not show one frame.
        """
        if isinstance(self.photo, Tensor):
            assert not isinstance(self.truth, Path)
            return self.photo, self.truth
        if isinstance(self.truth, Path):
            pair = _open((self.photo, self.truth), self.cut)
            return pair.before, pair.after
        return self.cut(load_image(self.photo)), None

    def pair(self) -> Pair:
        """Photo and truth as a pair, where there is a truth."""
        photo, truth = self.read()
        assert truth is not None
        return Pair(photo, truth)


@dataclass(frozen=True, eq=False)
class Split:
    """The pictures of one task under one seed.

    Attributes:
        examples: the pairs to learn from; a method may take the first few of them.
        queries: photos never seen while learning.
    """

    examples: tuple[Pair, ...]
    queries: tuple[Query, ...]

    def sha256(self) -> str:
        """Hex digest of all pictures as 8-bit pixels: another photo, formula or parameter gives another one."""
        digests = [pair.sha256() for pair in (*self.examples, *(query.pair() for query in self.queries))]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()


class Source(Protocol):
    """Where the pictures of a task come from."""

    def split(
        self, photos: Mapping[str, Tensor], seed: int, examples: int = 1, cut: Callable[[Tensor], Tensor] = as_it_is
    ) -> Split:
        """The pictures under one seed.

        Args:
            photos: for edits that are formulas, by name; see `read_photos`.
            seed: says which photos become examples.
            examples: how many.
            cut: what is done to the pictures of files.

        Raises:
            UsageError: there are not as many examples, or nothing is left to test on.
        """


@dataclass(frozen=True)
class ByFormula:
    """An edit that is known as a formula; the seed says which photos become examples, the others are for testing."""

    edit: SyntheticEdit

    def split(
        self, photos: Mapping[str, Tensor], seed: int, examples: int = 1, cut: Callable[[Tensor], Tensor] = as_it_is
    ) -> Split:
        """See `Source`; no photo is an example under two seeds, as long as there are `(seed + 1) * examples` photos."""
        if examples >= len(photos):
            raise UsageError(
                f"{len(photos)} photos, and {examples} of them are to make examples: none is left to test on; give "
                "more photos, or ask for fewer pairs"
            )
        pairs = {name: Pair(photo, self.edit.apply(photo)) for name, photo in photos.items()}
        names = list(pairs)
        chosen = tuple(pairs.pop(names[(seed * examples + index) % len(names)]) for index in range(examples))
        return Split(chosen, tuple(Query(name, pair.before, pair.after) for name, pair in pairs.items()))


@dataclass(frozen=True)
class ByFiles:
    """An edit that is known from files only: the same examples under every seed, and photos to test on."""

    examples: tuple[tuple[Path, Path], ...]
    queries: tuple[Query, ...]

    def split(
        self, photos: Mapping[str, Tensor], seed: int, examples: int = 1, cut: Callable[[Tensor], Tensor] = as_it_is
    ) -> Split:
        """See `Source`."""
        if examples > len(self.examples):
            raise UsageError(f"{self.examples[0][0]}: an edit that is made of pictures has one example, not {examples}")
        pairs = tuple(_open(pair, cut) for pair in self.examples)
        return Split(pairs, tuple(replace(query, cut=cut) for query in self.queries))


@dataclass(frozen=True)
class Task:
    """An edit to be learned.

    Attributes:
        name: what tables call it.
        source: its pictures.
        words: the closest instruction; empty where there is none.
        describable: whether those words say it exactly.
    """

    name: str
    source: Source
    words: str = ""
    describable: bool = False


def shipped_tasks() -> list[Task]:
    """The edits of `.synthetic`: first those that a short instruction says exactly, then those that none says."""
    return [
        Task(name, ByFormula(edit), words, describable)
        for describable, edits in ((True, SAID), (False, UNSAID))
        for name, (edit, words) in edits.items()
    ]


def choose(tasks: Sequence[Task], names: Sequence[str] = (), few: int | None = None) -> list[Task]:
    """The tasks of these names; without names all, or `few` describable and as many others, spread evenly.

    Raises:
        UsageError: a name that is not there.
    """
    known = [task.name for task in tasks]
    for name in names:
        if name not in known:
            raise UsageError(unknown_name("edit", name, known))
    if names:
        return [task for task in tasks if task.name in names]
    if few is None:
        return list(tasks)
    return [one for kind in (True, False) for one in spread([t for t in tasks if t.describable == kind], few)]


def read_photos(
    folder: str | Path | None, count: int, side: int, examples: int = 1, seeds: int = 1, max_side: int | None = None
) -> dict[str, Tensor]:
    """Photos by name, spread evenly over the sorted names: at least `count` to test on besides those of the examples.

    Args:
        folder: of photos; None for those that ship with the package.
        count: all photos are taken where there are fewer.
        side: see `square`.
        examples: made of photos under each seed.
        seeds: how many; no photo is an example under two of them.
        max_side: see `square`.

    Raises:
        ImageError: no such folder, or a photo that cannot be read.
        UsageError: fewer than two photos, two of one name, or too few for examples that share no photo.
    """
    paths = find_images([folder] if folder else [DEMO_FOLDER / "astronaut.jpg", DEMO_FOLDER / "photos"])
    if len(paths) < 2:
        raise UsageError(f"{folder}: one photo makes the example and others are to test on; expected two at least")
    refuse_doubles(paths, "photos")
    if len(paths) < seeds * examples:
        raise UsageError(
            f"{folder or 'the shipped photos'}: {seeds} seeds with {examples} example photos each need "
            f"{seeds * examples} photos, so that no two seeds share an example; found {len(paths)}; give more photos, "
            "or ask for fewer seeds or pairs"
        )
    chosen = spread(paths, max(count + examples, seeds * examples))
    return {path.stem: square(load_image(path), side, max_side) for path in chosen}


def refuse_doubles(paths: Sequence[Path], where: str) -> None:
    """Files that differ in their suffix alone cannot be told apart by name.

    Raises:
        UsageError: there are such files.
    """
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise UsageError(f"{where}: two pictures are called '{path.stem}'; rename one")


def square(image: Tensor, side: int, max_side: int | None = None) -> Tensor:
    """The central square of a photo, scaled to `side` pixels a side.

    Args:
        image: `(3, h, w)` in [0, 1].
        side: in pixels.
        max_side: keep the photo's own pixels instead, scaled down to as many a side where there are more, and up to
            `side` where there are fewer.
    """
    height, width = image.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    goal = max(side, min(short, max_side or side))
    return resize(image[:, top : top + short, left : left + short], goal, goal)


def _open(paths: tuple[Path, Path], cut: Callable[[Tensor], Tensor]) -> Pair:
    pair = Pair.open(*paths)
    return Pair(cut(pair.before), cut(pair.after))
