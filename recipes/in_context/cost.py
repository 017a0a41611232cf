"""What cloning and masking cost, at the true size: one guided pass of Stable Diffusion's inpainting UNet.

The weights are random (860 M parameters), which changes no time. `python -m recipes.in_context.cost`
"""

import statistics
import time
from contextlib import nullcontext

import click
import torch
from diffusers import UNet2DConditionModel

from vii.methods.analogist import AnalogistSettings
from vii.methods.attention import imitating
from vii.methods.grid import Grid

PIXELS = 512


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Passes of each kind, in turn.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
def main(rounds: int, device: str, dtype: str) -> None:
    """Time a pass as it is, with masking, with cloning, and with both; peak memory on CUDA."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(sample_size=PIXELS // 8, in_channels=9, cross_attention_dim=768)
        unet = unet.eval().requires_grad_(False).to(getattr(torch, dtype))
        inputs = torch.randn(2, 9, PIXELS // 8, PIXELS // 8, dtype=unet.dtype)  # two: with the words and without
        texts = torch.randn(2, 77, 768, dtype=unet.dtype)
    settings = AnalogistSettings()
    grid = Grid.within(PIXELS, margin=settings.border, gap=settings.border)
    blocks = range(settings.first_block, settings.last_block + 1)
    kinds = {
        "stock": nullcontext,
        "masking": lambda: imitating(unet, grid, blocks, clone_scale=None),
        "cloning": lambda: imitating(unet, grid, blocks, clone_scale=settings.clone_scale, masking=False),
        "both": lambda: imitating(unet, grid, blocks, clone_scale=settings.clone_scale),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    memory: dict[str, float] = {}
    for _ in range(rounds + 1):  # the first allocates memory and chooses algorithms
        for name, changed in kinds.items():
            if device.startswith("cuda"):
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
            with torch.no_grad(), changed():
                # Reading a number waits for the device.
                float(unet(inputs, 500, texts).sample.sum())
            seconds[name].append(time.perf_counter() - started)
            if device.startswith("cuda"):
                memory[name] = torch.cuda.max_memory_allocated() / 1e9
    stock = statistics.median(seconds["stock"][1:])
    for name, taken in seconds.items():
        median = statistics.median(taken[1:])
        told = f", {memory[name]:.2f} GB" if name in memory else ""
        click.echo(f"{name:<8} {median:.3f} s a pass, {median / stock:.3f} of stock{told}")


if __name__ == "__main__":
    main()
