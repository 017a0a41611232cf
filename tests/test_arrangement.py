"""Which steps edits and words are, and what colour transforms do one after the other."""

import numpy as np
import pytest

import vii
from vii.arrangement import arrangement, chained
from vii.errors import UsageError
from vii.finish import Colors, ColorTransform, Finish
from vii.finish.terms import Terms
from vii.finish.tiles import by_rows
from vii.space import Space

SPACE = Space("encoder_output", "toy", 3, 8, "toy", "f")


def affine(matrix, shift):
    """A colour transform that is `x @ matrix + shift`; its terms are 1 and `2 x - 1`, and it adds to the photo."""
    change = (np.asarray(matrix, np.float64) - np.eye(3)) / 2
    return ColorTransform(Terms(1), np.concatenate([[np.asarray(shift) + change.sum(0)], change]).astype(np.float32))


def tokens(finish=None):
    return vii.Edit(tokens=np.zeros((2, 3)), space=SPACE, editor="toy", start=1, resolution=32, finish=finish)


DARK, SWAP = affine(0.5 * np.eye(3), [0, 0, 0]), affine(np.eye(3)[::-1], [0, 0, 0])
DETAIL = tokens(Finish("detail", residual=0.25))


def test_colours_stand_before_and_after_the_one_run_of_the_editor():
    dark, swap = (vii.Edit(finish=Finish("color", transform)) for transform in (DARK, SWAP))
    found = arrangement([(dark, 0.5), (DETAIL, 1.0), (swap, 1.0)])
    assert [(step.transform, step.weight) for step in found.before] == [(DARK, 0.5)]
    assert [(step.transform, step.weight) for step in found.after] == [(SWAP, 1.0)]
    assert (found.run.branches, found.run.finish, found.run.fade) == (((1, 1.0),), DETAIL.finish, 1.0)
    assert arrangement([(dark, 1.0)]).run is None
    assert arrangement([(DETAIL, 0.0)]).run is None
    words = arrangement([(dark, 1.0)], words=True)
    assert (len(words.before), words.run.branches, words.after) == (1, (), ())


def test_without_a_finish_everything_is_sampled_at_its_weight_and_scaled_up():
    color = tokens(Finish("color", DARK))
    found = arrangement([(color, 0.5), (DETAIL, 0.0), (DETAIL, -1.0)], words=True, finish="none")
    assert (found.before, found.after) == ((), ())
    assert found.run.branches == ((0, 0.5), (1, 0.0), (2, -1.0))
    assert (found.run.finish.kind, found.run.fade) == ("editor", 1.0)


def test_joined_words_take_the_first_edit_to_the_editor():
    color = tokens(Finish("color", DARK))
    found = arrangement([(color, 1.0)], words=True, joined=True)
    assert (found.before, found.run.branches) == ((), ((0, 1.0),))
    assert (found.run.finish.kind, found.run.finish.residual) == ("detail", 0.0)
    assert arrangement([(color, 1.0)], words=True).before  # not joined, the edit is its colours


@pytest.mark.parametrize("options", [{"finish": "none"}, {"words": True, "joined": True}])
def test_an_edit_without_tokens_has_nothing_for_an_editor(options):
    with pytest.raises(UsageError, match="Dark has no tokens"):
        arrangement([(vii.Edit(finish=Finish("color", DARK), title="Dark"), 1.0)], **options)


def test_another_finish_is_refused():
    with pytest.raises(UsageError, match="'auto'"):
        arrangement([], finish="autom")


@pytest.mark.parametrize("tile", [1, 100, 1 << 14])
def test_chained_colours_are_each_one_of_the_result_before(monkeypatch, tile):
    """At a weight `x + w (T(x) - x)`, clipped, whatever rows are worked on at once."""
    monkeypatch.setattr("vii.finish.tiles.TILE", tile)
    image = np.random.default_rng(0).random((31, 17, 3), np.float32)
    steps = [Colors(affine(2 * np.eye(3), [0, 0, 0]), 0.5), Colors(SWAP, 1.0), Colors(DARK, -1.0)]
    expected = np.clip(image + 0.5 * (np.clip(2 * image, 0, 1) - image), 0, 1)[..., ::-1]
    expected = np.clip(expected - (0.5 * expected - expected), 0, 1)
    np.testing.assert_allclose(by_rows(image, chained(steps, image)), expected, atol=1e-6)


def test_what_looks_around_looks_at_what_those_before_have_made():
    terms = Terms(1, radii=(1 / 16,))
    sharp = ColorTransform(terms, np.concatenate([np.zeros((4, 3)), -0.8 * np.eye(3)]).astype(np.float32))
    picture = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    steps = [Colors(DARK, 1.0), Colors(sharp, 0.5), Colors(SWAP, 1.0)]
    expected = SWAP(sharp(DARK(picture), 0.5))
    np.testing.assert_allclose(by_rows(picture, chained(steps, picture)), expected, atol=1e-6)
    blurred = sharp(picture) - picture
    assert np.abs(blurred).mean() > 0.05
