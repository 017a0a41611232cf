"""The small model behind Analogist: a text-conditioned inpainting UNet on the embedded editor's latents and CLIP.

Its input is that of Stable Diffusion's inpainting model: noisy latents, the mask, and the latents of the masked picture
(Rombach et al. 2022, section 4.5). It fills boxes in single photos and cells in grids of related ones.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from recipes.embedded_model.autoencoder import PATCH, Components
from recipes.embedded_model.loop import Trainee, adamw, fast, train
from recipes.embedded_model.unet import PREDICTION, build, channel_weights, scheduler
from vii.diffusion import add_noise, training_target
from vii.editors.loading import EMBEDDED_MODEL
from vii.libraries import load_weights

from .config import Config, Inpainting
from .data import Groups, shown, two_of

VALIDATION = 192  # groups at the end, left out of training
# Cells of a canvas by row and column: A and A' above B and B'.
ANSWER = 3
# Of the embedded editor, what the UNet is trained on.
SHARED = ("vae", "text_encoder", "tokenizer")


@dataclass(frozen=True)
class Canvases:
    """What canvases are put together from, in half precision; latents times `scaling_factor`.

    Attributes:
        before: `(edits, photos, c, s, s)`.
        after: likewise.
        photo: `(edits, c, 2 s, 2 s)`.
        blank: `(c,)`, of a masked picture: the middle of the range, which is 0 to the autoencoder.
        texts: `(texts, positions, width)`, the states of every different text; the first is the empty one.
        said: `(edits, phrasings)`, rows of `texts`.
        weights: `(c,)`, how much an error of each channel counts; 1 on average.
    """

    before: Tensor
    after: Tensor
    photo: Tensor
    blank: Tensor
    texts: Tensor
    said: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.before)


def components_of(vae: torch.nn.Module) -> Components:
    """The linear encoder of an embedded model's autoencoder, read off by what it makes of each pixel alone."""
    pixels = torch.eye(3 * PATCH * PATCH).view(-1, 3, PATCH, PATCH)
    with torch.no_grad():
        bias = vae.encode(torch.full((1, 3, PATCH, PATCH), -1.0)).latents.flatten()
        columns = vae.encode(pixels * 2 - 1).latents.flatten(1) - bias
    return Components(columns.T.reshape(-1, 3, PATCH, PATCH), bias, 1.0)


@torch.no_grad()
def encode(groups: Groups, embedded: Path, config: Config) -> Canvases:
    """The groups as the UNet sees them, computed once, on the run's device.

    `embedded` is the folder of an embedded editor, of which nothing but `SHARED` need be there.
    """
    device = config.device
    vae = load_weights(AutoencoderTiny, embedded / "vae").eval()
    weights = channel_weights(components_of(vae), config.inpainting.pixel_weight)
    vae.to(device)

    def latents(pictures: np.ndarray) -> Tensor:
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        parts = [vae.encode(shown(flat[i : i + 500], device) * 2 - 1).latents for i in range(0, len(flat), 500)]
        whole = torch.cat([(part * vae.config.scaling_factor).half() for part in parts])
        return whole.reshape(*pictures.shape[:-3], *whole.shape[1:])

    rows = {"": 0}
    said = torch.tensor([[rows.setdefault(text, len(rows)) for text in texts] for texts in groups.texts])
    print(f"inpainting: {len(groups)} groups, {len(rows)} different texts", flush=True)
    blank = vae.encode(torch.zeros(1, 3, PATCH, PATCH, device=device)).latents.flatten() * vae.config.scaling_factor
    return Canvases(
        latents(groups.before),
        latents(groups.after),
        latents(groups.photo),
        blank,
        text_states(list(rows), embedded, device),
        said.to(device),
        weights.to(device),
    )


@torch.no_grad()
def text_states(texts: list[str], embedded: Path, device: str) -> Tensor:
    """What the UNet reads of texts, `(n, positions, width)` in half precision, as the editor's `instruct` has it."""
    encoder = load_weights(CLIPTextModel, embedded / "text_encoder", dtype=torch.float32).eval().to(device)
    tokenizer = CLIPTokenizer.from_pretrained(embedded / "tokenizer", local_files_only=True)
    length = encoder.config.max_position_embeddings
    states = []
    for start in range(0, len(texts), 512):
        ids = tokenizer(
            texts[start : start + 512], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        states.append(encoder(ids.to(device)).last_hidden_state.half())
    return torch.cat(states)


@dataclass(frozen=True)
class Batch:
    """Training samples.

    Attributes:
        clean: latents `(b, c, h, w)`.
        mask: `(b, 1, h, w)`, 1 where something is to be filled.
        said: `(b,)`, rows of `Canvases.texts`.
        t: `(b,)`, timesteps.
        noise: as `clean`.
    """

    clean: Tensor
    mask: Tensor
    said: Tensor
    t: Tensor
    noise: Tensor


def draw(data: Canvases, settings: Inpainting, known: int, generator: torch.Generator) -> Batch:
    """A batch from the first `known` groups: grids, and single photos with a box to fill, which have no words."""
    b, side, on = settings.batch, data.before.shape[-1], {"generator": generator, "device": generator.device}
    chosen, phrasing = torch.randint(known, (b,), **on), torch.randint(data.said.shape[1], (b,), **on)
    single, other, silent, times = torch.rand(4, b, **on)
    is_single = single < settings.single
    clean = grids(data, chosen, two_of(data.before.shape[1], b, generator))
    clean = torch.where(is_single.view(-1, 1, 1, 1), data.photo[chosen].float(), clean)
    cell = torch.where(other < settings.any_cell, torch.randint(4, (b,), **on), ANSWER)
    cells = torch.stack([cell // 2, cell % 2, cell // 2 + 1, cell % 2 + 1], 1) * side
    boxes = torch.where(is_single[:, None], random_boxes(torch.rand(b, 4, **on), 2 * side), cells)
    said = torch.where((silent < settings.no_text) | is_single, 0, data.said[chosen, phrasing])
    t = (1000 * (1 - times**settings.high_noise)).long().clamp(0, 999)
    return Batch(clean, masks(boxes, 2 * side), said, t, torch.randn(clean.shape, **on))


def grids(data: Canvases, chosen: Tensor, photos: Tensor) -> Tensor:
    """Latents `(b, c, h, w)` of canvases with all four cells: groups `(b,)`, and the two photos of each `(b, 2)`."""
    example, query = photos.T
    rows = [
        torch.cat([data.before[chosen, which], data.after[chosen, which]], dim=3).float() for which in (example, query)
    ]
    return torch.cat(rows, dim=2)


def random_boxes(shares: Tensor, side: int) -> Tensor:
    """Uniform numbers `(b, 4)` -> top, left, bottom, right `(b, 4)`; of a quarter to three quarters of the side."""
    lengths = (side * (0.25 + 0.5 * shares[:, :2])).long()
    corners = (shares[:, 2:] * (side - lengths + 1)).long()
    return torch.cat([corners, corners + lengths], 1)


def masks(boxes: Tensor, side: int) -> Tensor:
    """Boxes `(b, 4)` -> `(b, 1, side, side)`, 1 inside."""
    top, left, bottom, right = boxes.view(-1, 4, 1).unbind(1)
    at = torch.arange(side, device=boxes.device)
    rows, columns = (at >= top) & (at < bottom), (at >= left) & (at < right)
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()


def inputs(batch: Batch, alpha_bar: Tensor, blank: Tensor) -> Tensor:
    """What the UNet reads, `(b, 2 c + 1, h, w)`."""
    noisy = add_noise(batch.clean, batch.noise, alpha_bar[batch.t])
    seen = torch.where(batch.mask > 0, blank.view(1, -1, 1, 1), batch.clean)
    return torch.cat([noisy, batch.mask, seen], 1).contiguous(memory_format=torch.channels_last)


def train_inpainting(data: Canvases, config: Config, folder: Path) -> UNet2DConditionModel:
    """Train the UNet; the last groups are only reported on. Returns it with its averaged weights."""
    settings, device = config.inpainting, torch.device(config.device)
    known, alpha_bar = len(data) - VALIDATION, scheduler().alphas_cumprod.to(device)
    weights, channels = data.weights.view(1, -1, 1, 1), data.before.shape[2]
    torch.manual_seed(config.seed)
    unet = build(channels, data.texts.shape[2], settings, seen=channels + 1)
    unet = unet.to(device, memory_format=torch.channels_last)
    trainee = Trainee(unet, adamw(unet, settings.lr), average=settings.average)

    def errors(batch: Batch) -> Tensor:
        """Squared errors `(b, c, h, w)` of the prediction."""
        texts = data.texts[batch.said].float()
        with fast(device):
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
        return validate(errors, data, known)

    train(
        trainee,
        losses,
        settings.steps,
        folder / "inpainting.pt",
        config,
        stage=5,
        minutes=settings.minutes,
        every=50,
        report=report,
        report_every=250,
    )
    return unet.eval().requires_grad_(False)


def validate(errors: Callable[[Batch], Tensor], data: Canvases, known: int) -> str:
    """Mean squared error in the answers of the groups that training leaves out, from noise alone."""
    chosen = torch.arange(known, len(data), device=data.before.device)
    generator = torch.Generator(chosen.device).manual_seed(5)
    clean = grids(data, chosen, torch.tensor([[0, 1]], device=chosen.device).expand(len(chosen), 2))
    side = data.before.shape[-1]
    mask = masks(torch.tensor([[side, side, 2 * side, 2 * side]], device=chosen.device), 2 * side)

    def mean(squared: Tensor) -> float:
        return float(squared[..., side:, side:].mean())

    found = []
    for said in (data.said[chosen, 0], torch.zeros_like(chosen)):
        noise = torch.randn(clean.shape, generator=generator, device=chosen.device)
        batch = Batch(clean, mask.expand(len(chosen), -1, -1, -1), said, torch.full_like(chosen, 999), noise)
        found.append(mean(errors(batch)))
    still = clean.clone()
    still[..., side:, side:] = still[..., side:, :side]  # the answer is the photo itself
    nothing = mean((still - clean).square())
    return f"unseen groups at t 999: {found[0]:.4f} with words, {found[1]:.4f} without; no edit {nothing:.4f}"


def package(folder: Path, unet: UNet2DConditionModel, cell: int, shares: dict[str, str]) -> None:
    """A model folder in diffusers' layout: this UNet, without copies of the embedded editor's other parts.

    The class named in model_index.json is that of the method's architecture; diffusers' own pipeline takes four latent
    channels only, and this autoencoder has more.
    """
    unet.to("cpu", torch.float16).save_pretrained(folder / "unet", safe_serialization=True)
    scheduler().save_pretrained(folder / "scheduler")
    index = json.loads((EMBEDDED_MODEL / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    manifest = {
        "name": "vii-inpainting-1",
        "resolution": 2 * cell,
        "settings": SETTINGS,
        "clip": "clip",
        "phrases": "phrases.txt",
        "shares": shares,
    }
    (folder / "vii.json").write_text(json.dumps(manifest, indent=2) + "\n")


# One step, as for the embedded editor; cells meet without a border; the words are all that is said. Attention is
# changed in the middle one of seven blocks: a model trained on grids has learned to imitate, and further out the change
# costs 1 dB.
SETTINGS = {
    "num_inference_steps": 1,
    "strength": 1.0,
    "guidance_scale": 1.0,
    "border": 0,
    "first_block": 3,
    "last_block": 3,
    "suffix": "",
    "negative_prompt": "",
}
