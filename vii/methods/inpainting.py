"""Inpainting with Stable Diffusion (Rombach et al. 2022, section 4.5): the loop of diffusers' own pipeline.

`StableDiffusionInpaintPipeline` of diffusers takes autoencoders of four channels only; this takes any, and gives what
the pipeline gives where that runs.
"""

from typing import Any

import torch
from torch import Tensor

from ..editors.stable_diffusion import LatentDiffusion, StableDiffusion, pixel_multiple
from ..errors import EditorError, UsageError


def check_inpainting(parts: StableDiffusion) -> None:
    """Refuse a UNet that does not read noisy latents, a mask, and the latents of the masked picture.

    Raises:
        EditorError: it reads something else.
    """
    channels, latents = parts.unet.config.in_channels, parts.vae.config.latent_channels
    if channels != 2 * latents + 1:
        raise EditorError(
            f"{parts.space.model}: the UNet takes {channels} channels, an inpainting model of an autoencoder with "
            f"{latents} takes {2 * latents + 1}; name a model such as stable-diffusion-v1-5/stable-diffusion-inpainting"
        )


@torch.no_grad()
def inpaint(
    parts: LatentDiffusion,
    scheduler: Any,
    canvas: Tensor,
    mask: Tensor,
    rows: Tensor,
    unconditional: Tensor,
    *,
    steps: int,
    strength: float,
    guidance_scale: float,
    generator: torch.Generator,
    hidden: bool = True,
) -> Tensor:
    """Fill a part of a picture.

    Args:
        parts: networks that read what `check_inpainting` asks for.
        scheduler: of diffusers; its state changes.
        canvas: `(3, h, w)` in [0, 1], sides divisible by the pixels of a latent; what is filled starts from it.
        mask: `(1, h, w)`, 1 where to fill.
        rows: `(n, d)`, the encoded text, or whatever the UNet's cross-attention reads instead.
        unconditional: likewise, what guidance leads away from.
        steps: of which the first `1 - strength` are left out.
        strength: in (0, 1]: how much noise it starts with; 1 for noise alone.
        guidance_scale: above 1 the two texts are compared; else `unconditional` is not looked at.
        generator: on the CPU: of all noise.
        hidden: whether the networks see nothing of the canvas where it is to be filled; else they see it there too.

    Returns:
        `(3, h, w)` in [0, 1].

    Raises:
        UsageError: no step is left, or the canvas is not divisible.
    """
    picture = canvas.to(parts.device, torch.float32)[None] * 2 - 1
    mask = mask.to(parts.device)[None]
    factor = pixel_multiple(parts.vae)
    if any(side % factor for side in picture.shape[-2:]):
        raise UsageError(f"a canvas of {tuple(picture.shape[-2:])} pixels is not divisible by {factor}")
    scheduler.set_timesteps(steps, device=parts.device)
    first = steps - min(int(steps * strength), steps)
    timesteps = scheduler.timesteps[first * scheduler.order :]
    if not len(timesteps):
        raise UsageError(f"{steps} steps at strength {strength:g} leave none to do; raise num_inference_steps")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first * scheduler.order)
    small = (picture.shape[-2] // factor, picture.shape[-1] // factor)
    start = _encoded(parts, picture, generator) if strength < 1 else None
    noise = torch.randn(1, parts.vae.config.latent_channels, *small, generator=generator).to(parts.device)
    if start is None:
        latents = noise * scheduler.init_noise_sigma
    else:
        latents = scheduler.add_noise(start, noise, timesteps[:1])
    seen = _encoded(parts, picture * (mask < 0.5) if hidden else picture, generator)
    known = torch.cat([torch.nn.functional.interpolate(mask, small), seen], 1)
    guided = guidance_scale > 1
    texts = torch.stack([unconditional, rows] if guided else [rows]).to(parts.device, parts.dtype)
    for timestep in timesteps:
        inputs = torch.cat([scheduler.scale_model_input(latents, timestep), known], 1).to(parts.dtype)
        predicted = parts.unet(
            inputs.expand(len(texts), -1, -1, -1), timestep, encoder_hidden_states=texts, return_dict=False
        )[0].float()
        if guided:
            without, words = predicted.chunk(2)
            predicted = without + guidance_scale * (words - without)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
    return parts.decode(latents)[0]


def _encoded(parts: LatentDiffusion, picture: Tensor, generator: torch.Generator) -> Tensor:
    """Scaled latents of a picture `(1, 3, h, w)` in [-1, 1]: a sample of the posterior, as the pipeline takes it."""
    encoded = parts.vae.encode(picture)
    drawn = encoded.latent_dist.sample(generator) if hasattr(encoded, "latent_dist") else encoded.latents
    return parts.scaled(drawn)
