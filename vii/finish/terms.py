"""The functions of a colour, and of its place in the picture, that a colour transform is a sum of.

Colours are sRGB values in [0, 1]; polynomials are taken of `2 x - 1`, around mid-grey.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import numpy.typing as npt

from .tiles import Array, Rows, centers, hats, softened

# What a curve runs along: a channel alone, or the brightness by ITU-R BT.601 or BT.709.
AXES = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "luma 601": (0.299, 0.587, 0.114),
    "luma 709": (0.2126, 0.7152, 0.0722),
}
# What an edit may depend on besides colour: the row, the column, the distance from the middle (in shares of both
# sides, so that rings are as long as the picture) and from the nearest border (in shares of each side, or in pixels).
PLACES = ("down", "across", "middle", "border", "border in pixels")
MAX_DEGREE, MAX_KNOTS, MAX_RADII = 4, 129, 8
# Of a gaussian around a pixel, as shares of the shorter side.
LEAST_RADIUS, MOST_RADIUS = 1 / 2048, 1 / 4
# Values that a curve is tabulated at: finer than 14 bits, so that 16-bit pictures show no steps.
LEVELS = 16384


@dataclass(frozen=True)
class Terms:
    """Products of up to `degree` channels, curves along axes, what is around a pixel, and what varies by place.

    Attributes:
        degree: 0, where there is no place, to `MAX_DEGREE`.
        axes: keys of `AXES`; a curve is linear between `knots` points at `linspace(0, 1, knots)`.
        knots: of each curve.
        place: one of `PLACES`, or empty; the linear function of the colour and of what is around it varies with the
            place, linear between `place_knots` points.
        place_knots: of the place.
        radii: for each the picture, blurred by a gaussian of this share of its shorter side, less the picture: a term
            for each channel. Sharpening, local contrast and blur are linear in them.
    """

    degree: int
    axes: tuple[str, ...] = ()
    knots: int = 0
    place: str = ""
    place_knots: int = 0
    radii: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges, for these may come from a file."""
        if not bool(self.place) <= self.degree <= MAX_DEGREE:
            raise ValueError(f"expected a degree of 0, with a place 1, to {MAX_DEGREE}, got {self}")
        if len(set(self.axes)) != len(self.axes) or set(self.axes) - set(AXES):
            raise ValueError(f"expected axes of {', '.join(AXES)}, got {self}")
        if self.place not in ("", *PLACES):
            raise ValueError(f"expected a place of {', '.join(PLACES)}, or none, got {self.place!r}")
        if len(self.radii) > MAX_RADII or not all(LEAST_RADIUS <= radius <= MOST_RADIUS for radius in self.radii):
            raise ValueError(f"expected at most {MAX_RADII} radii of {LEAST_RADIUS} to {MOST_RADIUS}, got {self.radii}")
        for used, knots in ((self.axes, self.knots), (self.place, self.place_knots)):
            if not (2 <= knots <= MAX_KNOTS if used else knots == 0):
                raise ValueError(
                    f"expected 2 to {MAX_KNOTS} knots for what has a curve and 0 for what has none: {self}"
                )

    @property
    def products(self) -> list[tuple[int, ...]]:
        """Channels of each product; the first is the empty one, the constant; the first four are affine."""
        return [p for n in range(self.degree + 1) for p in combinations_with_replacement(range(3), n)]

    @property
    def curves_at(self) -> int:
        """Number of the first coefficient of the curves."""
        return len(self.products)

    @property
    def around_at(self) -> int:
        """Number of the first coefficient of what is around a pixel."""
        return self.curves_at + len(self.axes) * self.knots

    @property
    def place_at(self) -> int:
        """Number of the first coefficient that varies with the place."""
        return self.around_at + 3 * len(self.radii)

    @property
    def local(self) -> int:
        """How many functions have coefficients of their own at each point of the place."""
        return 4 + 3 * len(self.radii)

    def __len__(self) -> int:
        return self.place_at + self.local * self.place_knots

    def matrix(self, colors: Array, places: Array | None = None, around: Array | None = None) -> Array:
        """Values of all terms `(n, len(self))`, float64, for colours `(n, 3)`.

        Args:
            colors: `(n, 3)` in [0, 1].
            places: `(n,)`, needed where there is a place.
            around: `(n, 3 len(radii))`, needed where there are radii: blurred colours less the colours.
        """
        x = np.clip(np.asarray(colors, np.float64), 0, 1)
        columns = [_monomials(self.products, 2 * x.T - 1).T]
        for axis in self.axes:
            columns.append(hats(x @ np.array(AXES[axis]) * (self.knots - 1), self.knots))
        local = columns[0][:, :4]
        if self.radii:
            assert around is not None
            columns.append(around)
            local = np.concatenate([local, around], 1)
        if self.place:
            assert places is not None
            near = hats(places * (self.place_knots - 1), self.place_knots)
            columns.append((near[:, :, None] * local[:, None]).reshape(len(x), -1))
        return np.concatenate(columns, 1)

    def evaluator(self, coefficients: Array, picture: npt.NDArray[Any]) -> Rows:
        """The sum of the terms with coefficients `(len(self), 3)`, for the rows of a picture `(h, w, 3)`."""
        height, width, _ = picture.shape
        polynomial = np.ascontiguousarray(coefficients[: self.curves_at].T, np.float32)
        curves = coefficients[self.curves_at : self.around_at].reshape(len(self.axes), self.knots, 3)
        tables = [
            (np.array(AXES[axis], np.float32), _table(curve, LEVELS))
            for axis, curve in zip(self.axes, curves, strict=True)
        ]
        by_place = (
            _table(coefficients[self.place_at :].reshape(self.place_knots, 3 * self.local), LEVELS // 4)
            if self.place
            else None
        )
        around = np.ascontiguousarray(coefficients[self.around_at : self.place_at].T, np.float32)
        soft = [softened(picture, radius) for radius in self.radii]

        def evaluate(colors: Array, start: int, stop: int) -> Array:
            x = np.clip(colors, 0, 1)
            products = _monomials(self.products, 2 * x - 1)
            result: Array = polynomial @ products
            for axis, table in tables:
                _add(result, table, axis @ x)
            values = products[:4]
            if soft:
                bands = np.concatenate([rows(start, stop) - x for rows in soft])
                result += around @ bands
                values = np.concatenate([values, bands])
            if by_place is not None:
                local = np.zeros((3 * self.local, x.shape[1]), np.float32)
                _add(local, by_place, place(self.place, height, width, start, stop).ravel())
                result += (local.reshape(self.local, 3, -1) * values[:, None]).sum(0)
            return result

        return evaluate


def place(name: str, height: int, width: int, start: int = 0, stop: int | None = None) -> Array:
    """Where the pixels of some rows of a picture are, `(rows, width)` float32 in [0, 1]; `name` is one of `PLACES`."""
    down = centers(height)[start:stop, None].astype(np.float32)
    across = centers(width)[None].astype(np.float32)
    if name in ("down", "across"):
        return np.broadcast_to(down if name == "down" else across, (len(down), width))
    if name == "middle":
        return np.hypot(2 * down - 1, 2 * across - 1) / np.float32(2**0.5)
    short = min(height, width)
    sides = (height / short, width / short) if name == "border in pixels" else (1, 1)
    inward = [np.minimum(at, 1 - at) * np.float32(2 * side) for at, side in zip((down, across), sides, strict=True)]
    return np.minimum(*inward)


def _table(curve: Array, levels: int) -> Array:
    """`(knots, c)` -> `(c, levels)` float32: what is linear between the knots, at evenly spaced values."""
    at, knots = np.linspace(0, 1, levels), np.linspace(0, 1, len(curve))
    return np.stack([np.interp(at, knots, column) for column in curve.T]).astype(np.float32)


def _add(result: Array, table: Array, at: Array) -> None:
    index = (at * (table.shape[1] - 1) + 0.5).astype(np.int32)
    for row, values in zip(result, table, strict=True):
        row += values.take(index, mode="clip")


def _monomials(products: list[tuple[int, ...]], u: Array) -> Array:
    """Products of rows of `u` `(3, n)` -> `(len(products), n)`; each is one multiplication away from a lower one."""
    rows, index = np.empty((len(products), u.shape[1]), u.dtype), {p: i for i, p in enumerate(products)}
    rows[0] = 1
    for i, product in enumerate(products[1:], 1):
        np.multiply(rows[index[product[:-1]]], u[product[-1]], out=rows[i])
    return rows
