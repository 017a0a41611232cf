"""What any method must beat: no edit, the difference of the pair, and words."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..application import apply
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair, resize


@dataclass(frozen=True)
class NoEdit:
    """The photo as it is."""

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`."""
        return photo


@dataclass(frozen=True)
class PixelDelta:
    """`C + (B - A)`: the difference of the pair, mean over pairs, scaled to the photo and added to it."""

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`."""
        if not pairs:
            raise UsageError("expected at least one before/after pair")
        size = photo.shape[-2:]
        deltas = [resize(pair.after, *size) - resize(pair.before, *size) for pair in pairs]
        return (photo + torch.stack(deltas).mean(0)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Words:
    """An instruction in words, given to an editor; the pairs are not looked at.

    Attributes:
        editor: follows the words.
        text: what to do.
    """

    editor: Editor
    text: str

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`."""
        return apply(self.editor, None, photo, text=self.text, seed=seed)
