"""What of each family the finish does by itself, so that the editor is trained on what is left to it.

`python -m recipes.embedded_model.reach --photos DIR` writes `reach.json`, which `data.py` reads: for each family the
PSNR in dB, on other photos, of what `vii.finish.fit_finish` fits to one pair without an editor.
"""

import json
from pathlib import Path

import click
import numpy as np

from vii.evaluation.synthetic import FAMILIES
from vii.finish import ColorTransform, Example, fit_finish

from .data import REACH, SIZE, open_photo, photo_paths


def measure(name: str, photos: list[np.ndarray], each: int) -> float:
    """Mean PSNR in dB over `each` random edits of a family, each fitted to one photo and tried on another.

    Args:
        name: of the family.
        photos: `(h, w, 3)` in [0, 1].
        each: of random edits.
    """
    from vii.evaluation.metrics import psnr
    from vii.images import channels_first

    from .evaluate import draw

    rng, scores = np.random.default_rng((3, list(FAMILIES).index(name))), []
    for _ in range(each):
        example, other = (photos[i] for i in rng.choice(len(photos), 2, replace=False))
        edit = draw(name, rng)
        truth = {id(photo): edit.apply(channels_first(photo)) for photo in (example, other)}
        after = truth[id(example)].permute(1, 2, 0).numpy()
        color = fit_finish([Example(example, after)]).color
        assert isinstance(color, ColorTransform)
        scores.append(min(60.0, psnr(channels_first(color(other)), truth[id(other)])))
    return float(np.mean(scores))


@click.command()
@click.option("--photos", required=True, type=click.Path(path_type=Path), help="Folder of photos to train on.")
@click.option("--each", default=6, show_default=True, help="Edits a family.")
def main(photos: Path, each: int) -> None:
    """Measure every family and write what was found."""
    paths = photo_paths(photos)
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, 24).astype(int)]
    pictures = [np.asarray(open_photo(path, SIZE), np.float32) / 255 for path in chosen]
    found = {}
    for name, family in FAMILIES.items():
        if family.weight:
            found[name] = round(measure(name, pictures, each), 1)
            print(f"{name:>20} {found[name]:5.1f} dB", flush=True)
    REACH.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
