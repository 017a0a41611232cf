"""Every shipped edit on two shipped photos, and how far two such folders differ; see `.ci/lowest`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import vii
from vii.demo import demo_photos


def make(folder: Path) -> None:
    """Write a PNG for every edit and photo, in float32 on the CPU; no edit file is refused."""
    folder.mkdir(parents=True)
    editor = vii.load_editor("embedded", device="cpu", dtype="float32")
    photos = list(demo_photos().values())[:2]
    for path in sorted(Path("learned_instructions").glob("*.safetensors")):
        for number, photo in enumerate(photos):
            image = vii.apply(editor, vii.load_edit(path), photo)
            vii.save_image(image, folder / f"{path.stem}-{number}.png")


def compare(first: Path, second: Path) -> None:
    """Print the worst PSNR, the largest difference of a pixel, and how many pictures are the same."""
    paths = sorted(first.glob("*.png"))
    assert len(paths) == 26, "an edit that was refused"
    same, worst, largest = 0, float("inf"), 0
    for path in paths:
        one, other = (np.asarray(Image.open(folder / path.name)).astype(int) for folder in (first, second))
        difference = np.abs(one - other)
        same += not difference.any()  # the encoders of PNG differ by version
        largest = max(largest, int(difference.max()))
        if difference.any():
            worst = min(worst, 10 * np.log10(255**2 / np.mean(difference**2)))
    print(f"{len(paths)} pictures, {same} the same; worst {worst:.1f} dB; largest difference {largest} of 255")
    assert worst > 50, "the lowest and the newest versions draw different pictures"


if __name__ == "__main__":
    {"make": make, "compare": compare}[sys.argv[1]](*map(Path, sys.argv[2:]))
