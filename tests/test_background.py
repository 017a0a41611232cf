"""Work in a thread: order, how far it runs ahead, errors."""

import threading

import pytest

from vii.background import DEPTH, in_background


def test_results_come_in_order_from_another_thread():
    threads = set()

    def square(n):
        threads.add(threading.get_ident())
        return n * n

    assert [future.result() for future in in_background(square, range(50))] == [n * n for n in range(50)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_belongs_to_its_item_and_the_others_are_done():
    futures = list(in_background(lambda n: 1 // n, [1, 0, 2]))
    assert [bool(future.exception()) for future in futures] == [False, True, False]


def test_it_runs_ahead_no_further_than_its_depth_and_no_further_than_is_light_enough():
    taken = []

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    for given, _ in enumerate(in_background(lambda n: n, items()), 1):
        assert len(taken) <= given + DEPTH + 1
    taken.clear()
    for given, future in enumerate(in_background(lambda n: n, items(), weigh=lambda n: 1.0, most=0.5), 1):
        future.result()
        assert len(taken) <= given + 3
    assert len(taken) == 100


def test_what_fails_in_the_callers_iterator_is_raised_when_what_was_begun_is_done():
    done = []

    def items():
        yield from (1, 2)
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        list(in_background(done.append, items()))
    assert done == [1, 2]
