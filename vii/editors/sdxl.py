"""SDXL InstructPix2Pix and CosXL-Edit: the parts of diffusers' `StableDiffusionXLInstructPix2PixPipeline`.

Against Stable Diffusion 1.x: rows are the second-last layers of two text encoders side by side; a pooled vector of the
second and six numbers of the picture's size go into the time embedding; the null instruction is zeros where the model's
configuration says so. CosXL (Stability AI 2024) is trained by EDM and scales the photo's latents; it is known by its
scheduler, for the pipeline does not save its flag.
"""

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
from .clip_text import text_length, tokenized
from .family import Branch
from .flow import SPREAD_TEXTS, spread_of
from .flow_files import ANY_SCHEDULER, Pipelines, read_flow
from .ip2p import Ip2pEditor, Ip2pSettings
from .levels import is_edm
from .stable_diffusion import StableDiffusion, pixel_multiple
from .turns import Turns

MODEL = "diffusers/sdxl-instructpix2pix-768"
# Pixels a side, where it is not 1024.
RESOLUTIONS = {MODEL.rpartition("/")[2]: 768}
PIPELINES: Pipelines = {
    "StableDiffusionXLInstructPix2PixPipeline": {
        "unet": "diffusers:UNet2DConditionModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:CLIPTextModel",
        "text_encoder_2": "transformers:CLIPTextModelWithProjection",
        "tokenizer": "transformers:CLIPTokenizer",
        "tokenizer_2": "transformers:CLIPTokenizer",
        "scheduler": ANY_SCHEDULER,
    }
}
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
    quantize: str | None = None,
    offload: bool = False,
) -> SdxlEditor:
    """Read SDXL InstructPix2Pix, or CosXL-Edit, by id or folder; see `FlowEditor.load` for the arguments.

    Raises EditorError where the model is in one file, cannot be found, or is not of this architecture.
    """
    if Path(model).is_file() or model in ONE_FILE:
        raise EditorError(CONVERT.format(model))
    where = {"revision": revision, "device": device, "dtype": dtype, "clip": clip, "quantize": quantize}
    files = read_flow(model, PIPELINES, **where, resolution=resolution or RESOLUTIONS.get(Path(model).name))
    unet, encoders = files.network, (files.parts["text_encoder"], files.parts["text_encoder_2"])
    for part in ("vae", "text_encoder"):
        files.parts[part].to(files.device)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    width = sum(encoder.config.hidden_size for encoder in encoders)
    length = text_length(files.parts["tokenizer"], encoders[0])
    parts = Sdxl(
        **files.parts,
        space=files.space(f"{type(encoders[0]).__name__} x2", width, length),
        clip=files.clip,
        device=files.device,
        dtype=files.dtype,
        zeros=files.index.get("force_zeros_for_empty_prompt", True) is True,
        turns=Turns(files.device, encoders[1], unet, offload=offload),
    )
    settings = files.settings(COSXL_SETTINGS if is_edm(parts.scheduler) else SETTINGS)
    return SdxlEditor(parts, name=name, settings=settings, resolution=files.resolution, phrases=files.phrases)
