"""What is done to a picture before a network sees it, as the network's own configuration says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

# The statistics of OpenAI's CLIP, for models that say nothing.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Pillow's numbers in a preprocessor_config.json.
PILLOW = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Preprocessing:
    """What a model wants to be done to pictures, as its own configuration says.

    Attributes:
        size: pixels a side of the square that the model sees.
        mean: of every channel, taken off.
        std: of every channel, divided by.
        resize_mode: "shortest": the short side becomes `size` and the middle is cut out, as CLIP wants it; "squash":
            both sides become `size`, as SigLIP wants it; "longest": the long side does, and the rest is filled.
        interpolation: "bicubic" or "bilinear".
        fill: value in [0, 1] beside the picture of "longest".
    """

    size: int
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    fill: float = 0.0

    def __call__(self, image: Tensor) -> Tensor:
        """Image `(3, h, w)` in [0, 1], or a batch `(b, 3, h, w)` -> `(3, size, size)`, normalised, or a batch."""
        size, sides = self.size, image.shape[-2:]
        scale = size / (max(sides) if self.resize_mode == "longest" else min(sides))
        target = [size, size] if self.resize_mode == "squash" else [max(1, round(side * scale)) for side in sides]
        batch = image if image.ndim == 4 else image[None]
        scaled = F.interpolate(batch, target, mode=self.interpolation, antialias=True).clamp(0, 1)
        # Negative padding cuts off.
        left, top = ((size - side) // 2 if side < size else -((side - size) // 2) for side in reversed(target))
        square = F.pad(scaled, (left, size - target[1] - left, top, size - target[0] - top), value=self.fill)
        normal = (square - square.new_tensor(self.mean).view(3, 1, 1)) / square.new_tensor(self.std).view(3, 1, 1)
        return normal if image.ndim == 4 else normal[0]


def of_transformers(told: Mapping[str, Any], size: int) -> Preprocessing:
    """From a `preprocessor_config.json` of transformers, for a model that sees `size` pixels a side."""
    return Preprocessing(
        size,
        told.get("image_mean", MEAN),
        told.get("image_std", STD),
        resize_mode="shortest" if told.get("do_center_crop", True) else "squash",
        interpolation=PILLOW.get(told.get("resample", 3), "bicubic"),
    )


def of_open_clip(told: Mapping[str, Any]) -> Preprocessing:
    """From what `open_clip.get_model_preprocess_cfg` says of a model."""
    size, interpolation = told["size"], str(told.get("interpolation"))
    return Preprocessing(
        size if isinstance(size, int) else size[0],
        told.get("mean") or MEAN,
        told.get("std") or STD,
        told.get("resize_mode") or "shortest",
        interpolation if interpolation in PILLOW.values() else "bicubic",
        fill=(told.get("fill_color") or 0) / 255,
    )
