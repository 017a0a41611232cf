"""Tasks: what is to be learned, from which examples, and on which photos it is measured."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from ..demo import FOLDER as DEMO_FOLDER
from ..errors import UsageError, unknown_name
from ..images import Pair, from_pil, load_image, resize, spread, to_pil
from ..pictures import find_pictures
from .synthetic import DESCRIBABLE, INDESCRIBABLE, SyntheticEdit

# Photos by name: pictures, or files that are read when they are needed.
Photos = Mapping[str, Tensor | Path]
# What is done to pictures before all else, such as `within`.
Scale = Callable[[Tensor], Tensor]
# Photos of so many pixels together are kept once they are read; the others are read anew whenever they are needed.
KEPT = 50_000_000
# Of disturbances: pixels, JPEG's quality, a share of the sides.
SHIFT, QUALITY, CROP = 2, 80, 0.02


def as_it_is(picture: Any) -> Any:
    """The picture, or the pair, itself."""
    return picture


@dataclass(frozen=True, eq=False)
class Case:
    """A photo, and the right answer for it where it is known.

    Nothing large is held: files are read, and formulas worked out, whenever the pictures are asked for.

    Attributes:
        photo: `(3, h, w)` in [0, 1], or a file.
        truth: likewise, or the formula that makes it from the photo; None where it is not known.
        scale: what is done to pictures before all else.
        disturb: what is done to photo and truth.
    """

    name: str
    photo: Tensor | Path
    truth: Tensor | Path | Callable[[Tensor], Tensor] | None = None
    scale: Scale = as_it_is
    disturb: Callable[[Pair], Pair] = as_it_is

    def read(self) -> tuple[Tensor, Tensor | None]:
        """Photo and truth, of one size; ImageError where a file cannot be read, or the two do not show one frame."""
        if self.truth is None:
            return self._scaled(self.photo), None
        pair = self.pair()
        return pair.before, pair.after

    def pair(self) -> Pair:
        """Photo and truth, where there is a truth."""
        photo, truth = self.photo, self.truth
        assert truth is not None
        if isinstance(photo, Path) and isinstance(truth, Path):
            both = Pair.open(photo, truth)
            return self.disturb(Pair(self.scale(both.before), self.scale(both.after)))
        before = self._scaled(photo)
        return self.disturb(Pair(before, truth(before) if callable(truth) else self._scaled(truth)))

    def _scaled(self, picture: Tensor | Path) -> Tensor:
        return self.scale(load_image(picture) if isinstance(picture, Path) else picture)


@dataclass(frozen=True, eq=False)
class Split:
    """The pictures of one task under one seed: examples to learn from, and photos never seen while learning."""

    examples: tuple[Case, ...]
    queries: tuple[Case, ...]

    def pairs(self, count: int | None = None) -> list[Pair]:
        """The examples as pairs, or the first `count` of them."""
        return [case.pair() for case in self.examples[:count]]

    def sha256(self) -> str:
        """Hex digest of all pictures as 8-bit pixels: another photo, formula or parameter gives another one."""
        digests = [case.pair().sha256() for case in (*self.examples, *self.queries)]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()


class Source(Protocol):
    """Where the pictures of a task come from."""

    def split(self, photos: Photos, seed: int, examples: int = 1) -> Split:
        """The pictures under one seed, which says which photos become examples.

        `photos` are for edits that are formulas, by name; see `read_photos`. Raises UsageError where there are not as
        many examples, or nothing is left to test on.
        """


@dataclass(frozen=True)
class ByFormula:
    """An edit that is known as a formula; the seed says which photos become examples, the others are for testing."""

    edit: SyntheticEdit

    def split(self, photos: Photos, seed: int, examples: int = 1) -> Split:
        """See `Source`; no photo is an example under two seeds, as long as there are `(seed + 1) * examples` photos."""
        if examples >= len(photos):
            raise UsageError(
                f"{len(photos)} photos, and {examples} of them are to make examples: none is left to test on; give "
                "more photos, or ask for fewer pairs"
            )
        cases = {name: Case(name, photo, self.edit.apply) for name, photo in photos.items()}
        names = list(cases)
        chosen = tuple(cases.pop(names[(seed * examples + index) % len(names)]) for index in range(examples))
        return Split(chosen, tuple(cases.values()))


@dataclass(frozen=True)
class ByFiles:
    """An edit that is known from files only: the same examples under every seed, and photos to test on."""

    examples: tuple[tuple[Path, Path], ...]
    queries: tuple[Case, ...]

    def split(self, photos: Photos, seed: int, examples: int = 1) -> Split:
        """See `Source`."""
        if examples > len(self.examples):
            raise UsageError(f"{self.examples[0][0]}: an edit that is made of pictures has one example, not {examples}")
        return Split(tuple(Case(before.stem, before, after) for before, after in self.examples), self.queries)


@dataclass(frozen=True)
class Task:
    """An edit to be learned.

    Attributes:
        words: the closest ones; empty where there are none.
        describable: whether these say it exactly.
        disturb: what is done to its examples; see `DISTURBANCES`.
    """

    name: str
    source: Source
    words: str = ""
    describable: bool = False
    disturb: Callable[[Pair], Pair] = as_it_is


def shipped_tasks() -> list[Task]:
    """The edits of `.synthetic`: first those that a short instruction says exactly, then those that none says."""
    return [
        Task(name, ByFormula(edit), words, describable)
        for describable, edits in ((True, DESCRIBABLE), (False, INDESCRIBABLE))
        for name, (edit, words) in edits.items()
    ]


def choose(tasks: Sequence[Task], names: Sequence[str] = (), few: int | None = None) -> list[Task]:
    """The tasks of these names; without names all, or `few` describable and as many others, spread evenly."""
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
    folder: str | Path | None, count: int, scale: Scale = as_it_is, examples: int = 1, seeds: int = 1
) -> dict[str, Tensor | Path]:
    """Photos by name, spread evenly over the sorted names: at least `count` to test on besides those of the examples.

    Args:
        folder: of photos; None for those that ship with the package.
        count: all photos are taken where there are fewer.
        scale: what is done to them before all else.
        examples: made of photos under each seed.
        seeds: how many; no photo is an example under two of them.

    Returns:
        scaled pictures of `KEPT` pixels together, and beyond that files.

    Raises:
        ImageError: no such folder, or a photo that cannot be read.
        UsageError: fewer than two photos, two of one name, or too few for examples that share no photo.
    """
    paths = find_pictures([folder] if folder else [DEMO_FOLDER / "astronaut.jpg", DEMO_FOLDER / "photos"]).paths
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
    found: dict[str, Tensor | Path] = {}
    kept = 0
    for path in chosen:
        image = scale(load_image(path))
        kept += image[0].numel()
        found[path.stem] = image if kept <= KEPT else path
    return found


def refuse_doubles(paths: Sequence[Path], where: str) -> None:
    """Raise UsageError for files that differ in their suffix alone, which cannot be told apart by name."""
    stems = [path.stem for path in paths]
    for path in paths:
        if stems.count(path.stem) > 1:
            raise UsageError(f"{where}: two pictures are called '{path.stem}'; rename one")


def within(image: Tensor, side: int, max_side: int) -> Tensor:
    """A photo at its own size, scaled down where its longer side has more than `max_side` pixels.

    A picture of a smaller area than the square of `side` pixels that an editor works at is scaled up to that.
    """
    height, width = image.shape[-2:]
    share = max(min(1.0, max_side / max(height, width)), side / (height * width) ** 0.5)
    return resize(image, max(1, round(height * share)), max(1, round(width * share)))


def square(image: Tensor, side: int) -> Tensor:
    """The central square of a photo `(3, h, w)`, scaled to `side` pixels a side."""
    height, width = image.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(image[:, top : top + short, left : left + short], side, side)


def shift(pair: Pair, pixels: int = SHIFT) -> Pair:
    """The picture after lies so many pixels further down and to the right; both lose a border of as many."""
    return Pair(pair.before[:, pixels:, pixels:], pair.after[:, :-pixels, :-pixels])


def jpeg(pair: Pair, quality: int = QUALITY) -> Pair:
    """The picture after was saved as a JPEG file, its colours at half the resolution, as programs do."""
    file = io.BytesIO()
    to_pil(pair.after).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    with Image.open(file) as picture:
        return Pair(pair.before, from_pil(picture))


def crop(pair: Pair, share: float = CROP) -> Pair:
    """The picture after has lost this share of its height and width, the same on all sides, and is scaled back."""
    height, width = pair.after.shape[-2:]
    top, left = (max(1, round(share / 2 * side)) for side in (height, width))
    return Pair(pair.before, resize(pair.after[:, top : height - top, left : width - left], height, width))


# The choices of `vii bench --disturb`: pairs as people have them, not laid onto each other to the pixel, or saved once
# too often. Only the picture after is disturbed, and only of the examples: what is learned from is worse, not what it
# is judged by.
DISTURBANCES: Mapping[str, tuple[Callable[[Pair], Pair], str]] = {
    "shift": (shift, f"the example's after shifted by {SHIFT} pixels down and to the right"),
    "jpeg": (jpeg, f"the example's after saved as JPEG, quality {QUALITY}, 4:2:0"),
    "crop": (crop, f"the example's after cropped by {CROP:.0%} and scaled back"),
}
