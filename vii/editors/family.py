"""What the editors on Stable Diffusion 1.x share: guidance, the loss, the sampler.

One differs from another in what its networks see of the photo, in its guidance, and in one pass of its networks: the
three functions that a subclass of `StableDiffusionEditor` writes.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from ..diffusion import MAX_SCALE, MAX_STEPS, NEGLIGIBLE, Noise, add_noise, guided, training_target
from ..editor import JointSpace
from ..errors import UsageError, unknown_name
from ..instruction import Instruction
from ..settings import check, setting
from .stable_diffusion import StableDiffusion, read_model

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How Stable Diffusion samples.

    Attributes:
        num_inference_steps: denoising steps, from 1 to `MAX_STEPS` and no more than the model has noise levels.
        scheduler: a key of `SCHEDULERS`, or "model" for the one in the model's own folder.
        guidance_scale: s_T, how far to go along the instruction; 1 = off. At most `MAX_SCALE` either way, as any scale.
    """

    num_inference_steps: int = setting(20, label="Steps", least=1, most=MAX_STEPS)
    scheduler: str = setting("model", label="Sampler")
    guidance_scale: float = setting(7.5, label="CFG scale", least=-MAX_SCALE, most=MAX_SCALE)

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        check(self)
        if self.scheduler != "model" and self.scheduler not in SCHEDULERS:
            raise UsageError(unknown_name("scheduler", self.scheduler, ["model", *SCHEDULERS]))


Settings = TypeVar("Settings", bound=SamplingSettings)


@dataclass(frozen=True, eq=False)
class LatentEncoding:
    """A picture at the model's resolution.

    Attributes:
        condition: `(b, ...)`, what the networks see of a photo to edit; see `StableDiffusionEditor.condition`.
        latents: `(b, c, h, w)`, scaled: what is denoised towards.
    """

    condition: Tensor
    latents: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one sample of noise."""
        return tuple(self.latents.shape[1:])


@dataclass(frozen=True, eq=False)
class Branch:
    """What one guidance branch is conditioned on.

    Attributes:
        rows: `(n, d)`, an encoded instruction's; of several branches and photos together `(b, n, d)`.
        condition: `(1 or b, ...)`, as in `LatentEncoding`.
        pooled: `(p,)`, its pooled vector where the networks read one; together `(b, p)`.
    """

    rows: Tensor
    condition: Tensor
    pooled: Tensor | None = None

    @property
    def requires_grad(self) -> bool:
        """Whether the instruction is being learned."""
        return self.rows.requires_grad or (self.pooled is not None and self.pooled.requires_grad)


class StableDiffusionEditor(ABC, Generic[Settings]):
    """See `Editor`. Made of parts, so that any models of these classes will do."""

    def __init__(
        self,
        parts: StableDiffusion,
        *,
        name: str,
        settings: Settings,
        resolution: int = 512,
        square: bool = False,
        phrases: Sequence[str] = (),
    ) -> None:
        """Take parts that are frozen and on their device.

        Args:
            parts: as `assemble` or `read_model` gives them.
            name: see `Editor`.
            settings: what suits this model.
            resolution: pixels; photos are scaled to about `resolution` squared pixels.
            square: see `Manifest`.
            phrases: instructions this model knows.

        Raises:
            EditorError: the parts do not fit together.
        """
        self.check(parts)
        self.parts, self.name, self.settings, self.phrases = parts, name, settings, phrases
        self.resolution, self.square = resolution, square
        self.space, self.device, self.dtype = parts.space, parts.device, parts.dtype

    @classmethod
    def from_files(cls, model: str, what: str, settings: Settings, *, name: str, **where: Any) -> Self:
        """An editor on a model from files; see `read_model` for `model`, `what` and `where`.

        Raises:
            EditorError: it cannot be read, is not of this architecture, or its `vii.json` holds settings that are not.
        """
        parts, manifest, phrases = read_model(model, what, **where)
        own = manifest.suiting(settings, model)
        resolution, square = manifest.resolution, manifest.square
        return cls(parts, name=name, settings=own, resolution=resolution, square=square, phrases=phrases)

    @staticmethod
    @abstractmethod
    def check(parts: StableDiffusion) -> None:
        """Raise `EditorError` where the parts are not of this architecture."""

    @abstractmethod
    def condition(self, fitted: Tensor, mean: Tensor) -> Tensor:
        """A photo's pixels `(b, 3, h, w)` in [0, 1] and unscaled latents `(b, c, h', w')` -> what the networks see."""

    @abstractmethod
    def guidance(self, settings: Settings, weights: Sequence[float]) -> tuple[float, float, list[float]]:
        """Weights of the branches without photo and words, without words, and of each instruction; they sum to 1."""

    @abstractmethod
    def predict(self, settings: Settings, noisy: Tensor, timesteps: Tensor, told: Branch) -> Tensor:
        """One pass of the networks: `noisy (b, c, h, w)`, `timesteps (b,)`, and a batch of all that they are told.

        Returns:
            the prediction `(b, c, h, w)`, in the networks' precision.
        """

    @property
    def num_timesteps(self) -> int:
        """See `Editor`."""
        return len(self.parts.levels.told)

    @property
    def joint(self) -> JointSpace | None:
        """See `Editor`."""
        return self.parts.joint

    def encode(self, image: Tensor) -> LatentEncoding:
        """See `Editor`."""
        fitted = self.parts.fit(image, self.resolution, square=self.square)
        mean = self.parts.encode(fitted)
        return LatentEncoding(self.condition(fitted, mean), self.parts.scaled(mean))

    def instruct(self, text: str, source: Sequence[LatentEncoding] = ()) -> Instruction:
        """See `Editor`; the text encoder does not see the photo."""
        return self.parts.instruct(text)

    def loss(
        self,
        before: LatentEncoding,
        after: LatentEncoding,
        instruction: Instruction,
        t: Tensor,
        noise: Tensor,
        guidance: Settings | None = None,
    ) -> Tensor:
        """See `Editor`; the mean squared error in the space of the model's own prediction type.

        With `guidance` the guided prediction is compared with the target, as in the authors' code. The branches
        without the instruction carry no gradient and are computed without one.
        """
        instruction = instruction.encoded()  # once, whatever the number of branches
        if guidance is None:
            branches = [(1.0, Branch(instruction.rows, before.condition, instruction.pooled))]
        else:
            branches = self.plan(before, [(instruction, 1.0)], guidance)
        levels, index = self.parts.levels, (t * self.num_timesteps).long().to(self.device)
        alpha_bar, noise = levels.alpha_bar[index], noise.to(self.device)
        target = training_target(levels.prediction_type, after.latents, noise, alpha_bar)
        noisy = add_noise(after.latents, noise, alpha_bar)
        predicted = self.guided(guidance or self.settings, noisy, levels.told[index], branches)
        return (predicted - target).square().mean((1, 2, 3))

    @torch.no_grad()
    def edit(
        self, image: LatentEncoding, branches: Sequence[tuple[Instruction, float]], settings: Settings, noise: Noise
    ) -> Tensor:
        """See `Editor`; the loop of diffusers' pipelines, with any number of branches.

        Every random number is asked for by the timestep whose noise level it makes: the initial noise by the first, the
        noise that an ancestral step adds by the one stepped to. With a bank these are the noises that training put on
        the example at these timesteps (VISII, section 4.3).
        """
        if settings.num_inference_steps > self.num_timesteps:
            raise UsageError(
                f"num_inference_steps must be at most {self.num_timesteps}, the noise levels of this model, "
                f"got {settings.num_inference_steps}"
            )
        plan = self.plan(image, [(instruction.encoded(), weight) for instruction, weight in branches], settings)
        scheduler = self.make_scheduler(settings.scheduler)
        scheduler.set_timesteps(settings.num_inference_steps, device=self.device)
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        runs = [noise.generators() for _ in image.latents]  # the same for every photo
        first, *rest = [self.parts.levels.index(t) for t in scheduler.timesteps]
        latents = torch.cat([torch.randn(1, *image.noise_shape, generator=generators(first)) for generators in runs])
        latents = latents.to(self.device) * scheduler.init_noise_sigma
        for timestep, following in zip(scheduler.timesteps, [*rest, 0], strict=True):
            noisy = scheduler.scale_model_input(latents, timestep)
            predicted = self.guided(settings, noisy, timestep[None], plan)
            extra = {"generator": [generators(following) for generators in runs]} if takes_generator else {}
            latents = scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
        return self.parts.decode(latents).cpu()

    def num_branches(self, weights: Sequence[float], settings: Settings) -> int:
        """See `Editor`."""
        neither, photo, instructions = self.guidance(settings, weights)
        return sum(abs(weight) > NEGLIGIBLE for weight in (neither, photo, *instructions))

    def plan(
        self, image: LatentEncoding, branches: Sequence[tuple[Instruction, float]], settings: Settings
    ) -> list[tuple[float, Branch]]:
        """Encoded instructions with their weights -> all guidance branches with theirs."""
        neither, photo, weights = self.guidance(settings, [weight for _, weight in branches])
        null, condition = self.parts.null, image.condition
        told = [(photo, null), *((weight, words) for weight, (words, _) in zip(weights, branches, strict=True))]
        plan = [(neither, Branch(null.rows, torch.zeros_like(condition), null.pooled))]
        return plan + [(weight, Branch(words.rows, condition, words.pooled)) for weight, words in told]

    def guided(
        self, settings: Settings, noisy: Tensor, timesteps: Tensor, plan: Sequence[tuple[float, Branch]]
    ) -> Tensor:
        """The weighted sum of predictions for `noisy (b, c, h, w)`, all branches in one batch; float32 in and out."""
        b, dtype = len(noisy), self.parts.dtype

        def batch(vectors: Sequence[Tensor]) -> Tensor:
            each = torch.stack(list(vectors)).to(self.device, dtype)
            return each.expand(b, *each.shape[1:]) if len(each) == 1 else each.repeat_interleave(b, 0)

        def predict(branches: Sequence[Branch]) -> Sequence[Tensor]:
            n = len(branches)
            pooled = [branch.pooled for branch in branches if branch.pooled is not None]
            told = Branch(
                batch([branch.rows for branch in branches]),
                torch.cat([branch.condition.expand(b, -1, -1, -1) for branch in branches]),
                batch(pooled) if pooled else None,
            )
            return (
                self.predict(settings, noisy.repeat(n, 1, 1, 1), timesteps.expand(b).repeat(n), told).float().chunk(n)
            )

        return guided(plan, predict)

    def make_scheduler(self, name: str) -> Any:
        """A fresh scheduler, for schedulers keep the state of the run they are in."""
        import diffusers

        own = self.parts.scheduler
        kind = type(own) if name == "model" else getattr(diffusers, SCHEDULERS[name])
        takes_clip = "clip_sample" in inspect.signature(kind.__init__).parameters
        # Diffusers' default is to clip, which is for models of pixels; latents are larger than 1.
        extra = {"clip_sample": False} if takes_clip and "clip_sample" not in own.config else {}
        return kind.from_config(own.config, **extra)
