"""Make `learned_instructions/`: draw the pairs, learn every edit from its recipe, with a picture of each and a table.

`python -m recipes.learned_instructions [NAME ...]`; `--pairs` only draws the pairs. `vii learn --recipe
recipes/learned_instructions/NAME.toml` makes one edit file.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

import vii
from vii.demo import DEMO_EDIT, demo_photos
from vii.demo import FOLDER as DEMO
from vii.evaluation.metrics import psnr
from vii.evaluation.task_files import read_edits
from vii.evaluation.tasks import Task, square
from vii.inversion.recipes import read_recipe
from vii.rendering.sheets import edit_sheet, thumbnail_of

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "learned_instructions"
PAIR_SIDE = 256
LICENSE = "Apache-2.0"

HEAD = """# Edit files that can be used at once

Learned for the editor `embedded`, one pair each, by `python -m recipes.learned_instructions`. Try one:

```bash
vii apply learned_instructions/golden_hour.safetensors photo.jpg -o evening.png
```

Gain is the mean PSNR to the right answer over that of leaving the photo as it is, in dB, at the photos' own size, on
the three photos of the demo, which nothing was learned from; `tokens` is the same without the finish, `words` for the
closest instruction. About 9,000 bytes of each file are the picture of its pair. On photos of yours:

```bash
vii bench --edits recipes/learned_instructions/edits.toml --photos FOLDER -o shipped
```

| edit | what it does | it consists of | explained | gain | tokens | words | bytes |
|---|---|---|---:|---:|---:|---:|---:|
"""


def draw_pairs(tasks: Iterable[Task]) -> None:
    """One photo before, and after every edit by its formula."""
    before = square(vii.load_image(DEMO / "astronaut.jpg"), PAIR_SIDE)
    vii.save_image(before, DEMO / "before.png")
    for task in tasks:
        path = DEMO / "after.png" if task.name == DEMO_EDIT else HERE / f"pairs/{task.name}.png"
        vii.save_image(task.source.edit.apply(before), path)


def learn(editor: vii.Editor, name: str) -> None:
    """Write the edit file of a recipe, and its picture."""
    recipe = read_recipe(HERE / f"{name}.toml")
    pair = vii.Pair.open(*recipe.pair)
    edit = vii.invert(editor, [pair], recipe.settings, seed=0)
    # The picture of the pair may go into the file: the photo is NASA's, and free.
    about = {"title": name, "description": recipe.description, "license": LICENSE, "thumbnail": thumbnail_of(pair, 96)}
    vii.save_edit(replace(edit, **about), FOLDER / f"{name}.safetensors")
    results = {key: (photo, vii.apply(editor, edit, photo, seed=0)) for key, photo in demo_photos().items()}
    vii.save_image(edit_sheet(pair, results), FOLDER / f"{name}.png")


def gains(editor: vii.Editor, task: Task, edit: vii.Edit) -> list[float]:
    """Mean gain over no edit in dB on the photos of the demo: of the edit, of its tokens alone, and of the words."""
    ways = [
        vii.Application(editor, edit),
        vii.Application(editor, edit, finish="none"),
        vii.Application(editor, text=task.words),
    ]
    found = []
    for photo in demo_photos().values():
        truth = task.source.edit.apply(photo)
        found.append([psnr(way(photo), truth) - psnr(photo, truth) for way in ways])
    return [sum(values) / len(values) for values in zip(*found, strict=True)]


def row(editor: vii.Editor, task: Task) -> str:
    """One line of the table."""
    path = FOLDER / f"{task.name}.safetensors"
    edit = vii.load_edit(path)
    parts = edit.finish.describe() if edit.finish else "tokens"
    return (
        f"| [`{task.name}`]({task.name}.png) | {edit.description} | {parts} | {edit.training['explained']:.0%} | "
        + " | ".join(f"{gain:+.1f}" for gain in gains(editor, task, edit))
        + f" | {path.stat().st_size:,} |\n"
    )


@click.command(help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--pairs", is_flag=True, help="draw the pairs and nothing else")
def main(names: tuple[str, ...], pairs: bool) -> None:
    """See the module."""
    tasks = read_edits(HERE / "edits.toml")
    if pairs:
        draw_pairs(tasks)
        return
    editor = vii.load_editor("embedded")
    for task in tasks:
        if not names or task.name in names:
            learn(editor, task.name)
            print(task.name, flush=True)
    (FOLDER / "README.md").write_text(HEAD + "".join(row(editor, task) for task in tasks), encoding="utf-8")


if __name__ == "__main__":
    main()
