"""How close a picture comes to the truth, and what went wrong where it does not. Images are `(3, h, w)` in [0, 1]."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..editor import JointSpace
from ..errors import UsageError
from ..images import Pair

MAX_PSNR = 100.0
# A pixel of which no channel moves by this much is one that an 8-bit picture may show unchanged.
UNCHANGED, MIN_UNCHANGED = 1 / 255, 0.05
# Standard deviation, as a share of the shorter side, of the gaussian that parts fine structure from light and colour.
COARSE = 1 / 32

# The constants of Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
WINDOW, SIGMA = 11, 1.5
LUMINANCE, CONTRAST = 0.01**2, 0.03**2
# Pixels of a band of rows: what is computed for them fits into a core's cache, and memory does not grow with pictures.
BAND = 1 << 16


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and channels; higher is closer.

    `MAX_PSNR` where the pictures are the same, so that means over photos stay finite. Raises UsageError for images that
    are not of one size, as all do here that compare them.
    """
    _check_alike(image, truth)
    total = sum(float((first - second).square().sum()) for first, second in _bands(image, truth))
    return _decibels(torch.tensor(total / image.numel(), dtype=torch.float64))


def ssim(image: Tensor, truth: Tensor) -> float:
    """Mean structural similarity over channels and window positions, in [-1, 1]; 1 where the pictures are the same.

    A gaussian window of 11 x 11 pixels, inside the picture only: no padding, so the result depends on no border rule.
    Raises UsageError for a side that is shorter than the window.
    """
    _check_alike(image, truth)
    height, width = image.shape[-2:]
    if min(height, width) < WINDOW:
        raise UsageError(f"ssim needs at least {WINDOW} x {WINDOW} pixels, got {width} x {height}")
    total = 0.0
    for first, second in _bands(image, truth, WINDOW - 1):
        moments = torch.stack([first, second, first * first, second * second, first * second])
        mean, mean_truth, square, square_truth, product = _window_means(moments)
        covariance = product - mean * mean_truth
        variances = square - mean**2 + square_truth - mean_truth**2
        likeness = (2 * mean * mean_truth + LUMINANCE) / (mean**2 + mean_truth**2 + LUMINANCE)
        structure = (2 * covariance + CONTRAST) / (variances + CONTRAST)
        total += float((likeness * structure).sum())
    return total / (3 * (height - WINDOW + 1) * (width - WINDOW + 1))


def preserved(image: Tensor, photo: Tensor, truth: Tensor) -> float | None:
    """PSNR in dB between result and photo on the pixels that the truth leaves as they are.

    A pixel is unchanged where no channel of the truth differs from the photo by `UNCHANGED` or more. None where fewer
    than `MIN_UNCHANGED` of the pixels are: an edit of the whole picture.
    """
    (image, photo), (_, truth) = _comparable(image, photo), _comparable(photo, truth)
    unchanged = (truth - photo).abs().amax(0) < UNCHANGED
    if unchanged.double().mean() < MIN_UNCHANGED:
        return None
    return _decibels((image - photo)[:, unchanged].square().mean())


def direction(joint: JointSpace, image: Tensor, photo: Tensor, truth: Tensor) -> float:
    """CLIP edit direction, the image-image variant: cosine of `E(image) - E(photo)` and `E(truth) - E(photo)`.

    `E` is the image tower of a joint space, features normalised before they are subtracted. 1 is the change that the
    truth makes, 0 no change or an unrelated one, -1 the opposite.
    """
    result, start, goal = F.normalize(joint.image_features([image, photo, truth]).float(), dim=1)
    return float(torch.cosine_similarity(result - start, goal - start, dim=0))


def similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two features `(p,)`."""
    return float(torch.cosine_similarity(_exact(first), _exact(second), dim=0))


def change(before: Tensor, after: Tensor, *, normalised: bool) -> Tensor:
    """From features `(n, p)` before to those after, a row a picture or text: mean over rows, `(p,)`, float64.

    With `normalised`, every feature is brought to length 1 before the difference is taken.
    """
    before, after = _exact(before), _exact(after)
    if normalised:
        before, after = F.normalize(before, dim=1), F.normalize(after, dim=1)
    return (after - before).mean(0)


def leakage(results: Sequence[Tensor], tests: Sequence[Pair], example: Pair) -> float | None:
    """How much of the example's own content turns up in the results, in [-1, 1]; about 0 where none does.

    The fine structure of a result (what a gaussian of `COARSE` of the shorter side does not pass) is freed of what
    the photo and its truth explain linearly. Of what is left, the share is taken that the example's two pictures
    explain, as an amplitude relative to all fine structure of the result. The edit itself (a frame, a beam of light)
    is in the example as well and would count as leaked where it is drawn badly; so the same share for the other test
    photos, edited alike but never seen while learning, is taken off. That leaves a little less than nothing where they
    happen to explain more. A blend of 10, 20 and 40 % of the example into a right answer gives about 0.15, 0.3 and 0.6
    where the edit keeps the picture, and less where it covers it. Content counts where it stood in the example: content
    that has moved is not found.

    Args:
        results: `(3, h, w)` each.
        tests: the photo and the truth of each result.
        example: what was learned from, of the same size.

    Returns:
        the mean over the results; None for fewer than two, for there is nothing to compare with.
    """
    if len(results) < 2:
        return None
    own = [_fine_structure(pair.before, pair.after) for pair in tests]
    shown = _fine_structure(example.before, example.after)
    excess = []
    for index, (result, pair) in enumerate(zip(results, tests, strict=True)):
        _comparable(result, pair.before)
        _comparable(result, example.before)
        fine = _fine_structure(result)
        others = [_share(fine, own[index], own[other]) for other in range(len(tests)) if other != index]
        excess.append(_share(fine, own[index], shown) - sum(others) / len(others))
    return sum(excess) / len(excess)


def _fine_structure(*images: Tensor) -> Tensor:
    """Images -> `(3 * h * w, n)`, float64: each without what a gaussian passes, mirrored at the border."""
    stack = _exact(torch.stack(images))
    sigma = COARSE * min(stack.shape[-2:])
    radius = min(round(3 * sigma), min(stack.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=stack.dtype)
    weights = torch.softmax(-(offsets**2) / (2 * sigma**2), dim=0)
    planes = F.pad(stack.flatten(0, 1).unsqueeze(1), (radius,) * 4, mode="reflect")
    smooth = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return (stack - smooth.view(stack.shape)).flatten(1).T


def _share(fine: Tensor, own: Tensor, content: Tensor) -> float:
    """Amplitude of what `content` explains of `fine` beyond `own`, relative to that of `fine`; in [0, 1]."""
    basis = _basis(own)
    beyond = _basis(content - basis @ (basis.T @ content))
    return float((beyond.T @ (fine - basis @ (basis.T @ fine))).norm() / fine.norm().clamp(min=1e-9))


def _basis(columns: Tensor) -> Tensor:
    """Orthonormal columns that span the given ones; those that are nearly combinations of others are left out."""
    left, sizes, _ = torch.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > 1e-6 * sizes[0].clamp(min=1e-9)]


def _decibels(mean_square: Tensor) -> float:
    return float((-10 * torch.log10(mean_square)).clamp(max=MAX_PSNR))


def _window_means(images: Tensor) -> Tensor:
    """`(n, 3, h, w)` -> `(n, 3, h - 10, w - 10)`: the gaussian mean around every pixel that has a whole window."""
    offsets = torch.arange(WINDOW, dtype=images.dtype) - WINDOW // 2
    weights = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0).tolist()
    for axis in (-1, -2):  # sums of shifted pictures: fourteen times as fast as `conv2d` of one channel in float64
        size = images.shape[axis] - WINDOW + 1
        means = torch.zeros_like(images.narrow(axis, 0, size))
        for offset, weight in enumerate(weights):
            means.add_(images.narrow(axis, offset, size), alpha=weight)
        images = means
    return images


def _comparable(image: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    _check_alike(image, truth)
    return _exact(image), _exact(truth)


def _check_alike(image: Tensor, truth: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or image.shape != truth.shape:
        raise UsageError(
            f"expected two images (3, h, w) of one size, got {tuple(image.shape)} and {tuple(truth.shape)}"
        )


def _bands(image: Tensor, truth: Tensor, more: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Both a few rows at a time, as float64: SSIM's variances are small differences of large sums.

    Each band has `more` rows in common with the next one.
    """
    height, width = image.shape[-2:]
    rows = max(1, BAND // width)
    for start in range(0, height - more, rows):
        yield _exact(image[:, start : start + rows + more]), _exact(truth[:, start : start + rows + more])


def _exact(values: Tensor) -> Tensor:
    """As float64 on the CPU, in this order: not every device has float64."""
    return values.detach().cpu().double()
