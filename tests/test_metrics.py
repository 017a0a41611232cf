import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from vii.errors import UsageError
from vii.metrics import MAX_PSNR, psnr, ssim


def noisy_pair(height: int, width: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A smooth coloured ramp and the same with noise."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    truth = torch.stack([rows.expand(height, width), columns.expand(height, width), rows * columns])
    return (truth + noise * torch.randn(3, height, width, generator=generator)).clamp(0, 1), truth


@pytest.mark.parametrize("difference", [0.5, 0.1, 0.001])
def test_psnr_of_a_constant_difference_is_its_level_in_decibels(difference: float) -> None:
    truth = torch.full((3, 5, 7), 0.25)
    assert psnr(truth + difference, truth) == pytest.approx(-20 * math.log10(difference), abs=1e-3)


def test_psnr_averages_the_error_before_it_takes_the_logarithm() -> None:
    truth = torch.zeros(3, 2, 2)
    image = truth.clone()
    image[0, 0, 0] = 1.0  # one of twelve values is wrong by 1
    assert psnr(image, truth) == pytest.approx(10 * math.log10(12))


def test_psnr_of_the_same_picture_is_the_cap() -> None:
    image, _ = noisy_pair(9, 12, 0.1)
    assert psnr(image, image) == MAX_PSNR
    assert psnr(image.double() + 1e-9, image) == MAX_PSNR


def test_psnr_falls_as_noise_grows() -> None:
    values = [psnr(*noisy_pair(32, 32, noise)) for noise in (0.01, 0.05, 0.2)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(("height", "width", "noise"), [(11, 11, 0.1), (40, 64, 0.02), (63, 37, 0.3)])
def test_ssim_agrees_with_scikit_image(height: int, width: int, noise: float) -> None:
    image, truth = noisy_pair(height, width, noise)
    expected = structural_similarity(
        image.double().numpy(),
        truth.double().numpy(),
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert ssim(image, truth) == pytest.approx(float(expected), abs=1e-9)


def test_ssim_is_symmetric_and_one_for_the_same_picture() -> None:
    image, truth = noisy_pair(24, 30, 0.1)
    assert ssim(image, truth) == pytest.approx(ssim(truth, image))
    assert ssim(image, image) == pytest.approx(1.0)


def test_ssim_of_two_flat_pictures_is_their_luminance_term() -> None:
    dark, bright = torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(dark, bright) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_a_negative_is_below_that_of_an_unrelated_picture() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 32)))
    assert ssim(1 - noise[0], noise[0]) < ssim(noise[1], noise[0]) < 0.2


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("image_shape", "truth_shape"),
    [((3, 16, 16), (3, 16, 17)), ((1, 16, 16), (1, 16, 16)), ((1, 3, 16, 16), (1, 3, 16, 16)), ((3, 16, 16), (16, 16))],
)
def test_pictures_that_cannot_be_compared_are_refused(metric, image_shape, truth_shape) -> None:
    with pytest.raises(UsageError, match="two images") as error:
        metric(torch.zeros(image_shape), torch.zeros(truth_shape))
    assert str(tuple(image_shape)) in str(error.value)


def test_ssim_of_a_picture_smaller_than_its_window_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 11 x 11 pixels, got 30 x 10"):
        ssim(torch.zeros(3, 10, 30), torch.zeros(3, 10, 30))


def test_half_precision_and_gradients_are_no_obstacle() -> None:
    image, truth = noisy_pair(16, 16, 0.1)
    assert psnr(image.half().requires_grad_(), truth) == pytest.approx(psnr(image, truth), abs=0.01)
