"""InstructPix2Pix (Brooks et al. 2023) over stock diffusers and transformers classes.

The same code runs the embedded editor and `timbrooks/instruct-pix2pix`: sizes, latent scale, prediction type and
schedule are all read from the model. What diffusers' configs cannot say (the resolution it was trained at, the
settings that suit it, its own CLIP, the phrases it knows) stands in an optional `vii.json` in the model's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion import MAX_SCALE, guidance_weights
from ..editor import ENCODER_OUTPUT
from ..errors import EditorError
from ..settings import setting
from .family import Branch, SamplingSettings, StableDiffusionEditor
from .stable_diffusion import StableDiffusion


@dataclass(frozen=True, kw_only=True)
class Ip2pSettings(SamplingSettings):
    """How InstructPix2Pix samples.

    Attributes:
        image_guidance_scale: s_I, how far to keep to the photo; 1 = off.
    """

    image_guidance_scale: float = setting(1.5, label="Image CFG scale", least=-MAX_SCALE, most=MAX_SCALE)


class Ip2pEditor(StableDiffusionEditor[Ip2pSettings]):
    """InstructPix2Pix: the photo's latents are further channels of the UNet's input. `load_ip2p` reads files."""

    @staticmethod
    def check(parts: StableDiffusion) -> None:
        """Refuse a UNet without channels for the photo."""
        latent_channels, channels = parts.vae.config.latent_channels, parts.unet.config.in_channels
        if channels != 2 * latent_channels:
            raise EditorError(
                f"{parts.space.model}: the UNet takes {channels} channels, InstructPix2Pix needs twice the "
                f"autoencoder's {latent_channels}: this is not a model that edits photos by instruction"
            )

    def condition(self, fitted: Tensor, mean: Tensor) -> Tensor:
        """The mode of the autoencoder's posterior, unscaled."""
        return mean

    def guidance(self, settings: Ip2pSettings, weights: Sequence[float]) -> tuple[float, float, list[float]]:
        """See `guidance_weights`."""
        return guidance_weights(settings.guidance_scale, settings.image_guidance_scale, weights)

    def predict(self, settings: Ip2pSettings, noisy: Tensor, timesteps: Tensor, told: Branch) -> Tensor:
        """See `StableDiffusionEditor`."""
        inputs = torch.cat([noisy, told.condition], dim=1)
        inputs = inputs.to(self.parts.dtype).contiguous(memory_format=torch.channels_last)
        return self.parts.unet(
            inputs, timesteps, encoder_hidden_states=told.rows, return_dict=False, **self.added(noisy, told)
        )[0]

    def added(self, noisy: Tensor, told: Branch) -> dict[str, Any]:
        """What else the UNet is given."""
        return {}


def load_ip2p(
    *,
    name: str = "ip2p",
    model: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    space: str = ENCODER_OUTPUT,
) -> Ip2pEditor:
    """Read an InstructPix2Pix model; see `read_model` for the arguments and `Editor` for the name.

    Raises:
        EditorError: the model cannot be found, or is not of this architecture.
        UsageError: an unknown device or precision.
    """
    where = {"revision": revision, "device": device, "dtype": dtype, "clip": clip, "space": space}
    return Ip2pEditor.from_files(model, "InstructPix2Pix model", Ip2pSettings(), name=name, **where)
