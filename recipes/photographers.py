"""Edits that photographers make, drawn by code on large photos, so that their right answer is known at full size.

`python -m recipes.photographers PHOTOS OUT` writes `OUT/edits.toml` and, for every edit, one pair to learn from (the
first photo by name), the other photos and their truths, at the photos' own size. Then

    vii bench --edits OUT/edits.toml --max-side 20000 --seeds 1 --recipe default -o OUT/scores

All radii are shares of the shorter side, so that an edit looks the same at any size. The large photos behind the
figures in LOG.md are those of Debian's package `lomiri-wallpapers-16.04` (CC-BY, CC-BY-SA and CC0), without its
drawings.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def luma(photo: Array) -> Array:
    """`(h, w, 3)` -> `(h, w, 1)`, Rec. 709."""
    return (photo @ LUMA)[..., None]


def blurred(photo: Array, share: float) -> Array:
    """Gaussian blur, sigma as a share of the shorter side."""
    sigma = share * min(photo.shape[:2])
    return gaussian_filter(photo, (sigma, sigma, 0), mode="nearest", truncate=3.0)


def coordinates(photo: Array) -> tuple[Array, Array]:
    """`y (h, 1, 1)` and `x (1, w, 1)` in [0, 1]."""
    h, w = photo.shape[:2]
    return (
        ((np.arange(h, dtype=np.float32) + 0.5) / h)[:, None, None],
        ((np.arange(w, dtype=np.float32) + 0.5) / w)[None, :, None],
    )


def film(photo: Array) -> Array:
    """A film look without its grain: an S-curve, lifted blacks, green shadows, warm highlights."""
    curve = photo * photo * (3 - 2 * photo)
    faded = 0.06 + 0.88 * (0.5 * photo + 0.5 * curve)
    light = luma(photo)
    return faded + (1 - light) * np.float32([-0.02, 0.02, 0.0]) + light * np.float32([0.05, 0.015, -0.06])


def split_toning(photo: Array) -> Array:
    """Teal into the shadows, orange into the highlights, by brightness alone."""
    light = luma(photo)
    return photo + 0.35 * ((1 - light) ** 2 * np.float32([-0.3, 0.1, 0.25]) + light**2 * np.float32([0.3, 0.08, -0.3]))


def colour_splash(photo: Array) -> Array:
    """Grey but for what is red or orange."""
    high, low = photo.max(-1, keepdims=True), photo.min(-1, keepdims=True)
    red = np.clip((photo[..., :1] - photo[..., 2:] - 0.08) / 0.12, 0, 1) * (photo[..., :1] >= high)
    red = red * np.clip((high - low) / 0.15, 0, 1)
    return red * photo + (1 - red) * luma(photo)


def local_contrast(photo: Array) -> Array:
    """Clarity: an unsharp mask of a wide radius on the brightness."""
    light = luma(photo)
    return photo + 0.7 * (light - blurred(light, 0.02))


def dodge_and_burn(photo: Array) -> Array:
    """A gradient of exposure: the upper left one stop lighter, the lower right one stop darker."""
    y, x = coordinates(photo)
    return photo * 2 ** (1 - (x + y))


def frame(photo: Array) -> Array:
    """A white passe-partout with a thin dark line inside."""
    h, w = photo.shape[:2]
    side, line = round(0.06 * min(h, w)), max(1, round(0.004 * min(h, w)))
    result = np.ones_like(photo)
    result[side - line : h - side + line, side - line : w - side + line] = 0.1
    result[side : h - side, side : w - side] = photo[side : h - side, side : w - side]
    return result


def date_stamp(photo: Array) -> Array:
    """The orange date of a film camera in the lower right corner."""
    h, w = photo.shape[:2]
    size = round(0.06 * min(h, w))
    stamp = Image.new("L", (w, h))
    ImageDraw.Draw(stamp).text(
        (w - 0.5 * size, h - 0.5 * size), "94  7 12", 255, ImageFont.load_default(size), anchor="rs"
    )
    cover = np.asarray(stamp, np.float32)[..., None] / 255
    return (1 - cover) * photo + cover * np.float32([1.0, 0.55, 0.1])


def background_blur(photo: Array) -> Array:
    """Sharp in the middle, blurred towards the borders."""
    y, x = coordinates(photo)
    keep = np.clip((0.42 - np.hypot(x - 0.5, y - 0.5)) / 0.15, 0, 1)
    return keep * photo + (1 - keep) * blurred(photo, 0.012)


def sharpening(photo: Array) -> Array:
    """An unsharp mask of a narrow radius."""
    return photo + 1.0 * (photo - blurred(photo, 0.0012))


def light_leak(photo: Array) -> Array:
    """Orange light from the left edge, added by the screen rule."""
    y, x = coordinates(photo)
    glow = np.exp(-((x / 0.3) ** 2) - ((y - 0.4) / 0.5) ** 2) * np.float32([0.9, 0.4, 0.1])
    return 1 - (1 - photo) * (1 - glow)


EDITS: Mapping[str, tuple[Callable[[Array], Array], str]] = {
    "film": (film, "give it a film look"),
    "split_toning": (split_toning, "make the shadows teal and the highlights orange"),
    "colour_splash": (colour_splash, ""),
    "local_contrast": (local_contrast, ""),
    "dodge_and_burn": (dodge_and_burn, ""),
    "frame": (frame, "add a white frame"),
    "date_stamp": (date_stamp, ""),
    "background_blur": (background_blur, ""),
    "sharpening": (sharpening, "sharpen it"),
    "light_leak": (light_leak, "add orange light from the left"),
}


def read(path: Path) -> Array:
    """A photo as `(h, w, 3)` in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def write(photo: Array, path: Path) -> None:
    """An 8-bit PNG; fast rather than small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((photo.clip(0, 1) * 255).round().astype(np.uint8)).save(path, compress_level=1)


@click.command()
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def main(photos: Path, out: Path) -> None:
    """Draw every edit on the photos of a folder."""
    example, *tests = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    entries = []
    for path in (example, *tests):
        photo = read(path)
        write(photo, out / ("before.png" if path == example else f"photos/{path.stem}.png"))
        for name, (edit, _) in EDITS.items():
            write(edit(photo), out / name / ("after.png" if path == example else f"truths/{path.stem}.png"))
    for name, (_, words) in EDITS.items():
        entries.append(
            f'[[edit]]\nname = "{name}"\nbefore = "before.png"\nafter = "{name}/after.png"\n'
            f'photos = "photos"\ntruths = "{name}/truths"\n' + (f'words = "{words}"\n' if words else "")
        )
    (out / "edits.toml").write_text("\n".join(entries), encoding="utf-8")
    click.echo(out / "edits.toml")


if __name__ == "__main__":
    main()
