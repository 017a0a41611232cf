"""Joint augmentation: views of a pair that show the same edit, made alike of the picture before and the one after."""

import torch

from ..images import Pair

CROPS = 6
# The shortest side of a crop, as a share of the picture's.
LEAST = 0.7


def views(pair: Pair, augment: str, generator: torch.Generator) -> list[Pair]:
    """The pair itself, first, and its other views as `InversionSettings.augment` has it.

    Each crop keeps the aspect ratio and has sides of `LEAST` to 1 times the pair's.
    """
    if augment == "none":
        return [pair]
    made = [pair, _mirrored(pair)]
    if augment == "crop-flip":
        made += [_crop(made[index % 2], generator) for index in range(CROPS)]
    return made


def _mirrored(pair: Pair) -> Pair:
    return Pair(pair.before.flip(2), pair.after.flip(2))


def _crop(pair: Pair, generator: torch.Generator) -> Pair:
    height, width = pair.before.shape[1:]
    share, down, right = torch.rand(3, generator=generator).tolist()
    h, w = (round(side * (LEAST + (1 - LEAST) * share)) for side in (height, width))
    top, left = round(down * (height - h)), round(right * (width - w))
    window = (slice(None), slice(top, top + h), slice(left, left + w))
    return Pair(pair.before[window], pair.after[window])
