"""The autoencoder: principal components of 8x8 patches as the encoder, a trained decoder.

A linear encoder keeps colour edits affine in the latents and needs no training; a trained one of this size did no
better (LOG.md). Both live in diffusers' stock `AutoencoderTiny`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional

from vii.evaluation.metrics import psnr

from .config import Config
from .data import SIZE, Pairs, to_tensor
from .loop import Trainee, fast, train

PATCH = 8
# AutoencoderTiny's decoder squashes latents beyond 3: the strongest component stays well inside.
LARGEST_STD = 1.3
# What the UNet denoises has about this root mean square, near the unit variance of the noise.
UNET_RMS = 0.9


@dataclass(frozen=True)
class Components:
    """The linear encoder: `functional.conv2d(pictures, weight, bias, stride=8)` of pictures in [0, 1]."""

    weight: Tensor  # (channels, 3, 8, 8)
    bias: Tensor  # (channels,)
    rms: float  # of the latents

    def encode(self, pictures: Tensor) -> Tensor:
        """`(n, 3, h, w)` in [0, 1] -> `(n, channels, h / 8, w / 8)`."""
        return functional.conv2d(pictures, self.weight, self.bias, stride=PATCH)

    def to(self, device: str) -> "Components":
        """The same on a device."""
        return Components(self.weight.to(device), self.bias.to(device), self.rms)


def fit_components(pairs: Pairs, channels: int, whitening: float, pictures: int = 2000) -> Components:
    """Principal components of the patches of unedited and edited pictures in equal parts."""
    chosen = [array[np.linspace(0, len(array) - 1, pictures).astype(int)] for array in (pairs.before, pairs.after)]
    patches = functional.unfold(to_tensor(np.concatenate(chosen)), PATCH, stride=PATCH).mT.flatten(0, 1)
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh((patches - mean).T.double().cov())
    stds = variances.flip(0)[:channels].sqrt()
    directions = directions.flip(1)[:, :channels]
    scales = stds ** (whitening - 1)
    scales = scales * LARGEST_STD / (stds * scales).max()
    matrix = (directions * scales).T.float()
    rms = float((stds * scales).square().mean().sqrt())
    return Components(matrix.view(channels, 3, PATCH, PATCH), -matrix @ mean, rms)


def build(components: Components, width: int, blocks: tuple[int, ...]) -> AutoencoderTiny:
    """A stock autoencoder whose encoder is exactly these components and whose decoder is untrained."""
    channels, gathered = len(components.bias), 3 * (PATCH // 2) ** 2
    vae = AutoencoderTiny(
        encoder_block_out_channels=(max(gathered, channels),) * 4,
        decoder_block_out_channels=(width,) * 4,
        latent_channels=channels,
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=blocks,
        scaling_factor=round(UNET_RMS / components.rms, 3),
    )
    _write_encoder(vae.encoder.layers, components)
    for name, module in vae.decoder.named_modules():
        # Default initialisation lets the signal fade through un-normalised convolutions; He's, with quiet residual
        # branches, does not.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("conv.4"):
                module.weight.data.mul_(0.2)
    vae.decoder.layers[-1].weight.data.mul_(0.3)
    return vae


@torch.no_grad()
def _write_encoder(layers: nn.Sequential, components: Components) -> None:
    """Two strided convolutions gather 4x4 pixels into 48 channels, the third projects 2x2 of these; exact."""
    for layer in layers:
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
    channels = len(components.bias)
    into, to_2, to_4, to_8, out = layers
    for c in range(3):
        into.weight[c, c, 1, 1] = 1
    for gather, count in ((to_2, 3), (to_4, 12)):
        for quadrant, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            for c in range(count):
                # With padding 1 and stride 2 an output's 2x2 pixels lie under rows and columns 1 and 2 of the kernel.
                gather.weight[quadrant * count + c, c, 1 + row, 1 + column] = 1
    # Channel q4 * 12 + q2 * 3 + c of the 48 holds colour c at row 2 * (q4 // 2) + q2 // 2 of the 4x4 pixels.
    quarters = components.weight.view(channels, 3, 2, 2, 2, 2, 2, 2)  # c, row at 8, 4, 2; column at 8, 4, 2
    projected = quarters.permute(0, 3, 6, 4, 7, 1, 2, 5).reshape(channels, 48, 2, 2)
    to_8.weight[:channels, :48, 1:, 1:] = projected
    for c in range(channels):
        out.weight[c, c, 1, 1] = 1
    out.bias.copy_(components.bias)


def train_decoder(
    vae: AutoencoderTiny, pairs: Pairs, held_out: Tensor, config: Config, folder: Path, made: Tensor
) -> AutoencoderTiny:
    """Train the decoder on crops of unedited and edited pictures, encoded and, every other one, as the UNet makes them.

    What the UNet makes is soft where it cannot tell, and a decoder that has seen that does better on it.

    Args:
        vae: with an untrained decoder.
        pairs: whose pictures are cropped.
        held_out: `(n, 3, h, w)` in [0, 1], only reported on.
        config: of the run.
        folder: for the checkpoint.
        made: `(n, c, h / 8, w / 8)` unscaled latents, the UNet's answers to the first pairs.
    """
    settings = config.autoencoder
    vae = vae.to(config.device, memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(vae.decoder.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    trainee = Trainee(vae.decoder, optimizer, average=0.998)
    before, after = (torch.from_numpy(pictures).to(config.device) for pictures in (pairs.before, pairs.after))
    pixels = torch.arange(settings.crop_size, device=config.device)
    latents = torch.arange(settings.crop_size // PATCH, device=config.device)

    def crops(count: int, high: int, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Which pictures, and their first rows and columns, multiples of `step`; each `(count, 1, 1)`."""
        offsets = (SIZE - settings.crop_size) // step + 1
        which, top, left = (
            torch.randint(n, (count, 1, 1), generator=generator, device=generator.device)
            for n in (high, *[offsets] * 2)
        )
        return which, top * step, left * step

    def cut(pictures: Tensor, which: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """`(count, 3, crop_size, crop_size)` in [0, 1]."""
        return pictures[which, top + pixels[:, None], left + pixels].movedim(-1, -3).float() / 255

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        quarter = settings.batch // 4
        plain = torch.cat([cut(p, *crops(quarter, len(p), 1, generator)) for p in (before, after)])
        which, top, left = crops(settings.batch - 2 * quarter, len(made), PATCH, generator)
        x = torch.cat([plain, cut(after, which, top, left)]).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            z = vae.encoder(plain * 2 - 1)
            z = z + settings.noise * torch.randn(z.shape, generator=generator, device=z.device)
            rows, columns = top // PATCH + latents[:, None], left // PATCH + latents
            z = torch.cat([z, made[which, :, rows, columns].movedim(-1, 1).float()])
        with fast(x.device):
            y = vae.decoder(z)
        y = (y.float() + 1) / 2
        slopes = sum((y.diff(dim=axis) - x.diff(dim=axis)).abs().mean() for axis in (2, 3))
        squared = (y - x).square().mean((1, 2, 3))
        loss = (y - x).abs().mean() + 4 * squared.mean() + 0.5 * slopes
        encoded, predicted = (part.mean().detach() for part in squared.split([len(plain), len(which)]))
        return {"loss": loss, "mse": encoded, "mse_made": predicted}

    def report() -> str:
        return f"held-out PSNR {reconstruction(vae, held_out):.2f} dB"

    steps = settings.crops // settings.batch
    train(
        trainee, losses, steps, folder / "decoder.pt", config, stage=1, minutes=settings.minutes, every=250,
        report=report,
    )  # fmt: skip
    return vae.eval()


@torch.no_grad()
def reconstruction(vae: AutoencoderTiny, pictures: Tensor) -> float:
    """Mean PSNR in dB of pictures `(n, 3, h, w)` in [0, 1] after encoding and decoding."""
    device = next(vae.parameters()).device
    scores = []
    for batch in pictures.split(16):
        decoded = vae.decode(vae.encode(batch.to(device) * 2 - 1).latents).sample
        scores += [psnr(a, b) for a, b in zip(((decoded + 1) / 2).clamp(0, 1).cpu(), batch, strict=True)]
    return float(np.mean(scores))
