"""What any method must beat: no edit, the difference of the pair, and words."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..application import apply
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair, resize
from .method import Transfer


def no_edit(pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
    """The photo as it is."""
    return photo


def pixel_delta(pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
    """`C + (B - A)`: the difference of the pair, mean over pairs, scaled to the photo and added to it."""
    if not pairs:
        raise UsageError("expected at least one before/after pair")
    size = photo.shape[-2:]
    return (photo + torch.stack([resize(p.after, *size) - resize(p.before, *size) for p in pairs]).mean(0)).clamp(0, 1)


def no_edit_method() -> Transfer:
    """Builds `no_edit`."""
    return no_edit


def pixel_delta_method() -> Transfer:
    """Builds `pixel_delta`."""
    return pixel_delta


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
