"""Colour profiles to sRGB: through LittleCMS (Pillow's ImageCms) at 8 bits, and matrix profiles by formula at 16.

LittleCMS as Pillow has it works on 8 bits a channel. What photos of 16 bits carry (ProPhoto, Adobe RGB, Display P3) are
profiles of three curves and a matrix, which ICC.1:2022 section F.3 puts into two lines.
"""

import io
import struct
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image, ImageCms

# Linear sRGB to the profile connection space: XYZ relative to D50, by Bradford (IEC 61966-2-1; lindbloom.com).
SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
# Adobe RGB (1998), section 4.3.5.3, relative to D50; and its gamma.
ADOBE_TO_XYZ = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
ADOBE_GAMMA = 2 + 51 / 256
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
NAMES = {"L": "grey", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
# A profile that moves no colour further than rounding does is sRGB under whatever name.
SAME = 1
BAND = 1_000_000
INTENT, FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION


def srgb_profile() -> bytes:
    """An ICC profile of sRGB, the same bytes at any time: LittleCMS writes the date of the day into its own."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + data[36:84] + bytes(16) + data[100:]


def to_srgb(picture: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """Bring a picture of 8 bits to sRGB: relative colorimetric, with black point compensation.

    The picture has mode RGB, L, CMYK or LAB; its profile may be empty or damaged. Returns it in mode RGB, and a
    sentence on what was done; empty where there was nothing to do.
    """
    if picture.mode == "LAB" and not profile:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if not profile:
        note = "CMYK without a colour profile: colours are approximate" if picture.mode == "CMYK" else ""
        return _plain(picture), note
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = MODES.get(source.profile.xcolor_space.strip(), "")
        if picture.mode == "L" and mode == "RGB":
            picture = picture.convert("RGB")
        if picture.mode != mode:
            kind = NAMES.get(mode, "other")
            note = f"its colour profile is for {kind} pictures, this one is {NAMES[picture.mode]}: taken as sRGB"
            return _plain(picture), note
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", INTENT, FLAGS)
        if mode in ("RGB", "L") and _is_srgb(transform, mode):
            return _plain(picture), ""
        name = " ".join(ImageCms.getProfileDescription(source).split()) or "its colour profile"
        return _applied(picture, transform), f"colours converted from {name} to sRGB"
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        return _plain(picture), f"its colour profile is damaged ({reason}): taken as sRGB"


def from_srgb(picture: Image.Image, profile: bytes) -> tuple[Image.Image, bytes]:
    """An sRGB picture in the colours of an RGB profile, and that profile; as it is, with sRGB's, where that fails."""
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), target, "RGB", "RGB", INTENT, FLAGS)
        return _applied(picture, transform), profile
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture, srgb_profile()


def _plain(picture: Image.Image) -> Image.Image:
    if picture.mode == "LAB":
        return to_srgb(picture, b"")[0]
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _applied(picture: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    return cast(Image.Image, ImageCms.applyTransform(picture, transform))


def _is_srgb(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    if mode == "L":
        grid = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        grid = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(18, -1, 3))
    moved = np.asarray(_applied(grid, transform)).astype(int)
    return bool(np.abs(moved - np.asarray(grid.convert("RGB"))).max() <= SAME)


@dataclass(frozen=True)
class MatrixProfile:
    """A profile of curves and a matrix.

    Attributes:
        curves: `(n, 65536)` light that each 16-bit sample stands for, in [0, 1]; one curve where grey, else three.
        matrix: `(3, 3)` light to XYZ relative to D50; unused for grey.
    """

    curves: np.ndarray
    matrix: np.ndarray

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """`(h, w, 3)` uint16 in this profile's colours -> the same in sRGB; outside it, clipped."""
        change = np.linalg.inv(SRGB_TO_XYZ) @ self.matrix
        result = np.empty_like(pixels)
        rows = max(1, BAND // pixels.shape[1])
        for top in range(0, len(pixels), rows):
            band = pixels[top : top + rows]
            light = np.stack([self.curves[i % len(self.curves)][band[..., i]] for i in range(3)], -1)
            if len(self.curves) == 3:
                light = light @ change.T
            result[top : top + rows] = np.round(encode(light.clip(0, 1)) * 65535)
        return result

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """`(h, w, 3)` uint16 in sRGB -> the same in this profile's colours; outside it, clipped."""
        change = np.linalg.inv(self.matrix) @ SRGB_TO_XYZ
        result = np.empty_like(pixels)
        levels, rows = np.arange(65536), max(1, BAND // pixels.shape[1])
        for top in range(0, len(pixels), rows):
            light = (decode(pixels[top : top + rows] / 65535) @ change.T).clip(0, 1)
            for i in range(3):
                result[top : top + rows, :, i] = np.round(np.interp(light[..., i], self.curves[i], levels))
        return result

    @property
    def is_srgb(self) -> bool:
        """Whether it moves no colour further than a level of 8 bits."""
        steps = np.linspace(0, 65535, 18).round().astype(np.uint16)
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(18, -1, 3)
        if len(self.curves) == 1:
            grid = np.repeat(steps[None, :, None], 3, 2)
        return bool(np.abs(self.to_srgb(grid).astype(int) - grid).max() <= 257 * SAME)


def adobe_rgb() -> MatrixProfile:
    """Adobe RGB (1998), which cameras name in EXIF without a profile."""
    curve = (np.arange(65536) / 65535) ** ADOBE_GAMMA
    return MatrixProfile(np.stack([curve] * 3), ADOBE_TO_XYZ)


def encode(light: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] -> sRGB in [0, 1] (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def decode(value: np.ndarray) -> np.ndarray:
    """SRGB in [0, 1] -> linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0.04045) + 0.055) / 1.055) ** 2.4)


def matrix_profile(profile: bytes) -> MatrixProfile | None:
    """An ICC profile of curves and a matrix (ICC.1:2022, 8.3.3 and 8.3.4); None where it is of another kind."""
    try:
        count = min(struct.unpack_from(">I", profile, 128)[0], 100)
        entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(count)]
        tags = {name: profile[start : start + size] for name, start, size in entries}
        if b"A2B0" in tags:
            return None
        if profile[16:20] == b"GRAY":
            return MatrixProfile(_curve(tags[b"kTRC"])[None], np.eye(3))
        if profile[16:20] != b"RGB " or profile[20:24] != b"XYZ ":
            return None
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        matrix = np.array(columns, dtype=float).T / 65536
        return MatrixProfile(curves, matrix) if abs(np.linalg.det(matrix)) > 1e-6 else None
    except (struct.error, KeyError, ValueError, IndexError):
        return None


def _curve(tag: bytes) -> np.ndarray:
    """A `curv` or `para` tag (ICC.1:2022, 10.6 and 10.18) at every level of 16 bits."""
    x = np.arange(65536) / 65535
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count == 0:
            return x
        table = np.frombuffer(tag, ">u2", count, 12)
        return x ** (table[0] / 256) if count == 1 else np.interp(x, np.linspace(0, 1, count), table / 65535)
    kind = struct.unpack_from(">H", tag, 8)[0]
    numbers = np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536
    g, a, b, c, d, e, f = [*numbers, *[0.0] * 6][:7]
    if kind == 0:
        a, d = 1.0, 0.0
    if kind in (1, 2):
        d, e, f, c = -b / a, (c if kind == 2 else 0.0), (c if kind == 2 else 0.0), 0.0
    power = np.maximum(a * x + b, 0) ** g + e
    if tag[:4] != b"para" or not np.isfinite(power).all():
        raise ValueError("not a curve")
    return np.where(x >= d, power, c * x + f).clip(0, 1)
