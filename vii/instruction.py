"""What an editor is told to do, as tensors: frozen rows of conditioning with a few learned rows among them.

The learned rows are always a small leaf `(k, d)`; the full conditioning is assembled from it by the pure functions
here. Nothing in this module knows a model.

Rows are what the networks of an editor read, or, where an instruction has an `Encoder`, what is before it: token
embeddings, which `Instruction.encoded` turns into the former.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .errors import UsageError


@dataclass(frozen=True, eq=False)
class Encoder:
    """What stands between the rows of an instruction and the networks, where these are its input embeddings.

    Attributes:
        encode: rows `(n, d)` -> rows `(n, d')` that the networks read; differentiable in the rows.
        ending: `(n, d)`, what follows the last word of any text: the rows of EOS, then padding.
        scale: standard deviation of the entries of the embeddings; learning rates are in units of it.
    """

    encode: Callable[[Tensor], Tensor]
    ending: Tensor
    scale: float


@dataclass(frozen=True, eq=False)
class Instruction:
    """The conditioning of an editor for one instruction.

    An editor whose networks read more (ids of tokens, say) gives a subclass with fields for it, which everything here
    keeps as they are.

    Attributes:
        rows: `(n, d)`; of CLIP: BOS, the words, EOS, then padding.
        free: `(start, stop)`, the rows that belong to the words and may be replaced: after BOS, before EOS.
        encoder: turns the rows into what the networks read; None where they are that already.
        spread: `(d,)`, the standard deviation of each feature between the rows of words, of a text encoder whose
            features differ in size; None where all are about 1.
        pooled: `(p,)`, a vector of the whole text that some networks read besides the rows, or None.
        room: `(start, stop)`, the rows among which any may be made free; None for those from the first of the words' to
            before the last of all.
    """

    rows: Tensor
    free: tuple[int, int]
    encoder: Encoder | None = None
    spread: Tensor | None = None
    pooled: Tensor | None = None
    room: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check that the free rows exist."""
        start, stop = self.free
        if self.rows.ndim != 2 or not 0 <= start <= stop <= len(self.rows):
            raise UsageError(f"rows {tuple(self.rows.shape)} have no free span {self.free}")

    @property
    def tokens(self) -> Tensor:
        """The free rows `(k, d)`."""
        return self.rows[self.free[0] : self.free[1]]

    @property
    def scale(self) -> float | Tensor:
        """The size of a row's entries, or `(d,)` of each feature's, in units of which learning rates are."""
        if self.encoder is not None:
            return self.encoder.scale
        return 1.0 if self.spread is None else self.spread

    @property
    def requires_grad(self) -> bool:
        """Whether the instruction is being learned: it can itself stand for a branch of `vii.diffusion.guided`."""
        return self.rows.requires_grad or (self.pooled is not None and self.pooled.requires_grad)

    def encoded(self) -> "Instruction":
        """The instruction as the networks read it, differentiable in the rows; itself where it is that already.

        Editors do this with whatever they are given. Who uses one instruction several times does it once before.
        """
        return self if self.encoder is None else replace(self, rows=self.encoder.encode(self.rows), encoder=None)

    def with_length(self, k: int) -> "Instruction":
        """The same rows with exactly `k` of them free, so that `k` tokens can be learned from any starting text.

        They begin with the words, and before these only where there is no room behind. See `with_span` for what becomes
        of a text with fewer or more tokens. Raises UsageError where `k` is less than 1, or there is no room for it.
        """
        first, last = self.room or (self.free[0], len(self.rows) - 1)
        if not 1 <= k <= last - first:
            raise UsageError(f"cannot learn {k} tokens: this editor has room for 1 to {last - first}")
        start = min(self.free[0], last - k)
        return self.with_span(start, start + k)

    def with_span(self, start: int, stop: int) -> "Instruction":
        """The same text with the rows from `start` to before `stop` free.

        After a text encoder the frozen rows stay as they are. CLIP is causal, so those after the words (EOS and
        padding) are functions of the words too; a longer span takes them in, a shorter one leaves the last words as
        part of the frozen tail.

        Before an encoder the rows after the span become EOS and padding whatever was there: a longer span starts with
        the embeddings of EOS and padding where the words have ended, and of a longer text the last words are cut off.
        Nothing but the free rows then tells one text from another, so that they alone, in a prompt of their own, are
        the whole instruction in any program that reads textual inversions.
        """
        if self.encoder is None:
            return replace(self, free=(start, stop))
        if stop >= len(self.rows):
            raise UsageError(f"{stop - start} tokens from row {start} on leave none of {len(self.rows)} rows for EOS")
        rows = torch.cat([self.rows[:stop], self.encoder.ending[: len(self.rows) - stop]])
        return replace(self, rows=rows, free=(start, stop))

    def with_tokens(self, tokens: Tensor) -> "Instruction":
        """The same rows with the free ones replaced by `tokens (k, d)`, differentiable in `tokens`."""
        start, stop = self.free
        if tokens.shape != (stop - start, self.rows.shape[1]):
            raise UsageError(f"expected tokens {(stop - start, self.rows.shape[1])}, got {tuple(tokens.shape)}")
        return replace(self, rows=torch.cat([self.rows[:start], tokens, self.rows[stop:]]))

    def with_pooled(self, pooled: Tensor) -> "Instruction":
        """The same rows with another pooled vector `(p,)`, differentiable in it; UsageError for one not read."""
        if self.pooled is None or self.pooled.shape != pooled.shape:
            expected = "no pooled vector" if self.pooled is None else f"a pooled vector {tuple(self.pooled.shape)}"
            raise UsageError(f"expected {expected}, got one {tuple(pooled.shape)}")
        return replace(self, pooled=pooled)

    def joined(self, words: Self) -> Self:
        """This learned instruction followed by words: `BOS tokens | words | EOS PAD ...`, as long as each of the two.

        The tail (EOS and padding) is that of the words, the pooled vector that of the learned instruction. The paper's
        code appends the words' own BOS as well, after the caption's EOS and one row of padding (`test_concatenate`),
        which is worse (LOG.md). The order of the rows does not matter to a UNet, whose cross-attention has no
        positions.

        Raises UsageError where the two together leave no row for EOS.
        """
        length, start = len(words.rows), self.free[0]
        rows = torch.cat([self.rows[:start], self.tokens, words.rows[words.free[0] :]])
        used = start + len(self.tokens) + len(words.tokens)
        if used + 1 > length:
            raise UsageError(
                f"the edit's {len(self.tokens)} tokens and {len(words.tokens)} tokens of text do not fit: this editor "
                f"has room for {length - start - 1} together; use a shorter text"
            )
        return replace(words, rows=rows[:length], free=(start, used), pooled=self.pooled)
