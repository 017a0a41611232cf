"""The order in which several edits and words come to a photo."""

import numpy as np
import pytest

from vii.finish import Colors, ColorTransform, EditorStep, Finish, arrange
from vii.finish.terms import Terms

RNG = np.random.default_rng(0)


def color(seed=0):
    coefficients = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32) * 0.2
    return Finish("color", ColorTransform(Terms(1), coefficients))


CORRECTION = RNG.normal(size=(7, 3)).astype(np.float32) * 0.1
PLAIN, SOFT, WHOLE = Finish("detail"), Finish("detail", residual=1 / 32), Finish("detail", residual=0.0)
CORRECTED, SCALED = Finish("detail", correction=CORRECTION), Finish("editor")
PHOTO = RNG.random((30, 40, 3), dtype=np.float32)
SEEN, MADE = RNG.random((2, 12, 16, 3), dtype=np.float32)


def test_colours_apply_in_the_order_given():
    first, second = color(1), color(2)
    one, two = arrange([(first, 1.0), (second, -0.5)])
    assert isinstance(one, Colors)
    assert isinstance(two, Colors)
    np.testing.assert_array_equal(two(one(PHOTO)), second.color(first.color(PHOTO), -0.5))
    assert np.abs(one(two(PHOTO)) - two(one(PHOTO))).max() > 0.01


def test_the_editor_runs_once_where_the_first_of_its_edits_stands():
    steps = arrange([(color(1), 1.0), (SOFT, 0.5), (color(2), 1.0), (WHOLE, 2.0), (PLAIN, 0.0)])
    assert [type(step) for step in steps] == [Colors, EditorStep, Colors]
    assert steps[1].branches == ((1, 0.5), (3, 2.0))


def test_words_come_in_that_run_or_last():
    before, run = arrange([(color(), 1.0)], words=True)
    assert isinstance(before, Colors)
    assert run.branches == ()
    run, after = arrange([(SOFT, 1.0), (color(), 1.0)], words=True)
    assert run.branches == ((0, 1.0),)
    assert isinstance(after, Colors)
    assert [step.branches for step in arrange([], words=True)] == [()]
    assert arrange([]) == arrange([(color(), 0.0), (SOFT, 0.0)]) == []


@pytest.mark.parametrize("finish", [PLAIN, SOFT, CORRECTED, SCALED])
def test_one_edit_alone_fades_from_the_photo_to_what_was_chosen(finish):
    full = finish.finish(PHOTO, SEEN, MADE)
    for weight in (0.25, 1.0):
        (run,) = arrange([(finish, weight)])
        assert run.branches == ((0, 1.0),), "sampled as it was fitted"
        np.testing.assert_allclose(run(PHOTO, SEEN, MADE), PHOTO + weight * (full - PHOTO), atol=1e-6)


@pytest.mark.parametrize("weight", [-1.0, 1.5])
def test_beyond_that_the_editor_decides_and_nothing_is_corrected(weight):
    (run,) = arrange([(CORRECTED, weight)])
    assert run.branches == ((0, weight),)
    np.testing.assert_array_equal(run(PHOTO, SEEN, MADE), PLAIN.finish(PHOTO, SEEN, MADE))


@pytest.mark.parametrize(
    ("finishes", "words", "residual"),
    [
        ([PLAIN, CORRECTED], False, None),
        ([PLAIN, SOFT], False, 1 / 32),
        ([SOFT, WHOLE, PLAIN], False, 0.0),
        ([PLAIN, SCALED], False, 0.0),
        ([PLAIN, None], False, 0.0),
        ([CORRECTED], True, 0.0),
        ([], True, 0.0),
    ],
)
def test_together_the_most_residual_that_one_needs_is_kept(finishes, words, residual):
    (run,) = arrange([(finish, 1.0) for finish in finishes], words)
    assert run.finish.kind == "detail"
    assert run.finish.residual == residual
    assert run.finish.correction is None
    np.testing.assert_array_equal(run(PHOTO, SEEN, MADE), Finish("detail", residual=residual).finish(PHOTO, SEEN, MADE))


def test_an_edit_without_a_finish_is_as_it_was():
    (run,) = arrange([(None, 0.4)])
    assert run.branches == ((0, 0.4),)
    np.testing.assert_array_equal(run(PHOTO, SEEN, MADE), SCALED.finish(PHOTO, SEEN, MADE))
