"""Assembling instructions from frozen rows and a leaf."""

from dataclasses import dataclass

import pytest
import torch

from vii.errors import UsageError
from vii.instruction import Instruction


@dataclass(frozen=True, eq=False, kw_only=True)
class Pooled(Instruction):
    """What an editor would give whose networks read a pooled vector too."""

    pooled: torch.Tensor


ROWS = torch.arange(40.0).reshape(10, 4)


def test_tokens_replace_the_free_rows_and_carry_the_gradient():
    base = Pooled(ROWS, (1, 4), pooled=torch.ones(2))
    tokens = torch.zeros(3, 4, requires_grad=True)
    made = base.with_tokens(tokens)
    assert torch.equal(made.rows[[0, 4, 5, 6, 7, 8, 9]], ROWS[[0, 4, 5, 6, 7, 8, 9]])
    assert torch.equal(made.tokens, tokens)
    assert made.pooled is base.pooled  # what an editor adds in a subclass is kept
    made.rows.sum().backward()
    assert torch.equal(tokens.grad, torch.ones(3, 4))
    assert torch.equal(base.rows, torch.arange(40.0).reshape(10, 4))  # pure: the source is as it was


@pytest.mark.parametrize("k", [1, 3, 8])
def test_length_takes_rows_from_the_tail_or_leaves_them_to_it(k):
    made = Instruction(ROWS, (1, 4)).with_length(k)
    assert made.free == (1, 1 + k)
    assert torch.equal(made.rows, ROWS)


def test_what_does_not_fit_is_refused():
    base = Instruction(ROWS, (1, 4))
    for k in (0, 9):
        with pytest.raises(UsageError, match="room for 1 to 8"):
            base.with_length(k)
    with pytest.raises(UsageError, match=r"expected tokens \(3, 4\), got \(2, 4\)"):
        base.with_tokens(torch.zeros(2, 4))
    with pytest.raises(UsageError, match="no free span"):
        Instruction(ROWS, (4, 11))


def test_join_puts_words_after_the_tokens():
    learned = Instruction(ROWS, (1, 4))
    words = Instruction(-ROWS, (1, 3))
    made = learned.joined(words)
    assert torch.equal(made.rows[:4], ROWS[:4])  # BOS and tokens
    assert torch.equal(made.rows[4:], -ROWS[1:7])  # words, EOS, padding
    assert made.free == (1, 6)


def test_join_leaves_room_for_the_end():
    learned = Instruction(ROWS, (1, 6))
    assert learned.joined(Instruction(-ROWS, (1, 4))).free == (1, 9)
    with pytest.raises(UsageError, match=r"5 tokens and 4 tokens of text do not fit: .* room for 8 together"):
        learned.joined(Instruction(-ROWS, (1, 5)))
