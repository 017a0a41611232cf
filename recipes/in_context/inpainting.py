"""The small model behind Analogist: a text-conditioned inpainting UNet on the embedded editor's latents and CLIP.

Its input is that of Stable Diffusion's inpainting model: noisy latents, the mask, and the latents of the masked picture
(Rombach et al. 2022, section 4.5). It fills boxes in single photos and cells in grids of related ones.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from recipes.embedded_model.autoencoder import PATCH, Components
from recipes.embedded_model.data import to_tensor
from recipes.embedded_model.loop import Trainee, adamw, fast, train
from recipes.embedded_model.unet import PREDICTION, build, channel_weights, scheduler
from vii.diffusion import add_noise, training_target
from vii.editors.clip_text import instruct
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.stable_diffusion import read_parts

from .config import Config, Inpainting
from .data import Groups, two_of

VALIDATION = 192  # groups at the end, left out of training
# Cells of a canvas by row and column: A and A' above B and B'.
ANSWER = 3


@dataclass(frozen=True)
class Canvases:
    """What canvases are put together from, in half precision; latents times `scaling_factor`.

    Attributes:
        before: `(edits, photos, c, s, s)`.
        after: likewise.
        photo: `(edits, c, 2 s, 2 s)`.
        blank: `(c,)`, of a masked picture: the middle of the range, which is 0 to the autoencoder.
        texts: for each edit, some ways of asking for it.
    """

    before: Tensor
    after: Tensor
    photo: Tensor
    blank: Tensor
    texts: Sequence[Sequence[str]]


def components_of(vae: torch.nn.Module) -> Components:
    """The linear encoder of an embedded model's autoencoder, read off by what it makes of each pixel alone."""
    pixels = torch.eye(3 * PATCH * PATCH).view(-1, 3, PATCH, PATCH)
    with torch.no_grad():
        bias = vae.encode(torch.full((1, 3, PATCH, PATCH), -1.0)).latents.flatten()
        columns = vae.encode(pixels * 2 - 1).latents.flatten(1) - bias
    return Components(columns.T.reshape(-1, 3, PATCH, PATCH), bias, 1.0)


@torch.no_grad()
def encode(groups: Groups, vae: torch.nn.Module) -> Canvases:
    """The groups as the UNet sees them, computed once."""

    def latents(pictures: np.ndarray) -> Tensor:
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        parts = [vae.encode(to_tensor(flat[i : i + 500]) * 2 - 1).latents.half() for i in range(0, len(flat), 500)]
        whole = torch.cat(parts) * vae.config.scaling_factor
        return whole.reshape(*pictures.shape[:-3], *whole.shape[1:])

    blank = vae.encode(torch.zeros(1, 3, PATCH, PATCH)).latents.flatten() * vae.config.scaling_factor
    return Canvases(latents(groups.before), latents(groups.after), latents(groups.photo), blank, groups.texts)


@dataclass(frozen=True)
class Batch:
    """Training samples: clean latents `(b, c, h, w)`, mask `(b, 1, h, w)`, words, timesteps `(b,)` and noise."""

    clean: Tensor
    mask: Tensor
    texts: list[str]
    t: Tensor
    noise: Tensor


def draw(data: Canvases, settings: Inpainting, known: int, generator: torch.Generator) -> Batch:
    """A batch from the first `known` groups: grids, and single photos with a box to fill, which have no words."""
    b, side = settings.batch, data.before.shape[-1]
    chosen, dropped = torch.randint(known, (b,), generator=generator), torch.rand(b, generator=generator)
    phrasing = torch.randint(len(data.texts[0]), (b,), generator=generator).tolist()
    clean = grids(data, chosen, two_of(data.before.shape[1], b, generator))
    single = torch.rand(b, generator=generator) < settings.single
    clean[single] = data.photo[chosen[single]].float()
    other = torch.rand(b, generator=generator) < settings.any_cell
    cells = torch.where(other, torch.randint(4, (b,), generator=generator), torch.tensor(ANSWER)).tolist()
    mask = torch.zeros(b, 1, 2 * side, 2 * side)
    corners = torch.rand(b, 4, generator=generator)
    for i in range(b):
        top, left, bottom, right = _random_box(corners[i], 2 * side) if single[i] else _cell(cells[i], side)
        mask[i, :, top:bottom, left:right] = 1
    silent = (dropped < settings.no_text) | single
    texts = ["" if silent[i] else data.texts[int(chosen[i])][phrasing[i]] for i in range(b)]
    t = (1000 * (1 - torch.rand(b, generator=generator) ** settings.high_noise)).long().clamp(0, 999)
    return Batch(clean, mask, texts, t, torch.randn(clean.shape, generator=generator))


def grids(data: Canvases, chosen: Tensor, photos: Tensor) -> Tensor:
    """Latents `(b, c, h, w)` of canvases with all four cells: groups `(b,)`, and the two photos of each `(b, 2)`."""
    example, query = photos.T
    rows = [
        torch.cat([data.before[chosen, which], data.after[chosen, which]], dim=3).float() for which in (example, query)
    ]
    return torch.cat(rows, dim=2)


def _cell(index: int, side: int) -> tuple[int, int, int, int]:
    top, left = index // 2 * side, index % 2 * side
    return top, left, top + side, left + side


def _random_box(corners: Tensor, side: int) -> tuple[int, int, int, int]:
    """Of between a quarter and three quarters of the side each way."""
    height, width = (int(side * (0.25 + 0.5 * float(share))) for share in corners[:2])
    top, left = (
        int(float(share) * (side - length + 1)) for share, length in zip(corners[2:], (height, width), strict=True)
    )
    return top, left, top + height, left + width


def inputs(batch: Batch, alpha_bar: Tensor, blank: Tensor) -> Tensor:
    """What the UNet reads, `(b, 2 c + 1, h, w)`."""
    noisy = add_noise(batch.clean, batch.noise, alpha_bar[batch.t])
    seen = torch.where(batch.mask > 0, blank.view(1, -1, 1, 1), batch.clean)
    return torch.cat([noisy, batch.mask, seen], 1).contiguous(memory_format=torch.channels_last)


def train_inpainting(groups: Groups, config: Config, folder: Path) -> UNet2DConditionModel:
    """Train the UNet; the last groups are only reported on. Returns it with its averaged weights."""
    settings = config.inpainting
    parts = read_parts(EMBEDDED_MODEL, "embedded", "InstructPix2Pix model")
    vae, data = parts["vae"], encode(groups, parts["vae"])
    known, alpha_bar = len(groups) - VALIDATION, scheduler().alphas_cumprod
    weights = channel_weights(components_of(vae), settings.pixel_weight).view(1, -1, 1, 1)

    @cache
    def rows(text: str) -> Tensor:
        return instruct(text, parts["tokenizer"], parts["text_encoder"]).rows.half()

    torch.manual_seed(config.seed)
    channels = data.before.shape[2]
    unet = build(channels, rows("").shape[1], settings, seen=channels + 1).to(memory_format=torch.channels_last)
    trainee = Trainee(unet, adamw(unet, settings.lr), average=settings.average)

    def errors(batch: Batch) -> Tensor:
        """Squared errors `(b, c, h, w)` of the prediction."""
        texts = torch.stack([rows(text) for text in batch.texts]).float()
        with fast(torch.device("cpu")):
            predicted = unet(inputs(batch, alpha_bar, data.blank), batch.t, texts, return_dict=False)[0]
        target = training_target(PREDICTION, batch.clean, batch.noise, alpha_bar[batch.t])
        return (predicted.float() - target).square()

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        batch = draw(data, settings, known, generator)
        squared = errors(batch)
        counts = batch.mask + settings.known_weight * (1 - batch.mask)
        loss = (squared * weights * counts).sum() / (counts.sum() * channels)
        return {"loss": loss, "filled": (squared * batch.mask).sum().detach() / (batch.mask.sum() * channels)}

    @torch.no_grad()
    def report() -> str:
        generator = torch.Generator().manual_seed(5)
        chosen = torch.arange(known, len(groups))
        clean = grids(data, chosen, torch.tensor([[0, 1]]).expand(len(chosen), 2))
        mask = torch.zeros(len(chosen), 1, *clean.shape[-2:])
        side = data.before.shape[-1]
        mask[..., side:, side:] = 1
        found = []
        for words in (True, False):
            texts = [data.texts[i][0] if words else "" for i in chosen.tolist()]
            noise = torch.randn(clean.shape, generator=generator)
            batch = Batch(clean, mask, texts, torch.full((len(chosen),), 999), noise)
            found.append(float((errors(batch) * mask).sum() / (mask.sum() * channels)))
        still = clean.clone()
        still[..., side:, side:] = still[..., side:, :side]  # the answer is the photo itself
        nothing = float(((still - clean).square() * mask).sum() / (mask.sum() * channels))
        return f"unseen groups at t 999: {found[0]:.4f} with words, {found[1]:.4f} without; no edit {nothing:.4f}"

    steps = settings.samples // settings.batch
    train(trainee, losses, steps, folder / "inpainting.pt", config, stage=5, every=50, report=report, report_every=250)
    return unet.eval().requires_grad_(False)


def package(folder: Path, unet: UNet2DConditionModel, cell: int) -> None:
    """A model folder in diffusers' layout: this UNet beside the embedded editor's other parts.

    The class named in model_index.json is that of the method's architecture; diffusers' own pipeline takes four latent
    channels only, and this autoencoder has more.
    """
    for part in ("vae", "text_encoder", "tokenizer", "scheduler", "clip"):
        shutil.copytree(EMBEDDED_MODEL / part, folder / part, dirs_exist_ok=True)
    unet.half().save_pretrained(folder / "unet", safe_serialization=True)
    index = json.loads((EMBEDDED_MODEL / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    manifest = json.loads((EMBEDDED_MODEL / "vii.json").read_text())
    manifest |= {"name": "vii-inpainting-1", "resolution": 2 * cell, "settings": SETTINGS}
    (folder / "vii.json").write_text(json.dumps(manifest, indent=2) + "\n")
    shutil.copyfile(EMBEDDED_MODEL / "phrases.txt", folder / "phrases.txt")


# One step, as for the embedded editor; cells meet without a border; the words are all that is said.
SETTINGS = {
    "num_inference_steps": 1,
    "strength": 1.0,
    "guidance_scale": 1.0,
    "border": 0,
    "first_block": 1,
    "last_block": 5,
    "suffix": "",
    "negative_prompt": "",
}
