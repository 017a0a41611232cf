"""Draw the pairs that `vii demo` and the recipes in this folder learn from: one photo, and edits of it by formula.

Run it with `python recipes/pairs.py`.
"""

from pathlib import Path

import vii
from vii.benchmark import square
from vii.synthetic import compose, make

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "vii/demo"
EDITS = {
    DEMO / "after.png": make("thermal"),
    ROOT / "recipes/pairs/golden_hour.png": compose(make("sunset", s=0.9), make("vignette", s=0.2)),
    ROOT / "recipes/pairs/negative.png": make("invert"),
}

if __name__ == "__main__":
    before = square(vii.load_image(DEMO / "astronaut.jpg"), 256)
    vii.save_image(before, DEMO / "before.png")
    for path, edit in EDITS.items():
        vii.save_image(edit.apply(before), path)
