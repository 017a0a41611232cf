"""Running pictures through functions by rows, and the resampling that the finish is built on."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from vii.finish import tiles
from vii.finish.tiles import blurred, by_rows, check_image, hats, resampling, scaled, softened


def random_picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def test_a_picture_comes_back_whole_whatever_the_tiles(monkeypatch):
    image = random_picture(37, 23)
    rows = np.arange(37, dtype=np.float32).repeat(23).reshape(37, 23, 1)
    for tile in (1, 23 * 5, 1 << 14):  # less than a row, five rows, all
        monkeypatch.setattr(tiles, "TILE", tile)
        with_row = by_rows(image, lambda x, start, stop: x + np.arange(start, stop).repeat(23), clip=False)
        np.testing.assert_allclose(with_row, image + rows, rtol=1e-6)


def test_results_are_clipped_and_the_picture_is_left_alone():
    image = random_picture(8, 9)
    copy = image.copy()
    result = by_rows(image, lambda x, *_: 3 * x - 1)
    np.testing.assert_allclose(result, np.clip(3 * copy - 1, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(image, copy)
    assert result.dtype == np.float32


@pytest.mark.parametrize("size", [(40, 30), (13, 50), (100, 91)])
def test_scaling_is_that_of_torch_and_pillow(size):
    image = random_picture(41, 30)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], size, mode="bicubic", antialias=True
    )
    np.testing.assert_allclose(scaled(image, *size), expected[0].permute(1, 2, 0).numpy(), atol=2e-5)


def test_resampling_keeps_what_is_even():
    for source, target in ((7, 20), (20, 7), (5, 5), (2, 9)):
        np.testing.assert_allclose(resampling(source, target).sum(1), 1)
    np.testing.assert_allclose(resampling(6, 6), np.eye(6), atol=1e-12)


def test_blur_is_that_of_scipy():
    image = random_picture(20, 31)
    expected = ndimage.gaussian_filter(image.astype(np.float64), (2, 2, 0), mode="nearest", radius=(6, 6, 0))
    np.testing.assert_allclose(blurred(image, 2), expected, atol=1e-6)


@pytest.mark.parametrize("radius", [1 / 128, 1 / 64, 1 / 32])
@pytest.mark.parametrize("kind", ["float32", "uint8", "uint16"])
def test_what_is_blurred_at_a_smaller_size_is_blurred(radius, kind):
    """Away from the border, where the two repeat another colour; `radius` in shares of the shorter side."""
    image = scaled(random_picture(12, 16), 180, 240).clip(0, 1) * 0.8 + 0.2 * random_picture(180, 240, 1)
    if kind != "float32":
        image = (image * np.iinfo(kind).max).astype(kind)
    sigma = radius * 180
    most = 1 if kind == "float32" else np.iinfo(kind).max
    expected = ndimage.gaussian_filter(image.astype(np.float64) / most, (sigma, sigma, 0), mode="nearest")
    rows = [softened(image, radius)(start, start + 60).reshape(3, 60, 240) for start in (0, 60, 120)]
    result, inner = np.concatenate(rows, 1).transpose(1, 2, 0), slice(50, -50)
    np.testing.assert_allclose(result[inner, inner], expected[inner, inner], atol=2e-3)
    np.testing.assert_allclose(result, expected, atol=0.04)


def test_hats_interpolate_linearly_and_hold_the_ends():
    values, at = np.array([3.0, 5.0, 4.0]), np.array([-1.0, 0.0, 0.25, 1.5, 2.0, 9.0])
    np.testing.assert_allclose(hats(at, 3) @ values, np.interp(at, [0, 1, 2], values))


@pytest.mark.parametrize(
    "image",
    [np.zeros((3, 8, 8), np.float32), np.zeros((8, 8), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 3))],
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ValueError, match="expected a floating array"):
        check_image("photo", image)
