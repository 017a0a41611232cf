"""The metrics by name: what each is, in which variant and from which source, and which network computes it."""

from collections.abc import Sequence
from dataclasses import dataclass

CLIP, LPIPS, DINO, PIXELS, COST = "clip", "lpips", "dino", "pixels", "cost"


@dataclass(frozen=True)
class Metric:
    """A column of the results.

    Attributes:
        name: as in the files.
        label: as in the tables.
        network: what computes it: `CLIP`, `LPIPS`, `DINO`, `PIXELS` (none), or `COST`, which is no quality.
        meaning: the formula, its variant and its source; empty where the label says it.
        digits: decimals in the tables.
    """

    name: str
    label: str
    network: str
    meaning: str = ""
    digits: int = 3


PSNR = Metric("psnr", "PSNR to the truth, dB", PIXELS, "more is better; 100 at most, for equal pictures", 2)
SSIM = Metric("ssim", "SSIM to the truth", PIXELS, "more is better, 1 at most")
FULL = "at the photo's own size, to which a smaller result is scaled up; more is better"
FULL_PSNR = Metric("full_psnr", "PSNR at the photos' own size, dB", PIXELS, FULL, 2)

# Of `vii bench`; a score is a mean over the photos of a task.
BENCHMARK: Sequence[Metric] = (
    PSNR,
    SSIM,
    FULL_PSNR,
    Metric("full_ssim", "SSIM at the photos' own size", PIXELS, FULL),
    Metric(
        "direction",
        "CLIP edit direction",
        CLIP,
        "image to image: cosine, in the editor's own CLIP, between the change from photo to result and from photo to "
        "truth; 1 at most, 0 for no change",
    ),
    Metric(
        "preserved",
        "preserved, dB",
        PIXELS,
        "PSNR to the photo on the pixels that the truth leaves as they are, over photos where these are 5 % or more",
        2,
    ),
    Metric(
        "leakage",
        "leakage",
        PIXELS,
        "share of the result's fine structure that is the example's content; about 0 for none, 0.15 where a tenth of "
        "the example was blended in",
    ),
    Metric("learn_seconds", "seconds of learning", COST, digits=1),
    Metric("apply_seconds", "seconds a photo", COST, digits=2),
    Metric("samples", "samples", COST, "images through the UNet while learning", 0),
    Metric("kilobytes", "kilobytes", COST, "of the edit file", 1),
    Metric("explained", "explained", COST, "share of the loss without an instruction that learning takes away"),
)

CYCLE_IMAGE = "the way back, learned from (after, before), applied to the result, against the photo"
CYCLE_PROMPT = "learned from (photo, result), applied to the example's before, against the example's after"


def _cycle(name: str, which: str, path: str) -> Sequence[Metric]:
    fidelity = f"ImageBrush's {which} fidelity as a distance of each picture"
    return (
        Metric(f"{name}_psnr", f"cycle, {which}, PSNR dB", PIXELS, f"{fidelity}: {path}; more is better", 2),
        Metric(f"{name}_clip", f"cycle, {which}, CLIP", CLIP, f"cosine of the features: {path}; more is better"),
        Metric(f"{name}_lpips", f"cycle, {which}, LPIPS", LPIPS, f"LPIPS 0.1: {path}; less is better"),
    )


# Of `vii eval`, of each photo. E is the image feature, T the text feature, both vectors `(p,)`; cosines are in [-1, 1].
# No change at all has no direction; its cosine with any is 0.
PAPER: Sequence[Metric] = (
    Metric(
        "visual_clip",
        "visual CLIP",
        CLIP,
        "cos(mean over examples of E(after) - E(before), E(result) - E(photo)), features normalised before they are "
        "subtracted, as in InstructPix2Pix's metrics; more is better",
    ),
    Metric(
        "visual_clip_raw",
        "visual CLIP, raw",
        CLIP,
        "the same with features as they come, as in the training loss of Visual Instruction Inversion and in "
        "Analogist's metric; more is better",
    ),
    Metric("image_clip", "image CLIP", CLIP, "cos(E(result), E(photo)); more is more faithful to the photo"),
    Metric(
        "text_clip",
        "text CLIP direction",
        CLIP,
        "cos(T(words after) - T(words before), E(result) - E(photo)), features normalised before they are subtracted, "
        "as in InstructPix2Pix's metrics; more is better",
    ),
    PSNR,
    SSIM,
    Metric("lpips", "LPIPS to the truth", LPIPS, "LPIPS 0.1; less is better"),
    Metric("dino", "DINO to the truth", DINO, "cosine of the class tokens of result and truth; more is better"),
    *_cycle("cycle_image", "image", CYCLE_IMAGE),
    *_cycle("cycle_prompt", "prompt", CYCLE_PROMPT),
)
