"""Make the photos that ship with `vii demo` from those bundled with scikit-image (no download).

    python recipes/demo_photos.py [FOLDER]

Only photographs that are free of copyright restrictions; `vii/demo/photos/LICENSES.md` says whose they are.
"""

import sys
from pathlib import Path

from PIL import Image
from skimage import data

SHORT_SIDE = 256
PHOTOS = {"astronaut": data.astronaut, "cat": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}


def make_photos(folder: Path) -> None:
    """Write every photo as a JPEG with a short side of 256 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, load in PHOTOS.items():
        photo = Image.fromarray(load())
        scale = SHORT_SIDE / min(photo.size)
        size = round(photo.width * scale), round(photo.height * scale)
        # The astronaut makes the pair, so she is not among the photos it is applied to.
        path = (folder.parent if name == "astronaut" else folder) / f"{name}.jpg"
        photo.resize(size, Image.Resampling.LANCZOS).save(path, quality=90)
        print(path, size)


if __name__ == "__main__":
    make_photos(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "vii/demo/photos")
