"""The parameter behind the tokens: the unit it is moved in, and the check that it is moved at all."""

import pytest
import torch
from conftest import picture

import vii
from vii.editors.toy import ToyEditor
from vii.errors import EditorError, UsageError
from vii.instruction import Instruction
from vii.inversion.examples import Examples
from vii.inversion.leaf import Leaf, Leaves
from vii.inversion.settings import learning_rate_at

ROWS = torch.arange(40.0, dtype=torch.float64).reshape(10, 4)
SPREAD = torch.tensor([0.5, 1.0, 20.0, 0.0], dtype=torch.float64)


def test_with_one_scale_the_tokens_are_the_parameter():
    leaf = Leaf.of(ROWS[1:4], Instruction(ROWS, (1, 4)).scale)
    assert leaf.tokens is leaf.values
    assert torch.equal(leaf.tokens, ROWS[1:4])
    assert leaf.unit == 1


def test_learning_at_scale_one_is_adamw_on_the_tokens_to_the_last_bit():
    editor, pair = ToyEditor(), vii.Pair(picture(1), picture(2))
    settings = vii.InversionSettings(init="none", tokens=3, max_train_steps=12, probe_every=12)
    learned = vii.invert(editor, [pair], settings, seed=3)
    start = editor.instruct("").with_length(3)
    tokens = start.tokens.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([tokens], weight_decay=0.0)
    examples = Examples(editor, [pair], "none", 3)
    for step, batch in enumerate(examples.draws(settings, 3)):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, settings)
        optimizer.zero_grad()
        examples.loss(batch, start.with_tokens(tokens)).mean().backward()
        optimizer.step()
    assert learned.training["best_step"] == 12
    assert torch.equal(learned.tokens, tokens.detach())


def test_with_a_scale_a_feature_adam_moves_each_in_its_own_unit():
    """Against Adam written out (Kingma & Ba 2015, algorithm 1) on `delta`, of `tokens = start + scale * delta`."""
    target = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = Instruction(ROWS, (1, 4), spread=SPREAD)
    leaf = Leaf.of(start.tokens, start.scale)
    assert torch.equal(leaf.tokens, start.tokens)  # no change at all before the first update
    assert leaf.unit == 1
    optimizer = torch.optim.AdamW([leaf.values], lr=0.1, weight_decay=0.0)
    delta, mean, square = (torch.zeros(3, 4, dtype=torch.float64) for _ in range(3))
    for step in range(1, 6):
        optimizer.zero_grad()
        (leaf.tokens - target).square().sum().backward()
        optimizer.step()
        gradient = 2 * (ROWS[1:4] + SPREAD * delta - target) * SPREAD
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient.square()
        corrected = mean / (1 - 0.9**step), square / (1 - 0.999**step)
        delta = delta - 0.1 * corrected[0] / (corrected[1].sqrt() + 1e-8)
    torch.testing.assert_close(leaf.tokens.detach(), ROWS[1:4] + SPREAD * delta)
    moved = (leaf.tokens - start.tokens).detach().abs()
    assert torch.equal(moved[:, 3], torch.zeros(3))  # what never differs between words stays


def test_weight_decay_pulls_to_the_start_where_features_have_scales():
    leaf = Leaf.of(ROWS[1:4], SPREAD[:2].repeat(2))
    optimizer = torch.optim.AdamW([leaf.values], lr=0.1, weight_decay=1.0)
    with torch.no_grad():
        leaf.values.fill_(1.0)
    leaf.values.grad = torch.zeros_like(leaf.values)
    optimizer.step()
    assert torch.allclose(leaf.values, torch.tensor(0.9, dtype=torch.float64))


class Deaf(ToyEditor):
    """An editor whose loss does not hear the instruction."""

    def loss(self, before, after, instruction, t, noise, guidance=None):
        heard = super().loss(before, after, instruction, t, noise, guidance)
        return {"zero": heard * 0 + 1, "cut": heard.detach()}[self.way]


@pytest.mark.parametrize("way", ["zero", "cut"])
def test_a_gradient_of_zero_is_refused_with_its_likely_causes(way):
    editor = Deaf()
    editor.way = way
    settings = vii.InversionSettings(init="none", tokens=2, max_train_steps=3)
    with pytest.raises(EditorError, match=r"exactly zero.*quantised.*float16.*no_grad"):
        vii.invert(editor, [vii.Pair(picture(1), picture(2))], settings)


def test_a_pooled_vector_is_a_second_leaf_where_it_is_asked_for():
    pooled = torch.tensor([3.0, -1.0, 4.0], dtype=torch.float64)
    start = Instruction(ROWS, (1, 4), pooled=pooled)
    assert len(Leaves.of(start).parameters) == 1
    leaves = Leaves.of(start, pooled=True)
    assert torch.equal(leaves.instruction.pooled, pooled)
    (leaves.instruction.pooled.sum() + leaves.instruction.rows.sum()).backward()
    assert torch.allclose(leaves.pooled.values.grad, pooled.std())
    leaves.check_gradient("test")
    leaves.pooled.values.grad.zero_()
    with pytest.raises(EditorError, match="exactly zero"):
        leaves.check_gradient("test")


def test_a_pooled_vector_that_is_not_there_cannot_be_learned():
    settings = vii.InversionSettings(init="none", tokens=2, learn_pooled=True)
    with pytest.raises(UsageError, match="learn_pooled"):
        vii.invert_steps(ToyEditor(), [vii.Pair(picture(1), picture(2))], settings)
