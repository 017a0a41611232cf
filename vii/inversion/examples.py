"""The pairs as an editor sees them: every view encoded once, what is drawn from them, and the loss on it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion import BANKED, Noise
from ..editor import Editor, stack
from ..images import Pair
from ..instruction import Instruction
from .settings import InversionSettings

# The highest noise level: `1 - u^p` and rounding would make 1 of it, which is no timestep.
HIGHEST = 1 - 1e-6
# The probe set's seed: far from seeds that people choose, so that no run trains on its own probes.
PROBE_SEED = 0x7669_6900
# Crops of a pair that are views of it, and the shortest side of one, as a share of the picture's.
CROPS, LEAST = 6, 0.7


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples to judge an instruction on.

    b noise levels in [0, 1), for each of them the index of an encoded view, and a noise of the shape of its view; views
    of two sizes may stand in one batch.
    """

    t: Tensor
    which: Tensor
    noise: list[Tensor]


class Examples:
    """The pairs, and the views that the augmentation makes of them, encoded.

    `encoded` is (before, after) of every view; those of one pair follow each other, the pair as it is first.
    """

    def __init__(self, editor: Editor, pairs: Sequence[Pair], augment: str = "none", seed: int = 0) -> None:
        """Encode every view once, so that a step of learning costs the same whatever the augmentation."""
        generator = torch.Generator().manual_seed(seed)
        made = [views(pair, augment, generator) for pair in pairs]
        self.editor, self.views, self.pairs = editor, len(made[0]), len(made)
        self.encoded = [(editor.encode(view.before), editor.encode(view.after)) for some in made for view in some]

    def draws(self, settings: InversionSettings, seed: int) -> Iterator[Batch]:
        """What each update learns from.

        Pair and view are drawn independently of the noise level: with the authors' `pair = t % n` some levels only ever
        see one of the pairs. Every pair is as likely as any other, and so is every view of it.
        """
        b = settings.batch_size
        generator = torch.Generator().manual_seed(seed)
        generators = Noise(seed, bank=settings.noise in BANKED).generators()
        permutation = settings.timesteps == "permutation"
        total = settings.max_train_steps * b
        order = torch.randperm(total if permutation else 0, generator=generator)
        for step in range(settings.max_train_steps):
            if permutation:
                t = (order[step * b : (step + 1) * b] + 0.5) / total
            else:
                u = (torch.randperm(b, generator=generator) + torch.rand(b, generator=generator)) / b
                t = noise_levels(u, settings.timestep_density)
            which = torch.randint(self.pairs, (b,), generator=generator) * self.views
            if self.views > 1:
                which += torch.randint(self.views, (b,), generator=generator)
            yield self._batch(t, which, generators)

    def probes(self, settings: InversionSettings) -> Batch:
        """The fixed set that progress is judged on: the pairs as they are, all at the same number of noise levels.

        `probe_size` samples at least, a multiple of the number of pairs, so that each pair counts the same; levels
        spaced by the rule of learning, dealt out to the pairs in turn. Neither these nor the noise depend on a run's
        seed.
        """
        count = -(-settings.probe_size // self.pairs) * self.pairs
        density = settings.timestep_density if settings.timesteps == "stratified" else 1.0
        which = torch.arange(count) % self.pairs * self.views
        levels = noise_levels((torch.arange(count) + 0.5) / count, density)
        return self._batch(levels, which, Noise(PROBE_SEED).generators())

    def loss(self, batch: Batch, instruction: Instruction, guidance: Any = None) -> Tensor:
        """Denoising loss `(b,)` of every sample; see `Editor.loss` for `instruction` and `guidance`.

        Samples of one picture size go through the networks together, whatever pair they belong to; pairs of several
        aspect ratios take one pass for each of their sizes.
        """
        instruction = instruction.encoded()  # once for all picture sizes
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, noise in enumerate(batch.noise):
            groups.setdefault(tuple(noise.shape), []).append(index)
        parts = []
        for members in groups.values():
            seen = batch.which[members].tolist()
            if len(set(seen)) == 1:
                seen = seen[:1]  # one encoding then stands for every sample
            before, after = (stack(encodings) for encodings in zip(*(self.encoded[view] for view in seen), strict=True))
            noise = torch.stack([batch.noise[index] for index in members])
            parts.append(self.editor.loss(before, after, instruction, batch.t[members], noise, guidance))
        order = torch.tensor([index for members in groups.values() for index in members])
        return torch.cat(parts)[order.argsort()]

    def mean_loss(self, batch: Batch, instruction: Instruction, guidance: Any = None, at_once: int = 0) -> float:
        """The mean of `loss` over a batch, without gradient.

        Args:
            batch: samples.
            instruction: see `loss`.
            guidance: see `loss`.
            at_once: the most samples that go through the networks together; 0 for all.
        """
        count = len(batch.t)
        parts = [slice(first, first + (at_once or count)) for first in range(0, count, at_once or count)]
        with torch.no_grad():
            instruction = instruction.encoded()
            some = (Batch(batch.t[part], batch.which[part], batch.noise[part]) for part in parts)
            return torch.cat([self.loss(one, instruction, guidance) for one in some]).mean().item()

    def _batch(self, t: Tensor, which: Tensor, generators: Callable[[int], torch.Generator]) -> Batch:
        """With the noise of every sample: of the shape of its view and, from a bank, of its timestep."""
        t = t.clamp(max=HIGHEST)
        timesteps = (t * self.editor.num_timesteps).long().tolist()
        shapes = [self.encoded[view][1].noise_shape for view in which.tolist()]
        noise = [torch.randn(shape, generator=generators(at)) for shape, at in zip(shapes, timesteps, strict=True)]
        return Batch(t, which, noise)


def noise_levels(u: Tensor, density: float) -> Tensor:
    """Levels `t (b,)` in [0, 1] from `u (b,)` in [0, 1]: `1 - u^p`, the even ones in their own order for p = 1."""
    return u if density == 1 else 1 - u**density


def views(pair: Pair, augment: str, generator: torch.Generator) -> list[Pair]:
    """The pair itself, first, and its other views as `InversionSettings.augment` has it.

    Each crop keeps the aspect ratio and has sides of `LEAST` to 1 times the pair's.
    """
    if augment == "none":
        return [pair]
    made = [pair, Pair(pair.before.flip(2), pair.after.flip(2))]
    if augment == "crop-flip":
        made += [_crop(made[index % 2], generator) for index in range(CROPS)]
    return made


def _crop(pair: Pair, generator: torch.Generator) -> Pair:
    height, width = pair.before.shape[1:]
    share, down, right = torch.rand(3, generator=generator).tolist()
    h, w = (round(side * (LEAST + (1 - LEAST) * share)) for side in (height, width))
    top, left = round(down * (height - h)), round(right * (width - w))
    window = (slice(None), slice(top, top + h), slice(left, left + w))
    return Pair(pair.before[window], pair.after[window])
