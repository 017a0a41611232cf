"""What the page *Apply* is asked to do, checked: edits with their weights, words, settings, where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .learning import one_line
from .shelf import find

MAX_EDITS, MAX_WEIGHT, MAX_GUIDANCE, MAX_SAMPLING = 4, 3.0, 50.0, 1000
# A stroke's soft rim belongs to it.
PAINTED = 0.05


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be done to every photo.

    Attributes:
        names: of the edits, for records.
        options: arguments of `vii.Application` besides the editor, the edits with their weights among them.
        mask: `(h, w)`, 1 where to edit; None for everywhere.
    """

    names: Sequence[str]
    options: dict[str, Any]
    mask: Tensor | None = None


def request_for(
    names: Sequence[str],
    weights: Sequence[float],
    *,
    words: str = "",
    seed: int = 0,
    guidance: float | None = None,
    image_guidance: float | None = None,
    steps: int | None = None,
    size: str = "photo",
    mask: Tensor | None = None,
) -> Request:
    """What was filled in on the page, checked; names are of edits in the library, and None is as recommended.

    Raises:
        UsageError: nothing to apply, or a value that cannot be.
        EditFileError: an edit of the library is broken.
    """
    if len(names) > MAX_EDITS:
        raise UsageError(f"{len(names)} edits were picked, at most {MAX_EDITS} can be stacked here")
    words = one_line(words, "the words")
    if not names and not words:
        raise UsageError("nothing to apply: pick an edit, or write words, or both")
    for weight in weights[: len(names)]:
        if not isinstance(weight, int | float) or not abs(weight) <= MAX_WEIGHT:  # also refuses NaN
            raise UsageError(f"a weight must lie between -{MAX_WEIGHT:g} and {MAX_WEIGHT:g}, got {weight!s:.40}")
    options: dict[str, Any] = {"text": words, "seed": seed, "size": size}
    for name, key, value in (
        ("guidance", "guidance_scale", guidance),
        ("image guidance", "image_guidance_scale", image_guidance),
    ):
        if value is not None:
            if not (isinstance(value, int | float) and 0 <= value <= MAX_GUIDANCE):
                raise UsageError(f"{name}: expected a number from 0 to {MAX_GUIDANCE:g}, got {value!s:.40}")
            options[key] = float(value)
    options |= {"num_inference_steps": steps} if steps is not None else {}
    options["edits"] = [(find(name).edit, float(weight)) for name, weight in zip(names, weights, strict=False)]
    return Request(names, options, mask)


def mask_of(painted: Any) -> Tensor | None:
    """Where somebody painted, `(h, w)` of 0 and 1; None where nowhere.

    gradio's image editor gives `layers` of the brush, each an array `(h, w, 4)` of 8-bit RGBA.
    """
    layers = [np.asarray(layer) for layer in (painted or {}).get("layers", []) if layer is not None]
    layers = [layer for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    if not layers:
        return None
    alpha = np.max([layer[..., 3] for layer in layers if layer.shape == layers[0].shape], axis=0)
    mask = torch.from_numpy((alpha > PAINTED * 255).astype(np.float32))
    return mask if mask.any() else None
