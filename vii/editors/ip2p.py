"""InstructPix2Pix (Brooks et al. 2023) over stock diffusers and transformers classes.

The same code runs the embedded editor and `timbrooks/instruct-pix2pix`: sizes, latent scale, prediction type and
schedule are all read from the model. What diffusers' configs cannot say (the resolution it was trained at, the
settings that suit it, its own CLIP, the phrases it knows) stands in an optional `vii.json` in the model's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..diffusion import NEGLIGIBLE, Noise, guidance_weights, guided
from ..editor import ENCODER_OUTPUT, JointSpace
from ..errors import EditorError
from ..instruction import Instruction
from ..settings import override, setting
from .loading import pick_device, pick_dtype, read_model
from .stable_diffusion import MAX_SCALE, SamplingSettings, StableDiffusion


@dataclass(frozen=True, kw_only=True)
class Ip2pSettings(SamplingSettings):
    """How InstructPix2Pix samples.

    Attributes:
        image_guidance_scale: s_I, how far to keep to the photo; 1 = off.
    """

    image_guidance_scale: float = setting(1.5, label="Image CFG scale", least=-MAX_SCALE, most=MAX_SCALE)


@dataclass(frozen=True, eq=False)
class Ip2pEncoding:
    """A picture at the model's resolution.

    Attributes:
        mean: `(1, c, h, w)`, the mode of the autoencoder's posterior, unscaled: what the UNet sees of a photo to edit.
        latents: the same times the autoencoder's scaling factor: what is denoised towards.
    """

    mean: Tensor
    latents: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one sample of noise."""
        return tuple(self.latents.shape[1:])


class Ip2pEditor:
    """See `Editor`. Made from parts, so that any models of these classes will do; `load_ip2p` reads them from files."""

    def __init__(
        self,
        *,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        name: str = "ip2p",
        model: str = "in memory",
        revision: str = "",
        resolution: int = 512,
        settings: Ip2pSettings | None = None,
        clip: str | None = None,
        phrases: Sequence[str] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        space: str = ENCODER_OUTPUT,
    ) -> None:
        """Freeze the parts and move them to a device.

        Args:
            unet: `UNet2DConditionModel` with twice the autoencoder's latent channels as input.
            vae: see `StableDiffusion`, as `text_encoder`, `tokenizer`, `scheduler`, `clip`, `device` and `dtype`.
            text_encoder: `CLIPTextModel`.
            tokenizer: `CLIPTokenizer`.
            scheduler: the model's own.
            name: see `Editor`.
            model: id or folder name of the base model.
            revision: of the model on a hub.
            resolution: pixels; photos are scaled to about `resolution` squared pixels.
            settings: what suits this model.
            clip: joint space, or None.
            phrases: instructions this model knows.
            device: where everything runs.
            dtype: of the UNet and the text encoder.
            space: kind of the instruction space; a value of `vii.editor.SPACES`.

        Raises:
            EditorError: the parts do not fit together.
        """
        latent_channels = vae.config.latent_channels
        if unet.config.in_channels != 2 * latent_channels:
            raise EditorError(
                f"{model}: the UNet takes {unet.config.in_channels} channels, InstructPix2Pix needs twice the "
                f"autoencoder's {latent_channels}: this is not a model that edits photos by instruction"
            )
        self._parts = parts = StableDiffusion(
            unet,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            model=model,
            revision=revision,
            clip=clip,
            device=device,
            dtype=dtype,
            space=space,
        )
        self.name, self.resolution, self.phrases = name, resolution, phrases
        self.settings = settings or Ip2pSettings()
        self.space, self.num_timesteps = parts.space, parts.num_timesteps
        self.device, self.dtype = parts.device, parts.dtype
        self.unet, self.vae, self.scheduler = unet, parts.vae, scheduler
        self.text_encoder, self.tokenizer, self.alpha_bar = parts.text_encoder, tokenizer, parts.alpha_bar

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`."""
        return self._parts.joint()

    def encode(self, image: Tensor) -> Ip2pEncoding:
        """See `Editor`."""
        mean = self._parts.encode(self._parts.fit(image, self.resolution))
        return Ip2pEncoding(mean, self._parts.scaled(mean))

    def instruct(self, text: str) -> Instruction:
        """See `Editor`."""
        return self._parts.instruct(text)

    def loss(
        self,
        before: Ip2pEncoding,
        after: Ip2pEncoding,
        instruction: Instruction,
        t: Tensor,
        noise: Tensor,
        guidance: Ip2pSettings | None = None,
    ) -> Tensor:
        """See `Editor`; the mean squared error in the space of the model's own prediction type.

        With `guidance` the guided prediction is compared with the target, as in the authors' code. The branches
        without the instruction carry no gradient and are computed without one.
        """

        instruction = instruction.encoded()  # once, whatever the number of branches

        def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
            if guidance is None:
                return self._predict(noisy, before.mean, instruction.rows, timesteps)
            return self._guided(noisy, before.mean, [(instruction, 1.0)], timesteps, guidance)

        return self._parts.denoising_loss(after.latents, t, noise, predict)

    def edit(
        self,
        image: Ip2pEncoding,
        branches: Sequence[tuple[Instruction, float]],
        settings: Ip2pSettings,
        noise: Noise,
    ) -> Tensor:
        """See `Editor`; as diffusers' `StableDiffusionInstructPix2PixPipeline`, with any number of branches."""
        encoded = [(instruction.encoded(), weight) for instruction, weight in branches]
        return self._parts.sample(
            lambda noisy, timestep: self._guided(noisy, image.mean, encoded, timestep, settings),
            image.latents.shape,
            settings,
            noise,
        )

    def num_branches(self, weights: Sequence[float], settings: Ip2pSettings) -> int:
        """See `Editor`."""
        unconditional, image, instructions = guidance_weights(
            settings.guidance_scale, settings.image_guidance_scale, weights
        )
        return sum(abs(weight) > NEGLIGIBLE for weight in (unconditional, image, *instructions))

    def _guided(
        self,
        noisy: Tensor,
        condition: Tensor,
        branches: Sequence[tuple[Instruction, float]],
        timesteps: Tensor,
        settings: Ip2pSettings,
    ) -> Tensor:
        """The guided prediction for `noisy (b, c, h, w)` and encoded instructions, see `guidance_weights`."""
        unconditional, image, weights = guidance_weights(
            settings.guidance_scale, settings.image_guidance_scale, [weight for _, weight in branches]
        )
        null = self._parts.null_rows
        plan = [(unconditional, null, torch.zeros_like(condition)), (image, null, condition)]
        plan += [(w, instruction.rows, condition) for w, (instruction, _) in zip(weights, branches, strict=True)]
        return guided(noisy, timesteps, plan, self._predict)

    def _predict(self, noisy: Tensor, condition: Tensor, rows: Tensor, timesteps: Tensor) -> Tensor:
        """One pass of the UNet in its own precision; float32 in and out."""
        b = len(noisy)
        inputs = torch.cat([noisy, condition.expand(b, -1, -1, -1)], dim=1).to(self.dtype)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        rows = rows.to(self.device, self.dtype)
        rows = rows if rows.ndim == 3 else rows.expand(b, -1, -1)
        predicted: Tensor = self.unet(inputs, timesteps, encoder_hidden_states=rows, return_dict=False)[0]
        return predicted.float()


def load_ip2p(
    *,
    name: str,
    model: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    space: str = ENCODER_OUTPUT,
) -> Ip2pEditor:
    """Read an InstructPix2Pix model from a folder in diffusers' layout or from a hub.

    Args:
        name: what the editor is called.
        model: folder, or hub id.
        revision: branch, tag or commit on the hub.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 where the device computes in it, else float32.
        clip: joint space, see `vii.clip.load_clip`; by default the model's own; "none" for none.
        space: kind of the instruction space; a value of `vii.editor.SPACES`.

    Raises:
        EditorError: the model cannot be found, or is not of this architecture.
        UsageError: an unknown device or precision.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    read = read_model(model, revision, clip, "InstructPix2Pix model")
    settings = override(Ip2pSettings(), **read.pop("settings"))
    return Ip2pEditor(**read, name=name, settings=settings, device=where, dtype=precision, space=space)
