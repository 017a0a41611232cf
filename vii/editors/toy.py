"""An editor without weights whose instruction can be recovered exactly.

It is public: tests, documentation and people who write an editor of their own see the whole interface at work in it.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion import Noise, add_noise
from ..editor import Space
from ..errors import UsageError
from ..images import resize
from ..instruction import Instruction
from ..settings import check, setting

WIDTH = 3


@dataclass(frozen=True, kw_only=True)
class ToySettings:
    """How the toy editor samples.

    Attributes:
        guidance_scale: multiplies every instruction's weight; 1 = off.
    """

    guidance_scale: float = setting(1.0, label="CFG scale", least=-100, most=100)

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        check(self)


@dataclass(frozen=True, eq=False)
class ToyEncoding:
    """A picture at the toy editor's resolution, `(1, 3, r, r)`."""

    pixels: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one sample of noise."""
        return tuple(self.pixels.shape[1:])


class ToyEditor:
    """Row j of an instruction is an RGB offset for the j-th of `length` horizontal bands of the picture.

    The model is exact: it predicts the noise that would be left if the clean picture were `before + offsets`, so the
    denoising loss is a quadratic in the rows with one minimum, where the offsets are those of the pair.
    """

    name = "toy"
    num_timesteps = 1000
    joint = None
    device = torch.device("cpu")
    phrases: Sequence[str] = ()

    def __init__(self, length: int = 8, resolution: int = 32) -> None:
        if resolution % length:
            raise UsageError(f"the resolution {resolution} must be a multiple of the {length} bands")
        self.resolution = resolution
        self.settings = ToySettings()
        self.space = Space("encoder_output", "toy", WIDTH, length, "toy", f"toy-{length}x{resolution}")
        # Cosine schedule (Nichol & Dhariwal 2021), kept away from both ends so that every level carries signal.
        levels = (torch.arange(self.num_timesteps) + 0.5) / self.num_timesteps
        self.alpha_bar = torch.cos(levels * math.pi / 2).square().clamp(0.01, 0.99)

    def encode(self, image: Tensor) -> ToyEncoding:
        """See `Editor`."""
        return ToyEncoding(resize(image, self.resolution, self.resolution)[None])

    def instruct(self, text: str, source: Sequence[ToyEncoding] = ()) -> Instruction:
        """Every word is one row: an offset in [-0.5, 0.5) derived from a hash of the word."""
        words = text.lower().split()
        room = self.space.length - 2
        if len(words) > room:
            raise UsageError(f"{len(words)} words are too long for the toy editor, which takes {room}")
        rows = torch.zeros(self.space.length, WIDTH)
        for index, word in enumerate(words, start=1):
            digest = hashlib.sha256(word.encode()).digest()
            rows[index] = torch.tensor([byte / 256 - 0.5 for byte in digest[:WIDTH]])
        return Instruction(rows, (1, 1 + len(words)))

    def loss(
        self,
        before: ToyEncoding,
        after: ToyEncoding,
        instruction: Instruction,
        t: Tensor,
        noise: Tensor,
        guidance: ToySettings | None = None,
    ) -> Tensor:
        """See `Editor`."""
        alpha_bar = self.alpha_bar[(t * self.num_timesteps).long()].view(-1, 1, 1, 1)
        noisy = add_noise(after.pixels, noise, alpha_bar)
        scale = 1.0 if guidance is None else guidance.guidance_scale
        clean = before.pixels + scale * self._offsets(instruction)
        predicted = (noisy - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        return (predicted - noise).square().mean((1, 2, 3))

    @torch.no_grad()
    def edit(
        self, image: ToyEncoding, branches: Sequence[tuple[Instruction, float]], settings: ToySettings, noise: Noise
    ) -> Tensor:
        """See `Editor`; the exact model needs no sampling, so the noise is not drawn from."""
        offsets = sum((weight * self._offsets(instruction) for instruction, weight in branches), torch.zeros(1))
        return (image.pixels + settings.guidance_scale * offsets).clamp(0, 1)

    def num_branches(self, weights: Sequence[float], settings: ToySettings) -> int:
        """See `Editor`."""
        return sum(weight != 0 for weight in weights)

    def _offsets(self, instruction: Instruction) -> Tensor:
        band = self.resolution // self.space.length
        return instruction.rows.T.repeat_interleave(band, dim=1)[None, :, :, None]  # (1, 3, r, 1)
