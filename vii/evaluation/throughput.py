"""How fast photos are edited: `Application` against its own networks with nothing around them."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..application import Application, apply
from ..editors.ip2p import Ip2pEditor

WORDS = "make it look like a watercolor painting"


@dataclass(frozen=True)
class Throughput:
    """How fast one way of editing photos is.

    Attributes:
        name: of the way.
        batch: photos at once.
        passes: of the UNet, a photo.
        seconds: a photo, in the fastest round.
    """

    name: str
    batch: int
    passes: int
    seconds: float


def throughputs(
    editor: Ip2pEditor,
    photos: Sequence[Tensor],
    *,
    batch: int | None = None,
    rounds: int = 8,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Throughput]:
    """The bare networks and ours, in turn, on one model with its recommended settings.

    Args:
        editor: in the precision that is of interest.
        photos: `(3, h, w)` in [0, 1], of one working size, so that every batch is full.
        batch: photos that go through the networks at once; None for as many as `Application` takes.
        rounds: timed batches of each.
        clock: seconds; `time.process_time` on a machine that is busy with other work.

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

    def ours() -> Any:
        return list(plan.many(itertools.islice(photo, batch), batch=batch))

    def one_by_one() -> Any:
        return [apply(editor, None, next(photo), text=WORDS) for _ in range(batch)]

    ways: dict[str, Callable[[], Any]] = {
        "bare UNet and autoencoder": networks,
        "bare UNet": unet,
        "Application.many": ours,
        "vii.apply, photo by photo": one_by_one,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):  # the first round allocates memory and chooses algorithms
        for name, way in ways.items():
            started = clock()
            way()
            if editor.device.type == "cuda":
                torch.cuda.synchronize(editor.device)
            times[name].append(clock() - started)
    return [Throughput(name, batch, passes * steps, min(times[name][1:]) / batch) for name in ways]


def table(found: Sequence[Throughput]) -> str:
    """A Markdown table; the last column is photos a second, as a share of those of the first row."""
    lines = ["| editing | batch | UNet passes a photo | photos/s | of the first row |", "|---|---:|---:|---:|---:|"]
    for one in found:
        share = found[0].seconds / one.seconds
        lines.append(f"| {one.name} | {one.batch} | {one.passes} | {1 / one.seconds:.2f} | {share:.2f} |")
    return "\n".join(lines)
