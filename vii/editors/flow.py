"""The arithmetic and the settings of rectified flows (Liu et al. 2022, arXiv 2209.03003; Esser et al. 2024).

The level of noise `t` is in [0, 1], 1 being noise: `x_t = (1 - t) x_0 + t e`, and a network predicts the velocity
`e - x_0`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import MAX_SCALE, MAX_STEPS
from ..settings import check, setting

# Texts whose words tell how far each feature of a row spreads.
SPREAD_TEXTS = (
    "make it snow",
    "turn the photo into a watercolor painting",
    "change the season to autumn",
    "remove the background",
    "add a red hat",
    "make it look like night, lit by street lamps",
    "black and white, high contrast",
    "give the house a blue door",
)


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How a flow is sampled that needs no guidance.

    Attributes:
        num_inference_steps: Euler's steps, from 1 to `MAX_STEPS`.
    """

    num_inference_steps: int = setting(4, label="Steps", least=1, most=MAX_STEPS)

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        check(self)

    @property
    def cfg(self) -> float:
        """s of `v_0 + s sum_j w_j (v_j - v_0)`, the guidance that takes a pass for the null instruction; 1 = none."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class GuidedSettings(StepSettings):
    """How a flow is sampled with guidance.

    Attributes:
        guidance_scale: s, how far to go along the instruction; 1 = off.
    """

    num_inference_steps: int = setting(50, label="Steps", least=1, most=MAX_STEPS)
    guidance_scale: float = setting(4.0, label="CFG scale", least=-MAX_SCALE, most=MAX_SCALE)

    @property
    def cfg(self) -> float:
        """See `StepSettings`."""
        return self.guidance_scale


@dataclass(frozen=True, kw_only=True)
class ToldSettings(StepSettings):
    """How a flow is sampled whose guidance was distilled into it.

    Attributes:
        guidance_scale: what the transformer is told, one pass whatever it is.
    """

    num_inference_steps: int = setting(50, label="Steps", least=1, most=MAX_STEPS)
    guidance_scale: float = setting(4.0, label="Distilled CFG Scale", least=-MAX_SCALE, most=MAX_SCALE)


@dataclass(frozen=True, eq=False)
class FlowEncoding:
    """A picture at the editor's resolution.

    Attributes:
        latents: `(b, c, h, w)`, as the networks take them: what is denoised towards, and what is seen of a photo.
    """

    latents: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one sample of noise."""
        return tuple(self.latents.shape[1:])


def mixed(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """`(1 - t) x_0 + t e` for `clean (1 or b, ...)`, `noise (b, ...)` and levels `t (b,)`."""
    level = t.view(-1, *[1] * (noise.ndim - 1))
    return (1 - level) * clean + level * noise


def spread_of(words: Sequence[Tensor]) -> Tensor:
    """How far each feature spreads between rows of words, `(d,)`.

    Args:
        words: of several texts the rows `(k, d)` of their words alone: the first token of a text has features of
            another size altogether, and padding is no word.
    """
    return torch.cat(list(words)).float().std(0)
