"""Finding a ControlNet, and seeing to it that it fits the model it is to run with."""

from pathlib import Path
from typing import Any

from ..errors import EditorError
from ..libraries import load_weights, quiet
from .loading import fetch, loading, read_config
from .stable_diffusion import pixel_multiple

MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CONTROLNET = "lllyasviel/control_v11e_sd15_ip2p"


def read_controlnet(controlnet: str, revision: str) -> tuple[Any, str]:
    """Folder or hub id -> a `ControlNetModel` and, for an id, the commit.

    Raises:
        EditorError: it cannot be found, or is not a ControlNet.
    """
    from diffusers import ControlNetModel

    folder, commit = Path(controlnet), ""
    if not folder.is_dir():
        wanted = ["config.json", "diffusion_pytorch_model*"]
        folder, commit = fetch(controlnet, revision or None, wanted, "ControlNet", "`controlnet`")
    if not (folder / "config.json").exists():
        raise EditorError(f"{controlnet}: no config.json; expected the folder of a ControlNet in diffusers' layout")
    with quiet(), loading(controlnet, "ControlNet"):
        kind = read_config(folder / "config.json").get("_class_name")
        if kind != "ControlNetModel":
            raise ValueError(f"its config.json is that of a {kind}")
        return load_weights(ControlNetModel, folder), commit


def check_fit(model: str, unet: Any, controlnet: Any, vae: Any) -> None:
    """Refuse networks that do not go together, before they fail in the middle of a pass."""
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
    factor = 2 ** (len(controlnet.config.conditioning_embedding_out_channels) - 1)
    if controlnet.config.conditioning_channels != 3 or factor != multiple or controlnet.config.global_pool_conditions:
        raise EditorError(
            f"{model}: expected a ControlNet that sees a photo, 3 channels at 1/{multiple} scale, everywhere, got one "
            f"with {controlnet.config.conditioning_channels} at 1/{factor}"
            f"{', averaged over the picture' if controlnet.config.global_pool_conditions else ''}; give one that "
            f"edits photos as `controlnet`, such as {CONTROLNET}"
        )
