"""Work on one item after another in a thread of its own, while its results are being used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
DEPTH = 16


def in_background(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    weigh: Callable[[Result], float] = lambda result: 0.0,
    most: float = 1.0,
) -> Iterator[Future[Result]]:
    """`work` of every item, in order, a future for each; the next ones are worked on while the caller is busy with one.

    All that was begun is finished, whatever becomes of the caller.

    Args:
        work: called in the thread, for one item at a time.
        items: taken from in the caller's thread, at most two for each future that is given, and none while `DEPTH`
            of them are under way.
        weigh: of a result, how much it weighs.
        most: no more items are taken while results that weigh more than this together wait to be given.
    """
    source = iter(items)
    under_way: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1) as pool:
        while True:
            waiting = sum(weigh(one.result()) for one in under_way if one.done() and not one.exception())
            for item in islice(source, 0 if waiting > most or len(under_way) >= DEPTH else 2):
                under_way.append(pool.submit(work, item))
            if not under_way:
                # Nothing waits, so that something was asked for: there is nothing left.
                return
            yield under_way.popleft()
