"""The UNet: InstructPix2Pix training (Brooks et al. 2023) on latents and text states that are computed once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from vii.diffusion import add_noise, training_target

from .autoencoder import Components
from .clip import text_states
from .config import Config, Unet
from .data import SIZE, Pairs, to_tensor
from .loop import Trainee, fast, train

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


def build(latent_channels: int, text_width: int, settings: Unet) -> UNet2DConditionModel:
    """An untrained stock UNet that sees the noisy latents and those of the photo."""
    down = ["CrossAttnDownBlock2D" if reads else "DownBlock2D" for reads in settings.attention]
    up = ["CrossAttnUpBlock2D" if reads else "UpBlock2D" for reads in reversed(settings.attention)]
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=2 * latent_channels,
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


class Matrices(torch.optim.Muon):
    """Muon (Jordan et al. 2024) for convolutions too: their weights are seen as matrices `(out, in * h * w)`."""

    def __init__(self, weights: list[nn.Parameter], lr: float) -> None:
        self.weights = weights
        views = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in weights]
        super().__init__(views, lr=lr, momentum=0.95, weight_decay=0.0)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take the gradients of the weights themselves."""
        views = self.param_groups[0]["params"]
        for view, weight in zip(views, self.weights, strict=True):
            view.grad = None if weight.grad is None else weight.grad.reshape(view.shape)
        result = super().step(closure)
        for view in views:
            view.grad = None
        return result


def optimizers(unet: UNet2DConditionModel, settings: Unet) -> list[torch.optim.Optimizer]:
    """AdamW or, with `muon_lr`, Muon for the matrices inside and AdamW for the rest."""
    ends = ("conv_in", "conv_out", "time_embedding")
    inner = [weight for name, weight in unet.named_parameters() if weight.ndim > 1 and not name.startswith(ends)]
    inside = {id(weight) for weight in inner} if settings.muon_lr else set()
    rest = [weight for weight in unet.parameters() if id(weight) not in inside]
    groups = [
        {"params": [weight for weight in rest if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for weight in rest if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98))
    return [adam, Matrices(inner, settings.muon_lr)] if inside else [adam]


@dataclass(frozen=True)
class Latents:
    """The pairs as the UNet sees them, all on its device in half precision.

    Attributes:
        before: `(crops, c, 16, 16)` unscaled, as the pipeline hands the photo over.
        after: `(pairs, c, 16, 16)` times the autoencoder's `scaling_factor`.
        texts: `(texts, positions, width)`, the states of every different text; the first is the empty one.
        said: `(pairs, phrasings)`, rows of `texts`.
    """

    before: Tensor
    after: Tensor
    texts: Tensor
    said: Tensor

    def __len__(self) -> int:
        return len(self.after)


@torch.no_grad()
def encode(
    pairs: Pairs, components: Components, scaling_factor: float, clip: CLIPModel, tokenizer: CLIPTokenizer, device: str
) -> Latents:
    """Everything that training reads, computed once."""

    def latents(pictures: Any, scale: float) -> Tensor:
        batches = (components.encode(to_tensor(pictures[i : i + 1000])) * scale for i in range(0, len(pictures), 1000))
        return torch.cat([batch.half().to(device) for batch in batches])

    rows = {"": 0}
    said = torch.tensor([[rows.setdefault(text, len(rows)) for text in texts] for texts in pairs.texts])
    print(f"UNet: {len(pairs)} pairs, {len(rows)} different texts", flush=True)
    texts = text_states(clip.to(device), tokenizer, rows, device)
    return Latents(latents(pairs.before, 1), latents(pairs.after, scaling_factor), texts, said.to(device))


def train_unet(data: Latents, config: Config, folder: Path) -> Any:
    """Train the UNet; the last pairs are only reported on. Returns it with its averaged weights."""
    settings, device = config.unet, torch.device(config.device)
    torch.manual_seed(config.seed)
    unet = build(data.after.shape[1], data.texts.shape[2], settings).to(device)
    trainee = Trainee(unet, optimizers(unet, settings), average=settings.average)
    alpha_bar = scheduler().alphas_cumprod.to(device)
    compiled = torch.compile(unet) if settings.compile else unet
    known, edits = len(data) - VALIDATION, len(data) // len(data.before)

    def predict(network: nn.Module, chosen: Tensor, texts: Tensor, photo: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Errors `(b, c, h, w)` of the prediction."""
        sample = data.after[chosen].float()
        noisy = torch.cat([add_noise(sample, noise, alpha_bar[t]), photo], 1)
        with fast(device):
            predicted = network(noisy, t, texts, return_dict=False)[0]
        return predicted.float() - training_target(PREDICTION, sample, noise, alpha_bar[t])

    def losses(generator: torch.Generator) -> dict[str, Tensor]:
        b = settings.batch
        chosen = torch.randint(known, (b,), generator=generator).to(device)
        phrasing = torch.randint(data.said.shape[1], (b,), generator=generator).to(device)
        t = (1000 * (1 - torch.rand(b, generator=generator) ** settings.high_noise)).long().clamp(0, 999).to(device)
        noise = torch.randn((b, *data.after.shape[1:]), generator=generator).to(device)
        dropped = torch.rand(b, generator=generator).to(device)
        texts, photo = data.texts[data.said[chosen, phrasing]].float(), data.before[chosen // edits].float()
        only_text, only_photo, both = settings.no_text, settings.no_photo, settings.no_both
        texts[(dropped < only_text) | (dropped > 1 - both)] = data.texts[0].float()
        photo[((dropped >= only_text) & (dropped < only_text + only_photo)) | (dropped > 1 - both)] = 0
        return {"loss": predict(compiled, chosen, texts, photo, t, noise).square().mean()}

    def report() -> str:
        return "unseen pairs: " + ", ".join(f"t {t} {error:.4f}" for t, error in validate(predict, unet, data).items())

    train(
        trainee,
        losses,
        settings.samples // settings.batch,
        folder / "unet.pt",
        seed=config.seed + 3,
        checkpoint_seconds=config.checkpoint_seconds,
        report=report,
        report_every=500,
    )
    trainee.swap()
    return unet.eval().requires_grad_(False)


@torch.no_grad()
def validate(predict: Callable[..., Tensor], unet: nn.Module, data: Latents) -> dict[int, float]:
    """Mean squared error at a few timesteps, with fixed noise, on the pairs that training leaves out."""
    device, edits = data.after.device, len(data) // len(data.before)
    generator = torch.Generator().manual_seed(5)
    errors = {}
    for t in (999, 800, 500, 200):
        parts = []
        for chosen in torch.arange(len(data) - VALIDATION, len(data)).to(device).split(96):
            noise = torch.randn((len(chosen), *data.after.shape[1:]), generator=generator).to(device)
            texts, photo = data.texts[data.said[chosen, 0]].float(), data.before[chosen // edits].float()
            times = torch.full((len(chosen),), t, device=device)
            parts.append(predict(unet, chosen, texts, photo, times, noise).square().mean())
        errors[t] = float(torch.stack(parts).mean())
    return errors
