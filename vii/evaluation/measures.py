"""What is measured: pure functions on features, and for each measure its name, its variant and which way is better.

A feature is a vector `(p,)` that a network gives for a picture or a text. All cosines are in [-1, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CLIP, LPIPS, DINO, PIXELS = "clip", "lpips", "dino", "pixels"


@dataclass(frozen=True)
class Measure:
    """A column of the results.

    Attributes:
        name: as in the files.
        label: as in the table.
        network: what measures it: `CLIP`, `LPIPS`, `DINO` or `PIXELS`.
        meaning: the formula, its variant and its source.
        digits: decimals in the table.
    """

    name: str
    label: str
    network: str
    meaning: str
    digits: int = 3


CYCLE_IMAGE = "the way back, learned from (after, before), applied to the result, against the photo"
CYCLE_PROMPT = "learned from (photo, result), applied to the example's before, against the example's after"
# E is the image feature, T the text feature. No change at all has no direction; its cosine with any is 0.
MEASURES = (
    Measure(
        "visual_clip",
        "visual CLIP",
        CLIP,
        "cos(mean over examples of E(after) - E(before), E(result) - E(photo)), features normalised before they are "
        "subtracted, as in InstructPix2Pix's metrics; more is better",
    ),
    Measure(
        "visual_clip_raw",
        "visual CLIP, raw",
        CLIP,
        "the same with features as they come, as in the training loss of Visual Instruction Inversion and in "
        "Analogist's metric; more is better",
    ),
    Measure("image_clip", "image CLIP", CLIP, "cos(E(result), E(photo)); more is more faithful to the photo"),
    Measure(
        "text_clip",
        "text CLIP direction",
        CLIP,
        "cos(T(words after) - T(words before), E(result) - E(photo)), features normalised before they are subtracted, "
        "as in InstructPix2Pix's metrics; more is better",
    ),
    Measure("psnr", "PSNR to the truth, dB", PIXELS, "more is better, 100 at most", 2),
    Measure("ssim", "SSIM to the truth", PIXELS, "more is better, 1 at most"),
    Measure("lpips", "LPIPS to the truth", LPIPS, "LPIPS 0.1; less is better"),
    Measure("dino", "DINO to the truth", DINO, "cosine of the class tokens of result and truth; more is better"),
    Measure(
        "cycle_image_psnr",
        "cycle, image, PSNR dB",
        PIXELS,
        f"ImageBrush's image fidelity as a distance of each picture: {CYCLE_IMAGE}; more is better",
        2,
    ),
    Measure("cycle_image_clip", "cycle, image, CLIP", CLIP, f"cosine of the features: {CYCLE_IMAGE}; more is better"),
    Measure("cycle_image_lpips", "cycle, image, LPIPS", LPIPS, f"LPIPS 0.1: {CYCLE_IMAGE}; less is better"),
    Measure(
        "cycle_prompt_psnr",
        "cycle, prompt, PSNR dB",
        PIXELS,
        f"ImageBrush's prompt fidelity as a distance of each picture: {CYCLE_PROMPT}; more is better",
        2,
    ),
    Measure(
        "cycle_prompt_clip", "cycle, prompt, CLIP", CLIP, f"cosine of the features: {CYCLE_PROMPT}; more is better"
    ),
    Measure("cycle_prompt_lpips", "cycle, prompt, LPIPS", LPIPS, f"LPIPS 0.1: {CYCLE_PROMPT}; less is better"),
)


def similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two features `(p,)`."""
    return float(torch.cosine_similarity(first.double(), second.double(), dim=0))


def change(before: Tensor, after: Tensor, *, normalised: bool) -> Tensor:
    """From `(n, p)` features before to those after, mean over rows, `(p,)`, float64.

    Args:
        before: one row a picture or text.
        after: likewise.
        normalised: bring every feature to length 1 before the difference is taken.
    """
    before, after = before.double(), after.double()
    if normalised:
        before, after = F.normalize(before, dim=1), F.normalize(after, dim=1)
    return (after - before).mean(0)
