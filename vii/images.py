"""Images as tensors, and pairs of them; the files themselves are read and written by `vii.pictures`.

An image is a float32 tensor `(3, h, w)`, RGB in sRGB, values in [0, 1].
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from .errors import ImageError, UsageError
from .pictures import ASPECT_TOLERANCE, QUALITY, read_picture, write_picture
from .pictures.reading import pixels_of
from .sizes import fitted_size

# Beyond [0, 1] by rounding alone.
MARGIN = 1e-3
# Overshoot of somebody's arithmetic is clipped where a picture is written.
CLIPPED = 2.0
Item = TypeVar("Item")


def load_image(path: str | Path, *, around: int | None = None) -> Tensor:
    """Read a picture as `(3, h, w)` float32 in [0, 1]: upright, in sRGB, on white, with all its bits.

    Args:
        path: see `vii.pictures.read_picture`, as for the picture's profile, EXIF block and notes.
        around: a number of pixels that are enough, for a fraction of the time and memory; None: all of them.

    Raises:
        ImageError: the file is missing or no picture of a known format, or too large (checked in its header, before
            anything is decoded), too small or too long.
    """
    return from_array(read_picture(path, around=around).pixels)


def from_array(pixels: np.ndarray) -> Tensor:
    """`(h, w, 3)` uint8 or uint16 -> `(3, h, w)` float32 in [0, 1]."""
    height, width, channels = pixels.shape
    image = np.empty((channels, height, width), np.float32)
    # Straight into its place: a photo of 100 megapixels is 1.2 GB of floats, and a copy as much again.
    np.divide(pixels.transpose(2, 0, 1), np.float32(np.iinfo(pixels.dtype).max), out=image, dtype=np.float32)
    return torch.from_numpy(image)


def to_array(image: Tensor, bits: int = 8) -> np.ndarray:
    """`(3, h, w)` in [0, 1] (values beyond by up to 1 are clipped) -> `(h, w, 3)` uint8, or uint16 for 16 bits."""
    if bits not in (8, 16):
        raise UsageError(f"bits: expected 8 or 16 a channel, got {bits!r}")
    check_image(image, "image")
    if image.numel() and not image.detach().abs().max() <= CLIPPED:  # neither NaN nor 0 to 255 is meant so
        check_range(image, "image")
    pixels = np.empty((*image.shape[1:], 3), np.uint8 if bits == 8 else np.uint16)
    for index, channel in enumerate(image.detach()):
        pixels[..., index] = channel.float().cpu().clamp(0, 1).mul(2**bits - 1).round().numpy()
    return pixels


def from_pil(picture: Image.Image) -> Tensor:
    """A Pillow picture of any mode -> `(3, h, w)` float32 in [0, 1]: upright by its EXIF, in sRGB, on white.

    Raises ImageError where it cannot be decoded, or its black and white are not known.
    """
    return from_array(pixels_of(picture))


def to_pil(image: Tensor) -> Image.Image:
    """`(3, h, w)` in [0, 1] (values outside are clipped) -> an 8-bit RGB Pillow picture."""
    return Image.fromarray(to_array(image))


def save_image(
    image: Tensor,
    path: str | Path,
    *,
    text: Mapping[str, str] | None = None,
    bits: int = 8,
    quality: int = QUALITY,
) -> None:
    """Write `(3, h, w)` in [0, 1] as PNG, JPEG, WebP or TIFF, by the name of the file, whole or not at all.

    Args:
        image: the picture; values outside [0, 1] are clipped.
        path: a file name that ends in .png, .jpg, .webp or .tif.
        text: what to store with it, such as `parameters`, which other tools show as the settings used.
        bits: a channel, 8 or 16; JPEG and WebP have 8.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        UsageError: an argument that does not fit, in shape, range or name.
        OutputError: the file cannot be written.
    """
    write_picture(to_array(image, bits), path, text=text, quality=quality)


def channels_last(image: Tensor) -> npt.NDArray[np.floating[Any]]:
    """`(3, h, w)` -> `(h, w, 3)`, on the same memory where that is possible."""
    array: npt.NDArray[np.floating[Any]] = image.detach().permute(1, 2, 0).float().cpu().numpy()
    return array


def channels_first(image: npt.NDArray[np.floating[Any]]) -> Tensor:
    """`(h, w, 3)` -> `(3, h, w)`; without a copy of what came of `channels_last`."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def check_image(image: Tensor, name: str) -> None:
    """Raise UsageError for what is no `(3, h, w)` of floats, with what arrived and how to mend it."""
    shape, kind = tuple(image.shape), str(image.dtype).removeprefix("torch.")
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] not in (1, 3):
        raise UsageError(
            f"{name}: expected a float tensor (3, h, w) in [0, 1], got {shape}, height first; give "
            "image.permute(2, 0, 1)"
        )
    if len(shape) != 3 or shape[0] != 3:
        raise UsageError(f"{name}: expected a float tensor (3, h, w) in [0, 1], got {shape} of {kind}")
    if not image.is_floating_point():
        raise UsageError(f"{name}: expected a float tensor (3, h, w) in [0, 1], got {kind}; give image.float() / 255")


def check_range(image: Tensor, name: str) -> None:
    """Refuse values that are not finite or not in [0, 1], but for rounding.

    Raises:
        UsageError: with what arrived.
    """
    if not image.numel():
        raise UsageError(f"{name}: expected an image, got one of no pixels, {tuple(image.shape)}")
    low, high = (float(value) for value in image.detach().aminmax())
    if not (low >= -MARGIN and high <= 1 + MARGIN):
        hint = "; divide it by 255" if 1 < high <= 255 and low >= 0 else ""
        raise UsageError(f"{name}: expected values in [0, 1], got {low:g} to {high:g}{hint}")


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


def fit(image: Tensor, resolution: int, multiple: int) -> Tensor:
    """Scale `(3, h, w)` to `fitted_size`; nothing is cropped or padded."""
    height, width = image.shape[-2:]
    return resize(image, *fitted_size(height, width, resolution, multiple))


def limited(image: Tensor, side: int) -> Tensor:
    """A picture `(3, h, w)` scaled down to about `side` squared pixels, where it has more."""
    return fit(image, side, 1) if image[0].numel() > side**2 else image


@dataclass(frozen=True, eq=False)
class Pair:
    """One example of an edit: the same frame before and after, both `(3, h, w)` in [0, 1], as `as_image` makes them."""

    before: Tensor
    after: Tensor

    def __post_init__(self) -> None:
        """Check that both are images of one size."""
        for name, image in (("before", self.before), ("after", self.after)):
            object.__setattr__(self, name, as_image(image, name))
        if self.before.shape != self.after.shape:
            sizes = [f"{image.shape[2]} x {image.shape[1]}" for image in (self.before, self.after)]
            raise ImageError(
                f"before and after must have one size, got {sizes[0]} and {sizes[1]}; "
                "Pair.open scales the after picture where only the scale differs"
            )

    @classmethod
    def open(cls, before: str | Path, after: str | Path, *, around: int | None = None) -> "Pair":
        """Read a pair from two files.

        The pictures must show the same frame. Where only the scale differs (aspect ratios within 2 %), the after
        picture is scaled to the size of the before picture. For `around` see `load_image`.

        Raises ImageError where a file cannot be read, or the aspect ratios differ.
        """
        first, second = read_picture(before, around=around), read_picture(after, around=around)
        ratios = [picture.size[0] / picture.size[1] for picture in (first, second)]
        if abs(ratios[0] / ratios[1] - 1) > ASPECT_TOLERANCE:
            sizes = ["{} x {}".format(*picture.size) for picture in (first, second)]
            raise ImageError(
                f"{before} is {sizes[0]} and {after} is {sizes[1]}: a pair must show the same frame, so both need one "
                "aspect ratio; crop them alike"
            )
        image = from_array(first.pixels)
        return cls(image, resize(from_array(second.pixels), *image.shape[-2:]))

    def sha256(self) -> str:
        """Hex digest of the two pictures as 8-bit pixels: names a pair in an edit file without showing it."""
        digest = hashlib.sha256()
        for image in (self.before, self.after):
            digest.update(repr(tuple(image.shape)).encode())
            digest.update(image.cpu().mul(255).round().to(torch.uint8).contiguous().numpy().tobytes())
        return digest.hexdigest()


def as_image(value: object, name: str = "image") -> Tensor:
    """A picture as people hold it -> `(3, h, w)` float32 in [0, 1].

    Args:
        value: a tensor `(3, h, w)`, of floats in [0, 1] or of uint8; a NumPy array `(h, w)`, `(h, w, 3)` or
            `(h, w, 4)`, of floats in [0, 1], of uint8 or of uint16; or a Pillow picture of any mode, upright
            by its EXIF and in sRGB. Transparency is laid on white.
        name: of the argument, for the error.

    Raises:
        UsageError: anything else, such as the path of a picture, another shape, or floats from 0 to 255.
    """
    if isinstance(value, Image.Image):
        return from_pil(value)
    if isinstance(value, np.ndarray):
        value = _channels_first(value, name)
    if not isinstance(value, Tensor):
        got = type(value).__name__
        if isinstance(value, str | Path):
            got = f"the path {str(value)!r:.80}; read it with vii.load_image"
        raise UsageError(f"{name}: expected a tensor (3, h, w), a NumPy array (h, w, 3) or a Pillow picture, got {got}")
    if value.dtype == torch.uint8:
        value = value.float() / 255
    check_image(value, name)
    check_range(value, name)
    return value.float()


def _channels_first(array: np.ndarray, name: str) -> Tensor:
    """Grey, RGB or RGBA of any kind of number -> `(3, h, w)`, floats for integers of 8 and 16 bits."""
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise UsageError(
            f"{name}: expected a NumPy array (h, w), (h, w, 3) or (h, w, 4), got {array.shape}; one with the channels "
            "first is taken as a tensor, torch.from_numpy(array)"
        )
    if array.dtype in (np.uint8, np.uint16):
        array = array.astype(np.float32) / np.iinfo(array.dtype).max
    elif array.dtype.kind != "f":
        raise UsageError(f"{name}: expected a NumPy array of floats in [0, 1], uint8 or uint16, got {array.dtype}")
    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).permute(2, 0, 1)
    if len(values) == 4:
        values = values[:3] * values[3:] + 1 - values[3:]
    return values.expand(3, -1, -1).contiguous()
