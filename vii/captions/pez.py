"""Hard prompts made easy (PEZ; Wen et al. 2023, arXiv 2302.03668): real words whose text feature points at a picture.

Written from Algorithm 1 of the paper: continuous embeddings are projected to their nearest neighbours in the table of
token embeddings, the gradient is taken at the projected point and applied to the continuous one. The authors of Visual
Instruction Inversion start from such a prompt for the after picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images import Pair
from ..losses import edit_direction
from ..prompt_tower import PromptSpace

TARGETS: Sequence[str] = ("after", "direction")


@dataclass(frozen=True)
class PezStep:
    """The search after `step` of `steps` updates; step 0 is the random start.

    `loss` is `1 - cos` of the prompt at this step, `best_loss` the least so far, `best` the prompt it belongs to.
    """

    step: int
    steps: int
    loss: float
    best_loss: float
    best: str


def pez(
    space: PromptSpace, pairs: Sequence[Pair], *, watch: Callable[[str], None] | None = None, **options: Any
) -> str:
    """The best prompt that `pez_steps` finds; Ctrl-C ends the search early with the best so far.

    `watch` is called with a note on how far the search is, now and then.
    """
    last: PezStep | None = None
    try:
        for last in pez_steps(space, pairs, **options):
            if watch and last.step % 20 == 0:
                watch(f"{last.step} of {last.steps}, cosine {1 - last.best_loss:.3f}: {last.best}")
    except KeyboardInterrupt as stopped:
        # What else stops the command (SIGTERM, as a kind of Ctrl-C) ends more than the search.
        if last is None or type(stopped) is not KeyboardInterrupt:
            raise
        if watch:
            watch("the search was stopped early, going on with its best prompt")
    assert last is not None  # the search yields its random start before anything else
    return last.best


def pez_steps(
    space: PromptSpace,
    pairs: Sequence[Pair],
    *,
    tokens: int = 10,
    steps: int = 3000,
    target: str = "after",
    learning_rate: float = 0.1,
    weight_decay: float = 0.1,
    phrases: Sequence[str] = (),
    seed: int = 0,
) -> Iterator[PezStep]:
    """The search behind `pez`: yields the random start and what every update led to.

    Only tokens that are words of their own are searched among, so that the text of the prompt, encoded again, is the
    very tokens that were found; the paper searches the whole vocabulary. The defaults are those of its section 4.

    Args:
        space: the joint space to search in.
        pairs: the example.
        tokens: of the prompt.
        steps: updates.
        target: one of `TARGETS`: the prompt is to describe the picture after, or to point from before to after.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        phrases: with the target "direction", texts whose mean feature is where the direction of a prompt starts from.
        seed: draws the random start; the same one gives the same prompt on the same machine.
    """
    tower = space.prompt_tower(tokens)
    goal, origin = _goal(space, pairs, phrases, target)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(tower.words), (tokens,), generator=generator)
    prompt = tower.table[drawn.to(tower.table.device)].clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([prompt], lr=learning_rate, weight_decay=weight_decay)
    directions = F.normalize(tower.table, dim=1)
    best_loss, best = float("inf"), ""

    for step in range(steps + 1):
        nearest = (F.normalize(prompt.detach(), dim=1) @ directions.T).argmax(1)
        # Straight through: the value is the projected point's, the gradient goes to the continuous one unchanged.
        projected = prompt + (tower.table[nearest] - prompt).detach()
        feature = F.normalize(tower.features(projected), dim=0) - origin
        loss = 1 - torch.cosine_similarity(feature, goal, dim=0)
        if loss.item() < best_loss:
            best_loss, best = loss.item(), " ".join(tower.words[index] for index in nearest.tolist())
        yield PezStep(step, steps, loss.item(), best_loss, best)
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _goal(space: PromptSpace, pairs: Sequence[Pair], phrases: Sequence[str], target: str) -> tuple[Tensor, Tensor]:
    """What the prompt's feature is to point at, `(p,)`, and where it points from, `(p,)`."""
    after = F.normalize(space.image_features([pair.after for pair in pairs]), dim=1)
    if target == "after":
        mean = F.normalize(after.mean(0), dim=0)
        return mean, torch.zeros_like(mean)
    before = F.normalize(space.image_features([pair.before for pair in pairs]), dim=1)
    # What all instructions have in common says nothing about this one: as in retrieval, their mean is taken off.
    texts = F.normalize(space.text_features(list(phrases) or [""]), dim=1)
    return edit_direction(before, after), texts.mean(0)
