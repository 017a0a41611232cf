"""Photos that go through an editor's networks together: those of one working size, given back in the photos' order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from .region import Region

# Pixels at the editor's size that go through the networks at once: more gain nothing on a CPU (`vii bench --speed`).
BATCH_PIXELS = 8 * 128 * 128
# On a GPU: of the free memory, what a batch may take, and bytes that a pixel at the editor's size takes in the widest
# network, the decoder of Stable Diffusion in float32.
SHARE, PIXEL_BYTES = 0.5, 10_000
# Photos wait for others of their size. So many batches of them are held, of so many pixels together; on a CPU, some of
# them are edited at the same time.
HELD_BATCHES, HELD_PIXELS, MOST_WORKERS = 4, 50_000_000, 3
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
        edited: done once there is, where another thread is at it.
    """

    photo: Tensor
    pixels: int
    region: Region | None
    colored: Tensor
    size: tuple[int, ...] = ()
    encoding: Any = None
    picture: Tensor | None = None
    edited: "Future[int] | None" = None


def batch_for(resolution: int, device: torch.device) -> int:
    """How many photos of an editor that works at so many pixels a side are worth editing at once, and have room."""
    pixels = float(BATCH_PIXELS)
    if device.type == "cuda":
        pixels = max(pixels, SHARE * torch.cuda.mem_get_info(device)[0] / PIXEL_BYTES)
    return max(1, round(pixels / resolution**2))


def workers_for(batch: int, device: torch.device) -> int:
    """How many batches are worth editing at once.

    The networks of a small editor keep one core busy, and two that share a batch wait for each other: batches of their
    own are faster (`vii bench --speed`). Photos that are worth a batch each are large enough to share.
    """
    return min(MOST_WORKERS, torch.get_num_threads()) if device.type == "cpu" and batch > 1 else 1


def in_batches(
    photos: Iterator[Any],
    prepare: Callable[[Any], HeldPhoto],
    edit: Callable[[Sequence[HeldPhoto]], None],
    batch: int,
    workers: int = 1,
) -> Iterator[Tensor]:
    """Edit photos, those of one working size together; each is taken from `photos` no earlier than it is needed.

    Args:
        photos: anything that `prepare` takes.
        prepare: makes one ready: with its encoding, or with its picture where that needs no editor.
        edit: gives every photo of one working size its picture.
        batch: photos that go through the networks at once.
        workers: batches that are edited at once, each in a thread of its own with its share of torch's threads; of one,
            in the caller's.

    Yields:
        pictures in the photos' order. Where `photos` or `prepare` fails, those of the photos before it come first.
    """
    with _threads(workers) as start:
        yield from _in_order(photos, prepare, lambda group, room: start(_edited, edit, group, room), batch, workers)


def _in_order(
    photos: Iterator[Any],
    prepare: Callable[[Any], HeldPhoto],
    edit: Callable[[Sequence[HeldPhoto], int], "Future[int]"],
    batch: int,
    workers: int,
) -> Iterator[Tensor]:
    room, under_way = batch, deque[Future[int]]()
    most = workers + (workers > 1)  # one more, so that no thread waits for the next
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
                under_way.append(edit(waiting.pop(size), room))
                for one in group:
                    one.edited = under_way[-1]
                if len(under_way) >= most:
                    room = under_way.popleft().result()
        while held and (picture := _picture(held[0], wait=full)) is not None:
            held.popleft()
            yield picture
    if not isinstance(failure, StopIteration):
        assert failure is not None
        raise failure


def _picture(photo: HeldPhoto, *, wait: bool) -> Tensor | None:
    """The result, where it is there or waited for."""
    if photo.picture is None and photo.edited is not None and wait:
        photo.edited.result()
    return photo.picture


@contextmanager
def _threads(count: int) -> Iterator[Callable[..., "Future[int]"]]:
    """What runs a function in one of so many threads; of one, in the caller's and at once."""
    if count == 1:
        yield _at_once
        return
    every, ready = torch.get_num_threads(), Barrier(count + 1)
    share = max(1, every // count)
    # Threads of numpy's BLAS would wait for each other, in a loop that takes a core.
    blas = ThreadpoolController().limit(limits=share, user_api="blas")
    with blas, ThreadPoolExecutor(count, initializer=_take, initargs=(share,)) as pool:
        for _ in range(count):
            pool.submit(ready.wait)
        ready.wait()
        torch.set_num_threads(every)  # it is each thread's own, but the last number given is that of threads to come
        yield pool.submit


def _take(threads: int) -> None:
    """Give this thread so many of torch's own."""
    torch.set_num_threads(threads)
    torch.get_num_threads()  # the first use of a thread takes the number that was given last, whoever gave it


def _at_once(work: Callable[..., int], *arguments: Any) -> "Future[int]":
    done: Future[int] = Future()
    done.set_result(work(*arguments))
    return done


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
