"""Slot attention against its formula, written out in float64 (Locatello et al. 2020, algorithm 1)."""

import torch
from torch.nn import functional as F

from vii.methods.slots import SlotAttention


def exact(layer, inputs, noise):
    """One slot, one input, one gate at a time."""
    weights = {name: value.double() for name, value in layer.state_dict().items()}
    width = inputs.shape[-1]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def norm(x, name):
        spread = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
        return (x - x.mean(-1, keepdim=True)) / (spread + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[
            f"{name}.bias"
        ]

    inputs = linear(linear(norm(inputs, "inputs.0"), "inputs.1").clamp(min=0), "inputs.3")
    inputs = norm(inputs, "norm_inputs")
    keys, values = linear(inputs, "key"), linear(inputs, "value")
    slots = weights["mean"] + weights["log_deviation"].exp() * noise
    for _ in range(layer.iterations):
        queries = linear(norm(slots, "norm_slots"), "query")
        made = torch.empty_like(slots)
        for b in range(len(slots)):
            scores = torch.tensor([[float(k @ q) / width**0.5 for q in queries[b]] for k in keys[b]]).double()
            shares = scores.exp() / scores.exp().sum(1, keepdim=True)  # over slots
            for k in range(layer.slots):
                weight = (shares[:, k] + 1e-8) / (shares[:, k] + 1e-8).sum()  # over inputs
                mean = sum(w * v for w, v in zip(weight, values[b], strict=True))
                made[b, k] = gru(mean, slots[b, k], weights)
        slots = made + linear(linear(norm(made, "refine.0"), "refine.1").clamp(min=0), "refine.3")
    return slots


def gru(x, h, weights):
    """Cho et al. 2014, in torch's order: reset, update, new."""
    of_x = (weights["update.weight_ih"] @ x + weights["update.bias_ih"]).chunk(3)
    of_h = (weights["update.weight_hh"] @ h + weights["update.bias_hh"]).chunk(3)
    reset, update = (torch.sigmoid(of_x[i] + of_h[i]) for i in (0, 1))
    new = torch.tanh(of_x[2] + reset * of_h[2])
    return (1 - update) * new + update * h


def test_slots_are_those_of_the_formula():
    torch.manual_seed(0)
    layer = SlotAttention(8, 3, 2)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    inputs, noise = torch.randn(2, 6, 8), torch.randn(2, 3, 8)
    with torch.no_grad():
        found = layer(inputs, noise)
    torch.testing.assert_close(found.double(), exact(layer, inputs.double(), noise.double()), atol=1e-4, rtol=1e-4)


def test_slots_do_not_know_the_order_of_inputs_and_follow_that_of_their_noise():
    torch.manual_seed(1)
    layer = SlotAttention(8, 4, 3)
    inputs, noise = torch.randn(1, 10, 8), torch.randn(1, 4, 8)
    with torch.no_grad():
        found = layer(inputs, noise)
        torch.testing.assert_close(layer(inputs[:, torch.randperm(10)], noise), found)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(layer(inputs, noise[:, order]), found[:, order])
        alike = layer(inputs, noise[:, :1].expand(-1, 4, -1))
    assert F.mse_loss(alike[:, 0], alike[:, 3]) < 1e-9  # nothing else tells them apart
