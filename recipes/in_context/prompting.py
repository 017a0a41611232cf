"""The small model behind visual prompting: a VQ model, and a masked autoencoder that predicts its codes.

Bar et al. 2022, section 3.2 and appendix; figures are canvases of related pictures, drawn as the method draws them.
"""

from pathlib import Path

import torch
from diffusers import VQModel
from torch import Tensor
from torch.nn import functional as F
from transformers import ViTMAEConfig

from recipes.embedded_model.data import to_tensor
from recipes.embedded_model.loop import Trainee, adamw, fast, train
from vii.images import Pair
from vii.methods.grid import Grid
from vii.methods.masked_codes import MaskedCodes, code_loss, decode_codes, encode_codes, masking

from .config import Codes, Config, Prompting
from .data import Groups, two_of

VALIDATION = 96  # groups at the end, left out of training
GAP = 2  # as `vii.methods.visual_prompting` draws one pair


def canvas(groups: Groups, chosen: int, example: int, photo: int) -> Tensor:
    """`(3, s, s)` in [0, 1]: two photos of a group under its edit, with the answer."""
    before, after = (to_tensor(array[chosen][[example, photo]]) for array in (groups.before, groups.after))
    grid = Grid.within(2 * before.shape[-1], gap=GAP)
    return grid.draw([Pair(before[0], after[0])], before[1], after[1])


def draw(groups: Groups, count: int, known: int, crop: float, generator: torch.Generator) -> Tensor:
    """Canvases `(count, 3, s, s)` of the first `known` groups: random crops, mirrored every other time.

    Args:
        groups: to draw from.
        count: of canvases.
        known: groups.
        crop: smallest share of the area kept, scaled back to the whole; 1 for whole canvases.
        generator: of all that is random.
    """
    chosen = torch.randint(known, (count,), generator=generator).tolist()
    photos = two_of(groups.before.shape[1], count, generator).tolist()
    shares = torch.rand(count, 4, generator=generator).tolist()
    drawn = []
    for which, (example, photo), (area, down, across, mirrored) in zip(chosen, photos, shares, strict=True):
        whole = canvas(groups, which, example, photo)
        side = whole.shape[-1]
        kept = round(side * (crop + (1 - crop) * area) ** 0.5)
        top, left = int(down * (side - kept + 1)), int(across * (side - kept + 1))
        part = whole[None, :, top : top + kept, left : left + kept]
        part = part if kept == side else F.interpolate(part, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        # A mirrored whole canvas would have its pairs the wrong way round.
        drawn.append(part.flip(3) if mirrored < 0.5 and kept < side else part)
    return torch.cat(drawn)


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


def train_codes(groups: Groups, config: Config, folder: Path) -> VQModel:
    """Train the VQ model (van den Oord et al. 2017, eq. 3, with the absolute error), on crops of canvases."""
    settings, known = config.codes, len(groups) - VALIDATION
    torch.manual_seed(config.seed)
    vq = build_codes(settings).to(memory_format=torch.channels_last)
    trainee = Trainee(vq, adamw(vq, settings.lr, 1e-4), average=settings.average)

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        pictures = draw(groups, settings.batch, known, config.prompting.crop, generator)
        if trainee.step % settings.revive_every == 0:
            revive(vq, pictures, generator)
        with fast(torch.device("cpu")):
            latents = vq.encode(pictures * 2 - 1).latents
        latents = latents.float()
        table = vq.quantize.embedding.weight
        codes = torch.cdist(latents.detach().permute(0, 2, 3, 1).flatten(0, 2), table.detach()).argmin(1)
        side = latents.shape[-1]
        nearest = table[codes].view(len(pictures), side, side, -1).permute(0, 3, 1, 2)
        distance = (nearest - latents.detach()).square().mean()
        distance = distance + settings.commitment * (nearest.detach() - latents).square().mean()
        with fast(torch.device("cpu")):
            decoded = vq.decode(latents + (nearest - latents).detach(), force_not_quantize=True).sample
        error = ((decoded.float() + 1) / 2 - pictures).abs().mean()
        return {"loss": error + distance, "error": error.detach(), "distance": distance.detach()}

    @torch.no_grad()
    def report() -> str:
        pictures = torch.stack([canvas(groups, index, 0, 1) for index in range(known, len(groups))][:32])
        codes = encode_codes(vq, pictures)
        mse = (decode_codes(vq, codes) - pictures).square().mean()
        return f"unseen canvases: {float(-10 * mse.log10()):.2f} dB with {len(codes.unique())} codes"

    steps = settings.pictures // settings.batch
    train(trainee, losses, steps, folder / "codes.pt", config, stage=6, report=report, report_every=500)
    return vq.eval().requires_grad_(False)


@torch.no_grad()
def revive(vq: VQModel, pictures: Tensor, generator: torch.Generator) -> None:
    """Move codes that these pictures do not use, a quarter of the codebook at most, to latents of theirs."""
    latents = vq.encode(pictures * 2 - 1).latents.permute(0, 2, 3, 1).flatten(0, 2)
    table = vq.quantize.embedding.weight
    used = torch.cdist(latents, table).argmin(1).unique()
    unused = torch.ones(len(table), dtype=torch.bool)
    unused[used] = False
    (dead,) = unused.nonzero(as_tuple=True)
    dead = dead[torch.randperm(len(dead), generator=generator)[: len(table) // 4]]
    table[dead] = latents[torch.randint(len(latents), (len(dead),), generator=generator)]


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


def train_prompting(groups: Groups, vq: VQModel, config: Config, folder: Path) -> MaskedCodes:
    """Train the masked autoencoder; the last groups are only reported on. Returns it with its averaged weights."""
    settings, known = config.prompting, len(groups) - VALIDATION
    side, patch = 2 * groups.before.shape[2], 2 ** (len(config.codes.channels) - 1)
    torch.manual_seed(config.seed)
    mae = build(side, patch, config.codes.codes, settings)
    trainee = Trainee(mae, adamw(mae, settings.lr, 0.05), average=settings.average)
    hidden = F.max_pool2d(Grid.within(side, gap=GAP).mask()[None], patch).flatten()

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        as_at_use = float(torch.rand((), generator=generator)) < settings.answers
        pictures = draw(groups, settings.batch, known, 1.0 if as_at_use else settings.crop, generator)
        noise = torch.rand(len(pictures), len(hidden), generator=generator)
        count = int(hidden.sum()) if as_at_use else len(hidden) * 3 // 4
        with torch.no_grad(), fast(torch.device("cpu")):
            codes = encode_codes(vq, pictures)
        with fast(torch.device("cpu")), masking(mae, count):
            logits, mask = mae(pictures, noise=hidden + noise / 2 if as_at_use else noise)
        return {"loss": code_loss(logits.float(), codes, mask)}

    @torch.no_grad()
    def report() -> str:
        pictures = torch.stack([canvas(groups, index, 0, 1) for index in range(known, len(groups))])
        codes, missing = encode_codes(vq, pictures), hidden.bool()
        with masking(mae, int(missing.sum())):
            logits, mask = mae(pictures, noise=hidden.expand(len(pictures), -1))
        right = (logits.argmax(-1) == codes)[:, missing].float().mean()
        half = side // 2
        made = decode_codes(vq, torch.where(missing, logits.argmax(-1), codes))[..., half:, half:]
        found, still = (
            float(-10 * (shown - pictures[..., half:, half:]).square().mean().log10())
            for shown in (made, pictures[..., half:, :half])
        )
        loss = float(code_loss(logits, codes, mask))
        return f"unseen answers: loss {loss:.3f}, {right:.0%} of codes, {found:.2f} dB; no edit {still:.2f} dB"

    steps = settings.samples // settings.batch
    train(trainee, losses, steps, folder / "prompting.pt", config, stage=7, every=50, report=report, report_every=250)
    return mae.eval().requires_grad_(False)


def package(folder: Path, mae: MaskedCodes, vq: VQModel) -> None:
    """A model folder as `vii.methods.masked_codes.read_prompting` reads it, in half precision."""
    for name, part in (("mae", mae), ("vq", vq)):
        part.half().save_pretrained(folder / name, safe_serialization=True)
