"""What editors on Stable Diffusion 1.x share: text and pictures in and out, the loss around a prediction, the sampler.

An editor differs from another in how its networks see the photo: it hands a function here that predicts, and keeps
the rest to itself. Functions and one object that is held, not a base class.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from ..clip import embeddings_replaced, load_clip
from ..diffusion import Noise, add_noise, training_target
from ..editor import ENCODER_OUTPUT, INPUT_EMBEDDING, JointSpace, Space
from ..errors import UsageError, unknown_name
from ..images import fit
from ..instruction import Encoder, Instruction
from ..libraries import quiet
from ..settings import check_numbers
from .fingerprint import modules_fingerprint, version_1_fingerprints

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}

# What the networks that are given in this order are called in a fingerprint.
NETWORKS = ("unet", "controlnet")

# (noisy (b, c, h, w), timesteps (1,) or (b,)) -> prediction (b, c, h, w)
Predict = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How Stable Diffusion samples.

    Attributes:
        num_inference_steps: denoising steps, at least 1.
        guidance_scale: s_T, how far to go along the instruction; 1 = off.
        scheduler: a key of `SCHEDULERS`, or "model" for the one in the model's own folder.
    """

    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    scheduler: str = "model"

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        check_numbers(self)
        if self.num_inference_steps < 1:
            raise UsageError(f"num_inference_steps must be at least 1, got {self.num_inference_steps}")
        if self.scheduler != "model" and self.scheduler not in SCHEDULERS:
            raise UsageError(unknown_name("scheduler", self.scheduler, ["model", *SCHEDULERS]))


class StableDiffusion:
    """The frozen parts of a model, on their device.

    Attributes:
        space: see `Editor`; its fingerprint is that of the text encoder and all the networks.
        alpha_bar: `(num_timesteps,)`, the cumulative product of alphas.
        prediction_type: "epsilon", "v_prediction" or "sample".
    """

    def __init__(
        self,
        *networks: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        model: str,
        revision: str,
        clip: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
        space: str,
    ) -> None:
        """Freeze the parts, in place, and move them to the device.

        Args:
            networks: the UNet, and what runs with it at every step.
            vae: `AutoencoderKL` or `AutoencoderTiny`; stays in float32, for it runs once a picture.
            text_encoder: `CLIPTextModel`.
            tokenizer: `CLIPTokenizer`.
            scheduler: any diffusers scheduler with `alphas_cumprod`; the model's own.
            model: id or folder name.
            revision: of the model on a hub.
            clip: see `vii.clip.load_clip`; None for no joint space.
            device: where everything runs.
            dtype: of the networks and the text encoder.
            space: kind of the instruction space; a value of `vii.editor.SPACES`.
        """
        from diffusers import DDPMScheduler

        self.device, self.dtype = torch.device(device), dtype
        self.space = space_of(text_encoder, tokenizer, networks, vae, model, revision, space)
        with quiet():  # diffusers advises against casting with to(), though nothing here is kept in float32
            for network in networks:
                network.eval().requires_grad_(False).to(self.device, dtype).to(memory_format=torch.channels_last)
            self.text_encoder = text_encoder.eval().requires_grad_(False).to(self.device, dtype)
            self.vae = vae.eval().requires_grad_(False).to(self.device, torch.float32)
        self._encoder = encoder_of(tokenizer, self.text_encoder) if space == INPUT_EMBEDDING else None
        self.tokenizer, self.scheduler, self._clip = tokenizer, scheduler, clip
        training = DDPMScheduler.from_config(scheduler.config)
        self.num_timesteps: int = training.config.num_train_timesteps
        self.prediction_type: str = training.config.prediction_type
        self.alpha_bar: Tensor = training.alphas_cumprod.to(self.device)

    def joint(self) -> JointSpace | None:
        """The joint space, loaded anew, or None."""
        return load_clip(self._clip, self.device) if self._clip else None

    def fit(self, image: Tensor, resolution: int) -> Tensor:
        """Image `(3, h, w)` in [0, 1] -> `(1, 3, h', w')` in [0, 1], of about `resolution` squared pixels."""
        return fit(image.to(self.device, torch.float32), resolution, pixel_multiple(self.vae))[None]

    @torch.no_grad()
    def encode(self, fitted: Tensor) -> Tensor:
        """`(1, 3, h, w)` in [0, 1] -> `(1, c, h', w')`, the mode of the autoencoder's posterior, unscaled."""
        encoded = self.vae.encode(fitted * 2 - 1)
        # AutoencoderKL gives a distribution, AutoencoderTiny the latents themselves.
        mean: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return mean

    def scaled(self, mean: Tensor) -> Tensor:
        """What `encode` gives, times the autoencoder's scaling factor: what is denoised towards."""
        return mean * self.vae.config.scaling_factor

    def instruct(self, text: str) -> Instruction:
        """See `Editor`."""
        return instruct(text, self.tokenizer, self.text_encoder, self._encoder)

    @cached_property
    def null_rows(self) -> Tensor:
        """`(n, d)`, the rows of the empty text, as the networks read them."""
        return self.instruct("").encoded().rows

    def denoising_loss(self, clean: Tensor, t: Tensor, noise: Tensor, predict: Predict) -> Tensor:
        """Mean squared error `(b,)` in the space of the model's own prediction type.

        Args:
            clean: `(1, c, h, w)`, scaled latents of the picture to be predicted.
            t: `(b,)` noise levels in [0, 1).
            noise: `(b, c, h, w)`, standard normal.
            predict: what the editor predicts, given noisy latents and discrete timesteps `(b,)`.
        """
        timesteps = (t * self.num_timesteps).long().to(self.device)
        noise = noise.to(self.device)
        alpha_bar = self.alpha_bar[timesteps]
        target = training_target(self.prediction_type, clean, noise, alpha_bar)
        return (predict(add_noise(clean, noise, alpha_bar), timesteps) - target).square().mean((1, 2, 3))

    @torch.no_grad()
    def sample(self, predict: Predict, shape: tuple[int, ...], settings: SamplingSettings, noise: Noise) -> Tensor:
        """The loop of diffusers' pipelines: noise of `shape` to a picture `(3, h, w)` in [0, 1], on the CPU.

        Every random number is asked for by the timestep whose noise level it makes: the initial noise by the first, the
        noise that an ancestral step adds by the one stepped to. With a bank these are the noises that training put on
        the example at these timesteps (VISII, section 4.3).
        """
        scheduler = self._make_scheduler(settings.scheduler)
        scheduler.set_timesteps(settings.num_inference_steps, device=self.device)
        takes_generator = "generator" in inspect.signature(scheduler.step).parameters
        latents = noise.draw((1, *shape), int(scheduler.timesteps[0])).to(self.device)
        latents = latents * scheduler.init_noise_sigma
        stepped_to = [int(t) for t in scheduler.timesteps[1:]] + [0]
        for timestep, following in zip(scheduler.timesteps, stepped_to, strict=True):
            predicted = predict(scheduler.scale_model_input(latents, timestep), timestep[None])
            extra = {"generator": noise.generator(following)} if takes_generator else {}
            latents = scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        return (decoded[0] / 2 + 0.5).clamp(0, 1).cpu()

    def _make_scheduler(self, name: str) -> Any:
        """A fresh scheduler, for schedulers keep the state of the run they are in."""
        import diffusers

        kind = type(self.scheduler) if name == "model" else getattr(diffusers, SCHEDULERS[name])
        return kind.from_config(self.scheduler.config)


def space_of(
    text_encoder: Any,
    tokenizer: Any,
    networks: Sequence[Any],
    vae: Any,
    model: str = "in memory",
    revision: str = "",
    kind: str = ENCODER_OUTPUT,
) -> Space:
    """The instruction space of a text encoder, its output or its input embeddings, as these networks read it.

    The networks belong to it: tokens are found by descending their loss. The same CLIP reads to InstructPix2Pix and to
    Stable Diffusion with a ControlNet, and tokens learned for one are still not meant for the other.
    """
    return Space(
        kind,
        type(text_encoder).__name__,
        text_encoder.config.hidden_size,
        text_length(tokenizer, text_encoder),
        model,
        modules_fingerprint(text_encoder, dict(zip(NETWORKS, networks, strict=False)), vae),
        revision,
        version_1_fingerprints(text_encoder, networks),
    )


def text_length(tokenizer: Any, text_encoder: Any) -> int:
    """n, the rows of an instruction."""
    return int(min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings))


def encoder_of(tokenizer: Any, text_encoder: Any) -> Encoder:
    """A CLIP text encoder as what stands between its input embeddings and the networks."""
    table = text_encoder.get_input_embeddings().weight.detach()
    ids = tokenizer("", padding="max_length", max_length=text_length(tokenizer, text_encoder)).input_ids
    # EOS, then padding, which is EOS again in some models and not in others.
    return Encoder(partial(_encode, text_encoder), table[[*ids[1:], ids[-1]]].float(), float(table.float().std()))


@torch.no_grad()
def instruct(text: str, tokenizer: Any, text_encoder: Any, encoder: Encoder | None = None) -> Instruction:
    """Text -> the rows `(n, d)` of a CLIP text encoder's output, float32; free are those of the words.

    Args:
        text: words.
        tokenizer: `CLIPTokenizer`.
        text_encoder: `CLIPTextModel`.
        encoder: the same as `encoder_of` gives it, for the rows of its input instead.

    Raises:
        UsageError: the text is longer than the encoder takes.
    """
    length = text_length(tokenizer, text_encoder)
    ids = tokenizer(text, padding="max_length", max_length=length, truncation=False).input_ids
    if len(ids) > length:
        raise UsageError(f"the text is {len(ids) - 2} tokens long, this editor takes {length - 2}: '{text[:40]}...'")
    free = (1, ids.index(tokenizer.eos_token_id, 1))
    tokens = torch.tensor([ids], device=text_encoder.device)
    if encoder is not None:
        return Instruction(text_encoder.get_input_embeddings()(tokens)[0].float(), free, encoder=encoder)
    return Instruction(text_encoder(tokens).last_hidden_state[0].float(), free)


def _encode(text_encoder: Any, rows: Tensor) -> Tensor:
    """Token embeddings `(n, d)` -> the rows `(n, d)` of a CLIP text encoder's output, float32, differentiable."""
    # CLIPTextModel takes nothing but ids. Which ones does not matter: they are only looked up, and the lookup replaced.
    ids = torch.zeros(1, len(rows), dtype=torch.long, device=text_encoder.device)
    slots = torch.arange(len(rows), device=text_encoder.device)
    with embeddings_replaced(text_encoder.get_input_embeddings(), slots, rows):
        encoded: Tensor = text_encoder(ids).last_hidden_state[0]
    return encoded.float()


def pixel_multiple(vae: Any) -> int:
    """Pixels a side of one latent."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))
