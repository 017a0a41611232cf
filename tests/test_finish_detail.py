"""Detail transfer, held against its definition written out and against torch's own trilinear sampling."""

import numpy as np
import pytest
import torch

from vii.finish.detail import LUMA, apply_grid, bilateral_grid, transfer, upsampled
from vii.finish.tiles import blurred, scaled


def smooth(height, width, seed):
    coarse = np.random.default_rng(seed).random((5, 6, 3), dtype=np.float32)
    fine = 0.1 * np.random.default_rng(seed + 1).normal(size=(height, width, 3))
    return np.clip(scaled(coarse, height, width) + fine, 0, 1).astype(np.float32)


PHOTO = smooth(96, 144, 1)
SEEN = scaled(PHOTO, 32, 48).clip(0, 1)


def psnr(image, truth):
    return -10 * np.log10(np.mean((image.astype(np.float64) - truth) ** 2))


def test_each_node_is_the_ridge_regression_around_it():
    """Weighted least squares in float64, by loops, of one node far from all borders and one in a corner."""
    made, cells, bins, ridge = smooth(32, 48, 7), 4, 6, 0.1
    grid = bilateral_grid(SEEN, made, cells, bins, ridge)
    gh, gw = 4, 6
    assert grid.shape == (gh, gw, bins, 12)

    def spread(at, count):  # linear splat, the ends held, then 1 : 2 : 1 with the border repeated
        hat = np.maximum(0, 1 - np.abs(np.clip(at, 0, count - 1) - np.arange(count)))
        padded = np.concatenate([hat[:1], hat, hat[-1:]])
        return (padded[:-2] + 2 * hat + padded[2:]) / 4

    left, right, total_left, total_right, count = {}, {}, np.zeros((4, 4)), np.zeros((3, 4)), 0.0
    for y in range(32):
        for x in range(48):
            phi = np.append(SEEN[y, x].astype(np.float64), 1)
            wy, wx = spread((y + 0.5) / 32 * gh - 0.5, gh), spread((x + 0.5) / 48 * gw - 0.5, gw)
            wz = spread(float(SEEN[y, x] @ LUMA) * (bins - 1), bins)
            total_left, total_right, count = (
                total_left + np.outer(phi, phi),
                total_right + np.outer(made[y, x], phi),
                count + 1,
            )
            for node in ((2, 3, 3), (0, 0, 2)):
                weight = wy[node[0]] * wx[node[1]] * wz[node[2]]
                left[node] = left.get(node, 0) + weight * np.outer(phi, phi)
                right[node] = right.get(node, 0) + weight * np.outer(made[y, x], phi)
    gram = total_left / count + 1e-3 * np.eye(4)
    for node in left:
        expected = (right[node] + ridge * total_right / count) @ np.linalg.inv(left[node] + ridge * gram)
        np.testing.assert_allclose(grid[node].reshape(3, 4), expected, atol=2e-3)


def test_slicing_is_trilinear_sampling():
    grid = np.random.default_rng(0).normal(size=(4, 6, 8, 12)).astype(np.float32)
    height, width = PHOTO.shape[:2]
    at = [((torch.arange(n) + 0.5) / n * g - 0.5) / (g - 1) * 2 - 1 for n, g in ((height, 4), (width, 6))]
    gy, gx = torch.meshgrid(*at, indexing="ij")
    gz = torch.from_numpy(PHOTO @ LUMA) * 2 - 1
    volume = torch.from_numpy(grid).permute(3, 2, 0, 1)[None]
    here = torch.nn.functional.grid_sample(
        volume, torch.stack([gx, gy, gz], -1)[None, None], padding_mode="border", align_corners=True
    )[0, :, 0].reshape(3, 4, height, width)
    x = torch.from_numpy(PHOTO).permute(2, 0, 1)
    expected = ((here[:, :3] * x[None]).sum(1) + here[:, 3]).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(apply_grid(grid, PHOTO), expected, atol=1e-4)


def test_a_local_affine_edit_is_carried_over_to_every_pixel():
    def edit(image):
        across = np.linspace(0, 1, image.shape[1], dtype=np.float32)[None, :, None]
        return (0.2 + 0.6 * image[..., [1, 2, 0]]) * (1 - 0.5 * across)

    photo = smooth(256, 384, 1)
    seen = scaled(photo, 128, 192).clip(0, 1)  # what an editor sees: 256 pixels a cell
    noisy = np.clip(edit(seen) + 0.03 * np.random.default_rng(5).normal(size=seen.shape), 0, 1)
    result = transfer(photo, seen, noisy, None)
    assert psnr(result, edit(photo)) > 37
    assert psnr(result, edit(photo)) > psnr(upsampled(photo, noisy), edit(photo)) + 6


def test_what_no_transform_explains_comes_with_the_residual():
    made = SEEN.copy()
    made[10:20, 20:30] = (1, 0, 0)
    truth = PHOTO.copy()
    truth[30:60, 60:90] = (1, 0, 0)
    without, soft, whole = (psnr(transfer(PHOTO, SEEN, made, residual), truth) for residual in (None, 1 / 32, 0.0))
    assert without < soft < whole


@pytest.mark.parametrize("residual", [None, 1 / 16, 0.0])
def test_the_residual_and_the_correction_are_what_they_say(residual):
    made = smooth(32, 48, 11) * 0.5 + 0.25
    grid = bilateral_grid(SEEN, made)
    expected = apply_grid(grid, PHOTO)
    if residual is not None:
        rest = made - apply_grid(grid, SEEN)
        expected = expected + scaled(blurred(rest, residual * 32) if residual else rest, *PHOTO.shape[:2])
    np.testing.assert_allclose(transfer(PHOTO, SEEN, made, residual), expected.clip(0, 1), atol=1e-5)
    correction = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32) * 0.1
    result = expected.clip(0, 1)
    features = np.concatenate([np.ones((*PHOTO.shape[:2], 1)), PHOTO, result], 2)
    corrected = transfer(PHOTO, SEEN, made, residual, correction)
    np.testing.assert_allclose(corrected, (result + features @ correction).clip(0, 1), atol=1e-5)


def test_a_photo_smaller_than_the_editor_sees_works_too():
    result = transfer(scaled(PHOTO, 20, 30).clip(0, 1), SEEN, 1 - SEEN, 0.0)
    assert result.shape == (20, 30, 3)
    assert psnr(result, 1 - scaled(PHOTO, 20, 30)) > 35


def test_an_even_picture_does_not_break_the_grid():
    even = np.full((16, 24, 3), 0.5, np.float32)
    result = transfer(np.full((50, 70, 3), 0.5, np.float32), even, even * 0.4, None)
    np.testing.assert_allclose(result, 0.2, atol=5e-3)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        transfer(PHOTO, SEEN, SEEN[:-1], None)
