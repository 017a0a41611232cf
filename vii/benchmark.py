"""How good is it: edits with a known right answer, learned from one pair, applied to photos never seen.

Every way of editing by example is a `transfer(pairs, image, *, seed) -> image`; `build` makes them. The score is
the PSNR of the result to the truth, at the editor's own resolution.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import click
import torch
from torch import Tensor

from .application import apply
from .demo import FOLDER as DEMO_FOLDER
from .editor import Editor
from .editors import load_editor
from .files import make_folder, replacing
from .gallery import contact_sheet
from .images import Pair, find_images, load_image, resize, save_image
from .inversion import invert_steps
from .metrics import psnr
from .recipes import load_recipe
from .synthetic import SAID, UNSAID, SyntheticEdit


class Transfer(Protocol):
    """Editing by example: pairs and a photo in, the edited photo out; all `(3, h, w)` in [0, 1]."""

    def __call__(self, pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
        """Give the photo the edit that the pairs show."""


@dataclass(frozen=True)
class Score:
    """One method on one edit.

    Attributes:
        edit: name of the edit.
        said: whether a short instruction says it exactly.
        method: name of the method.
        seed: of the run.
        psnr: dB to the truth, mean over the photos.
        learn_seconds: of the optimisation loop; 0 where nothing is learned.
        samples: images through the UNet while learning.
        explained: see `Step.explained`; 0 where nothing is learned.
        init_text: the starting text, or the words used.
    """

    edit: str
    said: bool
    method: str
    seed: int
    psnr: float
    learn_seconds: float = 0.0
    samples: int = 0
    explained: float = 0.0
    init_text: str = ""


@dataclass
class Built:
    """A method made ready for one edit, and what making it cost."""

    transfer: Transfer
    learn_seconds: float = 0.0
    samples: int = 0
    explained: float = 0.0
    init_text: str = ""


def no_edit(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
    """The photo as it is: what any method must beat."""
    return image


def pixel_delta(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
    """`C + (B - A)`: the difference of the pair added to the photo."""
    return (image + torch.stack([pair.after - pair.before for pair in pairs]).mean(0)).clamp(0, 1)


def by_words(editor: Editor, words: str) -> Built:
    """The best words for the edit, given to the editor; the pair is not looked at."""

    def transfer(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
        return apply(editor, None, image, text=words, seed=seed)

    return Built(transfer, init_text=words)


def by_inversion(editor: Editor, recipe: str, pairs: Sequence[Pair], seed: int) -> Built:
    """Learn the edit by a recipe, then apply it with the settings that its file recommends."""
    started = time.perf_counter()
    *_, last = invert_steps(editor, pairs, load_recipe(recipe), seed=seed)
    edit, seconds = last.best(), time.perf_counter() - started

    def transfer(pairs: Sequence[Pair], image: Tensor, *, seed: int) -> Tensor:
        return apply(editor, edit, image, seed=seed)

    return Built(transfer, seconds, last.samples, last.explained, edit.init_text)


def build(method: str, editor: Editor, words: str, pairs: Sequence[Pair], seed: int) -> Built:
    """A method by name: `no edit`, `pixel delta`, `true words`, or a recipe."""
    fixed: Mapping[str, Callable[[], Built]] = {
        "no edit": lambda: Built(no_edit),
        "pixel delta": lambda: Built(pixel_delta),
        "true words": lambda: by_words(editor, words),
    }
    return fixed[method]() if method in fixed else by_inversion(editor, method, pairs, seed)


def square(image: Tensor, side: int) -> Tensor:
    """The central square of a photo at the editor's resolution."""
    height, width = image.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(image[:, top : top + short, left : left + short], side, side)


def run(
    editor: Editor,
    edits: Mapping[str, tuple[SyntheticEdit, str]],
    methods: Sequence[str],
    example: Tensor,
    photos: Sequence[Tensor],
    seed: int,
    done: Collection[tuple[str, str, int]] = (),
) -> Iterator[tuple[Score, list[Tensor]]]:
    """Score methods on edits, one after the other.

    Args:
        editor: the editor to learn and apply with.
        edits: name -> (edit, the closest words).
        methods: see `build`.
        example: `(3, r, r)`, the photo the pair is made from.
        photos: `(3, r, r)` each, never seen while learning.
        seed: of learning and of sampling.
        done: (edit, method, seed) to leave out.

    Yields:
        a score and the results on the photos.
    """
    for name, (edit, words) in edits.items():
        pairs, truths = [Pair(example, edit.apply(example))], [edit.apply(photo) for photo in photos]
        for method in methods:
            label = Path(method).stem  # a recipe given by its path
            if (name, label, seed) in done:
                continue
            built = build(method, editor, words, pairs, seed)
            results = [built.transfer(pairs, photo, seed=seed) for photo in photos]
            quality = sum(psnr(result, truth) for result, truth in zip(results, truths, strict=True)) / len(photos)
            yield (
                Score(
                    edit=name,
                    said=name in SAID,
                    method=label,
                    seed=seed,
                    psnr=round(quality, 3),
                    learn_seconds=round(built.learn_seconds, 2),
                    samples=built.samples,
                    explained=round(built.explained, 4),
                    init_text=built.init_text,
                ),
                results,
            )


def table(scores: Sequence[Score]) -> str:
    """A Markdown table: a row an edit, a column a method, means over seeds; then the means over edits."""
    methods = list(dict.fromkeys(score.method for score in scores))
    edits = list(dict.fromkeys((score.edit, score.said) for score in scores))
    lines = ["| edit | " + " | ".join(methods) + " |", "|---|" + "---:|" * len(methods)]

    def row(label: str, chosen: Callable[[Score], bool]) -> str:
        cells = []
        for method in methods:
            values = [score.psnr for score in scores if score.method == method and chosen(score)]
            cells.append(f"{sum(values) / len(values):.2f}" if values else "")
        return f"| {label} | " + " | ".join(cells) + " |"

    for name, _ in sorted(edits, key=lambda item: not item[1]):
        lines.append(row(name, lambda score, name=name: score.edit == name))  # type: ignore[misc]
    lines.append(row("**mean, said**", lambda score: score.said))
    lines.append(row("**mean, unsaid**", lambda score: not score.said))
    lines.append(row("**mean**", lambda score: True))
    return "\n".join(lines)


@click.command()
@click.option("--photos", "folder", help="Folder of photos; the first one makes the pair. Default: the shipped photos.")
@click.option("--count", default=20, show_default=True, help="How many photos to apply to.")
@click.option("--edit", "names", multiple=True, help="Only these edits; repeatable.")
@click.option("--recipe", "recipes", multiple=True, default=("visii", "default"), show_default=True, help="Repeatable.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True, help="Repeatable.")
@click.option("-o", "--output", default="benchmark", show_default=True, help="Folder for scores and pictures.")
def main(
    folder: str | None,
    count: int,
    names: Sequence[str],
    recipes: Sequence[str],
    seeds: Sequence[int],
    output: str,
) -> None:
    """Score no edit, pixel delta, the true words and recipes on photos never seen; resumable."""
    editor = load_editor("embedded")
    paths = find_images([folder or DEMO_FOLDER / "photos"])
    squares = [square(load_image(path), editor.resolution) for path in paths[: count + 1]]
    edits = {name: value for name, value in {**SAID, **UNSAID}.items() if not names or name in names}
    out = Path(output)
    make_folder(out)
    store = out / "scores.json"
    scores = [Score(**record) for record in json.loads(store.read_text())] if store.exists() else []
    done = {(score.edit, score.method, score.seed) for score in scores}
    methods = ("no edit", "pixel delta", "true words", *recipes)
    for seed in seeds:
        for score, results in run(editor, edits, methods, squares[0], squares[1:], seed, done):
            scores.append(score)
            with replacing(store) as temporary:
                temporary.write_text(json.dumps([asdict(score) for score in scores], indent=1))
            picture = contact_sheet([[(f"{score.edit}: {score.method}", result) for result in results[:6]]], cell=128)
            save_image(picture, out / f"{score.edit} - {score.method} - {seed}.png".replace("/", " "))
            line = f"{score.edit:>32} {score.method:>12} {score.psnr:6.2f} dB  {score.learn_seconds:6.1f} s"
            click.echo(line, err=True)
    click.echo(table(scores))


if __name__ == "__main__":
    main()
