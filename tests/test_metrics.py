import math
from functools import partial

import numpy as np
import pytest
import torch
from conftest import picture
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import Tensor

from vii.errors import UsageError
from vii.evaluation.metrics import COARSE, MAX_PSNR, direction, leakage, preserved, psnr, ssim
from vii.evaluation.synthetic import SyntheticEdit, compose, make
from vii.evaluation.tasks import read_photos, square
from vii.images import Pair


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
    as_wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = structural_similarity(image.double().numpy(), truth.double().numpy(), channel_axis=0, **as_wang)
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


def test_preserved_looks_only_where_the_truth_is_the_photo() -> None:
    photo = picture(1, 20, 30)
    truth, result = photo.clone(), photo + 0.02
    truth[:, :, 15:] = 1 - truth[:, :, 15:]  # the right half is the edit's
    result[:, :, 15:] = 0.5
    changed = (truth - photo).abs().amax(0) >= 1 / 255
    result[:, changed] = 0.5  # nothing counts there
    assert preserved(result, photo, truth) == pytest.approx(-20 * math.log10(0.02), abs=1e-3)
    assert preserved(photo, photo, truth) == MAX_PSNR


@pytest.mark.parametrize(("step", "share", "known"), [(0.9, 1.0, True), (1.1, 1.0, False), (1.1, 0.96, False)])
def test_preserved_needs_pixels_that_move_by_less_than_one_level(step: float, share: float, known: bool) -> None:
    """Where a share of the pixels moves by `step` levels of 8 bits in one channel."""
    photo = torch.full((3, 10, 100), 0.5)
    truth = photo.clone()
    truth[1, :, : round(100 * share)] += step / 255
    assert (preserved(photo, photo, truth) is not None) == known


class LinearSpace:
    """A joint space whose image tower is a random matrix."""

    def image_features(self, images) -> Tensor:
        matrix = torch.randn(8, 3 * 12 * 12, generator=torch.Generator().manual_seed(0))
        return torch.stack([matrix @ image.flatten() for image in images])


def test_direction_is_the_cosine_of_two_changes_of_normalised_features() -> None:
    space, (photo, truth, result) = LinearSpace(), (picture(seed, 12, 12) for seed in (1, 2, 3))
    unit = [x / np.linalg.norm(x) for x in space.image_features([photo, truth, result]).double().numpy()]
    wanted, done = unit[1] - unit[0], unit[2] - unit[0]
    expected = wanted @ done / np.linalg.norm(wanted) / np.linalg.norm(done)
    assert direction(space, result, photo, truth) == pytest.approx(expected, abs=1e-5)
    assert direction(space, truth, photo, truth) == pytest.approx(1, abs=1e-5)
    assert direction(space, photo, photo, truth) == 0


def test_leakage_agrees_with_least_squares() -> None:
    """Another way to the same number: fit with and without the content, and compare what is left."""
    example, *tests = (Pair(picture(seed, 40, 40), picture(seed + 50, 40, 40)) for seed in range(4))
    results = [picture(seed + 90, 40, 40) for seed in range(3)]

    def fine(image: Tensor) -> np.ndarray:
        sigma = COARSE * 40
        planes = image.double().numpy()
        size = round(3 * sigma)
        smooth = ndimage.gaussian_filter(planes, (0, sigma, sigma), mode="mirror", radius=(0, size, size))
        return (planes - smooth).ravel()

    def left(target: np.ndarray, columns: list[np.ndarray]) -> float:
        matrix = np.stack(columns, 1)
        return float(np.sum((target - matrix @ np.linalg.lstsq(matrix, target, rcond=None)[0]) ** 2))

    def share(result: Tensor, own: Pair, content: Pair) -> float:
        base = [fine(own.before), fine(own.after)]
        gained = left(fine(result), base) - left(fine(result), [*base, fine(content.before), fine(content.after)])
        return math.sqrt(max(0.0, gained) / np.sum(fine(result) ** 2))

    def excess(result: Tensor, own: Pair) -> float:
        return share(result, own, example) - np.mean([share(result, own, other) for other in tests if other is not own])

    expected = np.mean(list(map(excess, results, tests)))
    assert leakage(results, tests, example) == pytest.approx(expected, abs=1e-9)


# Edits of every kind: colours, light, lines, a frame that covers the picture, a beam of light that all photos share.
LEAKED = {
    "sepia": make("sepia"),
    "negative": make("invert"),
    "thermal": make("thermal"),
    "neon": make("neon", c=120),
    "watercolor": make("watercolor"),
    "frame": make("frame", c=222, w=0.08),
    "spotlight": make("spotlight", pos="top left"),
    "duotone in a frame": compose(make("duotone", c=85, c2=345), make("frame", c=250, w=0.05)),
}
NO_LEAK = 0.025


@pytest.fixture(scope="module")
def photos() -> list[Tensor]:
    return list(read_photos(None, 3, partial(square, side=96)).values())


@pytest.mark.parametrize("edit", LEAKED.values(), ids=LEAKED)
def test_leakage_rises_with_a_planted_leak_and_with_nothing_else(edit: SyntheticEdit, photos: list[Tensor]) -> None:
    example, *tests = (Pair(photo, edit.apply(photo)) for photo in photos)

    def measured(change) -> float:
        found = leakage([change(test).clamp(0, 1) for test in tests], tests, example)
        assert found is not None
        return found

    def blurred(image: Tensor, sigma: float) -> Tensor:
        return torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma)))

    noise = 0.05 * torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(0))
    stranger = example.after.flip(2).roll(11, 1)  # content that was not in this place in the example
    harmless = {
        "right": lambda test: test.after,
        "no edit": lambda test: test.before,
        "half the edit": lambda test: (test.before + test.after) / 2,
        "blur": lambda test: blurred(test.after, 1.2),
        "colour shift": lambda test: test.after + torch.tensor([0.1, -0.05, 0.02]).view(3, 1, 1),
        "rough": lambda test: blurred(test.after, 0.8) * 0.9 + 0.05 + noise,
        "another photo": lambda test: 0.8 * test.after + 0.2 * stranger,
    }
    for name, change in harmless.items():
        assert -2 * NO_LEAK < measured(change) < NO_LEAK, name
    for content in (example.before, example.after):
        for start in (harmless["right"], harmless["rough"]):
            shares = (0.1, 0.2, 0.4)
            leaks = [measured(lambda t, s=s, x=content, f=start: (1 - s) * f(t) + s * x) for s in shares]
            assert leaks == sorted(leaks)
            assert leaks[0] > 2 * NO_LEAK
            assert leaks[2] > 8 * NO_LEAK


def test_leakage_needs_other_photos_to_compare_with(photos: list[Tensor]) -> None:
    pair = Pair(photos[0], photos[1])
    assert leakage([photos[2]], [pair], pair) is None


def test_leakage_of_a_flat_picture_is_none_at_all(photos: list[Tensor]) -> None:
    flat = torch.full((3, 96, 96), 0.5)
    tests = [Pair(flat, flat), Pair(photos[0], flat)]
    assert leakage([flat, flat], tests, Pair(photos[1], photos[2])) == pytest.approx(0, abs=1e-3)


def test_leakage_refuses_pictures_of_different_sizes(photos: list[Tensor]) -> None:
    small, pair = Pair(photos[0][:, :50, :50], photos[1][:, :50, :50]), Pair(photos[0], photos[1])
    with pytest.raises(UsageError, match="of one size"):
        leakage([photos[0]] * 2, [pair] * 2, small)
