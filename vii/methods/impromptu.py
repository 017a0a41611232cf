"""Im-Promptu (Dedhia et al. 2023, arXiv 2305.17262): an agent trained on drawn analogies A:B::C:D makes D.

No editor and no words. What it can draw is what its scenes showed it; of a photo it keeps light and soft colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..editors.devices import pick_device
from ..errors import UsageError
from ..images import Pair, resize
from .agents import Agent, read_agent
from .full_size import at_full_size


@dataclass(frozen=True, eq=False)
class ImPromptu:
    """See the module; `load_impromptu` reads files.

    Attributes:
        agent: object-centric, of patches, or monolithic.
        size: "photo" for results of the photo's size, see `at_full_size`, or "cell" for what was made.
    """

    agent: Agent
    size: str = "photo"

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`; the seed is that of the slots' first values. Several pairs are shown beside each other.

        Raises UsageError for no pair, or more than the agent was made for.
        """
        config = self.agent.config
        if not 1 <= len(pairs) <= config.examples:
            raise UsageError(f"expected from one to {config.examples} before/after pairs, got {len(pairs)}")
        device = next(self.agent.parameters()).device
        shown = torch.stack([torch.stack([pair.before, pair.after]) for pair in self._sized(pairs)])
        query = resize(photo.float(), config.side, config.side)
        made = self.answers(shown[None].to(device), query[None].to(device), seed)[0].cpu()
        return at_full_size(photo, made) if self.size == "photo" else made

    def _sized(self, pairs: Sequence[Pair]) -> list[Pair]:
        side = self.agent.config.side
        return [Pair(*(resize(one.float().cpu(), side, side) for one in (pair.before, pair.after))) for pair in pairs]

    def answers(self, support: Tensor, query: Tensor, seed: int = 0) -> Tensor:
        """Many at once: pairs `(b, examples, 2, 3, side, side)` and pictures `(b, 3, side, side)` -> their D."""
        return self.agent.answer(support, query, torch.Generator(query.device).manual_seed(seed))


def load_impromptu(*, model: str, device: str | None = None, size: str = "photo") -> ImPromptu:
    """Im-Promptu on a model from files.

    Args:
        model: folder, see `read_agent`.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        size: see `ImPromptu`.

    Raises:
        EditorError: the model cannot be read.
        UsageError: an unknown device.
    """
    return ImPromptu(read_agent(model, pick_device(device)), size)
