"""What editors that are rectified flows do alike: levels, the loss, Euler's steps, guidance, latents and tokens.

One differs from another in its text and in what its transformer is told: what a subclass of `FlowEditor` writes. The
photo that is edited is in the transformer's sequence, after the picture that is made, and every branch sees it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..clip import Beside, load_clip
from ..diffusion import NEGLIGIBLE, Noise, guided
from ..editor import JointSpace, Space
from ..images import fit
from ..instruction import Instruction
from .flow import FlowEncoding, StepSettings, mixed
from .flow_files import FlowFiles, Pipelines, read_flow
from .stable_diffusion import pixel_multiple
from .turns import Turns

# Levels are told apart to a thousandth where one is looked up in a noise bank; the networks are told `t` itself.
NUM_TIMESTEPS = 1000
# Rows of texts that are kept, each of a megabyte or some: learning asks for the same few again and again.
KEPT_TEXTS = 16
# Latents a side of what the transformer takes as one token.
TOKEN = 2
# (instruction, weight of its branch)
Weighted = tuple[Instruction, float]
Settings = TypeVar("Settings", bound=StepSettings)


class FlowEditor(ABC, Generic[Settings]):
    """See `Editor`; `load` reads files.

    Attributes:
        pipelines: see `read_flow`.
        encoder: the part that is the text encoder, and takes turns on the device with the transformer.
        grouped: latents a side that stand together before they are normalised, 1 or `TOKEN`; noise is drawn so.
        space: see `Editor`; a subclass sets it, and `settings`.
        distilled: whether the model was distilled to need no pass without the instruction.
        advice: a sentence against learning with this model; "" for none.
    """

    pipelines: ClassVar[Pipelines]
    encoder = "text_encoder"
    grouped = 1
    advice = ""
    distilled = False
    space: Space
    settings: Settings

    @classmethod
    def load(
        cls,
        *,
        name: str,
        model: str,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        clip: str | None = None,
        resolution: int | None = None,
        checkpointing: bool = True,
        quantize: str | None = None,
        offload: bool = False,
    ) -> Self:
        """Read a model; see `read_flow` for what is not said here, and for the errors.

        Args:
            name: see `Editor`.
            checkpointing: whether learning trades a third more time for a tenth of the memory: a pass with a gradient
                keeps what goes into the transformer's blocks, and computes the rest again.
            offload: for applying, see `Turns`.
        """
        where = {"revision": revision, "device": device, "dtype": dtype, "clip": clip, "quantize": quantize}
        files = read_flow(model, cls.pipelines, **where, resolution=resolution)
        return cls(files, name=name, checkpointing=checkpointing, offload=offload)

    def __init__(self, files: FlowFiles, *, name: str, checkpointing: bool, offload: bool = False) -> None:
        """Take a model that was read; see `load`."""
        self.name, self.device, self.dtype, self.resolution = name, files.device, files.dtype, files.resolution
        self.phrases, self.clip, self.scheduler = files.phrases, files.clip, files.parts["scheduler"]
        self.transformer, self.vae = files.parts["transformer"], files.parts["vae"].to(files.device)
        self.text_encoder = files.parts[self.encoder]
        self.turns = Turns(files.device, self.text_encoder, self.transformer, offload=offload)
        self._told = lru_cache(KEPT_TEXTS)(self.read)
        if checkpointing:
            self.transformer.enable_gradient_checkpointing()

    @abstractmethod
    def read(self, text: str) -> Instruction:
        """Text -> its instruction; for the empty text the null instruction, whatever the model's own null text is."""

    @abstractmethod
    def conditions(
        self, b: int, grid: tuple[int, int], image: FlowEncoding, instruction: Instruction, settings: Settings | None
    ) -> dict[str, Any]:
        """What the transformer is given besides the tokens of the two pictures and the level.

        Args:
            b: samples.
            grid: rows and columns of tokens of each picture.
            image: encodings of the photo, fields `(1 or b, ...)`.
            instruction: what to do.
            settings: those that are sampled with; None inside an unguided loss.
        """

    @property
    @abstractmethod
    def normal(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of latents, for `(b, c, h, w)`."""

    @property
    def num_timesteps(self) -> int:
        """See `Editor`."""
        return NUM_TIMESTEPS

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`: a CLIP beside the editor, to look for a starting text with."""
        return Beside(load_clip(self.clip, self.device)) if self.clip else None

    @property
    def multiple(self) -> int:
        """Pixels of which the sides of a picture are multiples."""
        return TOKEN * pixel_multiple(self.vae)

    def instruct(self, text: str, source: Sequence[FlowEncoding] = ()) -> Instruction:
        """See `Editor`."""
        return self._told(text)

    def look(self, image: FlowEncoding, instructions: Sequence[Instruction]) -> None:
        """Do what a text encoder that sees the photos has to, before the transformer takes its place on the device."""

    def fitted(self, image: Tensor) -> Tensor:
        """Picture `(3, h, w)` -> `(1, 3, h', w')` at the editor's size; scaled, nothing is cropped."""
        return fit(image.to(self.device, torch.float32), self.resolution, self.multiple)[None]

    @torch.no_grad()
    def encode(self, image: Tensor) -> FlowEncoding:
        """See `Editor`."""
        return FlowEncoding(self.latents(self.fitted(image)))

    def latents(self, pictures: Tensor) -> Tensor:
        """Pictures `(b, 3, h, w)` in [0, 1] -> normalised latents `(b, c, h', w')`."""
        mean, deviation = self.normal
        return (pixel_unshuffle(self.compress(pictures * 2 - 1), self.grouped) - mean) / deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(b, c, h, w)` -> pictures `(b, 3, h', w')` in [0, 1]."""
        mean, deviation = self.normal
        return (self.decompress(pixel_shuffle(latents * deviation + mean, self.grouped)) / 2 + 0.5).clamp(0, 1)

    def compress(self, pictures: Tensor) -> Tensor:
        """Pictures in [-1, 1] through the autoencoder."""
        return self.vae.encode(pictures).latent_dist.mode()

    def decompress(self, latents: Tensor) -> Tensor:
        """The inverse of `compress`."""
        return self.vae.decode(latents, return_dict=False)[0]

    def shift(self, tokens: int, steps: int) -> float:
        """The scheduler's `mu`, which moves its levels towards noise, for a picture of so many tokens."""
        from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift

        known = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
        return float(calculate_shift(tokens, *(self.scheduler.config.get(*item) for item in known.items())))

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
        _, height, width = image.noise_shape
        mu = self.shift(height * width * self.grouped**2 // TOKEN**2, steps)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), device=self.device, mu=mu)
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
        own = sum(abs(settings.cfg * weight) > NEGLIGIBLE for weight in weights)
        return own + self.needs_null(settings.cfg, sum(weights))

    def strength_in_rows(self, settings: Settings) -> bool:
        """See "Writing an editor": whether one pass a step is all that a distilled model takes with these settings."""
        return self.distilled and settings.cfg == 1

    def needs_null(self, s: float, weight: float) -> bool:
        """Whether `v_0 + s sum_j w_j (v_j - v_0)` needs `v_0`; `weight` is the sum of w_j."""
        return abs(1 - s * weight) > NEGLIGIBLE

    def velocity(
        self, noisy: Tensor, t: Tensor, image: FlowEncoding, branches: Sequence[Weighted], settings: Settings | None
    ) -> Tensor:
        """The guided prediction `v_0 + s sum_j w_j (v_j - v_0)`, `(b, c, h, w)`; see `predict` for the arguments.

        Branches go through the networks one after the other: their rows need not be equally many, and together they
        would take the memory of all.
        """
        s = 1.0 if settings is None else settings.cfg
        plan = [(s * weight, instruction) for instruction, weight in branches]
        total = sum(weight for _, weight in branches)
        null = self.instruct("").encoded() if self.needs_null(s, total) else None
        self.look(image, [*([null] if null else []), *(instruction for _, instruction in plan)])
        made: Tensor | float = 0.0
        if any(abs(weight) > NEGLIGIBLE for weight, _ in plan):
            made = guided(plan, lambda some: [self.predict(noisy, t, image, each, settings) for each in some])
        if null is None:
            assert isinstance(made, Tensor)  # weights that add up to something are not all negligible
            return made
        with torch.no_grad():
            without = self.predict(noisy, t, image, null, settings)
        return self.combined(made + (1 - s * total) * without, without, s)

    def combined(self, velocity: Tensor, without: Tensor, s: float) -> Tensor:
        """What a model makes of a guided velocity, given that of the null instruction."""
        return velocity

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
        b, patch = len(noisy), TOKEN // self.grouped
        grids = [pixel_unshuffle(latents, patch) for latents in (noisy, image.latents.expand(b, -1, -1, -1))]
        _, _, h, w = grids[0].shape
        conditions = self.conditions(b, (h, w), image, instruction, settings)
        predicted: Tensor = self.turns.take(self.transformer)(
            torch.cat([grid.flatten(2) for grid in grids], dim=2).transpose(1, 2).to(self.dtype),
            timestep=(t * 1000).to(self.dtype) / 1000,  # rounded as the pipelines round it
            **conditions,
            return_dict=False,
        )[0]
        return pixel_shuffle(predicted[:, : h * w].transpose(1, 2).reshape(b, -1, h, w), patch).float()

    def told_guidance(self, b: int, settings: Settings | None) -> Tensor | None:
        """What a transformer into which guidance was distilled is told, `(b,)`; 1, no guidance, inside a loss.

        The target of the loss is what it predicts when told 1, as musubi-tuner and ai-toolkit train.
        """
        if not self.transformer.config.guidance_embeds:
            return None
        return torch.full((b,), float(getattr(settings, "guidance_scale", 1.0)), device=self.device)
