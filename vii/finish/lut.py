"""3D look-up tables: a colour transform as other programs take it, and as they give it.

The `.cube` format is that of Adobe's "Cube LUT Specification 1.0" (2013); a Hald CLUT is an image that holds the cube
of all colours, as G'MIC, RawTherapee and ImageMagick read it.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, UsageError
from ..files import mark, replacing
from ..paths import is_file
from .tiles import Array, Rows, by_rows, check_image

# Points along each side of a table: fewest, most that is read, and what is written.
LEAST, MOST, POINTS = 2, 129, 33
# The specification's limit for a table of one dimension, and bytes that the largest cube may take as text.
MOST_1D, MOST_BYTES = 65536, 128_000_000
# Characters of a line, and lines without numbers, that no honest file exceeds.
LONGEST, COMMENTS = 1000, 10_000
BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
# Level of a Hald CLUT: 8 makes a picture of 512 x 512 with 64 points a side.
HALD_LEVEL, MOST_HALD_LEVEL = 8, 16


@dataclass(frozen=True, eq=False)
class Lut:
    """A table of colours, and between its points their tetrahedral interpolation.

    Attributes:
        table: `(n, n, n, 3)` float32, indexed by red, green and blue; values may leave [0, 1], results are clipped.
        low: the colour of the first point.
        high: the colour of the last one.
    """

    table: Array
    low: tuple[float, ...] = BLACK
    high: tuple[float, ...] = WHITE

    def __post_init__(self) -> None:
        """Check sizes and values, for these come from files."""
        n = len(self.table)
        if not LEAST <= n <= MOST_HALD_LEVEL**2 or self.table.shape != (n, n, n, 3):
            raise ValueError(
                f"expected a table (n, n, n, 3), n from {LEAST} to {MOST_HALD_LEVEL**2}, got {self.table.shape}"
            )
        if not np.isfinite(self.table).all() or len(self.low) != 3 or len(self.high) != 3:
            raise ValueError("expected a finite table and a domain of three channels")
        if not all(np.isfinite([*self.low, *self.high])) or not all(np.less(self.low, self.high)):
            raise ValueError(f"expected a domain that grows in each channel, got {self.low} to {self.high}")

    @property
    def is_map(self) -> bool:
        """A colour alone decides what becomes of it: always."""
        return True

    @property
    def looks_around(self) -> bool:
        """What is around a pixel never counts."""
        return False

    def __call__(self, image: Array, weight: float = 1.0) -> Array:
        """`x + weight (T(x) - x)` of a picture `(h, w, 3)`, as float32 in [0, 1]; see `ColorTransform`."""
        check_image("image", image)
        return by_rows(image, self.rows(image, weight))

    def rows(self, picture: npt.NDArray[Any], weight: float = 1.0) -> Rows:
        """The same for the rows of a picture, whichever."""
        n = len(self.table)
        columns = np.ascontiguousarray(self.table.reshape(-1, 3).T, np.float32)
        low, span = (
            np.array(self.low, np.float32)[:, None],
            np.subtract(self.high, self.low).astype(np.float32)[:, None],
        )

        def evaluate(colors: Array, start: int, stop: int) -> Array:
            colors = np.clip(colors, 0, 1)
            at = np.clip((colors - low) / span, 0, 1) * np.float32(n - 1)
            base = np.minimum(at.astype(np.int32), n - 2)
            share = at - base.astype(np.float32)
            # From the darkest corner of the cell to the lightest, along the channels by falling share.
            red, green, blue = share
            most, least = share.max(0), share.min(0)
            middle = red + green + blue - most - least
            first = np.where(most == red, n * n, np.where(most == green, n, 1)).astype(np.int32)
            last = np.where(least == blue, 1, np.where(least == green, n, n * n)).astype(np.int32)
            darkest = base[0] * (n * n) + base[1] * n + base[2]
            lightest = darkest + (n * n + n + 1)
            corners = (
                (1 - most, darkest),
                (most - middle, darkest + first),
                (middle - least, lightest - last),
                (least, lightest),
            )
            result = np.empty_like(colors)
            for channel, column in zip(result, columns, strict=True):
                channel[:] = sum(share * column.take(corner) for share, corner in corners)
            np.clip(result, 0, 1, out=result)
            return result if weight == 1 else np.clip(colors + np.float32(weight) * (result - colors), 0, 1)

        return evaluate


def bake(transform: Callable[[Array], Array], points: int = POINTS) -> Lut:
    """The table of a function from pictures `(h, w, 3)` to pictures, such as a colour transform."""
    if not LEAST <= points <= MOST:
        raise UsageError(f"expected {LEAST} to {MOST} points a side, got {points}")
    levels = np.linspace(0, 1, points, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return Lut(transform(cube.reshape(points, -1, 3)).reshape(cube.shape))


def write_cube(lut: Lut, path: str | Path, title: str = "") -> None:
    """Write a table as a `.cube` file, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    plain = "".join(c for c in title if c.isprintable() and c.isascii() and c != '"')[:200]
    lines = [mark(".cube"), *([f'TITLE "{plain}"'] if plain else [])]
    lines.append(f"LUT_3D_SIZE {len(lut.table)}")
    if (lut.low, lut.high) != (BLACK, WHITE):
        lines += [
            f"DOMAIN_{name} {' '.join(f'{v:.9g}' for v in end)}" for name, end in (("MIN", lut.low), ("MAX", lut.high))
        ]
    values = lut.table.transpose(2, 1, 0, 3).reshape(-1, 3)  # red runs fastest in the file
    lines += [f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in values.tolist()]
    with replacing(Path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_cube(path: str | Path) -> Lut:
    """Read a `.cube` file of three dimensions or of one, which becomes a table of `POINTS` a side at least.

    Raises:
        ImageError: the file is missing or too large, or breaks the specification; the message names the line.
    """
    if not is_file(path):
        raise ImageError(f"{path}: no such file")
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise ImageError(f"{path}: larger than {MOST_BYTES:,} bytes, so no LUT of up to {MOST} points a side")
        # Comments and titles are in any encoding, and nothing else may leave ASCII.
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return _parsed(iter(lambda: file.readline(LONGEST), ""))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ImageError(f"{path}: no valid .cube LUT: {error}") from None


def _parsed(lines: Iterator[str]) -> Lut:
    keys: dict[str, tuple[float, ...]] = {}
    rows, count, plain = array("f"), 0, 0
    for number, line in enumerate(lines, 1):
        if len(line) == LONGEST or "\0" in line:
            raise ValueError(f"line {number}: not a text file, or a line of more than {LONGEST} characters")
        words = line.split("#", 1)[0].split() if not line.startswith("TITLE") else []
        if not words:
            if (plain := plain + 1) > COMMENTS:
                raise ValueError(f"line {number}: more than {COMMENTS:,} lines of comments")
            continue
        name = words[0] if words[0][0].isalpha() or words[0][0] == "_" else ""
        try:
            values = tuple(map(float, words[1:] if name else words))
        except ValueError:
            raise ValueError(f"line {number}: expected numbers, got '{line[:60].strip()}'") from None
        if not name:
            if len(values) != 3 or not all(map(isfinite, values)):
                raise ValueError(f"line {number}: expected three finite numbers, got '{line[:60].strip()}'")
            # Known before the table begins, so that no more of it is read than there can be.
            count = count or _colors(keys)
            if len(rows) == 3 * count:
                raise ValueError(f"line {number}: expected {count} colours for the size that it gives, got more")
            rows.extend(values)
        elif name in keys or rows:
            raise ValueError(f"line {number}: {name} stands twice, or after the table")
        elif name not in KEYWORDS or len(values) != KEYWORDS[name]:
            raise ValueError(
                f"line {number}: expected one of {', '.join(KEYWORDS)} with its numbers, got '{line[:60].strip()}'"
            )
        else:
            keys[name] = values
    if len(rows) != 3 * _colors(keys):
        raise ValueError(f"expected {_colors(keys)} colours for the size that it gives, got {len(rows) // 3}")
    low, high = keys.get("DOMAIN_MIN", BLACK), keys.get("DOMAIN_MAX", WHITE)
    if "LUT_3D_INPUT_RANGE" in keys or "LUT_1D_INPUT_RANGE" in keys:
        first, last = keys.get("LUT_3D_INPUT_RANGE", keys.get("LUT_1D_INPUT_RANGE", (0.0, 1.0)))
        low, high = (first,) * 3, (last,) * 3
    table = np.array(rows, np.float32).reshape(-1, 3)
    if "LUT_3D_SIZE" in keys:
        n = int(keys["LUT_3D_SIZE"][0])
        return Lut(np.ascontiguousarray(table.reshape(n, n, n, 3).transpose(2, 1, 0, 3)), low, high)
    points = int(np.clip(len(table), POINTS, 65))
    at = np.linspace(0, 1, len(table))
    curves = [np.interp(np.linspace(0, 1, points), at, column) for column in table.T]
    return Lut(np.stack(np.meshgrid(*curves, indexing="ij"), -1).astype(np.float32), low, high)


def _colors(keys: Mapping[str, tuple[float, ...]]) -> int:
    """How many colours the size in the head of a file asks for."""
    if ("LUT_3D_SIZE" in keys) == ("LUT_1D_SIZE" in keys):
        raise ValueError("expected LUT_3D_SIZE or LUT_1D_SIZE, and not both")
    solid = "LUT_3D_SIZE" in keys
    (size,) = keys["LUT_3D_SIZE" if solid else "LUT_1D_SIZE"]
    most = MOST if solid else MOST_1D
    if not LEAST <= size <= most or size != int(size):
        raise ValueError(f"expected a size of {LEAST} to {most}, got {size:g}")
    return int(size) ** 3 if solid else int(size)


KEYWORDS = {
    "LUT_3D_SIZE": 1,
    "LUT_1D_SIZE": 1,
    "DOMAIN_MIN": 3,
    "DOMAIN_MAX": 3,
    "LUT_3D_INPUT_RANGE": 2,
    "LUT_1D_INPUT_RANGE": 2,
}


def hald(transform: Callable[[Array], Array], level: int = HALD_LEVEL) -> Array:
    """A Hald CLUT `(level^3, level^3, 3)`: what becomes of a cube of `level^2` points a side, red running fastest."""
    if not 2 <= level <= MOST_HALD_LEVEL:
        raise UsageError(f"expected a Hald level of 2 to {MOST_HALD_LEVEL}, got {level}")
    levels = np.linspace(0, 1, level**2, dtype=np.float32)
    blue, green, red = np.meshgrid(levels, levels, levels, indexing="ij")
    return transform(np.stack([red, green, blue], -1).reshape(level**3, level**3, 3))


def from_hald(image: Array) -> Lut:
    """The table in a Hald CLUT `(s, s, 3)`, s the cube of its level; the inverse of `hald`.

    Raises:
        ImageError: it has not the size of one.
    """
    side, level = len(image), round(len(image) ** (1 / 3))
    if not 2 <= level <= MOST_HALD_LEVEL or image.shape != (level**3, level**3, 3):
        raise ImageError(
            f"expected a Hald CLUT, a square picture of 8, 27, 64 ... {MOST_HALD_LEVEL**3} pixels a side, got "
            f"{image.shape[1]} x {side}"
        )
    n = level**2
    return Lut(np.ascontiguousarray(image.reshape(n, n, n, 3).transpose(2, 1, 0, 3), np.float32))
