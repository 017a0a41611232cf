"""The small model behind ImageBrush: a UNet and a visual prompt encoder on the embedded editor's latents and CLIP.

Sun et al. 2023. The paper does not say how the UNet sees what is given; here it does as Stable Diffusion's inpainting
model, beside the noisy latents of the whole canvas and a mask. The photo stands in the answer's cell too, where the
paper has a blank: a network as small as this one is long in learning to carry it over from the cell beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor, nn

from recipes.embedded_model.loop import Trainee, adamw, fast, train
from recipes.embedded_model.unet import PREDICTION, channel_weights, scheduler
from vii.clip import TransformersClip
from vii.diffusion import add_noise, training_target
from vii.libraries import load_weights
from vii.methods.prompt_encoder import WHOLE, VisualPromptEncoder, image_tokens

from .config import Config, ImageBrush
from .data import Groups, shown, two_of
from .inpainting import components_of

VALIDATION = 192  # groups at the end, left out of training
CHUNK = 128  # groups that are encoded at a time
# How much a pixel changes where an edit does something, and not where it is only rounded.
CHANGED = 0.05
# What a model_index.json says of a model without a pipeline of diffusers' own.
CLASSES = {
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}
# Of the embedded editor, what is trained on.
SHARED = ("vae", "clip")


@dataclass(frozen=True)
class Canvases:
    """What training reads, all on its device: every group as it is and mirrored, in half precision.

    Attributes:
        before: `(groups, photos, c, s, s)`, latents times the scaling factor.
        after: likewise.
        seen_before: `(groups, photos, n, w)`, image tokens.
        seen_after: likewise.
        boxes: `(groups, photos, 4)` in [0, 1]: left, top, right, bottom of what the edit changes.
        weights: `(c, 1, 1)`, how much an error of each channel counts; 1 on average.
    """

    before: Tensor
    after: Tensor
    seen_before: Tensor
    seen_after: Tensor
    boxes: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.before)


@torch.no_grad()
def encode(groups: Groups, embedded: Path, config: Config) -> Canvases:
    """The groups as training reads them, computed once: first as they are, then mirrored.

    `embedded` is the folder of an embedded editor, of which nothing but `SHARED` need be there.
    """
    device, settings, rows = config.device, config.imagebrush, []
    vae = load_weights(AutoencoderTiny, embedded / "vae").eval()
    weights = channel_weights(components_of(vae), settings.pixel_weight).view(-1, 1, 1).to(device)
    vae, clip, scale = vae.to(device), TransformersClip(str(embedded / "clip"), device), vae.config.scaling_factor

    def read(pictures: Tensor) -> tuple[Tensor, Tensor]:
        flat = pictures.flatten(0, 1)
        latents = vae.encode(flat * 2 - 1).latents * scale
        tokens = image_tokens(clip.model.vision_model, clip.preprocess, flat, settings.pool)
        return latents.half().unflatten(0, pictures.shape[:2]), tokens.half().unflatten(0, pictures.shape[:2])

    for mirrored in (False, True):
        for start in range(0, len(groups), CHUNK):
            pair = [shown(array[start : start + CHUNK], device) for array in (groups.before, groups.after)]
            before, after = (pictures.flip(-1) for pictures in pair) if mirrored else pair
            rows.append((*read(before), *read(after), changed_boxes(before, after)))
    before, seen_before, after, seen_after, boxes = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return Canvases(before, after, seen_before, seen_after, boxes, weights)


def changed_boxes(before: Tensor, after: Tensor) -> Tensor:
    """`(..., 4)`, see `Canvases`, of pictures `(..., 3, s, s)`; all of a picture in which next to nothing changes.

    They stand for the boxes that the paper has GroundingDINO find.
    """
    moved = (after - before).abs().amax(-3) > CHANGED
    at, edges = torch.arange(moved.shape[-1], device=moved.device), []
    for axis in (-2, -1):  # of columns, then of rows
        lines = moved.any(axis)
        edges += [at.where(lines, len(at)).amin(-1), (at + 1).where(lines, 0).amax(-1)]
    left, right, top, bottom = edges
    boxes = torch.stack([left, top, right, bottom], -1) / len(at)
    return boxes.where(moved.flatten(-2).any(-1, keepdim=True), boxes.new_tensor(WHOLE))


@dataclass(frozen=True)
class Batch:
    """Training samples.

    Attributes:
        clean: `(b, c, 2 s, 2 s)`, latents of whole canvases.
        tokens: image tokens of E, E' and I, each `(b, n, w)`.
        box: `(b, 4)`, in both pictures of the example.
        prompted: `(b,)` of bool: whether the prompt is given.
        t: `(b,)`.
        noise: as `clean`.
    """

    clean: Tensor
    tokens: tuple[Tensor, Tensor, Tensor]
    box: Tensor
    prompted: Tensor
    t: Tensor
    noise: Tensor


def gather(data: Canvases, chosen: Tensor, example: Tensor, photo: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Canvases and image tokens, see `Batch`, of groups `(b,)` with the numbers of the two photos in each, `(b,)`."""
    rows = [torch.cat([data.before[chosen, which], data.after[chosen, which]], -1) for which in (example, photo)]
    tokens = (data.seen_before[chosen, example], data.seen_after[chosen, example], data.seen_before[chosen, photo])
    return torch.cat(rows, -2).float(), tuple(one.float() for one in tokens)


def draw(data: Canvases, settings: ImageBrush, known: Tensor, generator: torch.Generator) -> Batch:
    """A batch from the groups numbered `known`, on the device of the data, which is the generator's."""
    b, device = settings.batch, data.before.device
    share = torch.rand(5, b, generator=generator, device=device)
    chosen = known[(share[0] * len(known)).long().clamp(max=len(known) - 1)]
    photos = two_of(data.before.shape[1], b, generator)
    clean, tokens = gather(data, chosen, *photos.T)
    whole = torch.tensor(WHOLE, device=device)
    box = torch.where(share[1, :, None] < settings.no_box, whole, data.boxes[chosen, photos[:, 0]])
    t = (1000 * (1 - share[2] ** settings.high_noise)).long().clamp(0, 999)
    noise = torch.randn(clean.shape, generator=generator, device=device)
    return Batch(clean, tokens, box, share[3] >= settings.no_prompt, t, noise)


def build(latents: int, settings: ImageBrush) -> UNet2DConditionModel:
    """An untrained stock UNet that attends to itself at every level and to the prompt in the middle only.

    Section 4.1: the cross-attention of Stable Diffusion's upper and lower blocks gives way to self-attention.
    """
    levels = len(settings.channels)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=2 * latents + 1,
        out_channels=latents,
        block_out_channels=settings.channels,
        layers_per_block=settings.layers,
        down_block_types=("AttnDownBlock2D",) * levels,
        up_block_types=("AttnUpBlock2D",) * levels,
        transformer_layers_per_block=(1,) * (levels - 1) + (settings.prompt_blocks,),
        cross_attention_dim=settings.prompt_width,
        attention_head_dim=settings.head_width,
        norm_num_groups=16,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


class Painter(nn.Module):
    """Both networks as one that is trained: from a batch to the prediction `(b, c, 2 s, 2 s)`."""

    def __init__(self, unet: UNet2DConditionModel, prompt_encoder: VisualPromptEncoder) -> None:
        super().__init__()
        self.unet, self.prompt_encoder = unet, prompt_encoder

    def forward(self, batch: Batch, alpha_bar: Tensor, mask: Tensor) -> Tensor:
        """`mask` is `(1, 2 s, 2 s)`, 1 in the answer."""
        before, after, photo = batch.tokens
        boxes = batch.box[:, None, None].expand(-1, 1, 2, -1)
        said = self.prompt_encoder(before[:, None], after[:, None], photo, boxes)
        said = said * batch.prompted[:, None, None].to(said)
        noisy = add_noise(batch.clean, batch.noise, alpha_bar[batch.t])
        side = mask.shape[-1] // 2
        seen = torch.where(mask > 0, batch.clean.roll(side, -1), batch.clean)  # of the cell to its left
        inputs = torch.cat([noisy, mask.expand(len(noisy), -1, -1, -1), seen], 1)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self.unet(inputs, batch.t, said, return_dict=False)[0]


def train_imagebrush(data: Canvases, config: Config, folder: Path) -> Painter:
    """Train both networks; the last groups are only reported on. Returns them with their averaged weights."""
    settings, device = config.imagebrush, torch.device(config.device)
    count, latents, side = len(data) // 2, data.before.shape[2], data.before.shape[-1]
    known = torch.arange(len(data), device=device)
    known = known[known % count < count - VALIDATION]
    alpha_bar = scheduler().alphas_cumprod.to(device)
    mask = torch.zeros(1, 2 * side, 2 * side, device=device)
    mask[:, side:, side:] = 1
    torch.manual_seed(config.seed)
    encoder = VisualPromptEncoder(
        feature_width=data.seen_before.shape[-1],
        width=settings.prompt_width,
        layers=settings.prompt_layers,
        heads=settings.prompt_heads,
        expansion=2,
        pool=settings.pool,
    )
    painter = Painter(build(latents, settings).to(memory_format=torch.channels_last), encoder).to(device)
    millions = sum(parameter.numel() for parameter in painter.parameters()) / 1e6
    print(f"ImageBrush: {millions:.2f} M weights, {len(known)} groups, mirrored ones among them", flush=True)
    trainee = Trainee(painter, adamw(painter, settings.lr), average=settings.average)

    def squared(batch: Batch) -> Tensor:
        with fast(device):
            predicted = painter(batch, alpha_bar, mask)
        target = training_target(PREDICTION, batch.clean, batch.noise, alpha_bar[batch.t])
        return (predicted.float() - target).square()

    def answers(errors: Tensor) -> Tensor:
        return errors[..., side:, side:].mean()

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        errors = squared(draw(data, settings, known, generator))
        counts = mask + settings.known_weight * (1 - mask)
        loss = (errors * data.weights * counts).mean() / counts.mean()
        return {"loss": loss, "answer": answers(errors).detach()}

    @torch.no_grad()
    def report() -> str:
        chosen = torch.arange(count - VALIDATION, count, device=device)
        first = torch.zeros_like(chosen)
        clean, tokens = gather(data, chosen, first, first + 1)
        # The tokens of another group's example: what is gained over them was read off the example.
        wrong = (tokens[0].roll(1, 0), tokens[1].roll(1, 0), tokens[2])
        noise = torch.randn(clean.shape, generator=torch.Generator(device).manual_seed(5), device=device)
        box = torch.tensor(WHOLE, device=device).expand(len(chosen), -1)
        given = torch.ones_like(chosen, dtype=torch.bool)
        trials = {
            "the prompt": (tokens, box, given),
            "its box": (tokens, data.boxes[chosen, 0], given),
            "no prompt": (tokens, box, ~given),
            "a wrong prompt": (wrong, box, given),
        }
        found = {
            name: float(answers(squared(Batch(clean, *trial, torch.full_like(chosen, 999), noise))))
            for name, trial in trials.items()
        }
        still = clean[..., side:, :side] - clean[..., side:, side:]
        found["no edit"] = float(still.square().mean())
        return "unseen groups at t 999: " + ", ".join(f"{name} {error:.4f}" for name, error in found.items())

    train(
        trainee,
        losses,
        settings.steps,
        folder / "imagebrush.pt",
        config,
        stage=8,
        minutes=settings.minutes,
        every=50,
        report=report,
        report_every=250,
    )
    return painter.eval().requires_grad_(False)


def package(folder: Path, painter: Painter, cell: int, shares: Mapping[str, str]) -> None:
    """A model folder as `vii.methods.imagebrush` reads it: what was trained here, in half precision.

    It says which parts of an embedded editor it has in common with it, see `vii.editors.shared`, and lacks them.
    """
    painter.to("cpu", torch.float16)
    painter.unet.save_pretrained(folder / "unet", safe_serialization=True)
    painter.prompt_encoder.save_pretrained(folder / "prompt_encoder", safe_serialization=True)
    scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(CLASSES, indent=2) + "\n")
    manifest = {
        "name": "vii-imagebrush-1",
        "resolution": 2 * cell,
        "settings": {"num_inference_steps": 1, "guidance_scale": 1.0, "photo_in_blank": True},
        "clip": "clip",
        "shares": dict(shares),
    }
    (folder / "vii.json").write_text(json.dumps(manifest, indent=2) + "\n")
