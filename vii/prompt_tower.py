"""Text towers that are fed embeddings in place of words, so that a prompt can be searched for by gradient."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .editor import JointSpace
from .errors import UsageError


@dataclass(frozen=True, eq=False)
class PromptTower:
    """A text tower that is fed embeddings for the words of a prompt, so that words can be searched for.

    Attributes:
        words: tokens that are words of their own: any of them, with spaces between, is encoded as just these tokens.
        table: `(v, d)`, their token embeddings.
        features: embeddings `(k, d)` -> text feature `(p,)`, not normalised; differentiable.
    """

    words: Sequence[str]
    table: Tensor
    features: Callable[[Tensor], Tensor]


@runtime_checkable
class PromptSpace(JointSpace, Protocol):
    """A joint space in which words can be searched for."""

    def prompt_tower(self, count: int) -> PromptTower:
        """The text tower for prompts of `count` tokens; UsageError where it takes fewer, or its tokens are no words."""


def ids_by(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """Texts -> the ids of their tokens, by a tokenizer of transformers, without marks of beginning and end."""
    return lambda texts: tokenizer(texts, add_special_tokens=False).input_ids


def whole_words(
    encode: Callable[[list[str]], list[list[int]]], decode: Callable[[list[int]], str], tokenizer: Any
) -> dict[int, str]:
    """Ids of the tokens that stay themselves with spaces around them, and their texts.

    Pieces of words and parts of characters do not: text made of them would be encoded as something else.
    """
    size = getattr(tokenizer, "vocab_size", None) or len(tokenizer)
    texts = {index: decode([index]).strip() for index in range(size) if index not in tokenizer.all_special_ids}
    twice = encode([f"{text} {text}" for text in texts.values()])
    return {index: text for (index, text), ids in zip(texts.items(), twice, strict=True) if ids == [index, index]}


def tower_of(
    words: dict[int, str],
    count: int,
    tokenize: Callable[[str], Tensor],
    layer: torch.nn.Module,
    encode: Callable[[Tensor], Tensor],
) -> PromptTower:
    """A tower that encodes `count` times the same word, with the embeddings of those words replaced."""
    if not words:
        raise UsageError("no token of this CLIP model is a word of its own; name a model with CLIP's own tokenizer")
    index, word = next(iter(words.items()))
    weight: Tensor = layer.weight  # type: ignore[assignment]
    ids = tokenize(" ".join([word] * count)).to(weight.device)
    slots = (ids[0] == index).nonzero()[:, 0]
    if len(slots) < count:
        raise UsageError(f"a prompt of {count} tokens does not fit: this CLIP model takes {len(slots)}")

    def features(embeddings: Tensor) -> Tensor:
        with embeddings_replaced(layer, slots, embeddings):
            return encode(ids)[0]

    return PromptTower(list(words.values()), weight.detach()[list(words)].float(), features)


@contextmanager
def embeddings_replaced(layer: torch.nn.Module, slots: Tensor, embeddings: Tensor) -> Iterator[None]:
    """The layer gives `embeddings (k, d)` at the places `slots (k,)`, whatever the ids there, for the duration."""

    def replace(layer: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.index_copy(1, slots, embeddings[None].to(output))

    handle = layer.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
