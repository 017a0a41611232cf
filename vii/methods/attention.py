"""Attention that imitates the example: Analogist's two changes to a frozen UNet (Gu et al. 2024, sections 3.3, 3.4).

Cells of the canvas are those of `Grid`. Both hold at every timestep, for all heads and both halves of guidance.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from .grid import Grid

# Queries and keys whose logits are copied, and those that they are copied to.
Copy = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def tokens_of(grid: Grid, count: int) -> Tensor:
    """Which tokens of a feature map belong to which cell.

    Args:
        grid: the canvas that the map is of.
        count: tokens of the map, row by row.

    Returns:
        `(rows, columns, count / cells)`: the numbers of a cell's tokens, row by row, at its row and column.

    Raises:
        UsageError: the cells do not lie on whole tokens.
    """
    rows, columns = grid.cells
    side = isqrt(count // (rows * columns))
    if side < 1 or side * side * rows * columns != count:
        raise UsageError(
            f"a feature map of {count} tokens has no {rows} x {columns} equal square cells: use a canvas whose cells "
            "are divisible by all that the UNet divides by"
        )
    numbers = torch.arange(count).view(rows, side, columns, side)
    return numbers.permute(0, 2, 1, 3).reshape(rows, columns, side * side)


@cache
def copies(grid: Grid, count: int) -> list[Copy]:
    """Which logits are copied where, for a feature map of `count` tokens.

    What a cell A has to do with B is what A' is to have to do with B', in both directions, for every example. In a
    swapped grid A and B are aligned instead of A and A', and change their parts: A to A' as B to B'.
    """
    tokens = tokens_of(grid, count)
    if grid.swapped and grid.examples > 1:
        raise UsageError("a swapped grid shows one pair: cloning has one source for each answer")
    found: list[Copy] = []
    for row in range(len(tokens) - 1):
        (a, a_after), (b, b_after) = tokens[row], tokens[-1]
        found += [((a, b), (a_after, b_after)), ((b, a), (b_after, a_after))]
    return found


def clone_logits(logits: Tensor, where: Sequence[Copy], scale: float) -> Tensor:
    """Self-attention cloning (section 3.3): logits `(..., n, n)` before the softmax, a copy with parts replaced.

    `M[A', B'] := scale M[A, B]` and `M[B', A'] := scale M[B, A]`; nothing else changes.
    """
    cloned = logits.clone()
    for (queries, keys), (to_queries, to_keys) in where:
        cloned[..., to_queries[:, None], to_keys] = scale * logits[..., queries[:, None], keys]
    return cloned


class CloningProcessor:
    """Self-attention of a transformer block of diffusers, with `clone_logits` before the softmax."""

    def __init__(self, grid: Grid, scale: float) -> None:
        """Of the logits of `grid`, times `scale`."""
        self.grid, self.scale = grid, scale

    def __call__(self, attn: Any, hidden_states: Tensor, *_unused: Any, **_also_unused: Any) -> Tensor:
        """Hidden states `(b, n, d)` -> `(b, n, d)`, as diffusers' own processor but for the logits."""
        query, key, value = (
            attn.head_to_batch_dim(project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        logits = clone_logits(attn.scale * (query @ key.mT), copies(self.grid, hidden_states.shape[1]), self.scale)
        mixed = attn.batch_to_head_dim(logits.softmax(-1) @ value)
        out: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return out / attn.rescale_output_factor


def transformer_blocks(unet: Any) -> list[Any]:
    """The transformer blocks of a `UNet2DConditionModel`, in the order in which they run."""
    stages = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    layers = [layer for stage in stages for layer in getattr(stage, "attentions", ())]
    return [block for layer in layers for block in layer.transformer_blocks]


@contextmanager
def imitating(
    unet: Any, grid: Grid, blocks: range, *, clone_scale: float | None = 1.3, masking: bool = True
) -> Iterator[None]:
    """Attention that imitates the example for the duration; afterwards the UNet is what it was.

    Args:
        unet: `UNet2DConditionModel`; no weight of it changes.
        grid: what the canvas shows, on all of it.
        blocks: by number in the order in which they run; 3 to 10 of the 16 of Stable Diffusion 1.x.
        clone_scale: of the logits that are cloned; None for no cloning.
        masking: cross-attention masking (section 3.4): nothing but the cell of the answer reads the text. Others get
            no attention output at all, so that the bias of the output projection is all that is added to them.

    Raises:
        UsageError: there are no such blocks.
    """
    found = transformer_blocks(unet)
    if not blocks or blocks[0] < 0 or blocks[-1] >= len(found):
        raise UsageError(
            f"first_block and last_block: this UNet has transformer blocks 0 to {len(found) - 1}, got "
            f"{blocks.start} to {blocks.stop - 1}"
        )

    def masked(_layer: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (mixed,) = inputs
        tokens = tokens_of(grid, mixed.shape[1])
        keep = torch.zeros(mixed.shape[1], 1, dtype=mixed.dtype, device=mixed.device)
        keep[tokens[-1, -1]] = 1
        return (mixed * keep,)

    with ExitStack() as undo:
        for index in blocks:
            block = found[index]
            if clone_scale is not None:
                undo.callback(setattr, block.attn1, "processor", block.attn1.processor)
                block.attn1.processor = CloningProcessor(grid, clone_scale)
            if masking:
                undo.callback(block.attn2.to_out[0].register_forward_pre_hook(masked).remove)
        yield
