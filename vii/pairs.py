"""Which files of a folder are before/after pairs, by their names alone, and which pictures do not look like a pair.

The authors of the paper write `0_0.png` and `0_1.png`, where a `1_0.png` alone is a photo to try the edit on, and not
half a pair; data sets of edits are shared as `*_start`/`*_end`, as `*_before`/`*_after`, or as two folders.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import ImageError
from .images import Pair, resize
from .paths import inside, is_file, is_folder
from .pictures import SUFFIXES

# How many names an error lists.
LISTED = 8
# Side of the squares that two pictures are compared at.
SIDE = 96
# Of 744 pairs (12 photos, one edit of each family of `vii.evaluation.synthetic`) seven are below: small portholes,
# halftone dots, chalk, dense snow. Of 528 pairs of different photos, edited or not, 11 are not noticed.
SAME_DETAIL, SAME_LIGHT = 0.2, 0.6
SAME_PIXELS = 0.5 / 255
# ITU-R BT.601.
LUMA = (0.299, 0.587, 0.114)


# Ways of naming, as people write them: patterns of the picture before and the one after, without their suffixes; the
# group, which may be missing, names the pair. Of the authors' way a picture before alone is a photo to try the edit on.
AUTHORS = "N_0 and N_1"
LAYOUTS: Mapping[str, tuple[str, str]] = {
    AUTHORS: (r"([^/]+)_0", r"([^/]+)_1"),
    "NAME_before and NAME_after": (r"(?:([^/]+)[_-])?before", r"(?:([^/]+)[_-])?after"),
    "NAME_start and NAME_end": (r"(?:([^/]+)[_-])?start", r"(?:([^/]+)[_-])?end"),
    "before/NAME and after/NAME": (r"before/(.+)", r"after/(.+)"),
}


@dataclass(frozen=True)
class Found:
    """What a folder holds: pairs (before, after), in the order of their names, numbers by their value.

    `photos` are pictures that the layout keeps for trying the edit on; no half of a pair.
    """

    pairs: list[tuple[str, str]]
    photos: list[str]
    layout: str


def find_pairs(folder: str | Path) -> Found:
    """The pairs in a folder, and in its subfolders `before` and `after`; see `match_pairs`, also for the errors."""
    folder = Path(folder)
    # Hidden files are other programs' (macOS leaves a '._0_0.png' beside a '0_0.png').
    here = inside(folder, ImageError, "a folder of pairs")
    halves = [path for path in here if path.name.lower() in ("before", "after") and is_folder(path)]
    pictures = [
        path.relative_to(folder).as_posix()
        for path in (*here, *(path for half in halves for path in inside(half, ImageError)))
        if path.suffix.lower() in SUFFIXES and is_file(path)
    ]
    try:
        found = match_pairs(pictures)
    except ImageError as error:
        raise ImageError(f"{folder}: {error}") from None
    pairs = [(str(folder / before), str(folder / after)) for before, after in found.pairs]
    return Found(pairs, [str(folder / photo) for photo in found.photos], found.layout)


def match_pairs(names: Iterable[str]) -> Found:
    """Sort the names of a folder's pictures into pairs, by the one layout of `LAYOUTS` that they follow.

    Names are relative to the folder, with `/`. Suffixes may differ within a pair, case does not matter.

    Raises:
        ImageError: no layout has a pair among them, two have, two pictures would be the same half of a pair, or a
            picture belongs to no pair.
    """
    names = sorted(names, key=_order)
    fitting = []
    for layout, patterns in LAYOUTS.items():
        before, after = (_halves(names, pattern) for pattern in patterns)
        if before.keys() & after.keys():
            fitting.append((layout, before, after))
    if not fitting:
        found = f"found {_listed(names)}" if names else f"found no pictures ({', '.join(SUFFIXES)})"
        raise ImageError(f"no before/after pairs in this folder; expected {'; '.join(LAYOUTS)}; {found}")
    if len(fitting) > 1:
        layouts = "; ".join(
            f"{layout} ({_listed([*before.values(), *after.values()], 2)})" for layout, before, after in fitting
        )
        raise ImageError(f"pictures named in {len(fitting)} ways: {layouts}; keep each kind in a folder of its own")
    layout, before, after = fitting[0]
    pairs = [(name, after[key]) for key, name in before.items() if key in after]
    photos = [name for key, name in before.items() if key not in after] if layout == AUTHORS else []
    taken = {name for pair in pairs for name in pair} | set(photos)
    if odd := [name for name in names if name not in taken]:
        raise ImageError(f"without a partner among pairs named {layout}: {_listed(odd)}; complete or remove them")
    return Found(pairs, photos, layout)


def _halves(names: Sequence[str], pattern: str) -> Mapping[str, str]:
    """What names a pair -> the picture that is this half of it."""
    found: dict[str, str] = {}
    for name in names:
        match = re.fullmatch(pattern, name.rpartition(".")[0], re.IGNORECASE)
        if not match:
            continue
        # macOS takes names apart into letters and accents, other systems do not.
        key = unicodedata.normalize("NFC", match[1] or "").casefold()
        if key in found:
            raise ImageError(f"{found[key]} and {name} would be the same half of a pair; remove one")
        found[key] = name
    return found


def _order(name: str) -> list[tuple[int, str]]:
    """Sorts `10_0` after `9_0`."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def _listed(names: Sequence[str], count: int = LISTED) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def doubts(pair: Pair) -> str:
    """Why two pictures of one shape do not look like one frame before and after an edit; empty where they do."""
    if (pair.before - pair.after).abs().max() < SAME_PIXELS:
        return "The two pictures are the same, so there is nothing to learn. Give the edited one as the picture after."
    detail, light = likeness(pair.before, pair.after)
    if detail < SAME_DETAIL and light < SAME_LIGHT:
        return (
            "These do not look like one picture before and after an edit: hardly an edge is in the same place. You can "
            "learn from them, but what comes of it will rarely be of use."
        )
    return ""


def likeness(before: Tensor, after: Tensor) -> tuple[float, float]:
    """How much two pictures of one shape have in common: correlations of where their edges are, and of their light.

    Edges stay where they are under most edits: colours, light, styles, a negative. The second is without its sign, and
    counts where an edit covers the edges. Both pictures are compared as squares of `SIDE` pixels.

    Returns:
        of the edges, in [-1, 1], and of the light, in [0, 1]; 0 where a picture has none.
    """
    first, second = _luma(before), _luma(after)
    return _correlation(_edges(first), _edges(second)), abs(_correlation(first, second))


def _luma(image: Tensor) -> Tensor:
    return (resize(image, SIDE, SIDE) * torch.tensor(LUMA)[:, None, None]).sum(0)


def _edges(luma: Tensor) -> Tensor:
    across, down = luma[:-1, 1:] - luma[:-1, :-1], luma[1:, :-1] - luma[:-1, :-1]
    strength = (across.square() + down.square()).sqrt()
    return torch.nn.functional.avg_pool2d(strength[None, None], 2)[0, 0]


def _correlation(first: Tensor, second: Tensor) -> float:
    first, second = first - first.mean(), second - second.mean()
    length = first.norm() * second.norm()
    return float((first * second).sum() / length) if length > 1e-9 else 0.0
