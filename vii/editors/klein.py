"""FLUX.2 (Black Forest Labs 2025): the parts of `Flux2KleinPipeline`, base or distilled, and of `Flux2Pipeline`, [dev].

The text is a chat turn of Qwen3, of [dev] a system message and a turn of Mistral 3; its rows are three hidden layers
side by side, with padding, which the transformer does not mask: it attends to 512 rows whatever the text. [klein]'s
padding is behind the words and knows them, [dev]'s is before them. Every row has a position, so that the order of rows
means something. There is no pooled vector and no text in the modulation; [dev] is told how much guidance.

[klein]'s edits are learned on a base model and applied with it or with the model distilled from it, which reads the
same rows.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..instruction import Instruction
from .flow import SPREAD_TEXTS, FlowEncoding, GuidedSettings, StepSettings, ToldSettings, spread_of
from .flow_editor import TOKEN, FlowEditor
from .flow_files import FlowFiles, Pipelines

OWNER, BASE, DISTILLED = "black-forest-labs/", "FLUX.2-klein-base-{}", "FLUX.2-klein-{}"
SIZES = ("4B", "9B")
KLEIN, DEV = "Flux2KleinPipeline", "Flux2Pipeline"
SHARED = {
    "transformer": "diffusers:Flux2Transformer2DModel",
    "vae": "diffusers:AutoencoderKLFlux2",
    "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
}
QWEN = {"text_encoder": "transformers:Qwen3ForCausalLM", "tokenizer": "transformers:Qwen2TokenizerFast"}
MISTRAL = {
    "text_encoder": "transformers:Mistral3ForConditionalGeneration",
    "tokenizer": "transformers:PixtralProcessor",
}
PIPELINES: Pipelines = {KLEIN: SHARED | QWEN, DEV: SHARED | MISTRAL}
# Rows of a text, whatever it is.
LENGTH = 512
# Where on the first axis of the transformer's positions the photo stands; the result stands at 0.
PHOTO_TIME = 10
# Stands for a text where its place in a template is looked for.
MARK = "words"
# Against learning on a distilled model.
ADVICE = (
    "this model is distilled to few steps: it does not predict the mean velocity that the loss asks for, so that what "
    "is learned is biased; learn on the base model, and apply the edit with this one"
)


class KleinEditor(FlowEditor[Any]):
    """See `FlowEditor`."""

    pipelines = PIPELINES
    grouped = TOKEN

    def __init__(self, files: FlowFiles, *, name: str, **how: bool) -> None:
        """See `FlowEditor`."""
        super().__init__(files, name=name, **how)
        few_steps, self.is_dev = files.index.get("is_distilled") is True, files.pipeline == DEV
        self.distilled, self.advice = few_steps or self.is_dev, ADVICE if few_steps else ""
        recommended = ToldSettings() if self.is_dev else StepSettings() if few_steps else GuidedSettings()
        self.settings = files.settings(recommended)
        self.template = files.parts["tokenizer"]
        self.tokenizer = self.template.tokenizer if self.is_dev else self.template
        config = self.text_encoder.config.get_text_config()
        self.layers = layers_of(config)
        encoder = " ".join([type(self.text_encoder).__name__, *map(str, self.layers)])
        width, relatives = len(self.layers) * config.hidden_size, relatives_of(files.called)
        self.space = files.space(encoder, width, LENGTH, relatives=relatives)
        self.head, _, self.tail = self.chat(MARK).rpartition(MARK)

    def read(self, text: str) -> Instruction:
        """See `FlowEditor`; rows `(512, d)` float32."""
        chat = self.chat(text)
        padding = {"padding": "max_length", "max_length": LENGTH}
        read = self.tokenizer(chat, add_special_tokens=False, return_offsets_mapping=True, **padding)
        if (count := len(read["input_ids"])) > LENGTH:
            room = LENGTH - len(self.tokenizer(self.head + self.tail, add_special_tokens=False).input_ids)
            raise UsageError(
                f"the text is {count - LENGTH + room} tokens long, this editor takes {room}: '{text[:40]}...'"
            )
        free = self._words(read["offset_mapping"], read["attention_mask"], len(chat))
        rows = self._rows([read["input_ids"]], [read["attention_mask"]])[0]
        # Behind the words of [klein] there is room in its padding; [dev]'s stand last, and more rows are before them.
        first = read["attention_mask"].index(1) + 1 if self.is_dev else free[0]
        return Instruction(rows, free, spread=self.spread, room=(first, LENGTH - 1))

    @cached_property
    def spread(self) -> Tensor:
        """`(d,)`, see `Instruction.spread`: the layers are not normalised, and grow with depth."""
        chats = [self.chat(text) for text in SPREAD_TEXTS]
        read = self.tokenizer(chats, add_special_tokens=False, padding=True, return_offsets_mapping=True)
        spans = [
            self._words(offsets, mask, len(chat))
            for offsets, mask, chat in zip(read["offset_mapping"], read["attention_mask"], chats, strict=True)
        ]
        rows = self._rows(read["input_ids"], read["attention_mask"])
        return spread_of([some[start:stop] for some, (start, stop) in zip(rows, spans, strict=True)])

    def chat(self, text: str) -> str:
        """A text as the encoder reads it."""
        if self.is_dev:
            from diffusers.pipelines.flux2.pipeline_flux2 import format_input

            turns, options = format_input([text])[0], {"add_generation_prompt": False}
        else:
            turns = [{"role": "user", "content": text}]
            options = {"add_generation_prompt": True, "enable_thinking": False}
        return self.template.apply_chat_template(turns, tokenize=False, **options)

    def _words(self, offsets: Sequence[tuple[int, int]], mask: Sequence[int], length: int) -> tuple[int, int]:
        """Which tokens lie between head and tail, by the characters of each."""
        start, stop = len(self.head), length - len(self.tail)
        real = [(index, first, last) for index, (first, last) in enumerate(offsets) if mask[index] and last > first]
        inside = [index for index, first, last in real if start <= first and last <= stop]
        if inside:
            return inside[0], inside[-1] + 1
        at = next(index for index, first, _ in real if first >= start)
        return at, at

    @torch.no_grad()
    def _rows(self, ids: Sequence[Sequence[int]], mask: Sequence[Sequence[int]]) -> Tensor:
        model = self.turns.take(self.text_encoder)
        inputs = [torch.tensor(some, device=model.device) for some in (ids, mask)]
        # Without the head, whose scores of every word in the vocabulary nobody asks for.
        named = dict(zip(("input_ids", "attention_mask"), inputs, strict=True))
        read = model.model(**named, output_hidden_states=True, use_cache=False)
        return torch.cat([read.hidden_states[layer] for layer in self.layers], dim=-1).float()

    @cached_property
    def normal(self) -> tuple[Tensor, Tensor]:
        """See `FlowEditor`: those of the autoencoder's batch norm, `(1, c, 1, 1)`."""
        mean, variance = (getattr(self.vae.bn, name).view(1, -1, 1, 1) for name in ("running_mean", "running_var"))
        return mean, (variance + self.vae.config.batch_norm_eps).sqrt()

    def shift(self, tokens: int, steps: int) -> float:
        """See `FlowEditor`; fitted by the model's makers to the tokens of a picture and the number of steps."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return float(compute_empirical_mu(tokens, steps))

    def conditions(
        self, b: int, grid: tuple[int, int], image: FlowEncoding, instruction: Instruction, settings: Any
    ) -> dict[str, Any]:
        """See `FlowEditor`."""
        rows = instruction.rows.to(self.device, self.dtype)
        pictures = [_positions(time, *grid) for time in (0, PHOTO_TIME)]
        return {
            "encoder_hidden_states": rows.expand(b, -1, -1),
            "guidance": self.told_guidance(b, settings),
            "txt_ids": _positions(texts=len(rows)).to(self.device),
            "img_ids": torch.cat(pictures).to(self.device),
        }


def _positions(time: int = 0, rows: int = 1, columns: int = 1, texts: int = 1) -> Tensor:
    """Positions `(n, 4)` of tokens: time, row, column, place in the text."""
    return torch.cartesian_prod(torch.tensor([time]), *(torch.arange(count) for count in (rows, columns, texts)))


def layers_of(config: Any) -> tuple[int, int, int]:
    """After how many layers the hidden states are taken: a quarter, half and three quarters of all."""
    depth = config.num_hidden_layers
    return depth // 4, depth // 2, depth * 3 // 4


def relatives_of(model: str) -> tuple[str, ...]:
    """The model that this one was distilled from or into, by id and by the name of a folder of it.

    >>> relatives_of("black-forest-labs/FLUX.2-klein-4B")
    ('black-forest-labs/FLUX.2-klein-base-4B', 'FLUX.2-klein-base-4B')
    """
    for size in SIZES:
        both = [BASE.format(size), DISTILLED.format(size)]
        own = model.removeprefix(OWNER)
        if own in both:
            (other,) = set(both) - {own}
            return OWNER + other, other
    return ()
