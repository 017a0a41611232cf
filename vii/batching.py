"""Photos that go through an editor's networks together: those of one working size, given back in the photos' order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .region import Region

# Pixels at the editor's size that go through the networks at once: more gain nothing on a CPU (`vii bench --speed`).
BATCH_PIXELS = 8 * 128 * 128
# Photos wait for others of their size. So many batches of them are held, of so many pixels together.
HELD_BATCHES, HELD_PIXELS = 4, 50_000_000


@dataclass(eq=False)
class HeldPhoto:
    """A photo on its way.

    Attributes:
        photo: `(3, h, w)` in [0, 1].
        region: where to edit it; None for everywhere.
        colored: the photo after the colour transforms that come before the editor; what the editor sees.
        encoding: of `colored` by the editor; None where the editor has no part.
        picture: the result, once there is one.
    """

    photo: Tensor
    region: Region | None
    colored: Tensor
    encoding: Any = None
    picture: Tensor | None = None


def in_batches(
    photos: Iterator[Any],
    prepare: Callable[[Any], HeldPhoto],
    edit: Callable[[Sequence[HeldPhoto]], None],
    batch: int,
) -> Iterator[Tensor]:
    """Edit photos, those of one working size together; each is taken from `photos` no earlier than it is needed.

    Args:
        photos: anything that `prepare` takes.
        prepare: makes one ready: with its encoding, or with its picture where that needs no editor.
        edit: gives every photo of one working size its picture.
        batch: photos that go through the networks at once.

    Yields:
        pictures in the photos' order. Where `photos` or `prepare` fails, those of the photos before it come first.
    """
    held: deque[HeldPhoto] = deque()  # in the photos' order
    waiting: dict[tuple[int, ...], list[HeldPhoto]] = {}  # of these the ones without a picture, by working size
    failure: Exception | None = None
    while failure is None or held:
        try:
            if failure is None:
                held.append(prepare(next(photos)))
                if held[-1].picture is None:
                    waiting.setdefault(held[-1].encoding.noise_shape, []).append(held[-1])
        except Exception as error:  # StopIteration too: what was taken before is given first
            failure = error
        pixels = sum(one.photo.shape[1] * one.photo.shape[2] for one in held)
        full = failure is not None or pixels > HELD_PIXELS or len(held) >= HELD_BATCHES * batch
        for size, group in list(waiting.items()):
            if len(group) == batch or (full and held[0] in group):
                edit(waiting.pop(size))
        while held and (picture := held[0].picture) is not None:
            held.popleft()
            yield picture
    if not isinstance(failure, StopIteration):
        assert failure is not None
        raise failure
