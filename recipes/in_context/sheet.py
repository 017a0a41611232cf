"""The picture on docs/examples.md: edits shown by one pair, done to another photo by methods that learn and do not.

`python -m recipes.in_context.sheet`
"""

from pathlib import Path

import vii
from vii.demo import demo_pair, demo_photos
from vii.evaluation.metrics import psnr
from vii.evaluation.synthetic import make
from vii.images import to_pil
from vii.methods import load_method, prepare
from vii.rendering.sheets import contact_sheet

PICTURE = Path(__file__).parents[2] / "docs/examples.jpg"
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


def main() -> None:
    """Draw it."""
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
    to_pil(contact_sheet(rows, cell=170)).save(PICTURE, quality=85)
    print(PICTURE)


if __name__ == "__main__":
    main()
