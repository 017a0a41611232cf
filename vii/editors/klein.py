"""FLUX.2 [klein] (Black Forest Labs 2026) over stock diffusers and transformers classes: `Flux2KleinPipeline`'s parts.

The text is a chat turn of Qwen3; its rows are three hidden layers side by side, with padding, which the transformer
does not mask: it attends to 512 rows whatever the text, and those after the words know the words. Every row has a
position, so that the order of rows means something. There is no pooled vector and no text in the modulation.

Edits are learned on a base model and applied with it or with the model distilled from it, which reads the same rows.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..images import fit
from ..instruction import Instruction
from ..libraries import load_weights
from .flow import SPREAD_TEXTS, FlowEditor, FlowEncoding, GuidedSettings, StepSettings, spread_of
from .flow_files import read_flow
from .turns import Turns

OWNER, BASE, DISTILLED = "black-forest-labs/", "FLUX.2-klein-base-{}", "FLUX.2-klein-{}"
SIZES = ("4B", "9B")
PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
# Rows of a text, whatever it is.
LENGTH = 512
# Pixels a side of a token: 8 of a latent, which are taken 2 x 2.
PATCH = 2
# Where on the first axis of the transformer's positions the photo stands; the result stands at 0.
PHOTO_TIME = 10
# Against learning on a distilled model.
ADVICE = (
    "this model is distilled to few steps: it does not predict the mean velocity that the loss asks for, so that what "
    "is learned is biased; learn on the base model, and apply the edit with this one"
)
# Rows of texts that are kept: of 512 x 7680 numbers each.
KEPT_TEXTS = 16


class KleinText:
    """The text encoder: Qwen3 within its chat template.

    Attributes:
        layers: see `layers_of`.
    """

    def __init__(self, tokenizer: Any, model: Any, turns: Turns) -> None:
        """Take a `Qwen2TokenizerFast`, a frozen `Qwen3ForCausalLM`, and the turns in which it comes to the device."""
        self.tokenizer, self.model, self.turns = tokenizer, model, turns
        self.layers = layers_of(model.config)
        self.head, _, self.tail = self._chat("words").partition("words")
        # Learning asks for the same few texts again and again.
        self.instruct = lru_cache(KEPT_TEXTS)(self._instruct)

    def _instruct(self, text: str) -> Instruction:
        """Text -> its instruction, rows `(512, d)` float32; free are those of the words."""
        chat = self._chat(text)
        read = self.tokenizer(chat, padding="max_length", max_length=LENGTH, return_offsets_mapping=True)
        if (count := len(read["input_ids"])) > LENGTH:
            room = LENGTH - len(self.tokenizer(self.head + self.tail).input_ids)
            raise UsageError(
                f"the text is {count - LENGTH + room} tokens long, this editor takes {room}: '{text[:40]}...'"
            )
        free = self._words(read["offset_mapping"], len(chat))
        return Instruction(self._rows([read["input_ids"]], [read["attention_mask"]])[0], free, spread=self.spread)

    @cached_property
    def spread(self) -> Tensor:
        """`(d,)`, see `Instruction.spread`: Qwen3's layers are not normalised, and grow with depth."""
        chats = [self._chat(text) for text in SPREAD_TEXTS]
        read = self.tokenizer(chats, padding=True, return_offsets_mapping=True)
        rows = self._rows(read["input_ids"], read["attention_mask"])
        spans = [self._words(at, len(chat)) for at, chat in zip(read["offset_mapping"], chats, strict=True)]
        return spread_of([some[start:stop] for some, (start, stop) in zip(rows, spans, strict=True)])

    def _chat(self, text: str) -> str:
        turn = [{"role": "user", "content": text}]
        chat: str = self.tokenizer.apply_chat_template(
            turn, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return chat

    def _words(self, offsets: Sequence[tuple[int, int]], length: int) -> tuple[int, int]:
        """Which tokens lie between head and tail, by the characters of each."""
        start, stop = len(self.head), length - len(self.tail)
        inside = [index for index, (first, last) in enumerate(offsets) if start <= first and first < last <= stop]
        if inside:
            return inside[0], inside[-1] + 1
        at = next(index for index, (first, last) in enumerate(offsets) if first >= start and last > first)
        return at, at

    @torch.no_grad()
    def _rows(self, ids: Sequence[Sequence[int]], mask: Sequence[Sequence[int]]) -> Tensor:
        model = self.turns.take(self.model)
        inputs = [torch.tensor(some, device=model.device) for some in (ids, mask)]
        # Without the head, whose scores of every word in the vocabulary nobody asks for.
        read = model.model(*inputs, output_hidden_states=True, use_cache=False)
        return torch.cat([read.hidden_states[layer] for layer in self.layers], dim=-1).float()


class KleinEditor(FlowEditor[Any]):
    """See `Editor`; `load_klein` reads files."""

    def __init__(
        self, parts: Mapping[str, Any], *, distilled: bool, dtype: torch.dtype, checkpointing: bool, **known: Any
    ) -> None:
        """Take parts that are frozen and on the CPU.

        Args:
            parts: by their names in diffusers' folders.
            distilled: whether the model was distilled to need few steps and no guidance.
            dtype: of the transformer.
            checkpointing: whether a pass with a gradient keeps what goes into its blocks, and computes the rest again.
            known: see `FlowEditor`; the space lacks what only the parts can tell.
        """
        self.transformer, self.vae = parts["transformer"], parts["vae"].to(known["device"])
        self.turns = Turns(known["device"], parts["text_encoder"], self.transformer)
        self.text = KleinText(parts["tokenizer"], parts["text_encoder"], self.turns)
        self.dtype, self.advice = dtype, ADVICE if distilled else ""
        if checkpointing:
            self.transformer.enable_gradient_checkpointing()
        super().__init__(**known)

    def instruct(self, text: str, source: FlowEncoding | None = None) -> Instruction:
        """See `Editor`; the text encoder does not see the photo."""
        return self.text.instruct(text)

    @cached_property
    def _normal(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `(1, c, 1, 1)` of latents taken 2 x 2: those of the autoencoder's batch norm."""
        mean, variance = (getattr(self.vae.bn, name).view(1, -1, 1, 1) for name in ("running_mean", "running_var"))
        return mean, (variance + self.vae.config.batch_norm_eps).sqrt()

    @torch.no_grad()
    def encode(self, image: Tensor) -> FlowEncoding:
        """See `Editor`; the photo is scaled, where diffusers crops it to whole tokens."""
        multiple = PATCH * 2 ** (len(self.vae.config.block_out_channels) - 1)
        fitted = fit(image.to(self.device, torch.float32), self.resolution, multiple)[None]
        latents = torch.nn.functional.pixel_unshuffle(self.vae.encode(fitted * 2 - 1).latent_dist.mode(), PATCH)
        mean, deviation = self._normal
        return FlowEncoding((latents - mean) / deviation)

    def decode(self, latents: Tensor) -> Tensor:
        """See `FlowEditor`."""
        mean, deviation = self._normal
        unpacked = torch.nn.functional.pixel_shuffle(latents * deviation + mean, PATCH)
        decoded: Tensor = self.vae.decode(unpacked, return_dict=False)[0]
        return (decoded / 2 + 0.5).clamp(0, 1)

    def shift(self, noise_shape: tuple[int, ...], steps: int) -> float:
        """See `FlowEditor`; fitted by the model's makers to the tokens of a picture and the number of steps."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return float(compute_empirical_mu(noise_shape[1] * noise_shape[2], steps))

    def predict(
        self,
        noisy: Tensor,
        t: Tensor,
        image: FlowEncoding,
        instruction: Instruction,
        settings: StepSettings | None,
    ) -> Tensor:
        """See `FlowEditor`."""
        b, _, h, w = noisy.shape
        photo = image.latents.expand(b, -1, -1, -1)
        sequence = torch.cat([noisy.flatten(2), photo.flatten(2)], dim=2).transpose(1, 2)
        rows, told = instruction.rows.to(self.device, self.dtype), (t * 1000).to(self.dtype) / 1000
        predicted: Tensor = self.turns.take(self.transformer)(
            sequence.to(self.dtype),
            encoder_hidden_states=rows.expand(b, -1, -1),
            timestep=told,  # rounded as the pipeline rounds it
            txt_ids=_positions(texts=len(rows), device=self.device),
            img_ids=torch.cat(
                [_positions(0, h, w, device=self.device), _positions(PHOTO_TIME, h, w, device=self.device)]
            ),
            return_dict=False,
        )[0]
        return predicted[:, : h * w].transpose(1, 2).reshape(noisy.shape).float()


def _positions(time: int = 0, rows: int = 1, columns: int = 1, texts: int = 1, *, device: torch.device) -> Tensor:
    """Positions `(n, 4)` of tokens: time, row, column, place in the text."""
    axes = [torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.arange(texts)]
    return torch.cartesian_prod(*axes).to(device)


def load_klein(
    *,
    name: str = "klein",
    model: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    resolution: int | None = None,
    checkpointing: bool = True,
) -> KleinEditor:
    """Read a FLUX.2 [klein] model, base or distilled, of any size; see `read_flow` for what is not said here.

    Args:
        name: see `Editor`.
        model: folder in diffusers' layout, or hub id.
        revision: branch, tag or commit on the hub.
        device: where it runs.
        dtype: of the transformer and the text encoder.
        clip: a CLIP beside the model.
        resolution: pixels a side.
        checkpointing: whether learning trades a third more time for a tenth of the memory.
    """
    where = {"revision": revision, "device": device, "dtype": dtype, "clip": clip}
    files = read_flow(model, "Flux2KleinPipeline", PARTS, _read_parts, **where, resolution=resolution)
    distilled = files.index.get("is_distilled") is True
    encoder = files.parts["text_encoder"]
    layers = layers_of(encoder.config)
    return KleinEditor(
        files.parts,
        distilled=distilled,
        dtype=files.dtype,
        checkpointing=checkpointing,
        name=name,
        space=files.space(
            " ".join([type(encoder).__name__, *map(str, layers)]),
            len(layers) * encoder.config.hidden_size,
            files.parts["transformer"].config.joint_attention_dim,
            LENGTH,
            relatives_of(files.called),
        ),
        settings=files.settings(StepSettings() if distilled else GuidedSettings()),
        **files.common,
    )


def _read_parts(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The parts; the autoencoder in float32, for it runs once a picture."""
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen2TokenizerFast, Qwen3ForCausalLM

    return {
        "transformer": load_weights(Flux2Transformer2DModel, folder / "transformer", torch_dtype=dtype),
        "vae": load_weights(AutoencoderKLFlux2, folder / "vae", torch_dtype=torch.float32),
        "text_encoder": load_weights(Qwen3ForCausalLM, folder / "text_encoder", dtype=dtype),
        "tokenizer": Qwen2TokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True),
        "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    }


def layers_of(config: Any) -> tuple[int, int, int]:
    """After how many layers of Qwen3 the hidden states are taken: a quarter, half and three quarters of all."""
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
