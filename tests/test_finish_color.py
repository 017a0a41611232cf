"""Colour transforms: their terms, how they are fitted, and what they do where the pair says nothing."""

import subprocess
import sys

import numpy as np
import pytest

from vii.finish.color import ColorTransform, draw_samples, fit_color, penalty
from vii.finish.terms import AXES, PLACES, Terms, place

RNG = np.random.default_rng(3)
# A photo's worth of colours: smooth patches and all of the cube.
PHOTO = np.clip(RNG.random((12, 16, 3)).repeat(8, 0).repeat(8, 1) + 0.05 * RNG.normal(size=(96, 128, 3)), 0, 1)
PHOTO = PHOTO.astype(np.float32)
OTHER = RNG.random((40, 50, 3), dtype=np.float32)


def psnr(image, truth):
    return -10 * np.log10(max(np.mean((image.astype(np.float64) - truth) ** 2), 1e-12))


def learned(edit, photo=PHOTO, **options):
    return fit_color(draw_samples([(photo, edit(photo))]), **options).transform


def test_terms_are_what_they_say():
    terms = Terms(3, ("red", "luma 601"), 5)
    x = RNG.random((7, 3))
    values = terms.matrix(x)
    r, g, b = (2 * x - 1).T
    assert values.shape == (7, len(terms)) == (7, 20 + 10)
    assert terms.products[:4] == [(), (0,), (1,), (2,)]
    for index, product in enumerate(terms.products):
        expected = np.prod([(r, g, b)[channel] for channel in product], axis=0) if product else 1
        np.testing.assert_allclose(values[:, index], expected)
    curve = RNG.random(5)
    luma = x @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(values[:, 25:] @ curve, np.interp(luma, np.linspace(0, 1, 5), curve))


@pytest.mark.parametrize("name", PLACES)
def test_terms_by_place_are_what_they_say(name):
    terms, (height, width) = Terms(1, place=name, place_knots=4), (6, 9)
    where = place(name, height, width)
    assert where.shape == (height, width)
    assert where.min() >= 0
    assert where.max() <= 1 + 1e-6 or name == "border in pixels"
    coefficients = RNG.normal(size=(len(terms), 3))
    image = RNG.random((height, width, 3), dtype=np.float32)
    expected = np.empty((height, width, 3))
    for y in range(height):
        for x in range(width):
            row, column = (y + 0.5) / height, (x + 0.5) / width
            inward = min(row, 1 - row) * height, min(column, 1 - column) * width
            at = {
                "down": row,
                "across": column,
                "middle": np.hypot(row - 0.5, column - 0.5) / np.hypot(0.5, 0.5),
                "border": 2 * min(inward[0] / height, inward[1] / width),
                "border in pixels": 2 * min(inward) / min(height, width),
            }[name]
            u = np.array([1, *(2 * image[y, x] - 1)])
            by_place = [np.interp(at, np.linspace(0, 1, 4), row) for row in coefficients[4:].reshape(4, 12).T]
            expected[y, x] = image[y, x] + u @ coefficients[:4] + u @ np.reshape(by_place, (4, 3))
    result = ColorTransform(terms, coefficients.astype(np.float32))(image)
    np.testing.assert_allclose(result, expected.clip(0, 1), atol=5e-3)  # the place is tabulated


def test_applying_is_the_matrix_in_float64():
    terms = Terms(4, tuple(AXES), 33)
    coefficients = 0.02 * RNG.normal(size=(len(terms), 3))
    expected = OTHER.reshape(-1, 3) + terms.matrix(OTHER.reshape(-1, 3)) @ coefficients
    result = ColorTransform(terms, coefficients.astype(np.float32))(OTHER)
    np.testing.assert_allclose(result.reshape(-1, 3), expected.clip(0, 1), atol=2e-4)


def test_weights_fade_and_turn_round():
    gray = learned(lambda x: np.repeat(x @ np.float32([[0.299], [0.587], [0.114]]), 3, -1))
    full = gray(OTHER)
    np.testing.assert_allclose(gray(OTHER, 0.0), OTHER, atol=1e-6)
    np.testing.assert_allclose(gray(OTHER, 0.3), OTHER + 0.3 * (full - OTHER), atol=1e-6)
    np.testing.assert_allclose(gray(OTHER, -1.0), np.clip(2 * OTHER - full, 0, 1), atol=1e-6)
    slight = learned(lambda x: np.clip(x * 0.98 + np.float32([0.015, 0.01, 0]), 0, 1))
    assert psnr(slight(slight(OTHER), -1.0), OTHER) > 50, "of a slight transform it is the inverse to first order"


EDITS = {
    "negative": (lambda x: 1 - x, 100),
    "black and white": (lambda x: np.repeat(x @ np.float32([[0.299], [0.587], [0.114]]), 3, -1), 60),
    "channels swapped": (lambda x: x[..., [2, 0, 1]], 60),
    "gamma": (lambda x: x**0.7, 40),
    "solarized": (lambda x: 1 - np.abs(2 * x - 1), 50),
    "four steps of brightness": (
        lambda x: np.round(x @ np.float32([[0.2126], [0.7152], [0.0722]]) * 3) / 3 * np.ones(3),
        21,
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_colour_edits_are_found_and_hold_on_another_photo(name):
    edit, at_least = EDITS[name]
    eight_bit = np.round(edit(PHOTO) * 255).astype(np.float32) / 255
    fitted = fit_color(draw_samples([(PHOTO, eight_bit)]))
    assert psnr(fitted.transform(OTHER), np.clip(edit(OTHER), 0, 1)) > min(at_least, 58)
    assert len(fitted.transform.terms) * 12 < 4000, "an edit is kept in kilobytes"


def test_several_pairs_count_together():
    """Each pair shows half of the colours; what is learned from both holds for all."""

    def edit(x):
        return np.where(x[..., :1] < 0.5, x, 1 - x).astype(np.float32)

    dark, light = PHOTO * np.float32([0.5, 1, 1]), PHOTO * np.float32([0.5, 1, 1]) + np.float32([0.5, 0, 0])
    samples = draw_samples([(dark, edit(dark)), (light, edit(light))])
    assert set(samples.folds) == {0, 1}, "each pair is left out in turn"
    terms = [Terms(3, ("red",), 33)]
    both = fit_color(samples, terms).transform
    one = learned(edit, dark, candidates=terms)
    assert psnr(both(OTHER), edit(OTHER)) > psnr(one(OTHER), edit(OTHER)) + 3


@pytest.mark.parametrize("terms", [Terms(2), Terms(4), Terms(3, ("red", "green", "blue", "luma 601"), 33)], ids=str)
def test_a_colour_that_the_pair_does_not_have_is_not_thrown_about(terms):
    """Seen: dark greens only. Elsewhere the transform stays near the affine one, however many terms it has."""
    seen = (PHOTO * np.float32([0.2, 0.35, 0.15]) + np.float32([0.02, 0.15, 0.02])).astype(np.float32)
    noise = 0.01 * RNG.normal(size=seen.shape)

    def edit(x):
        return np.clip(0.8 * x + 0.1, 0, 1)

    after = np.clip(edit(seen) + noise, 0, 1).astype(np.float32)
    far = learned(lambda x: after, seen, candidates=[terms])
    assert np.abs(far(OTHER) - edit(OTHER)).max() < 0.12


def test_the_penalty_is_the_mean_square_over_all_colours():
    """Of a bent function: what the best affine one leaves of it; of an affine one: a thousandth of it."""
    cost, x = penalty(Terms(2)), np.linspace(-1, 1, 13)
    square = np.zeros(10)
    square[Terms(2).products.index((0, 0))] = 1
    affine_left = x**2 - np.mean(x**2)
    np.testing.assert_allclose(square @ cost @ square, np.mean(affine_left**2) + 0.001 * np.mean(x**4), rtol=1e-4)
    constant = np.eye(10)[0]
    np.testing.assert_allclose(constant @ cost @ constant, 0.001, rtol=1e-3)


def test_folds_are_blocks_and_cover_the_picture():
    samples = draw_samples([(PHOTO, PHOTO)])
    grid = np.full(PHOTO.shape[:2], -1)
    grid.reshape(-1)[samples.picked[0]] = samples.folds
    blocks = grid.reshape(8, 12, 8, 16).swapaxes(1, 2).reshape(64, -1)
    assert all(len(set(block) - {-1}) == 1 for block in blocks)
    squares = np.stack([samples.picked[0] // 128, samples.picked[0] % 128]).reshape(2, -1, 16) // 4
    assert (squares == squares[..., :1]).all()
    assert np.bincount(samples.folds).min() > 0.2 * len(samples.folds)
    np.testing.assert_array_equal(samples.before, PHOTO.reshape(-1, 3)[samples.picked[0]])


def test_coefficients_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="finite coefficients"):
        ColorTransform(Terms(2), np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match="finite coefficients"):
        ColorTransform(Terms(1), np.full((4, 3), np.nan, np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        {"degree": -1},
        {"degree": 0, "place": "down", "place_knots": 9},
        {"degree": 9},
        {"degree": 1, "axes": ("purple",), "knots": 9},
        {"degree": 1, "axes": ("red",)},
        {"degree": 1, "knots": 5},
        {"degree": 1, "axes": ("red",), "knots": 10**6},
        {"degree": 1, "place": "upwards", "place_knots": 9},
        {"degree": 1, "place": "down"},
    ],
)
def test_terms_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Terms(**wrong)


def test_applying_a_colour_transform_loads_no_torch():
    code = (
        "import sys, numpy, vii.finish as f, vii.finish.terms as t;"
        "f.ColorTransform(t.Terms(1), numpy.zeros((4, 3), 'f4'))(numpy.zeros((4, 4, 3), 'f4')); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "scipy", "PIL", "diffusers"}.isdisjoint(loaded)
