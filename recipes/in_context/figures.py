"""Visual prompting's own tasks on drawn scenes: segmentation, detection and colourisation, with their measures.

Bar et al. 2022, section 4.1: of each scene one object is to be segmented, boxed, or given its colours back. Their
photos cannot be had here; scenes are drawn instead, one object each, so that the truth is exact. What a drawn object's
colours are nobody can know, as one can of a sky: where they are asked for, the example has the same ones.

`python -m recipes.in_context.figures visual-prompting pixel-delta no-edit`
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import click
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from vii.errors import ViiError
from vii.evaluation.synthetic import make
from vii.images import Pair, resize
from vii.methods import Transfer, find_method, load_method
from vii.methods.masked_codes import STD

SIDE = 128
LUMA = (0.299, 0.587, 0.114)
SHAPES = ("circle", "square", "triangle", "star", "heart")
PLACES = ("center", "top left", "top right", "bottom left", "bottom right")
CONTRAST = 0.3  # an object's colour differs by this, in one channel, from what is around it
# Of easy scenes this share has a light object, all channels at least so much, on a dark ground of at most so much.
LIGHT, OBJECT_FROM, GROUND_TO = 0.67, 0.6, 0.5
# Radius of an object, as a share of the side.
SMALLEST, LARGEST, LARGEST_EASY = 0.12, 0.22, 0.24


@dataclass(frozen=True)
class Colors:
    """Of a scene, each `(3, 1, 1)` in [0, 1].

    Attributes:
        ground: two, between which the background changes.
        object: that of the object.
    """

    ground: tuple[Tensor, Tensor]
    object: Tensor


@dataclass(frozen=True)
class Scene:
    """A picture with one object.

    Attributes:
        picture: `(3, s, s)` in [0, 1].
        object: `(s, s)` of bool, where it is.
    """

    picture: Tensor
    object: Tensor


def draw_colors(rng: np.random.Generator, easy: bool = False) -> Colors:
    """Random colours, of which the object's stands out.

    In `easy` scenes, for training, the ground's two colours are nearer to each other, and most objects are light on a
    dark ground: what tells objects apart then has a sign, which is learned soon, and the other sign from there.
    """

    def color() -> Tensor:
        return torch.from_numpy(rng.uniform(0, 1, (3, 1, 1)).astype(np.float32))

    ground, found = (color(), color()), color()
    if easy:
        ground = ground[0], torch.lerp(*ground, float(rng.uniform()))
        if rng.random() < LIGHT:
            return Colors((GROUND_TO * ground[0], GROUND_TO * ground[1]), OBJECT_FROM + (1 - OBJECT_FROM) * found)
    while min(float((found - other).abs().amax()) for other in (*ground, sum(ground) / 2)) < CONTRAST:
        found = color()
    return Colors(ground, found)


def draw(rng: np.random.Generator, colors: Colors, largest: float = LARGEST) -> Scene:
    """A soft background with a shape whose radius is `SMALLEST` of the side to the `largest`."""
    coarse = torch.from_numpy(rng.uniform(0, 1, (1, 1, 4, 4)).astype(np.float32))
    mixed = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0].clamp(0, 1)
    background = torch.lerp(*colors.ground, mixed)
    shape, place = str(rng.choice(SHAPES)), str(rng.choice(PLACES))
    drawn = make("shape", c="white", shape=shape, pos=place, r=float(rng.uniform(SMALLEST, largest)))
    alpha = drawn.apply(torch.zeros(3, SIDE, SIDE))[:1]
    return Scene(torch.lerp(background, colors.object.expand_as(background), alpha), alpha[0] > 0.5)


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


@dataclass(frozen=True)
class Task:
    """What is asked of scenes.

    Attributes:
        pair: a scene as it is given, and the right answer.
        measured: of a result and the right answer.
        colors_shared: whether example and query have the same colours.
    """

    pair: Callable[[Scene], Pair]
    measured: Callable[[Tensor, Tensor], float]
    colors_shared: bool = False

    def related(self, rng: np.random.Generator, count: int, easy: bool = False) -> list[Pair]:
        """So many scenes of their own with their answers, each an example of the task to the others.

        `easy` ones are for training; see `draw_colors`.
        """
        shared, largest = draw_colors(rng, easy), LARGEST_EASY if easy else LARGEST

        def scene() -> Scene:
            return draw(rng, shared if self.colors_shared else draw_colors(rng, easy), largest)

        return [self.pair(scene()) for _ in range(count)]


TASKS: Mapping[str, Task] = {
    "segmentation: mean IoU": Task(segmentation, segmented),
    "detection: mean IoU": Task(detection, detected),
    "colorization: MSE": Task(colorization, colorized, colors_shared=True),
}


def measure(method: Transfer, count: int, seed: int = 0) -> dict[str, float]:
    """Means over so many scenes, each with an example of its own; the same scenes for every method."""
    found = {}
    for name, task in TASKS.items():
        rng, scores = np.random.default_rng(seed), []
        for _ in range(count):
            example, query = task.related(rng, 2)
            result = method([example], query.before, seed=seed)
            scores.append(task.measured(resize(result.cpu(), SIDE, SIDE), query.after))
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
            method = load_method(name, **({"model": model} if model else {}))
            if "model" in find_method(name).needs:
                method = replace(method, size="cell")  # the answer as it is made, without the photo's own detail
            click.echo(f"{name}: " + ", ".join(f"{task} {value:.3f}" for task, value in measure(method, count).items()))
    except ViiError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
