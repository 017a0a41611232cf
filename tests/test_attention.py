"""Analogist's attention against its equations written out, and a UNet that is left as it was."""

import contextlib

import pytest
import torch
from conftest import weights_of
from diffusers import UNet2DConditionModel

from vii.errors import UsageError
from vii.methods.attention import clone_logits, copies, imitating, tokens_of, transformer_blocks
from vii.methods.grid import Grid

GRID = Grid(64)


def stable_diffusion_shape(channels=(8, 8, 8, 8), layers=2):
    """A UNet with the blocks of Stable Diffusion 1.x's inpainting model, 16 with transformers, and few channels."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=9,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=layers,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


@pytest.fixture(scope="module")
def unet():
    return stable_diffusion_shape()


@pytest.mark.parametrize("r", [64, 32, 16, 8])
def test_index_sets_are_the_quadrants(r):
    """As in the authors' asset: ids row by row, A where row < r/2 and column < r/2, and so on."""
    tokens = tokens_of(GRID, r * r)
    assert tokens.shape == (2, 2, r * r // 4)
    for low in (False, True):
        for right in (False, True):
            expected = [
                row * r + column
                for row in range(r)
                for column in range(r)
                if (row >= r / 2) == low and (column >= r / 2) == right
            ]
            assert tokens[int(low), int(right)].tolist() == expected


def test_index_sets_of_three_rows():
    tokens = tokens_of(Grid(64, 2), 6 * 16)  # 12 x 8 tokens
    assert tokens[2, 1].tolist() == [row * 8 + column for row in range(8, 12) for column in range(4, 8)]
    with pytest.raises(UsageError, match="100 tokens has no 3 x 2"):
        tokens_of(Grid(64, 2), 100)


def quadrant(index, r):
    row, column = divmod(index, r)
    return ("A", "A'", "B", "B'")[2 * (row >= r // 2) + (column >= r // 2)]


@pytest.mark.parametrize("swapped", [False, True])
def test_cloning_is_its_equation_and_leaves_other_quadrants_alone(swapped):
    r, scale = 8, 1.3
    logits = torch.randn(3, r * r, r * r, generator=torch.Generator().manual_seed(0))
    cloned = clone_logits(logits, copies(Grid(64, swapped=swapped), r * r), scale)
    half = r // 2
    changed = 0
    for i in range(r * r):
        for j in range(r * r):
            pair = quadrant(i, r), quadrant(j, r)
            if pair in (("A'", "B'"), ("B'", "A'")):  # the quadrants on the right: what lies `half` to the left
                assert torch.equal(cloned[:, i, j], scale * logits[:, i - half, j - half])
                changed += 1
            else:
                assert torch.equal(cloned[:, i, j], logits[:, i, j])
    assert changed == 2 * (r * r // 4) ** 2


def test_cloning_of_two_examples_changes_the_rows_of_each():
    grid = Grid(64, 2)
    n = 6 * 4
    logits = torch.randn(1, n, n, generator=torch.Generator().manual_seed(1))
    cloned = clone_logits(logits, copies(grid, n), 2.0)
    tokens = tokens_of(grid, n)
    expected = logits.clone()
    for row in (0, 1):
        for i in range(4):
            for j in range(4):
                a, a2, b, b2 = tokens[row, 0, i], tokens[row, 1, i], tokens[2, 0, j], tokens[2, 1, j]
                expected[:, a2, b2] = 2 * logits[:, a, b]
                expected[:, b2, a2] = 2 * logits[:, b, a]
    assert torch.equal(cloned, expected)
    with pytest.raises(UsageError, match="swapped grid shows one pair"):
        copies(Grid(64, 2, swapped=True), n)


def test_blocks_are_numbered_as_they_run(unet):
    ran, hooks = [], []
    blocks = transformer_blocks(unet)
    assert len(blocks) == 16
    for number, block in enumerate(blocks):
        hooks.append(block.register_forward_hook(lambda _m, args, _o, n=number: ran.append((n, args[0].shape[1]))))
    unet(torch.randn(1, 9, 64, 64), 5, torch.randn(1, 7, 16))
    for hook in hooks:
        hook.remove()
    sides = [64, 64, 32, 32, 16, 16, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    assert ran == [(number, side * side) for number, side in enumerate(sides)]


def probabilities(attn, hidden, context):
    """Softmaxed scores `(b, heads, n, m)` and values, by einsum."""
    heads = attn.heads
    q, k, v = (
        project(source).unflatten(-1, (heads, -1)).transpose(1, 2)
        for project, source in ((attn.to_q, hidden), (attn.to_k, context), (attn.to_v, context))
    )
    return torch.einsum("bhnd,bhmd->bhnm", q, k) * q.shape[-1] ** -0.5, v


def finished(attn, mixed):
    return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


@torch.no_grad()
def test_a_cloning_block_is_the_formula(unet):
    attn = transformer_blocks(unet)[4].attn1
    hidden = torch.randn(2, 16 * 16, 8)
    logits, values = probabilities(attn, hidden, hidden)
    n = torch.arange(256).view(16, 16)
    right_top, right_bottom = n[:8, 8:].flatten(), n[8:, 8:].flatten()
    left_top, left_bottom = n[:8, :8].flatten(), n[8:, :8].flatten()
    expected = logits.clone()
    expected[:, :, right_top[:, None], right_bottom] = 1.3 * logits[:, :, left_top[:, None], left_bottom]
    expected[:, :, right_bottom[:, None], right_top] = 1.3 * logits[:, :, left_bottom[:, None], left_top]
    with imitating(unet, GRID, range(3, 11)):
        found = attn(hidden)
    torch.testing.assert_close(found, finished(attn, expected.softmax(-1) @ values))


@torch.no_grad()
def test_a_masked_block_is_the_formula(unet):
    """Cross-attention's probabilities of all queries outside B' are zero, after the softmax, for every token."""
    attn = transformer_blocks(unet)[5].attn2
    hidden, text = torch.randn(2, 256, 8), torch.randn(2, 7, 16)
    logits, values = probabilities(attn, hidden, text)
    weights = logits.softmax(-1)
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[8:, 8:] = False
    weights[:, :, outside.flatten()] = 0
    with imitating(unet, GRID, range(3, 11)):
        found = attn(hidden, encoder_hidden_states=text)
    torch.testing.assert_close(found, finished(attn, weights @ values))
    assert torch.equal(found[:, outside.flatten()], attn.to_out[0].bias.expand(2, 192, 8))


@torch.no_grad()
def test_scale_one_on_a_canvas_whose_halves_are_alike_is_plain_attention(unet):
    attn = transformer_blocks(unet)[4].attn1
    left = torch.randn(1, 16, 8, 8)
    hidden = torch.cat([left, left], 2).reshape(1, 256, 8)  # A' is A, and B' is B
    with imitating(unet, GRID, range(3, 11), clone_scale=1.0):
        found = attn(hidden)
    torch.testing.assert_close(found, attn(hidden))


@torch.no_grad()
def test_the_unet_is_left_as_it_was(unet):
    before, processors = weights_of(unet), {name: id(one) for name, one in unet.attn_processors.items()}
    inputs = torch.randn(1, 9, 64, 64), 5, torch.randn(1, 7, 16)
    plain = unet(*inputs)[0]
    with imitating(unet, GRID, range(3, 11), clone_scale=None, masking=False):
        assert torch.equal(unet(*inputs)[0], plain)
    with contextlib.suppress(KeyboardInterrupt), imitating(unet, GRID, range(3, 11)):
        changed = unet(*inputs)[0]
        raise KeyboardInterrupt
    assert (changed - plain).abs().max() > 1e-4
    assert torch.equal(unet(*inputs)[0], plain)
    assert weights_of(unet) == before
    assert {name: id(one) for name, one in unet.attn_processors.items()} == processors


@torch.no_grad()
def test_only_the_blocks_named_are_changed(unet):
    blocks = transformer_blocks(unet)
    plain = [block.attn1.processor for block in blocks]
    with imitating(unet, GRID, range(4, 6)):
        changed = [n for n, block in enumerate(blocks) if block.attn1.processor is not plain[n]]
        hooked = [n for n, block in enumerate(blocks) if block.attn2.to_out[0]._forward_pre_hooks]
    assert changed == hooked == [4, 5]
    for wrong in (range(3, 17), range(-1, 3), range(5, 5)):
        with pytest.raises(UsageError, match="transformer blocks 0 to 15"), imitating(unet, GRID, wrong):
            pass
