"""InstructPix2Pix (Brooks et al. 2023) over stock diffusers and transformers classes.

The same code runs the embedded editor and `timbrooks/instruct-pix2pix`: sizes, latent scale, prediction type and
schedule are all read from the model. What diffusers' configs cannot say (the resolution it was trained at, the
settings that suit it, its own CLIP, the phrases it knows) stands in an optional `vii.json` in the model's folder.
"""

import inspect
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..clip import load_clip
from ..diffusion import Noise, add_noise, guidance_weights, training_target
from ..editor import JointSpace, Space
from ..errors import EditorError, UsageError, unknown_name
from ..images import fit
from ..instruction import Instruction
from ..libraries import quiet
from .loading import (
    DEFAULT_PHRASES,
    class_of,
    fingerprint,
    loading,
    locate,
    pick_device,
    pick_dtype,
    read_manifest,
)

# Weights of guidance branches this small are rounding errors of `guidance_weights`, not requests.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Ip2pSettings:
    """How InstructPix2Pix samples.

    Attributes:
        num_inference_steps: denoising steps, at least 1.
        guidance_scale: s_T, how far to go along the instruction; 1 = off.
        image_guidance_scale: s_I, how far to keep to the photo; 1 = off.
        scheduler: a key of `SCHEDULERS`, or "model" for the one in the model's own folder.
    """

    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    scheduler: str = "model"

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        if self.num_inference_steps < 1:
            raise UsageError(f"num_inference_steps must be at least 1, got {self.num_inference_steps}")
        for name in ("guidance_scale", "image_guidance_scale"):
            if not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name} must be a finite number, got {getattr(self, name)}")
        if self.scheduler != "model" and self.scheduler not in SCHEDULERS:
            raise UsageError(unknown_name("scheduler", self.scheduler, ["model", *SCHEDULERS]))


SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}


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
    ) -> None:
        """Freeze the parts and move them to a device.

        Args:
            unet: `UNet2DConditionModel` with twice the autoencoder's latent channels as input.
            vae: `AutoencoderKL` or `AutoencoderTiny`; stays in float32, for it runs once a picture.
            text_encoder: `CLIPTextModel`.
            tokenizer: `CLIPTokenizer`.
            scheduler: any diffusers scheduler with `alphas_cumprod`; the model's own.
            name: see `Editor`.
            model: id or folder name of the base model.
            revision: of the model on a hub.
            resolution: pixels; photos are scaled to about `resolution` squared pixels.
            settings: what suits this model.
            clip: see `vii.clip.load_clip`; None for no joint space.
            phrases: instructions this model knows.
            device: where the UNet and the encoders run.
            dtype: of the UNet and the text encoder.

        Raises:
            EditorError: the parts do not fit together.
        """
        from diffusers import DDPMScheduler

        latent_channels = vae.config.latent_channels
        if unet.config.in_channels != 2 * latent_channels:
            raise EditorError(
                f"{model}: the UNet takes {unet.config.in_channels} channels, InstructPix2Pix needs twice the "
                f"autoencoder's {latent_channels}: this is not a model that edits photos by instruction"
            )
        self.name, self.resolution, self.phrases = name, resolution, phrases
        self.settings = settings or Ip2pSettings()
        self.device, self.dtype = torch.device(device), dtype
        self.space = Space(
            "encoder_output",
            type(text_encoder).__name__,
            text_encoder.config.hidden_size,
            min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings),
            model,
            fingerprint(text_encoder, unet),
            revision,
        )
        with quiet():  # diffusers advises against casting with to(), though nothing here is kept in float32
            self.unet = unet.eval().requires_grad_(False).to(self.device, dtype).to(memory_format=torch.channels_last)
            self.text_encoder = text_encoder.eval().requires_grad_(False).to(self.device, dtype)
            self.vae = vae.eval().requires_grad_(False).to(self.device, torch.float32)
        self.tokenizer, self.scheduler, self._clip = tokenizer, scheduler, clip
        training = DDPMScheduler.from_config(scheduler.config)
        self.num_timesteps: int = training.config.num_train_timesteps
        self.prediction_type: str = training.config.prediction_type
        self.alpha_bar = training.alphas_cumprod.to(self.device)

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`."""
        return load_clip(self._clip, self.device) if self._clip else None

    @cached_property
    def pixel_multiple(self) -> int:
        """Pixels a side of one latent."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def encode(self, image: Tensor) -> Ip2pEncoding:
        """See `Editor`."""
        fitted = fit(image.to(self.device, torch.float32), self.resolution, self.pixel_multiple)
        encoded = self.vae.encode(fitted[None] * 2 - 1)
        # AutoencoderKL gives a distribution, AutoencoderTiny the latents themselves.
        mean = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return Ip2pEncoding(mean, mean * self.vae.config.scaling_factor)

    @torch.no_grad()
    def instruct(self, text: str) -> Instruction:
        """See `Editor`."""
        ids = self.tokenizer(text, padding="max_length", max_length=self.space.length, truncation=False).input_ids
        if len(ids) > self.space.length:
            raise UsageError(
                f"the text is {len(ids) - 2} tokens long, this editor takes {self.space.length - 2}: '{text[:40]}...'"
            )
        rows = self.text_encoder(torch.tensor([ids], device=self.device)).last_hidden_state[0]
        return Instruction(rows.float(), (1, ids.index(self.tokenizer.eos_token_id, 1)))

    @cached_property
    def _null_rows(self) -> Tensor:
        return self.instruct("").rows

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
        timesteps = (t * self.num_timesteps).long().to(self.device)
        noise = noise.to(self.device)
        alpha_bar = self.alpha_bar[timesteps]
        noisy = add_noise(after.latents, noise, alpha_bar)
        target = training_target(self.prediction_type, after.latents, noise, alpha_bar)
        if guidance is None:
            predicted = self._predict(noisy, before.mean, instruction.rows, timesteps)
        else:
            predicted = self._guided(noisy, before.mean, [(instruction, 1.0)], timesteps, guidance)
        return (predicted - target).square().mean((1, 2, 3))

    @torch.no_grad()
    def edit(
        self,
        image: Ip2pEncoding,
        branches: Sequence[tuple[Instruction, float]],
        settings: Ip2pSettings,
        noise: Noise,
    ) -> Tensor:
        """See `Editor`; the loop of diffusers' `StableDiffusionInstructPix2PixPipeline` with any number of branches."""
        scheduler = self._make_scheduler(settings.scheduler)
        scheduler.set_timesteps(settings.num_inference_steps, device=self.device)
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        latents = noise.draw((1, *image.noise_shape), self.num_timesteps - 1).to(self.device)
        latents = latents * scheduler.init_noise_sigma
        stepped_to = [int(t) for t in scheduler.timesteps[1:]] + [0]
        for timestep, following in zip(scheduler.timesteps, stepped_to, strict=True):
            scaled = scheduler.scale_model_input(latents, timestep)
            predicted = self._guided(scaled, image.mean, branches, timestep[None], settings)
            extra = {"generator": noise.generator(following)} if takes_generator else {}
            latents = scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        return (decoded[0] / 2 + 0.5).clamp(0, 1).cpu()

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
        """The guided prediction for `noisy (b, c, h, w)`, its branches in one batch; zero weights are skipped.

        Branches that need a gradient go through the UNet apart from those that do not, which saves the latter's
        activations and backward pass.
        """
        unconditional, image, weights = guidance_weights(
            settings.guidance_scale, settings.image_guidance_scale, [weight for _, weight in branches]
        )
        null = self._null_rows
        plan = [(unconditional, null, torch.zeros_like(condition)), (image, null, condition)]
        plan += [(w, instruction.rows, condition) for w, (instruction, _) in zip(weights, branches, strict=True)]
        plan = [row for row in plan if abs(row[0]) > NEGLIGIBLE]
        learning = torch.is_grad_enabled()
        result = torch.zeros((), device=self.device)
        for needs_gradient in (False, True):
            part = [row for row in plan if (learning and row[1].requires_grad) == needs_gradient]
            if not part:
                continue
            b = len(noisy)
            with nullcontext() if needs_gradient else torch.no_grad():
                predictions = self._predict(
                    noisy.repeat(len(part), 1, 1, 1),
                    torch.cat([row[2].expand(b, -1, -1, -1) for row in part]),
                    torch.stack([row[1] for row in part]).repeat_interleave(b, 0),
                    timesteps.expand(b).repeat(len(part)),
                ).chunk(len(part))
            for (weight, _, _), prediction in zip(part, predictions, strict=True):
                result = result + weight * prediction
        return result

    def _predict(self, noisy: Tensor, condition: Tensor, rows: Tensor, timesteps: Tensor) -> Tensor:
        """One pass of the UNet in its own precision; float32 in and out."""
        b = len(noisy)
        inputs = torch.cat([noisy, condition.expand(b, -1, -1, -1)], dim=1).to(self.dtype)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        rows = rows.to(self.device, self.dtype)
        rows = rows if rows.ndim == 3 else rows.expand(b, -1, -1)
        predicted: Tensor = self.unet(inputs, timesteps, encoder_hidden_states=rows, return_dict=False)[0]
        return predicted.float()

    def _make_scheduler(self, name: str) -> Any:
        """A fresh scheduler, for schedulers keep the state of the run they are in."""
        import diffusers

        kind = type(self.scheduler) if name == "model" else getattr(diffusers, SCHEDULERS[name])
        return kind.from_config(self.scheduler.config)


def load_ip2p(
    *,
    name: str,
    model: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
) -> Ip2pEditor:
    """Read an InstructPix2Pix model from a folder in diffusers' layout or from a hub.

    Args:
        name: what the editor is called.
        model: folder, or hub id.
        revision: branch, tag or commit on the hub.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 where CUDA has it, else float32.
        clip: joint space, see `vii.clip.load_clip`; by default the model's own; "none" for none.

    Raises:
        EditorError: the model cannot be found, or is not of this architecture.
        UsageError: an unknown device or precision.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    folder, commit = locate(model, revision)
    manifest = read_manifest(folder)
    with quiet(), loading(model):
        index = json.loads((folder / "model_index.json").read_text())
        parts = {
            "unet": UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True),
            "vae": class_of(index, "vae").from_pretrained(folder / "vae", use_safetensors=True),
            "scheduler": class_of(index, "scheduler").from_pretrained(folder / "scheduler"),
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "text_encoder": CLIPTextModel.from_pretrained(
                folder / "text_encoder", use_safetensors=True, dtype=torch.float32
            ),
        }
    own_clip = manifest.get("clip")
    if own_clip and (folder / own_clip).is_dir():
        own_clip = str(folder / own_clip)
    phrases = folder / manifest["phrases"] if "phrases" in manifest else DEFAULT_PHRASES
    return Ip2pEditor(
        **parts,
        name=name,
        model=manifest.get("name", Path(model).name if Path(model).is_dir() else model),
        revision=commit,
        resolution=manifest["resolution"],
        settings=Ip2pSettings(**manifest["settings"]),
        clip={None: own_clip, "none": None}.get(clip, clip),
        phrases=phrases.read_text(encoding="utf-8").splitlines(),
        device=where,
        dtype=precision,
    )
