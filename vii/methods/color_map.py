"""A map of colours fitted to the pairs: what an editor must beat where an edit is a matter of colours."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import UsageError
from ..finish.color import ColorTransform, draw_samples, fit_color
from ..images import Pair, channels_first, channels_last
from .method import Learned


@dataclass(frozen=True)
class ColorMap:
    """Fit one transform of colours to all pairs, the same everywhere in the picture (see `vii.finish.color`)."""

    def learn(self, pairs: Sequence[Pair], *, seed: int = 0, watch: Callable[[str], None] | None = None) -> Learned:
        """See `Learner`; pixels are compared where they lie, and the seed changes nothing."""
        if not pairs:
            raise UsageError("expected at least one before/after pair")
        started = time.perf_counter()
        samples = draw_samples([(channels_last(pair.before), channels_last(pair.after)) for pair in pairs])
        fitted = fit_color(samples).transform
        return Learned(MappedColors(fitted), seconds=time.perf_counter() - started)

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`; fits anew for every photo, which `prepare` does once."""
        return self.learn(pairs).transfer(pairs, photo)


@dataclass(frozen=True, eq=False)
class MappedColors:
    """A transform of colours, applied; the pairs are not looked at."""

    colors: ColorTransform

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`; at the photo's own size."""
        return channels_first(self.colors(channels_last(photo)))
