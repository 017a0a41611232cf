"""Pictures in and out: the only module that opens image files.

Everywhere else an image is a float32 tensor `(3, h, w)`, RGB, values in [0, 1].
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from .errors import ImageError, UsageError
from .files import replacing

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
ASPECT_TOLERANCE = 0.02
MAX_ASPECT = 8.0
# How far outside [0, 1] the values of a picture may lie before it is taken for something else.
ROUNDING = 1e-3
Item = TypeVar("Item")


def load_image(path: str | Path) -> Tensor:
    """Read a picture as `(3, h, w)` float32 in [0, 1].

    The EXIF orientation is honoured, transparency is laid on white, 16-bit and greyscale pictures become 8-bit RGB,
    and only the first frame of an animation is read.

    Raises:
        ImageError: the file is missing or no picture of a known format (`FORMATS`), has more than `MAX_PIXELS`
            pixels (checked in the header, before anything is decoded) or a side shorter than `MIN_SIDE` pixels.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path}: no such file")
    if not path.is_file():
        raise ImageError(f"{path}: expected a picture, found a folder")
    try:
        # Pillow warns about large pictures before our own check of the header can refuse them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                _check_size(path, *picture.size)
                return from_pil(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: the header claims an enormous picture; the limit is {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture that can be read; expected one of {', '.join(FORMATS)}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{path}: the picture is damaged or cannot be read ({error})") from None


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path}: {width} x {height} is {width * height:,} pixels, the limit is {MAX_PIXELS:,}; scale it down first"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{path}: {width} x {height} is too small; both sides must have at least {MIN_SIDE} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"{path}: {width} x {height} is longer than {MAX_ASPECT:g} times its width; crop it first")


def from_pil(picture: Image.Image) -> Tensor:
    """A Pillow picture of any mode -> `(3, h, w)` float32 in [0, 1]; transparency is laid on white."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        picture = Image.fromarray((np.asarray(picture).astype(np.float32) / 257).clip(0, 255).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    array = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous()


def to_pil(image: Tensor) -> Image.Image:
    """`(3, h, w)` in [0, 1] (values outside are clipped) -> an 8-bit RGB Pillow picture."""
    array = image.detach().float().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(array.permute(1, 2, 0).contiguous().numpy())


def save_image(image: Tensor, path: str | Path, *, text: Mapping[str, str] | None = None) -> None:
    """Write `(3, h, w)` in [0, 1] as a PNG, whole or not at all.

    Args:
        image: the picture; values outside [0, 1] are clipped.
        path: a file name that ends in `.png`.
        text: text chunks to store with it, such as `parameters`, which other tools show as the settings used.

    Raises:
        UsageError: the path does not end in `.png`.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: results are PNG files; give a name that ends in .png")
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)  # tEXt where Latin-1 holds it, for not every reader knows iTXt
    with replacing(path) as temporary:
        to_pil(image).save(temporary, format="PNG", pnginfo=info)


def read_text(path: str | Path) -> dict[str, str]:
    """The text chunks that stand before the pixels of a PNG, where `save_image` puts them; no pixel is decoded.

    Raises:
        ImageError: it is missing, no PNG, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as picture:
                return {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not a PNG" if isinstance(error, UnidentifiedImageError) else f"damaged or too large ({error})"
        raise ImageError(f"{path}: {reason}; expected a PNG picture") from None


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Files and folders -> picture files: a folder stands for the pictures directly in it, sorted by name.

    Raises:
        ImageError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise ImageError(f"{path}: no pictures in this folder (looked for {', '.join(SUFFIXES)})")
        found.extend(inside)
    for path in found:
        if not path.exists():
            raise ImageError(f"{path}: no such file")
    return found


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """This many of the items in their order, spread evenly from the first to the last; all where there are fewer."""
    if count >= len(items):
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, count - 1))] for index in range(count)]


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """`(c, h, w)` -> `(c, height, width)`, bicubic with antialiasing, clipped to [0, 1]."""
    if image.shape[-2:] == (height, width):
        return image
    scaled = torch.nn.functional.interpolate(image[None], (height, width), mode="bicubic", antialias=True)
    return scaled[0].clamp(0, 1)


def fitted_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """The `(height, width)` at which an editor of this resolution works on a picture.

    The area is about `resolution` squared pixels and the aspect ratio is kept as nearly as multiples of `multiple`
    pixels allow, so that a model sees as many pixels as it was trained on whatever the shape of the photo.
    """
    scale = resolution / (height * width) ** 0.5 / multiple
    return max(1, round(height * scale)) * multiple, max(1, round(width * scale)) * multiple


def fit(image: Tensor, resolution: int, multiple: int) -> Tensor:
    """Scale `(3, h, w)` to `fitted_size`; nothing is cropped or padded."""
    height, width = image.shape[-2:]
    return resize(image, *fitted_size(height, width, resolution, multiple))


@dataclass(frozen=True, eq=False)
class Pair:
    """One example of an edit: the same frame before and after, both `(3, h, w)` in [0, 1]."""

    before: Tensor
    after: Tensor

    def __post_init__(self) -> None:
        """Check that both are images of one size."""
        for name, image in (("before", self.before), ("after", self.after)):
            if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
                raise UsageError(
                    f"{name}: expected a float tensor (3, h, w) in [0, 1], got {tuple(image.shape)} {image.dtype}"
                )
        if self.before.shape != self.after.shape:
            raise ImageError(
                f"before and after must have one size, got {_size(self.before)} and {_size(self.after)}; "
                "Pair.open scales the after picture where only the scale differs"
            )

    @classmethod
    def open(cls, before: str | Path, after: str | Path) -> "Pair":
        """Read a pair from two files.

        The pictures must show the same frame. Where only the scale differs (aspect ratios within 2 %), the after
        picture is scaled to the size of the before picture.

        Raises:
            ImageError: a file cannot be read, or the aspect ratios differ.
        """
        first, second = load_image(before), load_image(after)
        ratios = [image.shape[2] / image.shape[1] for image in (first, second)]
        if abs(ratios[0] / ratios[1] - 1) > ASPECT_TOLERANCE:
            raise ImageError(
                f"{before} is {_size(first)} and {after} is {_size(second)}: a pair must show the same frame, "
                "so both need one aspect ratio; crop them alike"
            )
        return cls(first, resize(second, *first.shape[-2:]))

    def sha256(self) -> str:
        """Hex digest of the two pictures as 8-bit pixels: names a pair in an edit file without showing it."""
        digest = hashlib.sha256()
        for image in (self.before, self.after):
            digest.update(repr(tuple(image.shape)).encode())
            digest.update(image.cpu().mul(255).round().to(torch.uint8).contiguous().numpy().tobytes())
        return digest.hexdigest()


def _size(image: Tensor) -> str:
    return f"{image.shape[2]} x {image.shape[1]}"


def as_image(value: object) -> Tensor:
    """A picture as people hold it -> `(3, h, w)` float32 in [0, 1].

    Args:
        value: a tensor `(3, h, w)`, of floats in [0, 1] or of uint8; a NumPy array `(h, w)`, `(h, w, 3)` or
            `(h, w, 4)`, of floats in [0, 1], of uint8 or of uint16; or a Pillow picture of any mode, whose EXIF
            orientation is honoured. Transparency is laid on white.

    Raises:
        UsageError: anything else, such as the path of a picture, another shape, or floats from 0 to 255.
    """
    if isinstance(value, Image.Image):
        return from_pil(ImageOps.exif_transpose(value))
    if isinstance(value, np.ndarray):
        return _from_array(value)
    if not isinstance(value, Tensor):
        got = f"the path {str(value)!r}; read it with vii.load_image" if isinstance(value, str | Path) else type(value)
        raise UsageError(
            f"expected a picture: a tensor (3, h, w), a NumPy array (h, w, 3) or a Pillow picture; got {got}"
        )
    if value.ndim != 3 or value.shape[0] != 3 or not value.numel():
        hint = "; .permute(2, 0, 1) puts the channels first" if value.ndim == 3 and value.shape[-1] == 3 else ""
        raise UsageError(f"expected a picture as a tensor (3, h, w), got {tuple(value.shape)}{hint}")
    if value.dtype == torch.uint8:
        return value.float() / 255
    return _in_range(value.float(), value.dtype.is_floating_point, str(value.dtype))


def _from_array(array: "np.ndarray[Any, Any]") -> Tensor:
    channels = array.shape[2:] or (1,)
    if array.ndim not in (2, 3) or channels[0] not in (1, 3, 4) or not array.size:
        raise UsageError(
            f"expected a picture as a NumPy array (h, w), (h, w, 3) or (h, w, 4), got {array.shape}; a picture with "
            "the channels first is taken as a tensor: torch.from_numpy(array)"
        )
    if array.dtype == np.uint8:
        return from_pil(Image.fromarray(array[..., 0] if channels == (1,) and array.ndim == 3 else array))
    scale = 65535 if array.dtype == np.uint16 else 1
    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).reshape(*array.shape[:2], -1) / scale
    values = _in_range(values, scale > 1 or array.dtype.kind == "f", str(array.dtype)).permute(2, 0, 1)
    if len(values) == 4:
        values = values[:3] * values[3:] + 1 - values[3:]
    return values.expand(3, -1, -1).contiguous()


def _in_range(values: Tensor, known: bool, kind: str) -> Tensor:
    """Floats that lie in [0, 1] but for rounding errors, which are clipped; others are refused."""
    if not known:
        raise UsageError(f"expected a picture of floats in [0, 1] or of uint8, got {kind}")
    low, high = (float(bound) for bound in torch.aminmax(values.detach()))
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # also of NaN
        hint = "; divide by 255" if low >= 0 and 1 < high <= 255 else ""
        raise UsageError(f"expected a picture with values in [0, 1], got values from {low:g} to {high:g}{hint}")
    return values if low >= 0 and high <= 1 else values.clamp(0, 1)
