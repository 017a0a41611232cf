"""Pairs as people have them: not laid onto each other to the pixel, or saved once too often.

Only the picture after is disturbed, and only of the examples: what is learned from is worse, not what it is judged by.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from PIL import Image

from ..images import Pair, from_pil, resize, to_pil
from .tasks import Photos, Scale, Source, Split, as_it_is

SHIFT, QUALITY, CROP = 2, 80, 0.02


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


# The choices of `vii bench --disturb`.
DISTURBANCES: Mapping[str, tuple[Callable[[Pair], Pair], str]] = {
    "shift": (shift, f"the example's after shifted by {SHIFT} pixels down and to the right"),
    "jpeg": (jpeg, f"the example's after saved as JPEG, quality {QUALITY}, 4:2:0"),
    "crop": (crop, f"the example's after cropped by {CROP:.0%} and scaled back"),
}


@dataclass(frozen=True)
class Disturbed:
    """A source whose examples are disturbed."""

    source: Source
    disturbance: str

    def split(self, photos: Photos, seed: int, examples: int = 1, scale: Scale = as_it_is) -> Split:
        """See `Source`."""
        split = self.source.split(photos, seed, examples, scale)
        disturb = DISTURBANCES[self.disturbance][0]
        return replace(split, examples=tuple(replace(case, disturb=disturb) for case in split.examples))
