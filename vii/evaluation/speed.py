"""How fast learning and editing are, side by side with the bare networks of one model, and with the authors' loop."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil
import torch
from torch import Tensor

from ..application import Application, apply
from ..editor import ENCODER_OUTPUT
from ..editors.devices import pick_device, pick_dtype
from ..editors.ip2p import Ip2pEditor, Ip2pSettings
from ..editors.loading import EMBEDDED_MODEL
from ..editors.stable_diffusion import assemble
from ..errors import UsageError
from ..images import Pair
from ..inversion import InversionSettings, invert_steps
from ..inversion.recipes import load_recipe
from .table import Table, number

WORDS = "make it look like a watercolor painting"
# The first updates allocate memory and choose algorithms.
WARM_UP = 2


@dataclass(frozen=True)
class Pace:
    """How fast one way of learning, or of editing photos, is.

    Attributes:
        batch_size: samples an update, or photos at once.
        branches: passes of the UNet for each of them.
        seconds: of an update, the mean; or of a batch of photos, the fastest.
        peak_gigabytes: of learning, weights included: of the device on CUDA, of the process elsewhere.
    """

    name: str
    batch_size: int
    branches: int
    seconds: float
    peak_gigabytes: float | None = None

    @property
    def samples_per_second(self) -> float:
        """Samples, or photos, a second."""
        return self.batch_size / self.seconds


def table(paces: Sequence[Pace], what: str) -> Table:
    """The paces as a table, whose first column is called `what`; shares are of the samples a second of the first."""
    header = [what, "batch", "UNet passes a sample", "seconds", "samples/s", "of the first row", "peak GB"]
    first = paces[0].samples_per_second
    rows = [
        [
            pace.name,
            *map(str, (pace.batch_size, pace.branches)),
            f"{pace.seconds:.3f}",
            *(f"{rate:.2f}" for rate in (pace.samples_per_second, pace.samples_per_second / first)),
            number(pace.peak_gigabytes, ".2f"),
        ]
        for pace in paces
    ]
    return Table("", header, rows)


def random_stable_diffusion(
    resolution: int, device: str | None = None, dtype: str | None = None, space: str = ENCODER_OUTPUT
) -> Ip2pEditor:
    """InstructPix2Pix of Stable Diffusion 1.5's size (860 M parameters in the UNet) with random weights.

    As slow and as large as the real one, which works at 512 pixels a side, and good for nothing else. The tokenizer is
    that of the embedded editor. Arguments as `load_ip2p`.
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


def learning_paces(editor: Ip2pEditor, recipe: InversionSettings, updates: int) -> list[Pace]:
    """The bare UNet, our loop by a recipe and the authors', all in the editor's precision, by so many updates each."""
    authors = replace(load_recipe("visii"), probe_every=2 + WARM_UP + updates)
    return [
        _bare(editor, recipe.batch_size, updates),
        _loop(f"recipe {recipe.recipe}", editor, recipe, updates),
        _loop("recipe visii: the authors' loop", editor, authors, updates),
    ]


def _bare(editor: Ip2pEditor, batch_size: int, updates: int) -> Pace:
    """The UNet alone: forward, and backward to the instruction rows, on random input of the same size."""
    unet, side = editor.parts.unet, editor.resolution // 8
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn((batch_size, unet.config.in_channels, side, side), generator=generator)
    noisy = noisy.to(editor.device, editor.parts.dtype, memory_format=torch.channels_last)
    timesteps = torch.linspace(0, editor.num_timesteps - 1, batch_size).long().to(editor.device)
    rows = editor.instruct(WORDS).encoded().rows.to(editor.device, editor.parts.dtype).requires_grad_(True)

    def update() -> None:
        rows.grad = None
        predicted: Tensor = unet(noisy, timesteps, rows.expand(batch_size, -1, -1), return_dict=False)[0]
        predicted.float().square().mean().backward()

    return _learning("bare UNet, forward and backward", editor, batch_size, 1, update, updates)


def _loop(name: str, editor: Ip2pEditor, settings: InversionSettings, updates: int) -> Pace:
    """The loop behind `invert`, probes included."""
    side = editor.resolution
    pair = Pair(*torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    settings = replace(settings, init="text", init_text=WORDS, max_train_steps=1 + WARM_UP + updates, clip_weight=0.0)
    loop = invert_steps(editor, [pair], settings)
    start = next(loop)  # the starting text: everything that is done once lies before it
    first = next(loop)
    branches = (first.samples - start.samples) // settings.batch_size
    return _learning(name, editor, settings.batch_size, branches, lambda: next(loop), updates)


def _learning(
    name: str, editor: Ip2pEditor, batch_size: int, branches: int, update: Callable[[], object], updates: int
) -> Pace:
    with _peak_memory(editor.device) as peak:
        times = [_timed(update, editor.device) for _ in range(WARM_UP + updates)]
    seconds = statistics.fmean(times[WARM_UP:])  # not the median: looks at the probe set are part of the loop
    return Pace(name, batch_size, branches, seconds, peak() / 1e9)


def editing_paces(
    editor: Ip2pEditor,
    photos: Sequence[Tensor],
    *,
    batch: int | None = None,
    rounds: int = 8,
) -> list[Pace]:
    """The bare networks and ours, in turn, with the model's recommended settings.

    Args:
        editor: in the precision that is of interest.
        photos: `(3, h, w)` in [0, 1], of one working size, so that every batch is full.
        batch: photos that go through the networks at once; None for as many as `Application` takes.
        rounds: timed batches of each.

    Returns:
        the UNet and the autoencoder alone, the UNet alone, `Application.many`, and `vii.apply` photo by photo.
    """
    plan = Application(editor, text=WORDS)
    batch, steps = batch or plan.batch, plan.settings.num_inference_steps
    passes = editor.num_branches([1.0], plan.settings)
    latents = editor.encode(photos[0]).condition.expand(batch, -1, -1, -1).contiguous()
    seen = torch.zeros(passes * batch, editor.parts.unet.config.in_channels, *latents.shape[-2:])
    seen = seen.to(editor.device, editor.parts.dtype, memory_format=torch.channels_last)
    rows = plan.branches[0][0].rows.to(editor.device, editor.parts.dtype).expand(len(seen), -1, -1)
    timestep = torch.tensor([editor.num_timesteps - 1], device=editor.device)
    pixels = editor.parts.vae.decode(latents, return_dict=False)[0].detach()
    photo = itertools.cycle(photos)

    @torch.no_grad()
    def unet() -> None:
        for _ in range(steps):
            editor.parts.unet(seen, timestep, rows, return_dict=False)

    @torch.no_grad()
    def networks() -> None:
        editor.parts.vae.encode(pixels)
        unet()
        editor.parts.vae.decode(latents)

    ways: dict[str, Callable[[], object]] = {
        "bare UNet and autoencoder": networks,
        "bare UNet": unet,
        "Application.many": lambda: list(plan.many(itertools.islice(photo, batch), batch=batch)),
        "vii.apply, photo by photo": lambda: [apply(editor, None, next(photo), text=WORDS) for _ in range(batch)],
    }
    # The first round allocates memory and chooses algorithms.
    times = [[_timed(way, editor.device) for way in ways.values()] for _ in range(rounds + 1)][1:]
    return [
        Pace(name, batch, passes * steps, min(own)) for name, own in zip(ways, zip(*times, strict=True), strict=True)
    ]


def _timed(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Bytes at the highest while the block ran; the system's own high-water mark would remember the loops before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device)
        return
    process, done = psutil.Process(), threading.Event()
    highest = [process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: highest[0]
    finally:
        done.set()
        watcher.join()
