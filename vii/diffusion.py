"""What editors share: the forward process, the target of each prediction type, guidance as weights, and noise.

The convention for noise levels: `t` in [0, 1), 0 clean and 1 pure noise; an editor with N discrete timesteps uses
index `floor(t * N)`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import EditorError


def add_noise(sample: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Forward process q(x_t | x_0) of DDPM (Ho et al. 2020, eq. 4): `sqrt(a) x_0 + sqrt(1 - a) noise`.

    Written out instead of calling a scheduler: `EulerAncestralDiscreteScheduler` keeps the sigma of the first
    timestep it was asked for, so a loop over random timesteps is silently wrong with it.

    Args:
        sample: `(b or 1, c, h, w)`, clean latents.
        noise: `(b, c, h, w)`, standard normal.
        alpha_bar: `(b,)`, the cumulative product of alphas at each sample's timestep.
    """
    alpha_bar = alpha_bar.to(sample.dtype).view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * sample + (1 - alpha_bar).sqrt() * noise


def training_target(prediction_type: str, sample: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """What a network of this prediction type is trained to output, `(b, c, h, w)`; arguments as in `add_noise`.

    `epsilon`: the noise. `sample`: x_0. `v_prediction`: `sqrt(a) noise - sqrt(1 - a) x_0` (Salimans & Ho 2022).

    Raises:
        EditorError: any other prediction type.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return sample.expand_as(noise)
    if prediction_type == "v_prediction":
        alpha_bar = alpha_bar.to(sample.dtype).view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * sample
    raise EditorError(f"prediction type {prediction_type!r} is not one of epsilon, v_prediction, sample")


def guidance_weights(
    guidance_scale: float, image_guidance_scale: float, weights: Sequence[float]
) -> tuple[float, float, list[float]]:
    """InstructPix2Pix guidance as one weighted sum of predictions.

    `e = e_u + s_I (e_i - e_u) + s_T sum_j w_j (e_j - e_i)` (Brooks et al. 2023, eq. 3, with several instructions j),
    where `e_u` sees neither photo nor words, `e_i` the photo, `e_j` the photo and instruction j. At s_I = 1 the first
    weight is zero, at `s_I = s_T sum_j w_j` the second: a branch whose weight is zero need not be computed.

    Returns:
        the weights of `e_u`, of `e_i`, and of each `e_j`; they add up to 1.
    """
    instruction_weights = [guidance_scale * weight for weight in weights]
    return 1.0 - image_guidance_scale, image_guidance_scale - sum(instruction_weights), instruction_weights


@dataclass(frozen=True)
class Noise:
    """Where random numbers come from, on the CPU so that a seed means the same on every device.

    Attributes:
        seed: any integer in [0, 2**63).
        bank: False: one generator, drawn from in turn. True: the paper's noise bank (section 4.3, "fixed noise"), one
            fixed noise a timestep, regenerated from the seed instead of kept in a 65 MB file.
    """

    seed: int = 0
    bank: bool = False

    def __post_init__(self) -> None:
        """Keep the stateful generator of the sequential kind."""
        object.__setattr__(self, "_generator", torch.Generator().manual_seed(self.seed))

    def generator(self, timestep: int) -> torch.Generator:
        """The generator to draw from for one discrete timestep."""
        if not self.bank:
            return self._generator  # type: ignore[attr-defined,no-any-return]
        digest = hashlib.sha256(f"{self.seed}:{timestep}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def draw(self, shape: Sequence[int], timestep: int) -> Tensor:
        """Standard normal noise of a shape for one discrete timestep, float32 on the CPU."""
        return torch.randn(*shape, generator=self.generator(timestep))
