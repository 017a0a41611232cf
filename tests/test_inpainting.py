"""Inpainting is what diffusers' own pipeline does."""

import diffusers
import pytest
import torch
from conftest import UNCHECKED, assembled, parts_of, picture, tiny_pipeline
from test_attention import stable_diffusion_shape

from vii.editors.stable_diffusion import assemble
from vii.errors import EditorError, UsageError
from vii.images import to_pil
from vii.methods.grid import Grid
from vii.methods.inpainting import check_inpainting, inpaint

GRID = Grid(31, margin=1, gap=0)
CANVAS, MASK = picture(1, 64, 64), GRID.mask()


def pipeline():
    base = tiny_pipeline("epsilon", "PNDMScheduler")
    unet = diffusers.UNet2DConditionModel.from_config(base.unet.config, in_channels=9)
    torch.manual_seed(1)
    scheduler = diffusers.DDIMScheduler.from_config(base.scheduler.config, clip_sample=False, steps_offset=1)
    own = {"vae": base.vae, "text_encoder": base.text_encoder, "tokenizer": base.tokenizer, "scheduler": scheduler}
    return assembled("StableDiffusionInpaintPipeline", **own, unet=unet, **UNCHECKED)


@pytest.fixture(scope="module")
def stock():
    return pipeline()


def stable_diffusion(pipe):
    return assemble(parts_of(pipe))


@pytest.mark.parametrize(("strength", "guidance", "steps"), [(0.98, 15.0, 50), (1.0, 7.5, 4), (0.7, 1.0, 10)])
def test_it_gives_what_the_stock_pipeline_gives(stock, strength, guidance, steps):
    image = (CANVAS * 255).round() / 255
    expected = stock(
        prompt="make it red",
        negative_prompt="messy",
        image=to_pil(image),
        mask_image=to_pil(MASK.expand(3, -1, -1)),
        height=64,
        width=64,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images[0]
    parts = stable_diffusion(stock)
    found = inpaint(
        parts,
        type(stock.scheduler).from_config(stock.scheduler.config),
        image,
        MASK,
        parts.instruct("make it red").rows,
        parts.instruct("messy").rows,
        steps=steps,
        strength=strength,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(3),
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_cannot_be_inpainted(stock):
    parts = stable_diffusion(stock)
    rows = parts.instruct("").rows
    common = {"guidance_scale": 1.0, "generator": torch.Generator()}
    with pytest.raises(UsageError, match="leave none to do"):
        inpaint(parts, stock.scheduler, CANVAS, MASK, rows, rows, steps=3, strength=0.1, **common)
    with pytest.raises(UsageError, match="not divisible by 2"):
        inpaint(parts, stock.scheduler, CANVAS[:, 1:], MASK[:, 1:], rows, rows, steps=3, strength=1, **common)
    with pytest.raises(EditorError, match="takes 8 channels, an inpainting model of an autoencoder with 4 takes 9"):
        check_inpainting(stable_diffusion(tiny_pipeline()))
    check_inpainting(parts)
    assert stable_diffusion_shape().config.in_channels == 9
