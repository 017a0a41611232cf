"""The smoothing of what an editor made of the frames of a clip."""

import numpy as np
import pytest

from vii.finish.steady import Steady

RNG = np.random.default_rng(5)
SEEN = RNG.random((24, 32, 3), dtype=np.float32) * 0.6 + 0.2


def test_where_the_source_stands_still_it_is_exponential_smoothing():
    made = [np.clip(SEEN * 0.8 + RNG.normal(0.1, 0.03, SEEN.shape), 0.05, 0.95).astype(np.float32) for _ in range(5)]
    steady, expected = Steady(0.7), made[0]
    for number, picture in enumerate(made):
        expected = picture if number == 0 else 0.7 * expected + 0.3 * picture
        np.testing.assert_allclose(steady(SEEN, picture), expected, atol=2e-5)


def test_where_it_moves_colours_are_steadied_and_what_is_drawn_goes():
    down, across = np.mgrid[:24, :32].astype(np.float32) / 32
    scene = np.stack([0.4 + 0.2 * np.sin(12 * across + 5 * down), 0.3 + 0.3 * across, 0.5 - 0.2 * down], 2)
    moved, steady = np.roll(scene, 4, 1), Steady(0.9)
    steady(scene, scene + 0.1)
    found = steady(moved, moved - 0.1)
    np.testing.assert_allclose((found - moved).mean(), 0.9 * 0.1 - 0.1 * 0.1, atol=0.01)
    drawn, steady = scene.copy(), Steady(0.9)
    drawn[4:8, 4:8] = 1
    steady(scene, drawn)
    left = np.abs(steady(moved, moved) - moved)[4:8, 4:8].mean()
    assert left < 0.4 * np.abs(drawn - scene)[4:8, 4:8].mean()


def test_another_scene_and_another_size_begin_anew():
    steady = Steady(0.9)
    steady(SEEN, 1 - SEEN)
    np.testing.assert_allclose(steady(1 - SEEN, SEEN), SEEN, atol=1e-5)
    small = SEEN[:16]
    np.testing.assert_allclose(steady(small, small * 0.5), small * 0.5, atol=1e-5)


def test_a_share_of_nothing_changes_nothing_and_one_of_all_is_refused():
    steady = Steady(0)
    for made in (SEEN, 1 - SEEN):
        np.testing.assert_allclose(steady(SEEN, made), made, atol=1e-5)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="share"):
            Steady(share)
