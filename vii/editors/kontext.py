"""FLUX.1 Kontext [dev] (Black Forest Labs 2025, arXiv 2506.15742): the parts of diffusers' `FluxKontextPipeline`.

Rows are the output of T5, with padding, which the transformer does not mask; they have no positions, so that their
order means nothing and their number does. A pooled vector of CLIP goes into the modulation of every block. Guidance is
distilled: the transformer is told how much, and one pass a step is all. The loss tells it 1, for which the target of
the loss is what it predicts (as musubi-tuner and ai-toolkit train).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..errors import UsageError
from ..images import fit
from ..instruction import Instruction
from ..libraries import load_weights
from ..settings import setting
from .flow import MAX_SCALE, MAX_STEPS, SPREAD_TEXTS, FlowEditor, FlowEncoding, StepSettings, spread_of
from .flow_files import read_flow
from .turns import Turns

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
# Rows of a text, whatever it is, and tokens of which the pooled vector is made.
LENGTH, POOLED_LENGTH = 512, 77
# Latents a side of a token.
PATCH = 2
# Rows of texts that are kept: of 512 x 4096 numbers each.
KEPT_TEXTS = 16


@dataclass(frozen=True, kw_only=True)
class KontextSettings(StepSettings):
    """How FLUX.1 Kontext samples.

    Attributes:
        num_inference_steps: Euler's steps, from 1 to `MAX_STEPS`.
        guidance_scale: what the transformer is told, one pass whatever it is.
        true_cfg_scale: s, guidance by a second pass for the empty text; 1 = off.
    """

    num_inference_steps: int = setting(28, label="Steps", least=1, most=MAX_STEPS)
    guidance_scale: float = setting(2.5, label="Distilled CFG Scale", least=-MAX_SCALE, most=MAX_SCALE)
    true_cfg_scale: float = setting(1.0, label="CFG scale", least=-MAX_SCALE, most=MAX_SCALE)


class KontextEditor(FlowEditor[KontextSettings]):
    """See `Editor`; `load_kontext` reads files."""

    def __init__(self, parts: Mapping[str, Any], *, dtype: torch.dtype, checkpointing: bool, **known: Any) -> None:
        """Take parts that are frozen and on the CPU.

        Args:
            parts: by their names in diffusers' folders.
            dtype: of the transformer.
            checkpointing: whether a pass with a gradient keeps what goes into its blocks, and computes the rest again.
            known: see `FlowEditor`.
        """
        self.transformer, self.t5, self.tokenizers = (
            parts["transformer"],
            parts["text_encoder_2"],
            (parts["tokenizer_2"], parts["tokenizer"]),
        )
        self.vae, self.clip_text = (parts[name].to(known["device"]) for name in ("vae", "text_encoder"))
        self.turns, self.dtype = Turns(known["device"], self.t5, self.transformer), dtype
        if checkpointing:
            self.transformer.enable_gradient_checkpointing()
        self._instruct = lru_cache(KEPT_TEXTS)(self._read)  # learning asks for the same few texts again and again
        super().__init__(**known)

    def instruct(self, text: str, source: FlowEncoding | None = None) -> Instruction:
        """See `Editor`; the text encoders do not see the photo. The pooled vector is of the first 75 tokens."""
        return self._instruct(text)

    def _read(self, text: str) -> Instruction:
        t5, clip = self.tokenizers
        ids = t5(text, padding="max_length", max_length=LENGTH).input_ids
        if len(ids) > LENGTH:
            raise UsageError(
                f"the text is {len(ids) - 1} tokens long, this editor takes {LENGTH - 1}: '{text[:40]}...'"
            )
        words = clip(text, padding="max_length", max_length=POOLED_LENGTH, truncation=True, return_tensors="pt")
        with torch.no_grad():
            pooled = self.clip_text(words.input_ids.to(self.device)).pooler_output[0].float()
        free = (0, ids.index(t5.eos_token_id))
        return Instruction(self._rows([ids])[0], free, spread=self._spread, pooled=pooled)

    @cached_property
    def _spread(self) -> Tensor:
        """`(d,)`, see `Instruction.spread`."""
        t5 = self.tokenizers[0]
        read = [t5(text).input_ids for text in SPREAD_TEXTS]
        return spread_of([self._rows([ids])[0, :-1] for ids in read])  # without the end of the text

    @torch.no_grad()
    def _rows(self, ids: Sequence[Sequence[int]]) -> Tensor:
        model = self.turns.take(self.t5)
        rows: Tensor = model(torch.tensor(ids, device=model.device))[0]
        return rows.float()

    @torch.no_grad()
    def encode(self, image: Tensor) -> FlowEncoding:
        """See `Editor`; at the photo's own shape, where diffusers stretches it to the nearest of 17."""
        multiple = PATCH * 2 ** (len(self.vae.config.block_out_channels) - 1)
        fitted = fit(image.to(self.device, torch.float32), self.resolution, multiple)[None]
        mode = self.vae.encode(fitted * 2 - 1).latent_dist.mode()
        return FlowEncoding((mode - self.vae.config.shift_factor) * self.vae.config.scaling_factor)

    def decode(self, latents: Tensor) -> Tensor:
        """See `FlowEditor`."""
        unscaled = latents / self.vae.config.scaling_factor + self.vae.config.shift_factor
        decoded: Tensor = self.vae.decode(unscaled, return_dict=False)[0]
        return (decoded / 2 + 0.5).clamp(0, 1)

    def shift(self, noise_shape: tuple[int, ...], steps: int) -> float:
        """See `FlowEditor`; linear in the tokens of a picture."""
        from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift

        known = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
        bounds = [self.scheduler.config.get(name, default) for name, default in known.items()]
        return float(calculate_shift(noise_shape[1] * noise_shape[2] // PATCH**2, *bounds))

    def guidance(self, settings: KontextSettings | None) -> float:
        """See `FlowEditor`: the guidance that takes a second pass."""
        return 1.0 if settings is None else settings.true_cfg_scale

    def predict(
        self,
        noisy: Tensor,
        t: Tensor,
        image: FlowEncoding,
        instruction: Instruction,
        settings: KontextSettings | None,
    ) -> Tensor:
        """See `FlowEditor`."""
        b, _, h, w = noisy.shape
        photo = image.latents.expand(b, -1, -1, -1)
        tokens = torch.cat([pixel_unshuffle(latents, PATCH).flatten(2) for latents in (noisy, photo)], dim=2)
        rows = instruction.rows.to(self.device, self.dtype)
        assert instruction.pooled is not None  # every instruction of this editor has one
        told = None
        if self.transformer.config.guidance_embeds:
            told = torch.full((b,), 1.0 if settings is None else settings.guidance_scale, device=self.device)
        predicted: Tensor = self.turns.take(self.transformer)(
            tokens.transpose(1, 2).to(self.dtype),
            timestep=(t * 1000).to(self.dtype) / 1000,  # rounded as the pipeline rounds it
            guidance=told,
            pooled_projections=instruction.pooled.to(self.device, self.dtype).expand(b, -1),
            encoder_hidden_states=rows.expand(b, -1, -1),
            txt_ids=torch.zeros(len(rows), 3, device=self.device),
            img_ids=torch.cat([self._positions(which, h // PATCH, w // PATCH) for which in (0, 1)]),
            return_dict=False,
        )[0]
        grid = predicted[:, : h * w // PATCH**2].transpose(1, 2).reshape(b, -1, h // PATCH, w // PATCH)
        return pixel_shuffle(grid, PATCH).float()

    def _positions(self, which: int, rows: int, columns: int) -> Tensor:
        """Positions `(n, 3)` of a picture's tokens: which picture, row, column."""
        axes = torch.tensor([which]), torch.arange(rows), torch.arange(columns)
        return torch.cartesian_prod(*axes).to(self.device, torch.float32)


def load_kontext(
    *,
    name: str = "kontext",
    model: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    resolution: int | None = None,
    checkpointing: bool = True,
) -> KontextEditor:
    """Read a FLUX.1 Kontext model; see `read_flow` for what is not said here.

    Args:
        name: see `Editor`.
        model: folder in diffusers' layout, or hub id.
        revision: branch, tag or commit on the hub.
        device: where it runs.
        dtype: of the transformer and the text encoders.
        clip: a CLIP beside the model.
        resolution: pixels a side.
        checkpointing: whether learning trades a third more time for a tenth of the memory.
    """
    where = {"revision": revision, "device": device, "dtype": dtype, "clip": clip}
    files = read_flow(model, "FluxKontextPipeline", PARTS, _read_parts, **where, resolution=resolution)
    encoder, transformer = files.parts["text_encoder_2"], files.parts["transformer"]
    width = transformer.config.joint_attention_dim
    return KontextEditor(
        files.parts,
        dtype=files.dtype,
        checkpointing=checkpointing,
        name=name,
        space=files.space(type(encoder).__name__, encoder.config.d_model, width, LENGTH),
        settings=files.settings(KontextSettings()),
        **files.common,
    )


def _read_parts(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The parts; the autoencoder in float32, for it runs once a picture."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

    return {
        "transformer": load_weights(FluxTransformer2DModel, folder / "transformer", torch_dtype=dtype),
        "vae": load_weights(AutoencoderKL, folder / "vae", torch_dtype=torch.float32),
        "text_encoder": load_weights(CLIPTextModel, folder / "text_encoder", dtype=dtype),
        "text_encoder_2": load_weights(T5EncoderModel, folder / "text_encoder_2", dtype=dtype),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        "tokenizer_2": T5TokenizerFast.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    }
