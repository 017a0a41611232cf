"""The small model behind visual prompting: a VQ model, and a masked autoencoder that predicts its codes.

Bar et al. 2022, section 3.2 and appendix; figures are canvases of related pictures, drawn as the method draws them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from torch import Tensor
from torch.nn import functional as F
from transformers import ViTMAEConfig

from recipes.embedded_model.loop import Trainee, adamw, fast, train
from vii.evaluation.metrics import psnr
from vii.methods.grid import Grid
from vii.methods.masked_codes import MaskedCodes, code_loss, decode_codes, encode_codes, masking

from .config import Codes, Config, Prompting
from .data import Groups, shown, two_of
from .figures import TASKS

VALIDATION = 96  # groups of each kind at the end, left out of training
STREAM = 17  # of random numbers, for the drawn scenes
GAP = 2  # as `vii.methods.visual_prompting` draws one pair


@dataclass(frozen=True)
class Cells:
    """Pictures as large as the cells of a canvas, on the run's device, several of each task.

    Attributes:
        grid: the canvas.
        before: `(tasks, photos, 3, cell, cell)` uint8.
        after: likewise.
    """

    grid: Grid
    before: Tensor
    after: Tensor

    def __len__(self) -> int:
        return len(self.before)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random canvases, `(count, 3, s, s)` in [0, 1], of all groups but the last ones."""
        chosen = torch.randint(len(self) - VALIDATION, (count,), generator=generator, device=generator.device)
        return canvases(self, chosen, two_of(self.before.shape[1], count, generator))

    def unseen(self) -> Tensor:
        """The canvases of the last groups, of their first two photos."""
        chosen = torch.arange(len(self) - VALIDATION, len(self), device=self.before.device)
        return canvases(self, chosen, torch.tensor([[0, 1]], device=chosen.device).expand(len(chosen), 2))


@dataclass(frozen=True)
class Canvases:
    """What is trained on.

    Attributes:
        photos: photos under one edit.
        figures: drawn scenes under one task of `figures.TASKS`.
        share: of canvases that are figures.
    """

    photos: Cells
    figures: Cells
    share: float

    @property
    def grid(self) -> Grid:
        """The canvas."""
        return self.photos.grid

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random canvases, `(count, 3, s, s)` in [0, 1]."""
        drawn = round(count * self.share)
        return torch.cat([self.photos.draw(count - drawn, generator), self.figures.draw(drawn, generator)])

    def unseen(self) -> dict[str, Tensor]:
        """Canvases that nothing is trained on, by kind."""
        return {"photos": self.photos.unseen(), "figures": self.figures.unseen()}


def make_canvases(groups: Groups, config: Config) -> Canvases:
    """The groups, and drawn scenes, as canvases show them; computed once."""
    settings = config.prompting
    grid = Grid.within(settings.side, gap=GAP)

    def of_photos(pictures: np.ndarray) -> Tensor:
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        parts = [scaled(shown(flat[i : i + 1000], config.device), grid.cell) for i in range(0, len(flat), 1000)]
        return torch.cat(parts).unflatten(0, pictures.shape[:2])

    rng, tasks = np.random.default_rng((config.seed, STREAM)), list(TASKS.values())
    before, after = [], []
    for index in range(settings.scenes):
        pairs = tasks[index % len(tasks)].related(rng, config.data.photos)
        before.append(scaled(torch.stack([pair.before for pair in pairs]), grid.cell))
        after.append(scaled(torch.stack([pair.after for pair in pairs]), grid.cell))
    figures = Cells(grid, torch.stack(before).to(config.device), torch.stack(after).to(config.device))
    return Canvases(Cells(grid, of_photos(groups.before), of_photos(groups.after)), figures, settings.figures)


def scaled(pictures: Tensor, side: int) -> Tensor:
    """`(n, 3, h, w)` in [0, 1] -> `(n, 3, side, side)` uint8."""
    small = F.interpolate(pictures, (side, side), mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round().to(torch.uint8)


def canvases(data: Cells, chosen: Tensor, photos: Tensor) -> Tensor:
    """`(b, 3, s, s)` in [0, 1], with the answers: groups `(b,)`, and of each two photos `(b, 2)` under its task."""
    shape = len(chosen), 3, *data.grid.shape
    drawn = torch.full(shape, data.grid.background, device=chosen.device)
    for example, which in enumerate(photos.T):
        for pictures, after in ((data.before, False), (data.after, True)):
            top, left, bottom, right = data.grid.box(example, after)
            drawn[:, :, top:bottom, left:right] = pictures[chosen, which] / 255
    return drawn


def random_crops(pictures: Tensor, least: float, generator: torch.Generator, window: float = 1.0) -> Tensor:
    """Squares of `least` to all of the area, mirrored every other time, scaled back to the whole; `(b, 3, s, s)`.

    With a `window` below 1 a part of such a square that has this share of its side, at the same scale.
    """
    area, down, across, mirrored = torch.rand(4, len(pictures), generator=generator, device=generator.device)
    share = (least + (1 - least) * area).sqrt() * window
    transform = torch.zeros(len(pictures), 2, 3, device=pictures.device)
    # Positions run from -1 to 1: a square of this share of the side has its middle up to 1 - share away from 0.
    transform[:, 0, 0], transform[:, 1, 1] = torch.where(mirrored < 0.5, -share, share), share
    transform[:, 0, 2], transform[:, 1, 2] = (1 - share) * (2 * across - 1), (1 - share) * (2 * down - 1)
    side = round(pictures.shape[-1] * window)
    grid = F.affine_grid(transform, [*pictures.shape[:2], side, side], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


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


def train_codes(data: Canvases, config: Config, folder: Path) -> VQModel:
    """Train the VQ model (van den Oord et al. 2017, eq. 3, with the absolute error), on crops of canvases."""
    settings, device = config.codes, torch.device(config.device)
    torch.manual_seed(config.seed)
    vq = build_codes(settings).to(device, memory_format=torch.channels_last)
    trainee = Trainee(vq, adamw(vq, settings.lr, 1e-4), average=settings.average)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        pictures = data.draw(settings.batch, generator)
        pictures = random_crops(pictures, config.prompting.crop, generator, settings.window)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with fast(device):
            latents = vq.encode(pictures * 2 - 1).latents
        latents = latents.float()
        if trainee.step % settings.revive_every == 0:
            revive(vq.quantize.embedding.weight, rows_of(latents.detach()), generator)
        table = vq.quantize.embedding.weight
        codes = torch.cdist(rows_of(latents.detach()), table.detach()).argmin(1)
        side = latents.shape[-1]
        nearest = table[codes].view(len(pictures), side, side, -1).permute(0, 3, 1, 2)
        distance = (nearest - latents.detach()).square().mean()
        distance = distance + settings.commitment * (nearest.detach() - latents).square().mean()
        with fast(device):
            decoded = vq.decode(latents + (nearest - latents).detach(), force_not_quantize=True).sample
        error = ((decoded.float() + 1) / 2 - pictures).abs().mean()
        return {"loss": error + distance, "error": error.detach(), "distance": distance.detach()}

    @torch.no_grad()
    def report() -> str:
        told = []
        for kind, pictures in data.unseen().items():
            codes = encode_codes(vq, pictures[:32])
            plain = pictures[:32].mean((2, 3), keepdim=True).expand_as(pictures[:32])  # one colour for each canvas
            found, still = (mean_psnr(made, pictures[:32]) for made in (decode_codes(vq, codes), plain))
            told.append(f"{kind} {found:.2f} dB with {len(codes.unique())} codes, their mean colour {still:.2f} dB")
        return "unseen " + "; ".join(told)

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
    return vq.eval().requires_grad_(False)


def mean_psnr(made: Tensor, truth: Tensor) -> float:
    """Of pictures `(n, 3, h, w)`, in dB."""
    return float(np.mean([psnr(one, other) for one, other in zip(made, truth, strict=True)]))


def rows_of(latents: Tensor) -> Tensor:
    """`(b, c, h, w)` -> `(b h w, c)`."""
    return latents.permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def revive(table: Tensor, latents: Tensor, generator: torch.Generator) -> None:
    """Move codes `(n, c)` that no latent `(m, c)` uses, a quarter of the codebook at most, to latents; in place."""
    unused = torch.ones(len(table), device=table.device)
    unused[torch.cdist(latents, table).argmin(1)] = 0
    # In random order, the unused ones first: how many these are is not asked for, which would wait for the device.
    order = (unused + torch.rand(len(table), generator=generator, device=table.device)).argsort(descending=True)
    moved = order[: len(table) // 4]
    drawn = latents[torch.randint(len(latents), (len(moved),), generator=generator, device=table.device)]
    table[moved] = torch.where(unused[moved, None] > 0, drawn, table[moved])


def build(side: int, patch: int, codes: int, settings: Prompting) -> MaskedCodes:
    """An untrained masked autoencoder with a head over codes."""
    return MaskedCodes(
        ViTMAEConfig(
            image_size=side,
            patch_size=patch,
            num_codes=codes,
            hidden_size=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=4 * settings.width,
            decoder_hidden_size=settings.decoder_width,
            decoder_num_hidden_layers=settings.decoder_layers,
            decoder_num_attention_heads=settings.decoder_heads,
            decoder_intermediate_size=4 * settings.decoder_width,
            layer_norm_eps=1e-6,
        )
    )


def train_prompting(data: Canvases, vq: VQModel, config: Config, folder: Path) -> MaskedCodes:
    """Train the masked autoencoder; the last groups are only reported on. Returns it with its averaged weights."""
    settings, device = config.prompting, torch.device(config.device)
    patch = 2 ** (len(config.codes.channels) - 1)
    torch.manual_seed(config.seed)
    mae = build(settings.side, patch, config.codes.codes, settings).to(device)
    trainee = Trainee(mae, adamw(mae, settings.lr, 0.05), average=settings.average)
    hidden = F.max_pool2d(data.grid.mask()[None], patch).flatten()
    answer, hidden = int(hidden.sum()), hidden.to(device)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        # In turn rather than at random, so that nothing waits for the device to say which.
        as_at_use = int((trainee.step + 1) * settings.answers) > int(trainee.step * settings.answers)
        pictures = data.draw(settings.batch, generator)
        if not as_at_use:
            pictures = random_crops(pictures, settings.crop, generator)
        noise = torch.rand(len(pictures), len(hidden), generator=generator, device=device)
        with torch.no_grad(), fast(device):
            codes = encode_codes(vq, pictures.contiguous(memory_format=torch.channels_last))
        with fast(device), masking(mae, answer if as_at_use else len(hidden) * 3 // 4):
            logits, mask = mae(pictures, noise=hidden + noise / 2 if as_at_use else noise)
        return {"loss": code_loss(logits.float(), codes, mask)}

    @torch.no_grad()
    def report() -> str:
        told, missing, half = [], hidden.bool(), data.grid.side // 2
        for kind, pictures in data.unseen().items():
            codes = encode_codes(vq, pictures)
            with masking(mae, answer):
                logits, mask = mae(pictures, noise=hidden.expand(len(pictures), -1))
            right = (logits.argmax(-1) == codes)[:, missing].float().mean()
            made = decode_codes(vq, torch.where(missing, logits.argmax(-1), codes))
            best, truth, still = decode_codes(vq, codes), pictures[..., half:, half:], pictures[..., half:, :half]
            found, most = (mean_psnr(whole[..., half:, half:], truth) for whole in (made, best))
            loss = float(code_loss(logits, codes, mask))
            told.append(
                f"{kind} loss {loss:.3f}, {right:.0%} of codes, {found:.2f} dB, "
                f"no edit {mean_psnr(still, truth):.2f} dB, all codes right {most:.2f} dB"
            )
        return "unseen answers: " + "; ".join(told)

    train(
        trainee,
        losses,
        settings.steps,
        folder / "prompting.pt",
        config,
        stage=7,
        minutes=settings.minutes,
        every=50,
        report=report,
        report_every=250,
    )
    return mae.eval().requires_grad_(False)


def package(folder: Path, mae: MaskedCodes, vq: VQModel) -> None:
    """A model folder as `vii.methods.masked_codes.read_prompting` reads it, in half precision."""
    for name, part in (("mae", mae), ("vq", vq)):
        part.to("cpu", torch.float16).save_pretrained(folder / name, safe_serialization=True)
