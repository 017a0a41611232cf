"""Make the pair that ships with `vii demo`: a tint between teal and blue with a vignette, which has no exact words.

Run it with `python recipes/demo_pair.py`.
"""

from pathlib import Path

import vii
from vii.benchmark import square
from vii.synthetic import compose, make

FOLDER = Path(__file__).parents[1] / "vii/demo"

if __name__ == "__main__":
    before = square(vii.load_image(FOLDER / "astronaut.jpg"), 256)
    edit = compose(make("tint", c=198.0, s=0.6), make("vignette"))
    vii.save_image(before, FOLDER / "before.png")
    vii.save_image(edit.apply(before), FOLDER / "after.png")
