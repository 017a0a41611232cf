"""What the optimiser moves, and the tokens that it stands for."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..errors import EditorError
from ..instruction import Instruction

NO_GRADIENT = (
    "the loss of the editor '{}' does not depend on the tokens: its gradient is exactly zero, and nothing would be "
    "learned. Likely causes: weights quantised by a kind that passes none (int8 with dynamic activations, SVDQuant, "
    "scaled fp8 or fp4 matrix products, the CUDA kernels of GGUF), of which bfloat16, bitsandbytes int8 and nf4 and "
    "weight-only kinds are free; float16, in which small gradients vanish (dtype='bfloat16'); or an editor that "
    "computes its prediction under no_grad"
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
    def of(cls, instruction: Instruction) -> Self:
        """The leaf for the free rows of a starting text."""
        tokens, scale = instruction.tokens.detach(), instruction.scale
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

    def backward(self, loss: Tensor, editor: str) -> None:
        """Differentiate the loss.

        Raises:
            EditorError: the tokens have no part in it.
        """
        if loss.requires_grad:
            loss.backward()
        if self.values.grad is None or not self.values.grad.any():
            raise EditorError(NO_GRADIENT.format(editor))
