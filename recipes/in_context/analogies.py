"""Im-Promptu's tables on drawn analogies: primitive tasks, extrapolation to unseen objects, and composite tasks.

Dedhia et al. 2023, section 5, on scenes of our own; any method can be named beside the agents. Errors are the paper's,
squared and summed over a picture; structural similarity stands for what is seen.

`python -m recipes.in_context.analogies impromptu=MODEL impromptu=OTHER pixel-delta no-edit`
"""

from collections.abc import Sequence
from pathlib import Path

import click
import torch
from torch import Tensor

from vii.errors import ViiError
from vii.evaluation.metrics import ssim
from vii.evaluation.table import Table
from vii.images import Pair, resize
from vii.methods import Transfer, find_method, load_method, model_of
from vii.methods.impromptu import ImPromptu

from .impromptu import summed
from .scenes import KINDS, SIDE

BATCH = 50


def answers(method: Transfer, support: Tensor, query: Tensor) -> Tensor:
    """What a method makes of pairs `(b, examples, 2, 3, s, s)` and pictures `(b, 3, s, s)`, of their size."""
    if isinstance(method, ImPromptu) and method.agent.config.side == query.shape[-1]:
        device = next(method.agent.parameters()).device
        return torch.cat(
            [
                method.answers(pairs.to(device), pictures.to(device)).cpu()
                for pairs, pictures in zip(support.split(BATCH), query.split(BATCH), strict=True)
            ]
        )
    made = [method([Pair(*pair) for pair in pairs], photo) for pairs, photo in zip(support, query, strict=True)]
    return torch.stack([resize(one.cpu(), *query.shape[-2:]) for one in made])


def measure(method: Transfer, count: int, examples: int = 1, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Error and structural similarity, means over `count` analogies of every kind, the same for every method."""
    found = {}
    for name, kind in KINDS.items():
        drawn = kind.draw(count, examples, torch.Generator().manual_seed(seed))
        support, query = drawn.pictures(SIDE)
        made, truth = answers(method, support, query[:, 0]), query[:, 1]
        alike = sum(ssim(one, right) for one, right in zip(made, truth, strict=True)) / count
        found[name] = float(summed(made, truth)), alike
    return found


def read(text: str) -> tuple[str, Transfer]:
    """What a table calls a method, and the method: `NAME`, or `NAME=MODEL`."""
    name, _, model = text.partition("=")
    where = model_of(name, model or None) if "model" in find_method(name).needs else None
    if where:  # as it was made: carried over to the picture it would have that one's outlines
        return Path(where).name, find_method(name).builder()(model=where, size="cell")
    return name, load_method(name, **({"model": model} if model else {}))


@click.command()
@click.argument("methods", nargs=-1, required=True, metavar="NAME[=MODEL]...")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="Analogies a kind.")
@click.option("--examples", type=click.IntRange(1), default=1, show_default=True, help="Pairs of each.")
def main(methods: Sequence[str], count: int, examples: int) -> None:
    """Measure METHODS on analogies of every kind: squared error summed over a picture, and SSIM."""
    try:
        named = [read(text) for text in methods]
        found = [measure(method, count, examples) for _, method in named]
    except ViiError as error:
        raise click.ClickException(str(error)) from None
    header = ["analogies", *(name for name, _ in named)]
    for index, (caption, form) in enumerate((("Squared error of a picture", ".1f"), ("SSIM", ".3f"))):
        rows = [[kind, *(format(one[kind][index], form) for one in found)] for kind in KINDS]
        click.echo(Table(caption, header, rows).markdown() + "\n")


if __name__ == "__main__":
    main()
