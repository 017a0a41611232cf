"""Text to rows of conditioning, by a CLIP text encoder of transformers."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from ..instruction import Encoder, Instruction
from ..prompt_tower import embeddings_replaced


def text_length(tokenizer: Any, text_encoder: Any) -> int:
    """n, the rows of an instruction."""
    return int(min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings))


def encoder_of(tokenizer: Any, text_encoder: Any) -> Encoder:
    """A CLIP text encoder as what stands between its input embeddings and the networks."""
    table = text_encoder.get_input_embeddings().weight.detach()
    ids = tokenizer("", padding="max_length", max_length=text_length(tokenizer, text_encoder)).input_ids
    # EOS, then padding, which is EOS again in some models and not in others.
    return Encoder(partial(_encode, text_encoder), table[[*ids[1:], ids[-1]]].float(), float(table.float().std()))


def tokenized(text: str, tokenizer: Any, text_encoder: Any) -> tuple[list[int], tuple[int, int]]:
    """Text -> the ids of its tokens with those around them, as many as there are rows; and which are of its words.

    Raises:
        UsageError: the text is longer than the encoder takes.
    """
    length = text_length(tokenizer, text_encoder)
    ids: list[int] = tokenizer(text, padding="max_length", max_length=length, truncation=False).input_ids
    if len(ids) > length:
        raise UsageError(f"the text is {len(ids) - 2} tokens long, this editor takes {length - 2}: '{text[:40]}...'")
    return ids, (1, ids.index(tokenizer.eos_token_id, 1))


@torch.no_grad()
def instruct(text: str, tokenizer: Any, text_encoder: Any, encoder: Encoder | None = None) -> Instruction:
    """Text -> the rows `(n, d)` of a CLIP text encoder's output, float32; free are those of the words.

    Args:
        text: words.
        tokenizer: `CLIPTokenizer`.
        text_encoder: `CLIPTextModel`.
        encoder: the same as `encoder_of` gives it, for the rows of its input instead.

    Raises:
        UsageError: the text is longer than the encoder takes.
    """
    ids, free = tokenized(text, tokenizer, text_encoder)
    tokens = torch.tensor([ids], device=text_encoder.device)
    if encoder is not None:
        return Instruction(text_encoder.get_input_embeddings()(tokens)[0].float(), free, encoder=encoder)
    return Instruction(text_encoder(tokens).last_hidden_state[0].float(), free)


def _encode(text_encoder: Any, rows: Tensor) -> Tensor:
    """Token embeddings `(n, d)` -> the rows `(n, d)` of a CLIP text encoder's output, float32, differentiable."""
    # CLIPTextModel takes nothing but ids. Which ones does not matter: they are only looked up, and the lookup replaced.
    ids = torch.zeros(1, len(rows), dtype=torch.long, device=text_encoder.device)
    slots = torch.arange(len(rows), device=text_encoder.device)
    with embeddings_replaced(text_encoder.get_input_embeddings(), slots, rows):
        encoded: Tensor = text_encoder(ids).last_hidden_state[0]
    return encoded.float()
