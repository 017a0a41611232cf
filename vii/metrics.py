"""How close a picture comes to the truth. Images are `(3, h, w)` in [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import UsageError

MAX_PSNR = 100.0

# The constants of Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
WINDOW, SIGMA = 11, 1.5
LUMINANCE, CONTRAST = 0.01**2, 0.03**2


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and channels; higher is closer.

    `MAX_PSNR` where the pictures are the same, so that means over photos stay finite.

    Raises:
        UsageError: the two are not images of one size.
    """
    image, truth = _comparable(image, truth)
    error = (image - truth).square().mean()
    return float((-10 * torch.log10(error)).clamp(max=MAX_PSNR))


def ssim(image: Tensor, truth: Tensor) -> float:
    """Mean structural similarity over channels and window positions, in [-1, 1]; 1 where the pictures are the same.

    A gaussian window of 11 x 11 pixels, inside the picture only: no padding, so the result depends on no border rule.

    Raises:
        UsageError: the two are not images of one size, or a side is shorter than the window.
    """
    image, truth = _comparable(image, truth)
    if min(image.shape[-2:]) < WINDOW:
        raise UsageError(f"ssim needs at least {WINDOW} x {WINDOW} pixels, got {image.shape[2]} x {image.shape[1]}")
    moments = torch.stack([image, truth, image * image, truth * truth, image * truth])
    mean, mean_truth, square, square_truth, product = _window_means(moments)
    covariance = product - mean * mean_truth
    variances = square - mean**2 + square_truth - mean_truth**2
    likeness = (2 * mean * mean_truth + LUMINANCE) / (mean**2 + mean_truth**2 + LUMINANCE)
    structure = (2 * covariance + CONTRAST) / (variances + CONTRAST)
    return float((likeness * structure).mean())


def _window_means(images: Tensor) -> Tensor:
    """`(n, 3, h, w)` -> `(n, 3, h - 10, w - 10)`: the gaussian mean around every pixel that has a whole window."""
    offsets = torch.arange(WINDOW, dtype=images.dtype) - WINDOW // 2
    weights = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0)
    planes = images.flatten(0, 1).unsqueeze(1)
    means = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return means.view(*images.shape[:2], *means.shape[-2:])


def _comparable(image: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 on the CPU: the variances of SSIM are small differences of large sums."""
    if image.ndim != 3 or image.shape[0] != 3 or image.shape != truth.shape:
        raise UsageError(
            f"expected two images (3, h, w) of one size, got {tuple(image.shape)} and {tuple(truth.shape)}"
        )
    return image.detach().cpu().double(), truth.detach().cpu().double()
