"""How fast the learning loop is: against the bare UNet at the same samples, and against the authors' loop."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..editor import ENCODER_OUTPUT
from ..editors.devices import pick_device, pick_dtype
from ..editors.ip2p import Ip2pEditor, Ip2pSettings
from ..editors.loading import EMBEDDED_MODEL
from ..editors.stable_diffusion import assemble
from ..errors import UsageError
from ..images import Pair
from ..inversion import InversionSettings, invert_steps
from ..inversion.recipes import load_recipe
from .table import Table

WORDS = "make it look like a watercolor painting"
# The first updates allocate memory and choose algorithms.
WARM_UP = 2


@dataclass(frozen=True)
class Pace:
    """How fast one way of learning is.

    Attributes:
        name: of the way.
        batch_size: samples an update.
        branches: passes of the UNet a sample.
        seconds: mean time of an update.
        samples_per_second: `batch_size / seconds`.
        peak_gigabytes: memory at its highest, weights included: of the device on CUDA, of the process elsewhere.
    """

    name: str
    batch_size: int
    branches: int
    seconds: float
    samples_per_second: float
    peak_gigabytes: float


def random_stable_diffusion(
    resolution: int, device: str | None = None, dtype: str | None = None, space: str = ENCODER_OUTPUT
) -> Ip2pEditor:
    """InstructPix2Pix of Stable Diffusion 1.5's size (860 M parameters in the UNet) with random weights.

    As slow and as large as the real one, and good for nothing else. The tokenizer is that of the embedded editor.

    Args:
        resolution: pixels a side; the real one works at 512.
        device: see `load_ip2p`.
        dtype: see `load_ip2p`.
        space: see `load_ip2p`.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    if resolution < 64 or resolution % 64:
        raise UsageError(f"expected a multiple of 64 pixels a side, got {resolution}")
    torch.manual_seed(0)
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    where = pick_device(device)
    parts = {
        "unet": diffusers.UNet2DConditionModel(sample_size=64, in_channels=8, cross_attention_dim=768),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ),
        "text_encoder": CLIPTextModel(text),
        "tokenizer": CLIPTokenizer.from_pretrained(EMBEDDED_MODEL / "tokenizer", model_max_length=77),
        "scheduler": diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    }
    name = "random weights in the size of Stable Diffusion 1.5"
    model = assemble(parts, model=name, device=where, dtype=pick_dtype(dtype, where), space=space)
    return Ip2pEditor(model, name="random", settings=Ip2pSettings(), resolution=resolution)


def learning_pace(name: str, editor: Ip2pEditor, settings: InversionSettings, updates: int) -> Pace:
    """Time updates of the loop behind `invert`, probes included."""
    side = editor.resolution
    pair = Pair(*torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    settings = replace(settings, init="text", init_text=WORDS, max_train_steps=1 + WARM_UP + updates, clip_weight=0.0)
    loop = invert_steps(editor, [pair], settings)
    start = next(loop)  # the starting text: everything that is done once lies before it
    first = next(loop)
    branches = (first.samples - start.samples) // settings.batch_size

    def update() -> None:
        next(loop)

    return _pace(name, editor, settings.batch_size, branches, update, updates)


def bare_pace(editor: Ip2pEditor, batch_size: int, updates: int) -> Pace:
    """Time the UNet alone: forward, and backward to the instruction rows, on random input of the same size."""
    unet, side = editor.parts.unet, editor.resolution // 8
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, unet.config.in_channels, side, side)
    noisy = torch.randn(shape, generator=generator).to(editor.device, editor.parts.dtype)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    timesteps = torch.linspace(0, editor.num_timesteps - 1, batch_size).long().to(editor.device)
    rows = editor.instruct(WORDS).encoded().rows.to(editor.device, editor.parts.dtype).requires_grad_(True)

    def update() -> None:
        rows.grad = None
        predicted: Tensor = unet(noisy, timesteps, rows.expand(batch_size, -1, -1), return_dict=False)[0]
        predicted.float().square().mean().backward()

    return _pace("bare UNet, forward and backward", editor, batch_size, 1, update, updates)


def compare(editor: Ip2pEditor, recipe: InversionSettings, updates: int) -> list[Pace]:
    """The bare UNet, our loop and the authors', side by side on one model.

    Args:
        editor: in the precision that is of interest; the authors' loop runs in the same.
        recipe: ours.
        updates: timed ones of each.
    """
    authors = replace(load_recipe("visii"), probe_every=2 + WARM_UP + updates)
    return [
        bare_pace(editor, recipe.batch_size, updates),
        learning_pace(f"recipe {recipe.recipe}", editor, recipe, updates),
        learning_pace("recipe visii: the authors' loop", editor, authors, updates),
    ]


def table(paces: Sequence[Pace]) -> Table:
    """The paces as a table; ratios are to the first row, by sample."""
    columns = "loop|batch|UNet passes a sample|seconds an update|samples/s|time a sample, ratio|peak GB"
    return Table(
        "",
        columns.split("|"),
        [
            [
                pace.name,
                str(pace.batch_size),
                str(pace.branches),
                f"{pace.seconds:.3f}",
                f"{pace.samples_per_second:.2f}",
                f"{paces[0].samples_per_second / pace.samples_per_second:.2f}",
                f"{pace.peak_gigabytes:.2f}",
            ]
            for pace in paces
        ],
    )


def _pace(
    name: str, editor: Ip2pEditor, batch_size: int, branches: int, update: Callable[[], Any], updates: int
) -> Pace:
    times = []
    with _peak_memory(editor.device) as peak:
        for index in range(WARM_UP + updates):
            started = time.perf_counter()
            update()
            if editor.device.type == "cuda":
                torch.cuda.synchronize(editor.device)
            if index >= WARM_UP:
                times.append(time.perf_counter() - started)
    seconds = statistics.fmean(times)  # not the median: looks at the probe set are part of the loop
    return Pace(name, batch_size, branches, seconds, batch_size / seconds, peak() / 1e9)


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Bytes at the highest while the block ran; 0 where that cannot be told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device)
        return
    highest, done = [_resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], _resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: highest[0]
    finally:
        done.set()
        watcher.join()


def _resident() -> int:
    """Bytes of this process in memory; the system's own high-water mark would remember the loops before."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096
