"""The pictures on docs/examples.md: edits of photos by methods that learn and do not, and visual prompting's tasks.

`python -m recipes.in_context.sheet`
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

import vii
from vii.demo import demo_pair, demo_photos
from vii.evaluation.metrics import psnr
from vii.evaluation.synthetic import make
from vii.images import resize, to_pil
from vii.methods import load_method, prepare
from vii.rendering.sheets import contact_sheet

from .figures import SIDE, TASKS

DOCS = Path(__file__).parents[2] / "docs"
# Edits and the photo that each is shown on. The last three are beyond the small models, or nearly.
SHOWN = (
    (make("thermal"), "cat"),
    (make("watercolor"), "coffee"),
    (make("spotlight", pos="top right"), "cat"),
    (make("light_leak", c=28, side="left"), "rocket"),
    (make("neon", c=120), "coffee"),
    (make("blueprint"), "rocket"),
    (make("shape", shape="star", c=55, pos="top left"), "cat"),
)


Row = list[tuple[str, Tensor]]


def edits() -> list[Row]:
    """A row an edit."""
    editor, before, photos, rows = vii.load_editor("embedded"), demo_pair().before, demo_photos(), []
    for edit, name in SHOWN:
        pair, photo = vii.Pair(before, edit.apply(before)), photos[name]
        truth = edit.apply(photo)
        methods = {
            "analogist": load_method("analogist", text=edit.instruction()),
            "imagebrush": load_method("imagebrush"),
            "learned": load_method("inversion", editor=editor),
        }
        row = [("before", before), (f"after: {edit.name}", pair.after), ("photo", photo), ("truth", truth)]
        for label, method in methods.items():
            made = prepare(method, [pair], seed=0).transfer([pair], photo, seed=0)
            row.append((f"{label}, {psnr(made, truth):.1f} dB", made))
        rows.append(row)
    return rows


def figures() -> list[Row]:
    """Two rows a task, of the first scenes that it is measured on."""
    method, rows = replace(load_method("visual-prompting"), size="cell"), []
    for name, task in TASKS.items():
        rng, (kind, measure) = np.random.default_rng(0), name.split(": ")
        for _ in range(2):
            example, query = task.related(rng, 2)
            made = resize(method([example], query.before).cpu(), SIDE, SIDE)
            score = f"made: {measure.removeprefix('mean ')} {task.measured(made, query.after):.2f}"
            row = [(kind, example.before), ("its answer", example.after), ("scene", query.before)]
            rows.append([*row, ("truth", query.after), (score, made)])
    return rows


def main() -> None:
    """Draw them."""
    for name, rows, cell in (("examples", edits(), 170), ("figures", figures(), 128)):
        path = DOCS / f"{name}.jpg"
        to_pil(contact_sheet(rows, cell=cell)).save(path, quality=85)
        print(path)


if __name__ == "__main__":
    main()
