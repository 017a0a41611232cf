"""What an editor is told to do, as tensors: frozen rows of conditioning with a few learned rows among them.

The learned rows are always a small leaf `(k, d)`; the full conditioning is assembled from it by the pure functions
here. Nothing in this module knows a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .errors import UsageError


@dataclass(frozen=True, eq=False)
class Instruction:
    """The conditioning of an editor for one instruction.

    Attributes:
        rows: `(n, d)`; in the encoder-output space of CLIP: BOS, the words, EOS, then padding.
        free: `(start, stop)`, the rows that belong to the words and may be replaced: after BOS, before EOS.
        extras: what the model needs besides (a pooled vector, say), by name; kept as it is.
    """

    rows: Tensor
    free: tuple[int, int]
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the free rows exist."""
        start, stop = self.free
        if self.rows.ndim != 2 or not 0 <= start <= stop <= len(self.rows):
            raise UsageError(f"rows {tuple(self.rows.shape)} have no free span {self.free}")

    @property
    def tokens(self) -> Tensor:
        """The free rows `(k, d)`."""
        return self.rows[self.free[0] : self.free[1]]

    def with_length(self, k: int) -> "Instruction":
        """The same rows with exactly `k` of them free, so that `k` tokens can be learned from any starting text.

        CLIP is causal, so rows after the words (EOS and padding) are functions of the words too; a longer span takes
        them in, a shorter one leaves the last words as part of the frozen tail.

        Raises:
            UsageError: `k` is less than 1, or there is no room for it before a last frozen row.
        """
        room = len(self.rows) - self.free[0] - 1
        if not 1 <= k <= room:
            raise UsageError(f"cannot learn {k} tokens: this editor has room for 1 to {room}")
        return replace(self, free=(self.free[0], self.free[0] + k))

    def with_tokens(self, tokens: Tensor) -> "Instruction":
        """The same rows with the free ones replaced by `tokens (k, d)`, differentiable in `tokens`."""
        start, stop = self.free
        if tokens.shape != (stop - start, self.rows.shape[1]):
            raise UsageError(f"expected tokens {(stop - start, self.rows.shape[1])}, got {tuple(tokens.shape)}")
        return replace(self, rows=torch.cat([self.rows[:start], tokens, self.rows[stop:]]))


def join(learned: Instruction, words: Instruction) -> Instruction:
    """An instruction followed by words: `BOS tokens | words | EOS PAD ...`, as long as each of the two.

    The tail (EOS and padding) is that of the words. The paper's code appends the words' own BOS as well, after the
    caption's EOS and one row of padding (`test_concatenate`), which is worse (LOG.md). The order of the rows does not
    matter to a UNet, whose cross-attention has no positions.

    Raises:
        UsageError: the two together leave no row for EOS.
    """
    length = len(words.rows)
    start = learned.free[0]
    rows = torch.cat([learned.rows[:start], learned.tokens, words.rows[words.free[0] :]])
    used = start + len(learned.tokens) + len(words.tokens)
    if used + 1 > length:
        raise UsageError(
            f"the edit's {len(learned.tokens)} tokens and {len(words.tokens)} tokens of text do not fit: this editor "
            f"has room for {length - start - 1} together; use a shorter text"
        )
    return replace(words, rows=rows[:length], free=(start, used))
