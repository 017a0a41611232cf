"""What the finish of an edit costs: time and memory on a large photo, and against the edit itself.

`python -m recipes.finish_cost [--megapixels 24] [--editor ip2p] [--pixels 512]`; needs an idle machine. The editors
have the size of the real ones and random weights, which take as long. An edit is timed at one and at two steps, and
that of the recommended number of steps is worked out from these.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from vii.application import Application
from vii.editors.controlnet import ControlnetEditor, ControlnetSettings
from vii.editors.stable_diffusion import assemble
from vii.evaluation.speed import random_stable_diffusion
from vii.finish import ColorTransform, Finish
from vii.finish.terms import Terms
from vii.finish.tiles import scaled

WORDS = "make it look like a watercolor painting"


def random_controlnet(pixels: int) -> ControlnetEditor:
    """Stable Diffusion 1.5 with a ControlNet, both with random weights."""
    import diffusers

    unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    shared = random_stable_diffusion(pixels).parts
    parts = {name: getattr(shared, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    parts |= {"unet": unet, "controlnet": diffusers.ControlNetModel.from_unet(unet)}
    return ControlnetEditor(assemble(parts), name="random", settings=ControlnetSettings(), resolution=pixels)


EDITORS: dict[str, Callable[[int], Any]] = {"ip2p": random_stable_diffusion, "controlnet": random_controlnet}


def transform(terms: Terms) -> Finish:
    """A slight transform, for the time does not depend on the coefficients."""
    return Finish("color", ColorTransform(terms, np.full((len(terms), 3), 1e-4, np.float32)))


CURVES = Terms(3, ("red", "green", "blue", "luma 601"), 33)
FINISHES = {
    "colours: a cubic and four curves": transform(CURVES),
    "colours and sharpness, three radii": transform(Terms(1, radii=(1 / 1024, 1 / 512, 1 / 256))),
    "colours and light by place": transform(Terms(1, place="middle", place_knots=129)),
    "detail, no residual": Finish("detail"),
    "detail, soft residual": Finish("detail", residual=1 / 32),
    "detail, all of the residual": Finish("detail", residual=0.0),
    "the editor's picture scaled up": Finish("editor"),
}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measured(action: Callable[[], Any], rounds: int = 3) -> tuple[float, float, float]:
    """Least seconds by the clock and of the processors, and the most MB above what was held before."""
    clock, processor, most, before, done = [], [], [0], resident(), threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        action()
        clock.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    done.set()
    watcher.join()
    return min(clock), min(processor), most[0] / 1e6


def picture(megapixels: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Soft noise of 3 : 2."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    return scaled(np.random.default_rng(0).random((40, 60, 3)), height, height * 3 // 2).clip(0, 1)


@click.command(help=__doc__)
@click.option("--megapixels", type=float, default=24.0, show_default=True)
@click.option("--editor", type=click.Choice(list(EDITORS)), help="Time an edit of this size as well.")
@click.option("--pixels", type=int, default=512, show_default=True, help="Side at which the editor works.")
def main(megapixels: float, editor: str | None, pixels: int) -> None:
    """See the module."""
    seen = scaled(picture(megapixels), pixels, pixels * 3 // 2).clip(0, 1)
    print("| finish | photo, megapixels | seconds | processor seconds | MB besides the photo |\n|---|---|---|---|---|")
    photos = [picture(megapixels)] + [seen] * bool(editor)
    costs = {}
    for photo in photos:
        for name, finish in FINISHES.items():
            color = finish.color
            action = partial(color, photo) if color else partial(finish.finish, photo, seen, 1 - seen)
            clock, processor, most = measured(action)
            costs[name] = clock
            size = photo.shape[0] * photo.shape[1] / 1e6
            print(f"| {name} | {size:.1f} | {clock:.2f} | {processor:.2f} | {most:.0f} |", flush=True)
    if editor:
        model = EDITORS[editor](pixels)
        image = torch.from_numpy(seen[:, :pixels]).permute(2, 0, 1)
        plans = [Application(model, text=WORDS, finish="none", num_inference_steps=steps) for steps in (1, 2)]
        one, two = (measured(partial(plan, image), 1)[0] for plan in plans)
        steps = model.settings.num_inference_steps
        edit = one + (steps - 1) * (two - one)
        print(f"\n{editor} at {pixels} pixels: 1 step {one:.1f} s, 2 steps {two:.1f} s, so {steps} steps {edit:.0f} s")
        for name, seconds in costs.items():
            print(f"- {name}: {seconds:.2f} s, {seconds / edit:.2%} of it")


if __name__ == "__main__":
    main()
