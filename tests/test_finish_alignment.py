"""Pairs that do not lie on each other: the motion is found and undone, and nothing is moved without need."""

import numpy as np
import pytest
from PIL import Image

from vii.finish.alignment import align
from vii.finish.tiles import scaled


def photo(height=150, width=200):
    """Many soft patches of colour, as a photo has edges everywhere."""
    rng = np.random.default_rng(4)
    image = sum(scaled(rng.random((n, n + 3, 3)), height + 20, width + 20) / n**0.3 for n in (5, 13, 29))
    return ((image - image.min()) / (image.max() - image.min())).astype(np.float32)


WIDE = photo()
BEFORE = WIDE[10:-10, 10:-10]
EDITS = {"negative": lambda x: 1 - x, "gamma and tint": lambda x: x**0.6 * np.float32([1, 0.9, 0.7])}


def mean_error(image, truth, inside):
    return float(np.abs(image - truth)[inside].mean())


@pytest.mark.parametrize("name", EDITS)
def test_a_shift_is_found_and_undone(name):
    edit = EDITS[name]
    shifted = edit(WIDE)[12:-8, 9:-11]  # two down, one to the left
    laid, inside, moved = align(BEFORE, shifted)
    assert moved == pytest.approx(2, abs=0.2)
    assert inside.mean() > 0.95
    assert mean_error(laid, edit(BEFORE), inside) < mean_error(shifted, edit(BEFORE), inside) / 8


def test_a_slight_crop_is_found_and_undone():
    edit = EDITS["gamma and tint"]
    after = Image.fromarray((edit(BEFORE) * 255).round().astype(np.uint8))
    width, height = after.size
    box = (0.01 * width, 0.005 * height, 0.985 * width, 0.98 * height)
    cropped = np.asarray(after.resize(after.size, Image.Resampling.BICUBIC, box), np.float32) / 255
    laid, inside, moved = align(BEFORE, cropped)
    assert moved == pytest.approx(3, abs=0.5)
    assert mean_error(laid, edit(BEFORE), inside) < mean_error(cropped, edit(BEFORE), inside) / 5


@pytest.mark.parametrize("edit", [*EDITS.values(), lambda x: x * 0 + 0.5, lambda x: x[::-1]])
def test_what_lies_well_or_is_no_pair_is_left_alone(edit):
    after = edit(BEFORE)
    laid, inside, moved = align(BEFORE, after)
    assert moved == 0
    assert laid is after
    assert inside.all()
