"""Discrete codes of pictures: clusters of patches, and visual prompting's VQ model, which is told them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from recipes.embedded_model.loop import Trainee, adamw, fast, train
from vii.errors import RecipeError
from vii.evaluation.metrics import psnr
from vii.files import replacing
from vii.methods.masked_codes import decode_codes, encode_codes

from .config import Codes, Config


@dataclass(frozen=True)
class Clusters:
    """Codes that need no network: of each patch that of the nearest of so many clusters of patches.

    Attributes:
        patch: pixels a side.
        mean: `(d,)` of all patches.
        basis: `(d, c)`, their first principal components, over one number for all, so that coordinates are about 1.
        centres: `(n, c)`.
    """

    patch: int
    mean: Tensor
    basis: Tensor
    centres: Tensor

    @classmethod
    def of(cls, pictures: Tensor, patch: int, width: int, count: int, generator: torch.Generator) -> "Clusters":
        """Of pictures `(b, 3, h, w)`; `width` numbers a code, `count` codes."""
        patches = patches_of(pictures, patch).flatten(0, 1)
        mean = patches.mean(0)
        basis = torch.linalg.eigh((patches - mean).T @ (patches - mean)).eigenvectors.flip(1)[:, :width]
        basis = basis / ((patches - mean) @ basis).std()
        return cls(patch, mean, basis, clusters((patches - mean) @ basis, count, generator))

    @classmethod
    def kept(cls, path: Path, fit: Callable[[], "Clusters"]) -> "Clusters":
        """Those in a file, which is made where there is none: what was trained on them needs these and no others."""
        if not path.exists():
            made = fit()
            tensors = {"mean": made.mean, "basis": made.basis, "centres": made.centres}
            with replacing(path) as temporary:
                save_file({name: one.contiguous().cpu() for name, one in tensors.items()}, temporary)
        tensors = load_file(path)
        return cls(round((len(tensors["mean"]) / 3) ** 0.5), **tensors)

    def to(self, device: str) -> "Clusters":
        """The same on a device."""
        return Clusters(self.patch, self.mean.to(device), self.basis.to(device), self.centres.to(device))

    def coordinates(self, pictures: Tensor) -> Tensor:
        """`(b, 3, h, w)` -> `(b, n, c)`, patches row by row."""
        return (patches_of(pictures, self.patch) - self.mean) @ self.basis

    def codes(self, pictures: Tensor) -> Tensor:
        """`(b, 3, h, w)` -> `(b, n)`, patches row by row."""
        return torch.cdist(self.coordinates(pictures), self.centres).argmin(-1)


def clusters(points: Tensor, count: int, generator: torch.Generator, rounds: int = 8) -> Tensor:
    """Centres `(count, d)` of points `(n, d)`: k-means, started far apart (Arthur & Vassilvitskii 2007)."""
    centres = points[:1].repeat(count, 1)
    distance = (points - centres[0]).square().sum(1)
    for index in range(1, count):
        centres[index] = points[torch.multinomial(distance + 1e-9, 1, generator=generator)][0]
        distance = torch.minimum(distance, (points - centres[index]).square().sum(1))
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.zeros_like(centres[:, :1]).index_add_(0, nearest, torch.ones_like(points[:, :1]))
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres


def patches_of(pictures: Tensor, patch: int) -> Tensor:
    """`(b, 3, h, w)` -> its patches row by row, `(b, n, d)`."""
    return F.unfold(pictures, patch, stride=patch).mT


def build_codes(settings: Codes) -> VQModel:
    """An untrained stock VQ model."""
    levels = len(settings.channels)
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=settings.channels,
        layers_per_block=1,
        latent_channels=settings.width,
        num_vq_embeddings=settings.codes,
        norm_num_groups=16,
    )


def train_codes(
    draw: Callable[[int, torch.Generator], Tensor], unseen: Mapping[str, Tensor], config: Config, folder: Path
) -> tuple[Clusters, VQModel]:
    """Train the VQ model on pictures by their absolute error, with codes that it is told.

    Left to find its codes itself (van den Oord et al. 2017, eq. 3) it had those of brightness alone after half an hour
    on a core. So codes are clusters of patches; the encoder learns to give the coordinates of a patch, the decoder to
    decode what is nearest to them.

    Args:
        draw: a number and a generator -> so many random pictures `(b, 3, s, s)` in [0, 1].
        unseen: others by kind, which are reported on.
        config: of the run.
        folder: of its checkpoints.

    Raises:
        RecipeError: a run in this folder was begun with codes of another number or size.
    """
    settings, device = config.codes, torch.device(config.device)
    start = torch.Generator(device).manual_seed(config.seed)
    patch, shape = settings.patch, (settings.patch, settings.width, settings.codes)
    told = Clusters.kept(
        folder / "clusters.safetensors", lambda: Clusters.of(draw(settings.clustered, start), *shape, start)
    ).to(config.device)
    if (told.patch, *told.centres.T.shape) != shape:
        raise RecipeError(
            f"{folder}: was begun with {len(told.centres)} codes of {told.centres.shape[1]} numbers for {told.patch} "
            f"pixels a side, and the configuration asks for {settings.codes} of {settings.width} for {patch}; go on "
            "with those, or train from the start in another folder"
        )
    torch.manual_seed(config.seed)
    vq = build_codes(settings).to(device, memory_format=torch.channels_last)
    vq.quantize.embedding.weight.requires_grad_(False).copy_(told.centres)
    trainee = Trainee(vq, adamw(vq, settings.lr, 1e-4), average=settings.average)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        pictures = draw(settings.batch, generator).contiguous(memory_format=torch.channels_last)
        side = pictures.shape[-1] // patch
        wanted = told.coordinates(pictures).mT.unflatten(2, (side, side))
        nearest = told.centres[told.codes(pictures)].mT.unflatten(2, (side, side))
        with fast(device):
            latents = vq.encode(pictures * 2 - 1).latents
            decoded = vq.decode(nearest, force_not_quantize=True).sample
        distance = (latents.float() - wanted).square().mean()
        error = ((decoded.float() + 1) / 2 - pictures).abs().mean()
        return {"loss": error + settings.encoder * distance, "error": error.detach(), "distance": distance.detach()}

    @torch.no_grad()
    def report() -> str:
        lines = []
        for kind, pictures in unseen.items():
            codes, own = told.codes(pictures), encode_codes(vq, pictures)
            found, still = (mean_psnr(decode_codes(vq, some), pictures) for some in (codes, own))
            same = (codes == own).float().mean()
            lines.append(f"{kind} {found:.2f} dB, by its own codes, {same:.0%} the same, {still:.2f} dB")
        return "unseen " + "; ".join(lines)

    train(
        trainee,
        losses,
        settings.steps,
        folder / "codes.pt",
        config,
        stage=6,
        minutes=settings.minutes,
        report=report,
        report_every=500,
    )
    return told, vq.eval().requires_grad_(False)


def mean_psnr(made: Tensor, truth: Tensor) -> float:
    """Of pictures `(n, 3, h, w)`, in dB."""
    return float(np.mean([psnr(one, other) for one, other in zip(made, truth, strict=True)]))
