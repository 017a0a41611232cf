"""Photos that go through an editor's networks together: those of one working size, given back in the photos' order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .region import Region

# Pixels at the editor's size that go through the networks at once: more gain nothing on a CPU (`vii bench --speed`).
BATCH_PIXELS = 8 * 128 * 128
# On a GPU: of the free memory, what a batch may take, and bytes that a pixel at the editor's size takes in the widest
# network, the decoder of Stable Diffusion in float32.
SHARE, PIXEL_BYTES = 0.5, 10_000
# Photos wait for others of their size. So many batches of them are held, of so many pixels together.
HELD_BATCHES, HELD_PIXELS = 4, 50_000_000
# Instead of a picture.
NOTHING = torch.empty(3, 0, 0)


@dataclass(eq=False)
class HeldPhoto:
    """A photo on its way.

    Attributes:
        photo: `(3, h, w)` in [0, 1]; `NOTHING` in the place of one that is done.
        pixels: h times w.
        region: where to edit it; None for everywhere.
        colored: the photo after the colour transforms that come before the editor; what the editor sees.
        size: by which photos are put together: the shape of the noise of its encoding.
        encoding: of `colored` by the editor; None where the editor has no part, or none any more.
        picture: the result, once there is one.
    """

    photo: Tensor
    pixels: int
    region: Region | None
    colored: Tensor
    size: tuple[int, ...] = ()
    encoding: Any = None
    picture: Tensor | None = None


def batch_for(resolution: int, device: torch.device) -> int:
    """How many photos of an editor that works at so many pixels a side are worth editing at once, and have room."""
    pixels = float(BATCH_PIXELS)
    if device.type == "cuda":
        pixels = max(pixels, SHARE * torch.cuda.mem_get_info(device)[0] / PIXEL_BYTES)
    return max(1, round(pixels / resolution**2))


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
    room = batch
    held: deque[HeldPhoto] = deque()  # in the photos' order
    waiting: dict[tuple[int, ...], list[HeldPhoto]] = {}  # of these the ones without a picture, by working size
    failure: Exception | None = None
    while failure is None or held:
        try:
            if failure is None:
                held.append(prepare(next(photos)))
                if held[-1].picture is None:
                    waiting.setdefault(held[-1].size, []).append(held[-1])
        except Exception as error:  # StopIteration too: what was taken before is given first
            failure = error
        pixels = sum(one.pixels for one in held)
        full = failure is not None or pixels > HELD_PIXELS or len(held) >= HELD_BATCHES * batch
        for size, group in list(waiting.items()):
            if len(group) == batch or (full and held[0] in group):
                room = _edited(edit, waiting.pop(size), room)
        while held and (picture := held[0].picture) is not None:
            held.popleft()
            yield picture
    if not isinstance(failure, StopIteration):
        assert failure is not None
        raise failure


def _edited(edit: Callable[[Sequence[HeldPhoto]], None], group: Sequence[HeldPhoto], room: int) -> int:
    """Edit photos, at most `room` at once and fewer where a GPU has too little memory; how many it had room for."""
    while group:
        part = group[:room]
        try:
            edit(part)
            group = group[room:]
            continue
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
        room = len(part) // 2  # not above, where the error still holds what there was no room for
    return room
