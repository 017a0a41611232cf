"""The UNet: InstructPix2Pix training (Brooks et al. 2023) on latents and text states that are computed once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from vii.diffusion import add_noise, training_target

from .autoencoder import Components
from .clip import text_states
from .config import Config, Denoiser, Unet
from .data import SIZE, Pairs
from .loop import Trainee, adamw, fast, train

VALIDATION = 576  # pairs at the end, left out of training
PREDICTION = "v_prediction"


def scheduler() -> DDIMScheduler:
    """A schedule that ends in pure noise: with the plain one the last step still shows the mean colour of the answer,
    which sampling from noise then lacks (Lin et al. 2023, "Common diffusion noise schedules and sample steps are
    flawed").
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=PREDICTION,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def build(latent_channels: int, text_width: int, settings: Denoiser, seen: int | None = None) -> UNet2DConditionModel:
    """An untrained stock UNet that sees, besides the noisy latents, `seen` channels: by default those of the photo."""
    down = ["CrossAttnDownBlock2D" if reads else "DownBlock2D" for reads in settings.attention]
    up = ["CrossAttnUpBlock2D" if reads else "UpBlock2D" for reads in reversed(settings.attention)]
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=latent_channels + (latent_channels if seen is None else seen),
        out_channels=latent_channels,
        block_out_channels=settings.channels,
        layers_per_block=settings.layers,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=text_width,
        attention_head_dim=settings.heads,
        norm_num_groups=16,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


@dataclass(frozen=True)
class Latents:
    """The pairs as the UNet sees them, all on its device in half precision.

    Attributes:
        before: `(crops, c, 16, 16)` unscaled, as the pipeline hands the photo over.
        after: `(pairs, c, 16, 16)` times `scaling_factor`.
        texts: `(texts, positions, width)`, the states of every different text; the first is the empty one.
        said: `(pairs, phrasings)`, rows of `texts`.
        scaling_factor: of the autoencoder.
        weights: `(c,)`, how much an error of each channel counts; 1 on average.
    """

    before: Tensor
    after: Tensor
    texts: Tensor
    said: Tensor
    scaling_factor: float
    weights: Tensor

    @property
    def edits(self) -> int:
        """Pairs a crop."""
        return len(self.after) // len(self.before)

    def __len__(self) -> int:
        return len(self.after)


@torch.no_grad()
def encode(
    pairs: Pairs,
    components: Components,
    scaling_factor: float,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    config: Config,
) -> Latents:
    """Everything that training reads, computed once."""
    device, encoder = config.device, components.to(config.device)

    def latents(pictures: np.ndarray, scale: float) -> Tensor:
        batches = (torch.from_numpy(pictures[i : i + 1000]).to(device) for i in range(0, len(pictures), 1000))
        return torch.cat([(encoder.encode(batch.movedim(-1, -3).float() / 255) * scale).half() for batch in batches])

    rows = {"": 0}
    said = torch.tensor([[rows.setdefault(text, len(rows)) for text in texts] for texts in pairs.texts])
    print(f"UNet: {len(pairs)} pairs, {len(rows)} different texts", flush=True)
    texts = text_states(clip.to(device), tokenizer, rows, device)
    return Latents(
        latents(pairs.before, 1),
        latents(pairs.after, scaling_factor),
        texts,
        said.to(device),
        scaling_factor,
        channel_weights(components, config.unet.pixel_weight).to(device),
    )


def channel_weights(components: Components, exponent: float) -> Tensor:
    """`(c,)` with mean 1: what an error of each channel is worth in pixels, to this power."""
    worth = components.weight.flatten(1).norm(dim=1) ** -2  # the directions are orthogonal
    return worth**exponent / (worth**exponent).mean()


def draw(data: Latents, settings: Unet, known: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A batch of training samples from the first `known` pairs.

    Returns:
        the clean answers `(b, c, h, w)`, the text states `(b, positions, width)`, the photos' latents `(b, c, h, w)`,
        timesteps `(b,)` and noise `(b, c, h, w)`.
    """
    b, random = settings.batch, {"generator": generator, "device": generator.device}
    chosen = torch.randint(known, (b,), **random)
    phrasing = torch.randint(data.said.shape[1], (b,), **random)
    t = (1000 * (1 - torch.rand(b, **random) ** settings.high_noise)).long().clamp(0, 999)
    noise = torch.randn((b, *data.after.shape[1:]), **random)
    dropped = torch.rand(b, **random)
    photo, sample = data.before[chosen // data.edits].float(), data.after[chosen].float()
    texts = data.texts[data.said[chosen, phrasing]].float()
    # No instruction means no edit: the photo itself is the answer, so that a weight of 0 gives it back and guidance
    # scales the edit. Without the photo too, any edited picture is.
    silent, both = dropped < settings.no_text, dropped > 1 - settings.no_both
    texts[silent | both] = data.texts[0].float()
    sample[silent] = photo[silent] * data.scaling_factor
    photo[((dropped >= settings.no_text) & (dropped < settings.no_text + settings.no_photo)) | both] = 0
    return sample, texts, photo, t, noise


def train_unet(data: Latents, config: Config, folder: Path) -> UNet2DConditionModel:
    """Train the UNet; the last pairs are only reported on. Returns it with its averaged weights."""
    settings, device = config.unet, torch.device(config.device)
    torch.manual_seed(config.seed)
    unet = build(data.after.shape[1], data.texts.shape[2], settings).to(device, memory_format=torch.channels_last)
    trainee = Trainee(unet, adamw(unet, settings.lr), average=settings.average)
    alpha_bar = scheduler().alphas_cumprod.to(device)
    compiled = torch.compile(unet) if settings.compile else unet
    known = len(data) - VALIDATION

    def errors(network: nn.Module, sample: Tensor, texts: Tensor, photo: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Errors `(b, c, h, w)` of the prediction."""
        noisy = torch.cat([add_noise(sample, noise, alpha_bar[t]), photo], 1).to(memory_format=torch.channels_last)
        with fast(device):
            predicted = network(noisy, t, texts, return_dict=False)[0]
        return predicted.float() - training_target(PREDICTION, sample, noise, alpha_bar[t])

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        squared = errors(compiled, *draw(data, settings, known, generator)).square()
        return {"loss": (squared.mean((0, 2, 3)) * data.weights).mean(), "mse": squared.mean().detach()}

    def report() -> str:
        return "unseen pairs: " + ", ".join(f"t {t} {error:.4f}" for t, error in validate(errors, unet, data).items())

    train(
        trainee, losses, settings.steps, folder / "unet.pt", config, stage=3, minutes=settings.minutes, report=report,
        report_every=500,
    )  # fmt: skip
    return unet.eval().requires_grad_(False)


@torch.no_grad()
def answers(unet: nn.Module, data: Latents, count: int) -> Tensor:
    """What the UNet makes in one step of the first `count` pairs, `(count, c, 16, 16)` unscaled, in half precision."""
    device, made = data.after.device, []
    generator = torch.Generator(device).manual_seed(6)
    for chosen in torch.arange(count, device=device).split(256):
        photo, texts = data.before[chosen // data.edits].float(), data.texts[data.said[chosen, 0]].float()
        noise = torch.randn(photo.shape, generator=generator, device=device)
        times = torch.full((len(chosen),), 999, device=device)
        with fast(device):
            predicted = unet(torch.cat([noise, photo], 1), times, texts, return_dict=False)[0]
        # At pure noise the velocity is the answer with the other sign.
        made.append((-predicted.float() / data.scaling_factor).half())
    return torch.cat(made)


@torch.no_grad()
def validate(errors: Callable[..., Tensor], unet: nn.Module, data: Latents) -> dict[int, float]:
    """Mean squared error at a few timesteps, with fixed noise, on the pairs that training leaves out."""
    device = data.after.device
    generator = torch.Generator().manual_seed(5)
    means = {}
    for t in (999, 800, 500, 200):
        parts = []
        for chosen in torch.arange(len(data) - VALIDATION, len(data)).to(device).split(96):
            sample, photo = data.after[chosen].float(), data.before[chosen // data.edits].float()
            noise = torch.randn(sample.shape, generator=generator).to(device)
            times = torch.full((len(chosen),), t, device=device)
            texts = data.texts[data.said[chosen, 0]].float()
            parts.append(errors(unet, sample, texts, photo, times, noise).square().mean())
        means[t] = float(torch.stack(parts).mean())
    return means
