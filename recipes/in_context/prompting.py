"""The small model behind visual prompting: canvases to learn from, and a masked autoencoder that predicts codes.

Bar et al. 2022, section 3.2 and appendix; figures are canvases of related pictures, drawn as the method draws them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor
from torch.nn import functional as F
from transformers import ViTMAEConfig

from recipes.embedded_model.loop import Trainee, adamw, fast, train
from vii.methods.grid import Grid
from vii.methods.masked_codes import MaskedCodes, code_loss, decode_codes, masking

from .codes import Clusters, mean_psnr
from .config import Config, Prompting
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
        # The last ones, which are only reported on, are as those that the tasks are measured on.
        easy = index < settings.scenes - VALIDATION and rng.random() < settings.easy
        pairs = tasks[index % len(tasks)].related(rng, config.data.photos, easy)
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


def parts_of(data: Canvases, config: Config) -> Callable[[int, torch.Generator], Tensor]:
    """How to draw parts `(b, 3, w, w)` of canvases, for codes: half as they are, half of random crops scaled up."""
    settings, patch = config.prompting, config.codes.patch
    side = round(settings.side * config.codes.window)

    def draw(count: int, generator: torch.Generator) -> Tensor:
        whole = data.draw(count, generator)
        places = (settings.side - side) // patch + 1  # of what is left as it is, by whole patches
        down, across = torch.randint(places, (2,), generator=generator, device=generator.device) * patch
        window = whole[::2, :, down : down + side, across : across + side]
        return torch.cat([window, random_crops(whole[1::2], settings.crop, generator, config.codes.window)])

    return draw


def places(width: int, side: int) -> Tensor:
    """`(1 + side ** 2, width)`, sines and cosines: where a patch is on the canvas, plus where it is in its cell.

    The first row, that of the class token, is 0. Patches of the same place in different cells have a part in common, so
    that attention from one to the other need not be learned from nothing.
    """
    on_canvas = get_2d_sincos_pos_embed(width, side, output_type="pt").float()
    in_cell = torch.arange(side) % (side // 2)
    rows = (in_cell[:, None] * side + in_cell).flatten()
    return torch.cat([torch.zeros(1, width), on_canvas + on_canvas[rows]])


def build(side: int, patch: int, codes: int, settings: Prompting) -> MaskedCodes:
    """An untrained masked autoencoder with a head over codes."""
    mae = MaskedCodes(
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
    # transformers leaves both at 0 in a model that is not loaded, which then sees a heap of patches without places.
    for table in (mae.vit.embeddings.position_embeddings, mae.decoder.decoder_pos_embed):
        table.data[0] = places(table.shape[-1], side // patch)
    return mae


def train_prompting(data: Canvases, told: Clusters, vq: VQModel, config: Config, folder: Path) -> MaskedCodes:
    """Train the masked autoencoder; the last groups are only reported on. Returns it with its averaged weights."""
    settings, device = config.prompting, torch.device(config.device)
    patch = told.patch
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
        codes = told.codes(pictures)
        with fast(device), masking(mae, answer if as_at_use else len(hidden) * 3 // 4):
            logits, mask = mae(pictures, noise=hidden + noise / 2 if as_at_use else noise)
        logits = logits.float()
        masked, seen = code_loss(logits, codes, mask), code_loss(logits, codes, 1 - mask)
        return {"loss": masked + settings.seen * seen, "masked": masked.detach(), "seen": seen.detach()}

    @torch.no_grad()
    def report() -> str:
        lines, missing, half = [], hidden.bool(), data.grid.side // 2
        for kind, pictures in data.unseen().items():
            codes = told.codes(pictures)
            with masking(mae, answer):
                logits, mask = mae(pictures, noise=hidden.expand(len(pictures), -1))
            right = (logits.argmax(-1) == codes)[:, missing].float().mean()
            made = decode_codes(vq, torch.where(missing, logits.argmax(-1), codes))
            best, truth, still = decode_codes(vq, codes), pictures[..., half:, half:], pictures[..., half:, :half]
            found, most = (mean_psnr(whole[..., half:, half:], truth) for whole in (made, best))
            loss = float(code_loss(logits, codes, mask))
            lines.append(
                f"{kind} loss {loss:.3f}, {right:.0%} of codes, {found:.2f} dB, "
                f"no edit {mean_psnr(still, truth):.2f} dB, all codes right {most:.2f} dB"
            )
        return "unseen answers: " + "; ".join(lines)

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
    """A model folder as `vii.methods.visual_prompting` reads it, in half precision."""
    for name, part in (("mae", mae), ("vq", vq)):
        part.to("cpu", torch.float16).save_pretrained(folder / name, safe_serialization=True)
    manifest = {
        "name": "vii-visual-prompting-1",
        "resolution": int(mae.config.image_size),
        "settings": {"mean_codes": True, "apart": True},
    }
    (folder / "vii.json").write_text(json.dumps(manifest, indent=2) + "\n")
