"""Stable Diffusion 1.5 with a ControlNet that sees the photo (ControlNet 1.1 ip2p; Zhang et al. 2023).

The paper's second backend, over stock diffusers classes; its authors never published theirs. The photo does not enter
the UNet as channels but a ControlNet as its conditioning image, in [0, 1].

Guidance has one axis less than InstructPix2Pix: `e = e_0 + s_T sum_j w_j (e_j - e_0)`, where `e_0` sees the photo and
no words. There is no branch without the photo, hence no image guidance; how far the result keeps to the photo is
`controlnet_conditioning_scale`, a factor on what the ControlNet adds to the UNet, in every branch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion import MAX_SCALE, guidance_weights
from ..editor import ENCODER_OUTPUT
from ..errors import EditorError
from ..libraries import load_weights, quiet
from ..settings import setting
from .family import Branch, SamplingSettings, StableDiffusionEditor
from .loading import fetch, loading, local_name, read_config
from .stable_diffusion import BOTH, StableDiffusion, pixel_multiple

MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CONTROLNET = "lllyasviel/control_v11e_sd15_ip2p"


@dataclass(frozen=True, kw_only=True)
class ControlnetSettings(SamplingSettings):
    """How Stable Diffusion samples with a ControlNet.

    Attributes:
        controlnet_conditioning_scale: factor on what the ControlNet adds; 1 as it was trained, 0 the photo is not seen.
    """

    controlnet_conditioning_scale: float = setting(1.0, label="ControlNet scale", least=-MAX_SCALE, most=MAX_SCALE)


class ControlnetEditor(StableDiffusionEditor[ControlnetSettings]):
    """Stable Diffusion with a ControlNet; without guidance in the loss it runs at the scale of `settings`."""

    @staticmethod
    def check(parts: StableDiffusion) -> None:
        """Refuse networks that do not go together, before they fail in the middle of a pass."""
        model, unet, controlnet, vae = parts.space.model, parts.unet, parts.controlnet, parts.vae
        channels, multiple = vae.config.latent_channels, pixel_multiple(vae)
        if unet.config.in_channels != channels:
            raise EditorError(
                f"{model}: the UNet takes {unet.config.in_channels} channels, a ControlNet needs a text-to-image model "
                f"with the autoencoder's {channels}; for a model that edits by itself use the editor 'ip2p'"
            )
        for name in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            wanted, got = (str(network.config[name]).strip("[]()") for network in (unet, controlnet))
            if wanted != got:  # compared as text, for a list in a file is a tuple in memory
                raise EditorError(
                    f"{model}: the ControlNet has {name} {got}, the UNet {wanted}: it was made for another base model; "
                    "give one that fits as `controlnet`, or the base that it was made for as `model`"
                )
        seen, pooled = controlnet.config.conditioning_channels, controlnet.config.global_pool_conditions
        factor = 2 ** (len(controlnet.config.conditioning_embedding_out_channels) - 1)
        if seen != 3 or factor != multiple or pooled:
            raise EditorError(
                f"{model}: expected a ControlNet that sees a photo, 3 channels at 1/{multiple} scale, everywhere, got "
                f"one with {seen} at 1/{factor}{', averaged over the picture' if pooled else ''}; give one that edits "
                f"photos as `controlnet`, such as {CONTROLNET}"
            )

    def condition(self, fitted: Tensor, mean: Tensor) -> Tensor:
        """The pixels in [0, 1]."""
        return fitted

    def guidance(self, settings: ControlnetSettings, weights: Sequence[float]) -> tuple[float, float, list[float]]:
        """That of InstructPix2Pix at image guidance 1: no branch is without the photo."""
        return guidance_weights(settings.guidance_scale, 1.0, weights)

    def predict(self, settings: ControlnetSettings, noisy: Tensor, timesteps: Tensor, told: Branch) -> Tensor:
        """See `StableDiffusionEditor`."""
        dtype = self.parts.dtype
        inputs = noisy.to(dtype).contiguous(memory_format=torch.channels_last)
        residuals = {}
        if settings.controlnet_conditioning_scale:
            down, middle = self.parts.controlnet(
                inputs,
                timesteps,
                encoder_hidden_states=told.rows,
                controlnet_cond=told.condition.to(dtype),
                conditioning_scale=settings.controlnet_conditioning_scale,
                return_dict=False,
            )
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        unet = self.parts.unet
        return unet(inputs, timesteps, encoder_hidden_states=told.rows, **residuals, return_dict=False)[0]


def load_controlnet(
    *,
    name: str = "controlnet",
    model: str = MODEL,
    controlnet: str | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    space: str = ENCODER_OUTPUT,
) -> ControlnetEditor:
    """Read Stable Diffusion and a ControlNet; see `read_model` for the arguments that are not told here.

    Args:
        model: folder or hub id of the base model; or `BASE+CONTROLNET`, as edit files name the two.
        controlnet: folder or hub id; by default the one in `model`, and where that has none, ControlNet 1.1 ip2p.
        revision: branch, tag or commit of the base model on the hub; or `REVISION+REVISION`, as in edit files.

    Raises:
        EditorError: a model cannot be found, is not of this architecture, or the two do not fit.
        UsageError: an unknown device or precision.
    """
    base, _, named = (model, "", "") if Path(model).is_dir() else model.partition(BOTH)
    base_revision, _, network_revision = (revision or "").partition(BOTH)
    chosen = controlnet or named or CONTROLNET
    # The second revision is that of the ControlNet that `model` names, and of no other.
    network, commit = read_controlnet(chosen, network_revision if chosen == named else "")
    where = {"revision": base_revision or None, "device": device, "dtype": dtype, "clip": clip, "space": space}
    found, what = (network, local_name(chosen), commit), "Stable Diffusion model"
    return ControlnetEditor.from_files(base or MODEL, what, ControlnetSettings(), name=name, controlnet=found, **where)


def read_controlnet(controlnet: str, revision: str) -> tuple[Any, str]:
    """Folder or hub id -> a `ControlNetModel` and, for an id, the commit.

    Raises:
        EditorError: it cannot be found, or is not a ControlNet.
    """
    from diffusers import ControlNetModel

    wanted = ["config.json", "diffusion_pytorch_model*"]
    folder, commit = fetch(controlnet, revision or None, wanted, "ControlNet", "`controlnet`")
    if not (folder / "config.json").exists():
        raise EditorError(f"{controlnet}: no config.json; expected the folder of a ControlNet in diffusers' layout")
    with quiet(), loading(controlnet, "ControlNet"):
        kind = read_config(folder / "config.json").get("_class_name")
        if kind != "ControlNetModel":
            raise ValueError(f"its config.json is that of a {kind}")
        return load_weights(ControlNetModel, folder), commit
