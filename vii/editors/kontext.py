"""FLUX.1 Kontext [dev] (Black Forest Labs 2025, arXiv 2506.15742): the parts of diffusers' `FluxKontextPipeline`.

Rows are the output of T5, with padding, which the transformer does not mask; they have no positions, so that their
order means nothing and their number does. A pooled vector of CLIP goes into the modulation of every block. Guidance is
distilled: the transformer is told how much, and one pass a step is all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..diffusion import MAX_SCALE, MAX_STEPS
from ..errors import UsageError
from ..instruction import Instruction
from ..settings import setting
from .flow import SPREAD_TEXTS, FlowEncoding, ToldSettings, spread_of
from .flow_editor import FlowEditor
from .flow_files import FlowFiles, Pipelines

PIPELINES: Pipelines = {
    "FluxKontextPipeline": {
        "transformer": "diffusers:FluxTransformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:CLIPTextModel",
        "text_encoder_2": "transformers:T5EncoderModel",
        "tokenizer": "transformers:CLIPTokenizer",
        "tokenizer_2": "transformers:T5TokenizerFast",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
}
# Rows of a text, whatever it is, and tokens of which the pooled vector is made.
LENGTH, POOLED_LENGTH = 512, 77


@dataclass(frozen=True, kw_only=True)
class KontextSettings(ToldSettings):
    """How FLUX.1 Kontext samples.

    Attributes:
        true_cfg_scale: s, guidance by a second pass for the empty text; 1 = off.
    """

    num_inference_steps: int = setting(28, label="Steps", least=1, most=MAX_STEPS)
    guidance_scale: float = setting(2.5, label="Distilled CFG Scale", least=-MAX_SCALE, most=MAX_SCALE)
    true_cfg_scale: float = setting(1.0, label="CFG scale", least=-MAX_SCALE, most=MAX_SCALE)

    @property
    def cfg(self) -> float:
        """See `StepSettings`."""
        return self.true_cfg_scale


class KontextEditor(FlowEditor[KontextSettings]):
    """See `FlowEditor`; photos keep their shape, where diffusers stretches them to the nearest of 17."""

    pipelines = PIPELINES
    encoder = "text_encoder_2"
    distilled = True

    def __init__(self, files: FlowFiles, *, name: str, **how: bool) -> None:
        """See `FlowEditor`."""
        super().__init__(files, name=name, **how)
        self.tokenizer, self.clip_tokenizer = files.parts["tokenizer_2"], files.parts["tokenizer"]
        self.clip_text = files.parts["text_encoder"].to(files.device)
        self.settings = files.settings(KontextSettings())
        self.space = files.space(type(self.text_encoder).__name__, self.text_encoder.config.d_model, LENGTH)

    def read(self, text: str) -> Instruction:
        """See `FlowEditor`; the pooled vector is of the first 75 tokens."""
        ids = self.tokenizer(text, padding="max_length", max_length=LENGTH).input_ids
        if len(ids) > LENGTH:
            raise UsageError(
                f"the text is {len(ids) - 1} tokens long, this editor takes {LENGTH - 1}: '{text[:40]}...'"
            )
        options = {"padding": "max_length", "max_length": POOLED_LENGTH, "truncation": True, "return_tensors": "pt"}
        words = self.clip_tokenizer(text, **options).input_ids.to(self.device)
        with torch.no_grad():
            pooled = self.clip_text(words).pooler_output[0].float()
        free = (0, ids.index(self.tokenizer.eos_token_id))
        return Instruction(self._rows([ids])[0], free, spread=self._spread, pooled=pooled)

    @cached_property
    def _spread(self) -> Tensor:
        """`(d,)`, see `Instruction.spread`."""
        read = [self.tokenizer(text).input_ids for text in SPREAD_TEXTS]
        return spread_of([self._rows([ids])[0, :-1] for ids in read])  # without the end of the text

    @torch.no_grad()
    def _rows(self, ids: Sequence[Sequence[int]]) -> Tensor:
        model = self.turns.take(self.text_encoder)
        return model(torch.tensor(ids, device=model.device))[0].float()

    @property
    def normal(self) -> tuple[Tensor, Tensor]:
        """See `FlowEditor`."""
        config = self.vae.config
        return torch.tensor(config.shift_factor), torch.tensor(1 / config.scaling_factor)

    def conditions(
        self,
        b: int,
        grid: tuple[int, int],
        image: FlowEncoding,
        instruction: Instruction,
        settings: KontextSettings | None,
    ) -> dict[str, Any]:
        """See `FlowEditor`."""
        rows = instruction.rows.to(self.device, self.dtype)
        assert instruction.pooled is not None  # every instruction of this editor has one
        axes = torch.arange(2), *(torch.arange(count) for count in grid)  # which picture, row, column
        return {
            "encoder_hidden_states": rows.expand(b, -1, -1),
            "pooled_projections": instruction.pooled.to(self.device, self.dtype).expand(b, -1),
            "guidance": self.told_guidance(b, settings),
            "txt_ids": torch.zeros(len(rows), 3, device=self.device),
            "img_ids": torch.cartesian_prod(*axes).to(self.device, torch.float32),
        }
