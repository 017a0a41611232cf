"""Slot attention (Locatello et al. 2020, algorithm 1): a set of inputs becomes a few vectors that compete for it."""

import torch
from torch import Tensor, nn


class SlotAttention(nn.Module):
    """Inputs `(b, n, width)` to slots `(b, k, width)`, with the layers of SLATE's encoder (Singh et al. 2022).

    Args:
        width: of inputs and slots.
        slots: k.
        iterations: rounds of attention.
    """

    def __init__(self, width: int, slots: int, iterations: int) -> None:
        super().__init__()
        self.slots, self.iterations = slots, iterations
        self.mean, self.log_deviation = (nn.Parameter(torch.empty(1, 1, width)) for _ in range(2))
        nn.init.xavier_uniform_(self.mean)
        nn.init.xavier_uniform_(self.log_deviation)
        self.inputs = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm_inputs, self.norm_slots = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.update = nn.GRUCell(width, width)
        self.refine = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, inputs: Tensor, noise: Tensor) -> Tensor:
        """The slots; they start from standard normal `noise`, `(b, k, width)`, and differ by nothing else."""
        inputs = self.norm_inputs(self.inputs(inputs))
        keys, values = self.key(inputs) * inputs.shape[-1] ** -0.5, self.value(inputs)
        slots = self.mean + self.log_deviation.exp() * noise
        for _ in range(self.iterations):
            # Slots compete for every input; each then takes the mean of what it won.
            attention = (keys @ self.query(self.norm_slots(slots)).mT).float().softmax(-1) + 1e-8
            won = (attention / attention.sum(1, keepdim=True)).mT.to(values.dtype) @ values
            slots = self.update(won.flatten(0, 1).to(slots.dtype), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.refine(slots)
        return slots
