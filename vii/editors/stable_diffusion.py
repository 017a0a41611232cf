"""Stable Diffusion 1.x as a value: its frozen parts, and text and pictures in and out of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import light_imports
from ..clip import load_clip
from ..editor import ENCODER_OUTPUT, INPUT_EMBEDDING, JointSpace, Space
from ..images import fit, resize
from ..instruction import Encoder, Instruction
from ..libraries import load_weights, quiet
from .clip_text import encoder_of, instruct, text_length
from .devices import pick_device, pick_dtype
from .fingerprint import fingerprint, version_1_fingerprints
from .levels import Levels, levels_of
from .loading import (
    Manifest,
    class_of,
    joint_space,
    loading,
    local_name,
    locate,
    read_index,
    read_manifest,
    read_phrases,
)
from .shared import check_shared

# Folders of a model.
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
# Between the names, and the revisions, of two models where one text stands for both. No hub id has it.
BOTH = "+"
# What the networks are called in a fingerprint.
NETWORKS = ("unet", "controlnet")


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentDiffusion:
    """Frozen networks that denoise the latents of an autoencoder, on their device.

    Attributes:
        unet: `UNet2DConditionModel`.
        vae: `AutoencoderKL` or `AutoencoderTiny`, in float32, for it runs once a picture.
        scheduler: the model's own, any of diffusers' that `levels_of` knows.
        device: where everything runs.
        dtype: of the networks.
    """

    unet: Any
    vae: Any
    scheduler: Any
    device: torch.device
    dtype: torch.dtype

    @torch.no_grad()
    def encode(self, fitted: Tensor) -> Tensor:
        """`(b, 3, h, w)` in [0, 1] -> `(b, c, h', w')`, the mode of the autoencoder's posterior, unscaled."""
        encoded = self.vae.encode(fitted * 2 - 1)
        # AutoencoderKL gives a distribution, AutoencoderTiny the latents themselves.
        return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents

    def scaled(self, mean: Tensor) -> Tensor:
        """What `encode` gives, times the autoencoder's scaling factor: what is denoised towards."""
        return mean * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(b, c, h', w')` -> `(b, 3, h, w)` in [0, 1]."""
        decoded: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        return (decoded / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class StableDiffusion(LatentDiffusion):
    """The frozen parts of a model, on their device; see `assemble` and `read_model`.

    Attributes:
        controlnet: `ControlNetModel` that runs with the UNet at every step, or None.
        text_encoder: `CLIPTextModel`, in the precision of the networks.
        tokenizer: `CLIPTokenizer`.
        space: see `Editor`; its fingerprint is that of the text encoder and all the networks.
        clip: see `vii.clip.load_clip`; None for no joint space.
    """

    controlnet: Any = None
    text_encoder: Any
    tokenizer: Any
    space: Space
    clip: str | None

    @cached_property
    def levels(self) -> Levels:
        """Its noise levels."""
        return levels_of(self.scheduler, self.device)

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`."""
        return load_clip(self.clip, self.device) if self.clip else None

    @cached_property
    def encoder(self) -> Encoder | None:
        """Of instructions in the space of input embeddings."""
        return encoder_of(self.tokenizer, self.text_encoder) if self.space.kind == INPUT_EMBEDDING else None

    def instruct(self, text: str) -> Instruction:
        """See `Editor`."""
        return instruct(text, self.tokenizer, self.text_encoder, self.encoder)

    @cached_property
    def null(self) -> Instruction:
        """The empty text, as the networks read it."""
        return self.instruct("").encoded()

    def fit(self, image: Tensor, resolution: int, *, square: bool = False) -> Tensor:
        """Image `(3, h, w)` in [0, 1] -> `(1, 3, h', w')` in [0, 1], of about `resolution` squared pixels.

        The aspect ratio is kept or, where `square`, squeezed.
        """
        image = image.to(self.device, torch.float32)
        fitted = resize(image, resolution, resolution) if square else fit(image, resolution, pixel_multiple(self.vae))
        return fitted[None]


def assemble(
    parts: Mapping[str, Any],
    *,
    model: str = "in memory",
    revision: str = "",
    clip: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    space: str = ENCODER_OUTPUT,
) -> StableDiffusion:
    """Freeze the parts of a model, in place, and move them to a device.

    Args:
        parts: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler` and, where there is one, `controlnet`; see
            `StableDiffusion`.
        model: id or folder name of the base model.
        revision: of the model on a hub.
        clip: see `vii.clip.load_clip`; None for no joint space.
        device: where everything runs.
        dtype: of the networks and the text encoder.
        space: kind of the instruction space; a value of `vii.editor.SPACES`.
    """
    networks, others = [parts[name] for name in NETWORKS if name in parts], (parts["text_encoder"], parts["tokenizer"])
    named = space_of(*others, networks, parts["vae"], model, revision, space)  # before anything is cast
    with quiet():  # diffusers advises against casting with to(), though nothing here is kept in float32
        for network in networks:
            network.eval().requires_grad_(False).to(device, dtype).to(memory_format=torch.channels_last)
        parts["text_encoder"].eval().requires_grad_(False).to(device, dtype)
        parts["vae"].eval().requires_grad_(False).to(device, torch.float32)
    return StableDiffusion(**parts, space=named, clip=clip, device=torch.device(device), dtype=dtype)


def read_model(
    model: str,
    what: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    space: str = ENCODER_OUTPUT,
    controlnet: tuple[Any, str, str] | None = None,
) -> tuple[StableDiffusion, Manifest, Sequence[str]]:
    """Read a Stable Diffusion 1.x model from a folder in diffusers' layout or from a hub.

    Args:
        model: folder, or hub id.
        what: the kind of model expected, for errors.
        revision: branch, tag or commit on the hub.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 where the device computes in it, else float32.
        clip: joint space, see `vii.clip.load_clip`; by default the model's own; "none" for none.
        space: kind of the instruction space; a value of `vii.editor.SPACES`.
        controlnet: a `ControlNetModel` to run with it, its id or folder name, and its commit or "".

    Returns:
        the parts on their device, what the folder says of the model, and the instructions that it knows.

    Raises:
        EditorError: the model cannot be found, or is not complete.
        UsageError: an unknown device or precision.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    folder, commit = locate(model, revision, PARTS)
    manifest = read_manifest(folder)
    check_shared(manifest, model)
    parts, names, commits = read_parts(folder, model, what, manifest), [manifest.name or local_name(model)], [commit]
    if controlnet:
        network, name, network_commit = controlnet
        parts, names, commits = parts | {"controlnet": network}, [*names, name], [*commits, network_commit]
    assembled = assemble(
        parts,
        model=BOTH.join(names),
        revision=BOTH.join(commits) if any(commits) else "",
        clip=joint_space(folder, manifest, clip),
        device=where,
        dtype=precision,
        space=space,
    )
    return assembled, manifest, read_phrases(folder, manifest)


def read_parts(folder: Path, model: str, what: str, manifest: Manifest | None = None) -> dict[str, Any]:
    """The parts of a Stable Diffusion 1.x model: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler`.

    Args:
        folder: in diffusers' layout.
        model: what the user called it, for the error.
        what: the kind of model expected, likewise.
        manifest: of the folder; it says whether a part may lie elsewhere.

    Raises:
        EditorError: it is not complete.
    """
    place = partial((manifest or Manifest()).place, folder)
    unet, _, text_encoder, tokenizer = light_imports.classes(
        "diffusers.models.unets.unet_2d_condition:UNet2DConditionModel",
        "diffusers.models.autoencoders.autoencoder_kl:AutoencoderKL",  # as a rule
        "transformers.models.clip.modeling_clip:CLIPTextModel",
        "transformers.models.clip.tokenization_clip:CLIPTokenizer",
    )
    with quiet(), loading(model, what):
        index = read_index(folder)
        scheduler = class_of(index, "scheduler", "SchedulerMixin")
        return {
            "unet": load_weights(unet, place("unet")),
            "vae": load_weights(class_of(index, "vae", "ModelMixin"), place("vae")),
            "scheduler": scheduler.from_pretrained(place("scheduler"), local_files_only=True),
            "tokenizer": tokenizer.from_pretrained(place("tokenizer"), local_files_only=True),
            "text_encoder": load_weights(text_encoder, place("text_encoder"), dtype=torch.float32),
        }


def space_of(
    text_encoder: Any,
    tokenizer: Any,
    networks: Sequence[Any],
    vae: Any,
    model: str = "in memory",
    revision: str = "",
    kind: str = ENCODER_OUTPUT,
) -> Space:
    """The instruction space of a text encoder, its output or its input embeddings, as these networks read it.

    The networks belong to it: tokens are found by descending their loss. The same CLIP reads to InstructPix2Pix and to
    Stable Diffusion with a ControlNet, and tokens learned for one are still not meant for the other.
    """
    modules = {"text_encoder": text_encoder, **dict(zip(NETWORKS, networks, strict=False)), "vae": vae}
    return Space(
        kind,
        type(text_encoder).__name__,
        text_encoder.config.hidden_size,
        text_length(tokenizer, text_encoder),
        model,
        fingerprint({name: module.state_dict() for name, module in modules.items()}),
        revision,
        version_1_fingerprints(text_encoder, networks),
    )


def pixel_multiple(vae: Any) -> int:
    """Pixels a side of one latent, of any autoencoder of diffusers."""
    stages = getattr(vae.config, "temperal_downsample", None) or vae.config.block_out_channels[1:]
    return int(2 ** len(stages))
