"""The interface of methods of editing by example: pairs and a photo in, the edited photo out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..edit_file import Edit
from ..images import Pair


class Transfer(Protocol):
    """Editing by example; the one function type behind every method.

    In-context systems answer in one go. A method that learns something from the pairs has `Learner.learn` besides, so
    that learning once does for many photos.
    """

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """Give the photo the edit that the pairs show.

        Args:
            pairs: one or more examples of one edit, of any sizes.
            photo: `(3, h, w)` in [0, 1], of any size.
            seed: of all random numbers: the same gives the same picture.

        Returns:
            `(3, h', w')` in [0, 1], the whole photo, at the method's own size or at the photo's.
        """


@dataclass(frozen=True)
class Moment:
    """A method that learns, had it been stopped after so many seconds and so many images through its network."""

    seconds: float
    samples: int
    transfer: Transfer


@dataclass(frozen=True)
class Learned:
    """A method made ready for the photos of one edit, and what that cost.

    Attributes:
        transfer: does not look at the pairs again where they were learned from.
        edit: what was learned, where that is an edit.
        seconds: of learning, the choice of a starting text included; 0 where nothing is learned.
        samples: images through the network while learning.
        moments: those on the way at which the method looked at how far it had come, the last one left out.
    """

    transfer: Transfer
    edit: Edit | None = None
    seconds: float = 0.0
    samples: int = 0
    moments: Sequence[Moment] = ()


class Learner(Transfer, Protocol):
    """A method that learns from the pairs before it sees a photo."""

    def learn(self, pairs: Sequence[Pair], *, seed: int = 0, watch: Callable[[str], None] | None = None) -> Learned:
        """Learn from the pairs; `watch` is called with a note now and then."""


def prepare(
    method: Transfer, pairs: Sequence[Pair], *, seed: int = 0, watch: Callable[[str], None] | None = None
) -> Learned:
    """A method made ready for one edit: learned where it is a `Learner`, else as it is."""
    learn = getattr(method, "learn", None)
    return learn(pairs, seed=seed, watch=watch) if learn else Learned(method)
