"""Qwen-Image-Edit (Wu et al. 2025, arXiv 2508.02324), -2509 and -2511: the parts of diffusers' pipelines for them.

The text encoder sees the photo (`qwen_text`). Its rows have positions, and are normalised by the transformer, for which
only their direction counts. Guidance is a second pass, and each token of the guided velocity is scaled to the length
that it has without guidance.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..editor import ENCODER_OUTPUT_OFFSET
from ..instruction import Instruction
from .flow import FlowEncoding, GuidedSettings
from .flow_editor import TOKEN, FlowEditor
from .flow_files import FlowFiles, Pipelines
from .qwen_text import LENGTH, Offsets, PhotoReader, SeenEncoding

EDIT, PLUS = "QwenImageEditPipeline", "QwenImageEditPlusPipeline"
PARTS = {
    "transformer": "diffusers:QwenImageTransformer2DModel",
    "vae": "diffusers:AutoencoderKLQwenImage",
    "text_encoder": "transformers:Qwen2_5_VLForConditionalGeneration",
    "tokenizer": "transformers:Qwen2TokenizerFast",
    "processor": "transformers:Qwen2VLImageProcessor",
    "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
}
PIPELINES: Pipelines = {EDIT: PARTS, PLUS: PARTS}


class QwenEditor(FlowEditor[GuidedSettings]):
    """See `FlowEditor`."""

    pipelines = PIPELINES

    def __init__(self, files: FlowFiles, *, name: str, **how: bool) -> None:
        """See `FlowEditor`."""
        super().__init__(files, name=name, **how)
        plus, parts = files.pipeline == PLUS, files.parts
        self.reader = PhotoReader(parts["tokenizer"], parts["processor"], self.text_encoder, self.turns, numbered=plus)
        # As on the models' cards.
        self.settings = files.settings(GuidedSettings(num_inference_steps=40 if plus else 50))
        encoder = type(self.text_encoder).__name__
        self.space = files.space(encoder, self.reader.width, LENGTH, kind=ENCODER_OUTPUT_OFFSET)

    @property
    def multiple(self) -> int:
        """See `FlowEditor`; twice what the networks need, as diffusers has it."""
        return 2 * super().multiple

    def read(self, text: str) -> Instruction:
        """See `FlowEditor`: offsets, all zero."""
        return self.reader.instruction(text)

    def instruct(self, text: str, source: Sequence[FlowEncoding] = ()) -> Instruction:
        """See `Editor`."""
        told = super().instruct(text)
        for image in source:
            self.look(image, [told])
        return told

    def look(self, image: FlowEncoding, instructions: Sequence[Instruction]) -> None:
        """See `FlowEditor`."""
        for told in instructions:
            self.reader.look(cast(SeenEncoding, image), cast(Offsets, told))

    @torch.no_grad()
    def encode(self, image: Tensor) -> SeenEncoding:
        """See `Editor`; the text encoder sees the picture as the autoencoder does, or scaled down from that."""
        fitted = self.fitted(image)
        return SeenEncoding(self.latents(fitted), **self.reader.see(fitted[0]))

    @cached_property
    def normal(self) -> tuple[Tensor, Tensor]:
        """See `FlowEditor`."""
        config = self.vae.config
        mean, deviation = (torch.tensor(some, device=self.device) for some in (config.latents_mean, config.latents_std))
        return mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)

    def compress(self, pictures: Tensor) -> Tensor:
        """See `FlowEditor`; the autoencoder is one of films, of one frame here."""
        return super().compress(pictures[:, :, None])[:, :, 0]

    def decompress(self, latents: Tensor) -> Tensor:
        """See `FlowEditor`."""
        return super().decompress(latents[:, :, None])[:, :, 0]

    def conditions(
        self,
        b: int,
        grid: tuple[int, int],
        image: FlowEncoding,
        instruction: Instruction,
        settings: GuidedSettings | None,
    ) -> dict[str, Any]:
        """See `FlowEditor`; the photos of a batch are of one size, hence of equally many rows."""
        rows = self.reader.rows(cast(SeenEncoding, image), cast(Offsets, instruction)).to(self.device, self.dtype)
        return {"encoder_hidden_states": rows.expand(b, -1, -1), "img_shapes": [[(1, *grid)] * 2] * b}

    def needs_null(self, s: float, weight: float) -> bool:
        """See `FlowEditor`; the length without guidance needs it too."""
        return s != 1 or super().needs_null(s, weight)

    def combined(self, velocity: Tensor, without: Tensor, s: float) -> Tensor:
        """See `FlowEditor`: each token's velocity at the length of `v_0 + sum_j w_j (v_j - v_0)`."""
        if s in (0, 1):  # at 0 nothing is asked for but `v_0`
            return velocity
        plain, guided = (pixel_unshuffle(some, TOKEN) for some in (without + (velocity - without) / s, velocity))
        return pixel_shuffle(guided * plain.norm(dim=1, keepdim=True) / guided.norm(dim=1, keepdim=True), TOKEN)
