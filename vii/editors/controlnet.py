"""Stable Diffusion 1.5 with a ControlNet that sees the photo (ControlNet 1.1 ip2p; Zhang et al. 2023).

The paper's second backend, over stock diffusers classes; its authors never published theirs. The photo does not enter
the UNet as channels but a ControlNet as its conditioning image, in [0, 1].

Guidance has one axis less than InstructPix2Pix: `e = e_0 + s_T sum_j w_j (e_j - e_0)`, where `e_0` sees the photo and
no words. There is no branch without the photo, hence no image guidance; how far the result keeps to the photo is
`controlnet_conditioning_scale`, a factor on what the ControlNet adds to the UNet, in every branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion import NEGLIGIBLE, Noise, guidance_weights, guided
from ..editor import ENCODER_OUTPUT, JointSpace
from ..instruction import Instruction
from ..settings import override
from .controlnet_files import BOTH, check_fit, read_controlnet
from .loading import local_name, pick_device, pick_dtype, read_model
from .needs import CONTROLNET
from .needs import STABLE_DIFFUSION as MODEL
from .stable_diffusion import SamplingSettings, StableDiffusion


@dataclass(frozen=True, kw_only=True)
class ControlnetSettings(SamplingSettings):
    """How Stable Diffusion samples with a ControlNet.

    Attributes:
        controlnet_conditioning_scale: factor on what the ControlNet adds; 1 as it was trained, 0 the photo is not seen.
    """

    controlnet_conditioning_scale: float = 1.0


@dataclass(frozen=True, eq=False)
class ControlnetEncoding:
    """A picture at the model's resolution.

    Attributes:
        pixels: `(1, 3, h, w)` in [0, 1]: what the ControlNet sees of a photo to edit.
        latents: `(1, c, h', w')`, scaled: what is denoised towards.
    """

    pixels: Tensor
    latents: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one sample of noise."""
        return tuple(self.latents.shape[1:])


class ControlnetEditor:
    """See `Editor`. Made from parts, so that any models of these classes will do; `load_controlnet` reads files."""

    def __init__(
        self,
        *,
        unet: Any,
        controlnet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        name: str = "controlnet",
        model: str = "in memory",
        revision: str = "",
        resolution: int = 512,
        settings: ControlnetSettings | None = None,
        clip: str | None = None,
        phrases: Sequence[str] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        space: str = ENCODER_OUTPUT,
    ) -> None:
        """Freeze the parts and move them to a device; arguments as for `Ip2pEditor`, and these.

        Args:
            unet: `UNet2DConditionModel` of a text-to-image model.
            controlnet: `ControlNetModel` for that UNet.
            model: ids or folder names of the base model and the ControlNet; `revision` likewise.

        Raises:
            EditorError: the parts do not fit together.
        """
        check_fit(model, unet, controlnet, vae)
        self._parts = parts = StableDiffusion(
            unet,
            controlnet,
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
        self.settings = settings or ControlnetSettings()
        self.space, self.num_timesteps = parts.space, parts.num_timesteps
        self.unet, self.controlnet, self.vae = unet, controlnet, parts.vae

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`."""
        return self._parts.joint()

    def encode(self, image: Tensor) -> ControlnetEncoding:
        """See `Editor`."""
        pixels = self._parts.fit(image, self.resolution)
        return ControlnetEncoding(pixels, self._parts.scaled(self._parts.encode(pixels)))

    def instruct(self, text: str) -> Instruction:
        """See `Editor`."""
        return self._parts.instruct(text)

    def loss(
        self,
        before: ControlnetEncoding,
        after: ControlnetEncoding,
        instruction: Instruction,
        t: Tensor,
        noise: Tensor,
        guidance: ControlnetSettings | None = None,
    ) -> Tensor:
        """See `Editor`; the mean squared error in the space of the model's own prediction type.

        Without `guidance` the ControlNet runs at the scale of `self.settings`.
        """

        instruction = instruction.encoded()  # once, whatever the number of branches

        def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
            if guidance is None:
                return self._predict(self.settings, noisy, before.pixels, instruction.rows, timesteps)
            return self._guided(noisy, before.pixels, [(instruction, 1.0)], timesteps, guidance)

        return self._parts.denoising_loss(after.latents, t, noise, predict)

    def edit(
        self,
        image: ControlnetEncoding,
        branches: Sequence[tuple[Instruction, float]],
        settings: ControlnetSettings,
        noise: Noise,
    ) -> Tensor:
        """See `Editor`; as diffusers' `StableDiffusionControlNetPipeline`, with any number of branches."""
        encoded = [(instruction.encoded(), weight) for instruction, weight in branches]
        return self._parts.sample(
            lambda noisy, timestep: self._guided(noisy, image.pixels, encoded, timestep, settings),
            image.noise_shape,
            settings,
            noise,
        )

    def num_branches(self, weights: Sequence[float], settings: ControlnetSettings) -> int:
        """See `Editor`."""
        return sum(abs(weight) > NEGLIGIBLE for weight in _weights(settings, weights))

    def _guided(
        self,
        noisy: Tensor,
        pixels: Tensor,
        branches: Sequence[tuple[Instruction, float]],
        timesteps: Tensor,
        settings: ControlnetSettings,
    ) -> Tensor:
        """The guided prediction for `noisy (b, c, h, w)` and encoded instructions."""
        rows = [self._parts.null_rows, *(instruction.rows for instruction, _ in branches)]
        weights = _weights(settings, [weight for _, weight in branches])
        return guided(
            noisy,
            timesteps,
            [(weight, row, pixels) for weight, row in zip(weights, rows, strict=True)],
            partial(self._predict, settings),
        )

    def _predict(
        self, settings: ControlnetSettings, noisy: Tensor, pixels: Tensor, rows: Tensor, timesteps: Tensor
    ) -> Tensor:
        """One pass of the two networks in their own precision; float32 in and out."""
        b, device, dtype = len(noisy), self._parts.device, self._parts.dtype
        inputs = noisy.to(dtype).contiguous(memory_format=torch.channels_last)
        rows = rows.to(device, dtype)
        rows = rows if rows.ndim == 3 else rows.expand(b, -1, -1)
        residuals = {}
        if settings.controlnet_conditioning_scale:
            down, middle = self.controlnet(
                inputs,
                timesteps,
                encoder_hidden_states=rows,
                controlnet_cond=pixels.to(dtype).expand(b, -1, -1, -1),
                conditioning_scale=settings.controlnet_conditioning_scale,
                return_dict=False,
            )
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        predicted: Tensor = self.unet(inputs, timesteps, encoder_hidden_states=rows, **residuals, return_dict=False)[0]
        return predicted.float()


def _weights(settings: ControlnetSettings, weights: Sequence[float]) -> list[float]:
    """The weights of `e_0` and of each `e_j`: those of InstructPix2Pix at image guidance 1, less its first branch."""
    _, without_words, instructions = guidance_weights(settings.guidance_scale, 1.0, weights)
    return [without_words, *instructions]


def load_controlnet(
    *,
    name: str,
    model: str = MODEL,
    controlnet: str | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    space: str = ENCODER_OUTPUT,
) -> ControlnetEditor:
    """Read Stable Diffusion and a ControlNet from folders in diffusers' layout or from a hub.

    Args:
        name: what the editor is called.
        model: folder or hub id of the base model; or `BASE+CONTROLNET`, as edit files name the two.
        controlnet: folder or hub id; by default the one in `model`, and where that has none, ControlNet 1.1 ip2p.
        revision: branch, tag or commit of the base model on the hub; or `REVISION+REVISION`, as in edit files.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 where the device computes in it, else float32.
        clip: joint space, see `vii.clip.load_clip`; by default the base model's own; "none" for none.
        space: kind of the instruction space; a value of `vii.editor.SPACES`.

    Raises:
        EditorError: a model cannot be found, is not of this architecture, or the two do not fit.
        UsageError: an unknown device or precision.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    base, _, named = (model, "", "") if Path(model).is_dir() else model.partition(BOTH)
    base_revision, _, network_revision = (revision or "").partition(BOTH)
    chosen = controlnet or named or CONTROLNET
    # The second revision is that of the ControlNet that `model` names, and of no other.
    network, commit = read_controlnet(chosen, network_revision if chosen == named else "")
    read = read_model(base or MODEL, base_revision or None, clip, "Stable Diffusion model")
    revisions = [read["revision"], commit]
    read |= {
        "model": BOTH.join([read["model"], local_name(chosen)]),
        "revision": BOTH.join(revisions) if any(revisions) else "",
        "settings": override(ControlnetSettings(), **read["settings"]),
    }
    return ControlnetEditor(**read, controlnet=network, name=name, device=where, dtype=precision, space=space)
