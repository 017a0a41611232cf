"""What the optimiser moves, and the tokens that it stands for."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..errors import EditorError, UsageError
from ..instruction import Instruction

NO_GRADIENT = (
    "the loss of the editor '{}' does not depend on what is to be learned: its gradient is exactly zero, and nothing "
    "would be learned. Likely causes: weights quantised by a kind that passes none (int8 with dynamic activations, "
    "SVDQuant, scaled fp8 or fp4 matrix products, the CUDA kernels of GGUF), of which bfloat16, bitsandbytes int8 and "
    "nf4 and weight-only kinds are free; float16, in which small gradients vanish (dtype='bfloat16'); or an editor "
    "that computes its prediction under no_grad"
)


@dataclass(frozen=True, eq=False)
class Leaf:
    """The parameter behind the tokens `(k, d)`, and the unit of its learning rate.

    Where an instruction has one scale for all features the tokens are the parameter, as in the authors' code, and the
    learning rate is in units of that scale. Where each feature has its own, `tokens = start + scale * values`: AdamW
    moves each entry of `values` at the same rate, hence every feature in units of its own size, and weight decay pulls
    to the start instead of to zero.

    Attributes:
        values: `(k, d)`, the parameter.
        start: `(k, d)`, the rows at which learning starts; None where `values` are the tokens.
        scale: what the learning rate is multiplied by, or `(d,)`, what `values` are.
    """

    values: Tensor
    start: Tensor | None
    scale: float | Tensor

    @classmethod
    def of(cls, tokens: Tensor, scale: float | Tensor) -> Self:
        """The leaf for the free rows of a starting text, or for its pooled vector `(p,)`."""
        tokens = tokens.detach()
        if isinstance(scale, Tensor):
            return cls(torch.zeros_like(tokens).requires_grad_(True), tokens, scale)
        return cls(tokens.clone().requires_grad_(True), None, scale)

    @property
    def tokens(self) -> Tensor:
        """`(k, d)`, differentiable in `values`."""
        return self.values if self.start is None else self.start + self.scale * self.values

    @property
    def unit(self) -> float:
        """What a learning rate is multiplied by."""
        return 1.0 if isinstance(self.scale, Tensor) else self.scale


@dataclass(frozen=True, eq=False)
class Leaves:
    """What is learned of an instruction: its free rows, and its pooled vector where that is asked for.

    The vector is in units of the size of its entries at the start.
    """

    start: Instruction
    tokens: Leaf
    pooled: Leaf | None = None

    @classmethod
    def of(cls, start: Instruction, pooled: bool = False) -> Self:
        """The leaves of a starting text; UsageError where a pooled vector is to be learned and there is none."""
        tokens = Leaf.of(start.tokens, start.scale)
        if not pooled:
            return cls(start, tokens)
        if start.pooled is None:
            raise UsageError("learn_pooled: this editor's networks read no pooled vector; leave it out")
        return cls(start, tokens, Leaf.of(start.pooled, start.pooled.detach().std().expand_as(start.pooled)))

    @property
    def instruction(self) -> Instruction:
        """What is told now, differentiable in the parameters."""
        told = self.start.with_tokens(self.tokens.tokens)
        return told if self.pooled is None else told.with_pooled(self.pooled.tokens)

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimiser is given."""
        return [leaf.values for leaf in (self.tokens, self.pooled) if leaf is not None]

    def check_gradient(self, editor: str) -> None:
        """Raise EditorError for a loss in which what is learned has no part; for after the first backward pass."""
        if not all(values.grad is not None and values.grad.any() for values in self.parameters):
            raise EditorError(NO_GRADIENT.format(editor))
