"""Visual prompting's own tasks on drawn scenes: segmentation, detection and colourisation, with their measures.

Bar et al. 2022, section 4.1: of each scene one object is to be segmented, boxed, or given its colours back. Their
photos cannot be had here; scenes are drawn instead, one object each, so that the truth is exact.

`python -m recipes.in_context.figures visual-prompting=MODEL pixel-delta`
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from vii.errors import ViiError
from vii.evaluation.synthetic import make
from vii.images import Pair, resize
from vii.methods import Transfer, find_method, load_method
from vii.methods.masked_codes import STD

SIDE = 128
LUMA = (0.299, 0.587, 0.114)
SHAPES = ("circle", "square", "triangle", "star", "heart")


@dataclass(frozen=True)
class Scene:
    """A picture with one object.

    Attributes:
        picture: `(3, s, s)` in [0, 1].
        object: `(s, s)` of bool, where it is.
    """

    picture: Tensor
    object: Tensor


def draw(rng: np.random.Generator, side: int = SIDE) -> Scene:
    """A soft background of two colours with a shape of a third one, of 12 to 22 % of the side in radius."""
    ends = torch.from_numpy(rng.uniform(0, 1, (2, 3, 1, 1)).astype(np.float32))
    coarse = torch.from_numpy(rng.uniform(0, 1, (1, 1, 4, 4)).astype(np.float32))
    mixed = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0].clamp(0, 1)
    background = ends[0] + (ends[1] - ends[0]) * mixed
    place = str(rng.choice(["center", "top left", "top right", "bottom left", "bottom right"]))
    shape = make("shape", c="white", shape=str(rng.choice(SHAPES)), pos=place, r=float(rng.uniform(0.12, 0.22)))
    alpha = shape.apply(torch.zeros(3, side, side))[:1]
    color = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32))
    while (color - background.mean((1, 2), keepdim=True)).abs().amax() < 0.3:
        color = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32))
    return Scene(background + (color - background) * alpha, alpha[0] > 0.5)


def box_of(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of where a mask `(h, w)` of bool is true; all 0 where it is nowhere."""
    rows, columns = (mask.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def segmentation(scene: Scene) -> Pair:
    """The object in white on black."""
    return Pair(scene.picture, scene.object.float().expand(3, -1, -1))


def detection(scene: Scene) -> Pair:
    """Its bounding box in white on black."""
    top, left, bottom, right = box_of(scene.object)
    box = torch.zeros_like(scene.picture)
    box[:, top:bottom, left:right] = 1
    return Pair(scene.picture, box)


def colorization(scene: Scene) -> Pair:
    """The colours of a grey picture."""
    grey = (scene.picture * torch.tensor(LUMA).view(3, 1, 1)).sum(0)
    return Pair(grey.expand(3, -1, -1), scene.picture)


def white(picture: Tensor) -> Tensor:
    """`(3, h, w)` -> where white is nearer than black, `(h, w)` of bool."""
    return picture.mean(0) > 0.5


def iou(found: Tensor, truth: Tensor) -> float:
    """Intersection over union of two masks of bool; 1 where both are empty."""
    union = (found | truth).sum()
    return float((found & truth).sum() / union) if union else 1.0


def segmented(result: Tensor, truth: Tensor) -> float:
    """IoU of one picture with its truth, both `(3, h, w)`; the mean over pictures is theirs."""
    return iou(white(result), white(truth))


def detected(result: Tensor, truth: Tensor) -> float:
    """IoU of the bounding box of the largest white part with that of the truth."""
    labels, count = ndimage.label(white(result).numpy())
    largest = torch.from_numpy(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])) if count else white(result)
    boxes = []
    for mask in (largest, white(truth)):
        top, left, bottom, right = box_of(mask)
        boxes.append(torch.zeros_like(mask))
        boxes[-1][top:bottom, left:right] = True
    return iou(boxes[0], boxes[1])


def colorized(result: Tensor, truth: Tensor) -> float:
    """Mean squared error of colours normalised as ImageNet's are."""
    return float(((result - truth) / torch.tensor(STD).view(3, 1, 1)).square().mean())


TASKS: Mapping[str, tuple[Callable[[Scene], Pair], Callable[[Tensor, Tensor], float]]] = {
    "segmentation: mean IoU": (segmentation, segmented),
    "detection: mean IoU": (detection, detected),
    "colorization: MSE": (colorization, colorized),
}


def measure(method: Transfer, count: int, seed: int = 0) -> dict[str, float]:
    """Means over so many scenes, each with an example of its own; the same scenes for every method."""
    found = {}
    for name, (task, measured) in TASKS.items():
        rng, scores = np.random.default_rng(seed), []
        for _ in range(count):
            example, query = task(draw(rng)), task(draw(rng))
            result = method([example], query.before, seed=seed)
            scores.append(measured(resize(result.cpu(), SIDE, SIDE), query.after))
        found[name] = float(np.mean(scores))
    return found


@click.command()
@click.argument("methods", nargs=-1, required=True, metavar="NAME[=MODEL]...")
@click.option("--count", default=100, show_default=True, help="Scenes a task.")
def main(methods: Sequence[str], count: int) -> None:
    """Measure METHODS on the three tasks; more is better for IoU, less for MSE."""
    try:
        for text in methods:
            name, _, model = text.partition("=")
            weights = {"model": model} if model else {}
            cells = {"size": "cell"} if "model" in find_method(name).needs else {}
            builder = find_method(name).builder()
            method = builder(**weights, **cells) if cells and weights else load_method(name, **weights)
            click.echo(f"{name}: " + ", ".join(f"{task} {value:.3f}" for task, value in measure(method, count).items()))
    except ViiError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
