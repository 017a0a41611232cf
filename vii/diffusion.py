"""What editors share: the forward process, the target of each prediction type, guidance as weights, and noise.

The convention for noise levels: `t` in [0, 1), 0 clean and 1 pure noise; an editor with N discrete timesteps uses
index `floor(t * N)`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from .errors import EditorError, UsageError

# Weights of guidance branches this small are rounding errors of `guidance_weights`, not requests.
NEGLIGIBLE = 1e-6
# Whatever a stranger's edit file asks for: noise levels of Stable Diffusion 1.x, and more guidance than anybody uses.
MAX_STEPS, MAX_SCALE = 1000, 100.0
# Settings of `noise` with which learning draws from a bank; see `Noise` and `InversionSettings`.
BANKED = ("bank", "reuse")


class Conditioning(Protocol):
    """What an editor's networks are given besides the noisy sample, in one guidance branch; a record of its own."""

    @property
    def requires_grad(self) -> bool:
        """Whether a prediction from it is to be differentiated."""


Conditioned = TypeVar("Conditioned", bound=Conditioning)


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

    `epsilon`: the noise. `sample`: x_0. `v_prediction`: `sqrt(a) noise - sqrt(1 - a) x_0` (Salimans & Ho 2022). Any
    other raises EditorError.
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
    """InstructPix2Pix guidance as one weighted sum of predictions: weights of `e_u`, `e_i` and each `e_j`, 1 together.

    `e = e_u + s_I (e_i - e_u) + s_T sum_j w_j (e_j - e_i)` (Brooks et al. 2023, eq. 3, with several instructions j),
    where `e_u` sees neither photo nor words, `e_i` the photo, `e_j` the photo and instruction j. At s_I = 1 the first
    weight is zero, at `s_I = s_T sum_j w_j` the second: a branch whose weight is zero need not be computed.
    """
    instruction_weights = [guidance_scale * weight for weight in weights]
    return 1.0 - image_guidance_scale, image_guidance_scale - sum(instruction_weights), instruction_weights


def guided(
    branches: Sequence[tuple[float, Conditioned]], predict: Callable[[Sequence[Conditioned]], Sequence[Tensor]]
) -> Tensor:
    """The weighted sum of the predictions of guidance branches; those whose weight is zero are not computed.

    Nothing here knows what a prediction is given or what shape it has. Branches that need a gradient are predicted
    apart from those that do not, which saves the latter's activations and backward pass.

    Args:
        branches: weight, and what the editor conditions its networks on; at least one weight is not negligible.
        predict: conditionings -> a prediction for each, all of one shape.
    """
    learning = torch.is_grad_enabled()
    result: Tensor | float = 0.0
    for needs_gradient in (False, True):
        part = [
            (weight, conditioning)
            for weight, conditioning in branches
            if abs(weight) > NEGLIGIBLE and (learning and conditioning.requires_grad) == needs_gradient
        ]
        if not part:
            continue
        with nullcontext() if needs_gradient else torch.no_grad():
            predictions = predict([conditioning for _, conditioning in part])
        for (weight, _), prediction in zip(part, predictions, strict=True):
            result = result + weight * prediction
    assert isinstance(result, Tensor)
    return result


@dataclass(frozen=True)
class Noise:
    """Which random numbers a run uses, made on the CPU so that a seed means the same on every device.

    Attributes:
        seed: any integer in [0, 2**63).
        bank: False: one generator a run, drawn from in turn. True: the paper's noise bank (section 4.3, "fixed noise"),
            one fixed noise a timestep, regenerated from the seed instead of kept in a 65 MB file. A noise belongs to
            a shape too: pictures of another size have other noises.
    """

    seed: int = 0
    bank: bool = False

    def generators(self) -> Callable[[int], torch.Generator]:
        """A run from its beginning: discrete timestep -> the generator to draw from for it."""
        if self.bank:
            return lambda timestep: banked_generator(self.seed, timestep)
        one = torch.Generator().manual_seed(self.seed)
        return lambda timestep: one


def banked_generator(seed: int, timestep: int) -> torch.Generator:
    """A fresh generator of the noise that a noise bank holds for one discrete timestep."""
    digest = hashlib.sha256(f"{seed}:{timestep}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def banked_noise(training: Mapping[str, Any]) -> Noise:
    """The noises that an edit was learned with, as its training record names them."""
    seed = training.get("seed")
    if training.get("noise") not in BANKED or type(seed) is not int or not 0 <= seed < 2**63:
        raise UsageError(
            "this edit was not learned with a noise bank, so there is no noise to reuse; "
            "learn it with the recipe visii or noise=bank"
        )
    return Noise(seed, bank=True)
