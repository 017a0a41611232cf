"""A discrete variational autoencoder of patches (Ramesh et al. 2021, section 2.1, in the small form of SLATE).

Every patch of a picture becomes one of `codes`. In training the choice is relaxed (Jang et al. 2017, eq. 2), so that
gradients reach the encoder; at use it is the likeliest code.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gumbel_softmax(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A relaxed sample of the categorical distribution over axis 1, of the same shape (Jang et al. 2017, eq. 2).

    `torch.nn.functional.gumbel_softmax` takes no generator, and a run that is resumed must draw what it would have.
    """
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return ((logits.log_softmax(1) + gumbel) / temperature).softmax(1)


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    # The paper's have no bias: what the norm makes of a plain picture is then the same at any brightness.
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.GroupNorm(1, outputs), nn.ReLU())


def _doubling(channels: int) -> list[nn.Module]:
    """Three convolutions, then twice the size."""
    widened = _block(channels, 4 * channels, 1)
    return [*(_block(channels, channels, k, padding=k // 2) for k in (3, 1, 1)), widened, nn.PixelShuffle(2)]


class DiscreteVae(nn.Module):
    """Pictures `(b, 3, h, w)` in [0, 1] to codes and back, by the layers of Im-Promptu (its code, utils/dVAE.py).

    Args:
        codes: size of the vocabulary.
        patch: pixels a side of a patch, a power of two; sides of pictures are divisible by it.
        channels: of the hidden layers.
    """

    def __init__(self, codes: int, patch: int, channels: int = 64) -> None:
        super().__init__()
        self.codes = codes
        self.encoder = nn.Sequential(
            _block(3, channels, patch, patch),
            *(_block(channels, channels, 1) for _ in range(6)),
            nn.Conv2d(channels, codes, 1),
        )
        doublings = [layer for _ in range(patch.bit_length() - 1) for layer in _doubling(channels)]
        last = nn.Conv2d(channels, 3, 1)
        nn.init.constant_(last.bias, 0.5)  # type: ignore[arg-type]  # in the middle of what a pixel can be
        self.decoder = nn.Sequential(_block(codes, channels, 1), *doublings, last)

    def encode(self, pictures: Tensor) -> Tensor:
        """The likeliest code of each patch, row by row, `(b, n)`."""
        return self.encoder(pictures).argmax(1).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Pictures in [0, 1] of the codes `(b, n)` of square ones."""
        side = round(codes.shape[1] ** 0.5)
        chosen = F.one_hot(codes, self.codes).float()
        return self.decoder(chosen.unflatten(1, (side, side)).permute(0, 3, 1, 2)).clamp(0, 1)
