"""SDXL InstructPix2Pix and CosXL-Edit: the parts of diffusers' `StableDiffusionXLInstructPix2PixPipeline`.

Against Stable Diffusion 1.x: rows are the second-last layers of two text encoders side by side; a pooled vector of the
second and six numbers of the picture's size go into the time embedding; the null instruction is zeros where the model's
configuration says so. CosXL (Stability AI 2024) is trained by EDM and scales the photo's latents; it is known by its
scheduler, for the pipeline does not save its flag.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..clip import Beside, load_clip
from ..editor import JointSpace
from ..errors import EditorError, UsageError, unknown_name
from ..instruction import Instruction
from ..libraries import load_weights
from .clip_text import text_length, tokenized
from .family import Branch
from .flow import SPREAD_TEXTS, spread_of
from .flow_files import read_flow
from .ip2p import Ip2pEditor, Ip2pSettings
from .levels import is_edm
from .loading import class_of, read_config
from .stable_diffusion import StableDiffusion, pixel_multiple
from .turns import Turns

MODEL = "diffusers/sdxl-instructpix2pix-768"
# Pixels a side, where it is not 1024.
RESOLUTIONS = {MODEL.rpartition("/")[2]: 768}
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
# As their cards recommend.
SETTINGS = Ip2pSettings(num_inference_steps=30, guidance_scale=3.0)
COSXL_SETTINGS = Ip2pSettings(num_inference_steps=20, guidance_scale=5.0)
EDM_SCHEDULERS = {"euler": "EDMEulerScheduler", "dpmsolver++": "EDMDPMSolverMultistepScheduler"}
# Of which there is no folder in diffusers' layout.
ONE_FILE = ("stabilityai/cosxl",)
CONVERT = (
    "{}: a model in one file; make a folder of it with diffusers: pipeline = "
    "StableDiffusionXLInstructPix2PixPipeline.from_single_file(FILE, num_in_channels=8, is_cosxl_edit=True); "
    'pipeline.scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=120.0, sigma_data=1.0, prediction_type="v_'
    'prediction", sigma_schedule="exponential"); pipeline.save_pretrained(FOLDER)'
)
KEPT_TEXTS = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class Sdxl(StableDiffusion):
    """The frozen parts of an SDXL model.

    Attributes:
        text_encoder_2: `CLIPTextModelWithProjection`, whose turn on the device comes before that of the UNet.
        tokenizer_2: `CLIPTokenizer`.
        zeros: whether the null instruction is zeros, and not the encoding of the empty text.
        turns: of the second text encoder and the UNet.
    """

    text_encoder_2: Any
    tokenizer_2: Any
    zeros: bool
    turns: Turns

    @cached_property
    def joint(self) -> JointSpace | None:
        """See `Editor`: a CLIP beside it, for rows of two text encoders have no place in either's joint space."""
        return Beside(load_clip(self.clip, self.device)) if self.clip else None

    @cached_property
    def instruct(self) -> Any:
        """See `Editor`; the texts asked for last are kept."""
        return lru_cache(KEPT_TEXTS)(self._instruct)

    def _instruct(self, text: str) -> Instruction:
        words = replace(self._read(text), spread=self.spread)
        if text or not self.zeros or words.pooled is None:
            return words
        return replace(words, rows=torch.zeros_like(words.rows), pooled=torch.zeros_like(words.pooled))

    @cached_property
    def spread(self) -> Tensor:
        """`(d,)`, see `Instruction.spread`: the two encoders' features differ in size."""
        return spread_of([self._read(text).tokens for text in SPREAD_TEXTS])

    @torch.no_grad()
    def _read(self, text: str) -> Instruction:
        ids, free = tokenized(text, self.tokenizer, self.text_encoder)
        others, _ = tokenized(text, self.tokenizer_2, self.text_encoder_2)
        first = self.text_encoder(torch.tensor([ids], device=self.device), output_hidden_states=True)
        encoder = self.turns.take(self.text_encoder_2)
        second = encoder(torch.tensor([others], device=encoder.device), output_hidden_states=True)
        rows = torch.cat([read.hidden_states[-2][0].float() for read in (first, second)], dim=-1)
        return Instruction(rows, free, pooled=second.text_embeds[0].float())


class SdxlEditor(Ip2pEditor):
    """See `Editor`; `load_sdxl` reads files."""

    parts: Sdxl

    def condition(self, fitted: Tensor, mean: Tensor) -> Tensor:
        """The mode of the autoencoder's posterior, unscaled but for CosXL."""
        return self.parts.scaled(mean) if is_edm(self.parts.scheduler) else mean

    def predict(self, settings: Ip2pSettings, noisy: Tensor, timesteps: Tensor, told: Branch) -> Tensor:
        """See `StableDiffusionEditor`."""
        self.parts.turns.take(self.parts.unet)
        return super().predict(settings, noisy, timesteps, told)

    def added(self, noisy: Tensor, told: Branch) -> dict[str, Any]:
        """The pooled vectors, and the sizes: original, crop, target."""
        height, width = (side * pixel_multiple(self.parts.vae) for side in noisy.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=self.device, dtype=self.parts.dtype)
        return {"added_cond_kwargs": {"text_embeds": told.pooled, "time_ids": sizes.expand(len(noisy), -1)}}

    def make_scheduler(self, name: str) -> Any:
        """See `StableDiffusionEditor`; CosXL has fewer."""
        import diffusers

        if name == "model" or not is_edm(self.parts.scheduler):
            return super().make_scheduler(name)
        if name not in EDM_SCHEDULERS:
            raise UsageError(f"with CosXL: {unknown_name('scheduler', name, ['model', *EDM_SCHEDULERS])}")
        return getattr(diffusers, EDM_SCHEDULERS[name]).from_config(self.parts.scheduler.config)


def load_sdxl(
    *,
    name: str = "sdxl",
    model: str = MODEL,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    resolution: int | None = None,
    checkpointing: bool = True,
) -> SdxlEditor:
    """Read SDXL InstructPix2Pix, or CosXL-Edit; see `read_flow` for what is not said here.

    Args:
        name: see `Editor`.
        model: folder in diffusers' layout, or hub id.
        revision: branch, tag or commit on the hub.
        device: where it runs.
        dtype: of the UNet and the text encoders.
        clip: a CLIP beside the model.
        resolution: pixels a side.
        checkpointing: whether learning trades a third more time for a tenth of the memory.

    Raises:
        EditorError: the model is in one file, cannot be found, or is not of this architecture.
    """
    if Path(model).is_file() or model in ONE_FILE:
        raise EditorError(CONVERT.format(model))
    where = {"revision": revision, "device": device, "dtype": dtype, "clip": clip}
    size = resolution or RESOLUTIONS.get(Path(model).name)
    files = read_flow(model, "StableDiffusionXLInstructPix2PixPipeline", PARTS, _read_parts, **where, resolution=size)
    parts, known = dict(files.parts), dict(files.common)
    device_, encoders = known.pop("device"), (parts["text_encoder"], parts["text_encoder_2"])
    for part in ("vae", "text_encoder"):
        parts[part].to(device_)
    unet = parts["unet"].to(memory_format=torch.channels_last)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    width = sum(encoder.config.hidden_size for encoder in encoders)
    length = text_length(parts["tokenizer"], encoders[0])
    space = files.space(type(encoders[0]).__name__ + " x2", width, unet.config.cross_attention_dim, length)
    assembled = Sdxl(
        **parts | {"scheduler": known.pop("scheduler")},
        space=space,
        clip=known.pop("clip"),
        device=device_,
        dtype=files.dtype,
        zeros=files.index.get("force_zeros_for_empty_prompt", True) is True,
        turns=Turns(device_, encoders[1], unet),
    )
    settings = files.settings(COSXL_SETTINGS if is_edm(assembled.scheduler) else SETTINGS)
    return SdxlEditor(assembled, name=name, settings=settings, **known)


def _read_parts(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The parts; the autoencoder in float32, for it overflows in float16 and runs once a picture."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    scheduler = class_of(read_config(folder / "model_index.json"), "scheduler", "SchedulerMixin")
    return {
        "unet": load_weights(UNet2DConditionModel, folder / "unet", torch_dtype=dtype),
        "vae": load_weights(AutoencoderKL, folder / "vae", torch_dtype=torch.float32),
        "text_encoder": load_weights(CLIPTextModel, folder / "text_encoder", dtype=dtype),
        "text_encoder_2": load_weights(CLIPTextModelWithProjection, folder / "text_encoder_2", dtype=dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        "tokenizer_2": CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        "scheduler": scheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    }
