"""What editors that are rectified flows share (Liu et al. 2022, arXiv 2209.03003; Esser et al. 2024, arXiv 2403.03206).

Levels, the loss, Euler's steps and guidance. One editor differs from another in its text, its latents and one pass of
its networks: the functions that a subclass of `FlowEditor` writes.

The level of noise `t` is in [0, 1], 1 being noise: `x_t = (1 - t) x_0 + t e`, and a network predicts the velocity
`e - x_0`. The photo that is edited is in the networks' sequence, and every branch sees it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..clip import Beside, load_clip
from ..diffusion import NEGLIGIBLE, Noise, guided
from ..editor import JointSpace, Space
from ..instruction import Instruction
from ..settings import check, setting

# Whatever a stranger's edit file asks for.
MAX_STEPS, MAX_SCALE = 1000, 100.0
# Levels are told apart to a thousandth where one is looked up in a noise bank; the networks are told `t` itself.
NUM_TIMESTEPS = 1000
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
# (instruction, weight of its branch)
Weighted = tuple[Instruction, float]


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


@dataclass(frozen=True, kw_only=True)
class GuidedSettings(StepSettings):
    """How a flow is sampled with guidance.

    Attributes:
        num_inference_steps: Euler's steps, from 1 to `MAX_STEPS`.
        guidance_scale: s, how far to go along the instruction; 1 = off.
    """

    num_inference_steps: int = setting(50, label="Steps", least=1, most=MAX_STEPS)
    guidance_scale: float = setting(4.0, label="CFG scale", least=-MAX_SCALE, most=MAX_SCALE)


Settings = TypeVar("Settings", bound=StepSettings)


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


def branch_weights(guidance_scale: float, weights: Sequence[float]) -> list[float]:
    """Weights of the predictions in `v_0 + s sum_j w_j (v_j - v_0)`: of the null's, then of each; they add up to 1."""
    own = [guidance_scale * weight for weight in weights]
    return [1.0 - sum(own), *own]


class FlowEditor(ABC, Generic[Settings]):
    """See `Editor`.

    Attributes:
        null: the text whose rows are the null instruction's.
        scheduler: `FlowMatchEulerDiscreteScheduler`, the model's own.
        clip: of the joint space beside the editor, see `vii.clip.load_clip`; None for none.
    """

    null = ""

    def __init__(
        self,
        *,
        name: str,
        space: Space,
        device: torch.device,
        settings: Settings,
        resolution: int,
        scheduler: Any,
        phrases: Sequence[str] = (),
        clip: str | None = None,
    ) -> None:
        """See `Editor` and the attributes above for the arguments."""
        self.name, self.space, self.device, self.settings = name, space, device, settings
        self.resolution, self.scheduler, self.phrases, self.clip = resolution, scheduler, phrases, clip

    @abstractmethod
    def encode(self, image: Tensor) -> FlowEncoding:
        """See `Editor`."""

    @abstractmethod
    def instruct(self, text: str, source: FlowEncoding | None = None) -> Instruction:
        """See `Editor`; for the empty text the null instruction, whatever the model's own null text is."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents `(b, c, h, w)` -> pictures `(b, 3, h', w')` in [0, 1]."""

    @abstractmethod
    def shift(self, noise_shape: tuple[int, ...], steps: int) -> float | None:
        """The scheduler's `mu`, which moves its levels towards noise; None where its configuration says it all."""

    @abstractmethod
    def predict(
        self, noisy: Tensor, t: Tensor, image: FlowEncoding, instruction: Instruction, settings: Settings | None
    ) -> Tensor:
        """One pass of the networks, for one branch.

        Args:
            noisy: `(b, c, h, w)`, float32.
            t: `(b,)` levels in [0, 1].
            image: encodings of the photo, fields `(1 or b, ...)`.
            instruction: what to do.
            settings: those that are sampled with; None inside an unguided loss.

        Returns:
            velocity `(b, c, h, w)`, float32.
        """

    @property
    def num_timesteps(self) -> int:
        """See `Editor`."""
        return NUM_TIMESTEPS

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`: a CLIP beside the editor, to look for a starting text with."""
        return Beside(load_clip(self.clip, self.device)) if self.clip else None

    def loss(
        self,
        before: FlowEncoding,
        after: FlowEncoding,
        instruction: Instruction,
        t: Tensor,
        noise: Tensor,
        guidance: Settings | None = None,
    ) -> Tensor:
        """See `Editor`: the mean square of the velocity's error, all levels alike (flow matching)."""
        noise, t = noise.to(self.device), t.to(self.device, torch.float32)
        noisy = mixed(after.latents, noise, t)
        velocity = self.velocity(noisy, t, before, [(instruction.encoded(), 1.0)], guidance)
        return (velocity - (noise - after.latents)).square().flatten(1).mean(1)

    @torch.no_grad()
    def edit(self, image: FlowEncoding, branches: Sequence[Weighted], settings: Settings, noise: Noise) -> Tensor:
        """See `Editor`; the loop of diffusers' pipelines, with any number of branches."""
        told = [(instruction.encoded(), weight) for instruction, weight in branches]
        steps = settings.num_inference_steps
        scheduler = type(self.scheduler).from_config(self.scheduler.config)  # it keeps the state of the run it is in
        mu = self.shift(image.noise_shape, steps)
        shifted = {} if mu is None else {"mu": mu}
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), device=self.device, **shifted)
        runs = [noise.generators()(NUM_TIMESTEPS - 1) for _ in image.latents]  # the same for every photo
        latents = torch.cat([torch.randn(1, *image.noise_shape, generator=generator) for generator in runs])
        latents = latents.to(self.device)
        for timestep in scheduler.timesteps:
            t = (timestep / scheduler.config.num_train_timesteps).expand(len(latents))
            velocity = self.velocity(latents, t, image, told, settings)
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return self.decode(latents).cpu()

    def num_branches(self, weights: Sequence[float], settings: Settings) -> int:
        """See `Editor`."""
        return sum(abs(weight) > NEGLIGIBLE for weight in branch_weights(self.guidance(settings), weights))

    def guidance(self, settings: Settings | None) -> float:
        """s of `branch_weights`; 1 where there are no settings, or none of them is guidance."""
        return float(getattr(settings, "guidance_scale", 1.0))

    def velocity(
        self,
        noisy: Tensor,
        t: Tensor,
        image: FlowEncoding,
        branches: Sequence[Weighted],
        settings: Settings | None,
    ) -> Tensor:
        """The guided prediction `(b, c, h, w)`; see `predict` for the arguments.

        Branches go through the networks one after the other: their rows need not be equally many, and together they
        would take the memory of all.
        """
        null, *weights = branch_weights(self.guidance(settings), [weight for _, weight in branches])
        plan = [(weight, instruction) for weight, (instruction, _) in zip(weights, branches, strict=True)]
        if abs(null) > NEGLIGIBLE:
            plan.insert(0, (null, self.instruct(self.null).encoded()))
        return guided(plan, lambda some: [self.predict(noisy, t, image, each, settings) for each in some])


def spread_of(words: Sequence[Tensor]) -> Tensor:
    """How far each feature spreads between rows of words, `(d,)`.

    Args:
        words: of several texts the rows `(k, d)` of their words alone: the first token of a text has features of
            another size altogether, and padding is no word.
    """
    return torch.cat(list(words)).float().std(0)
