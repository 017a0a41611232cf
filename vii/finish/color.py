"""A colour transform: what becomes of each colour, and perhaps how that varies with its place and what is around it.

It needs no editor and no torch. Fitted to pairs by ridge regression whose terms and strength are chosen by
cross-validation; applied to photos of any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .terms import PLACES, Terms, place
from .tiles import Array, Integers, Mask, Rows, by_rows, check_image, softened

CHANNELS = ("red", "green", "blue")
# From the stiffest to the most supple; the last has curves fine enough for the steps of a posterized picture.
COLOR_TERMS = (
    Terms(0),
    Terms(1),
    Terms(2),
    Terms(1, ("luma 601",), 33),
    Terms(1, ("luma 709",), 33),
    Terms(2, CHANNELS, 17),
    Terms(3, (*CHANNELS, "luma 601"), 33),
)
STRENGTHS = tuple(10.0**e for e in range(-1, -8, -1))
# What is more supple, or weaker, is preferred only where it takes this share of the squared error away.
GAIN = 0.1
# Of another photo's colours this share is taken to lie beyond those of the pairs.
UNSEEN = 0.03
# Mean square of what rounding to 8 bits does; what gets as near has nothing to gain.
ROUNDING = 1 / 255**2 / 12
# Pixels of all pairs together that a transform is fitted to, in squares of such a side (over which what JPEG adds
# cancels); and blocks along each side of a picture, which fall into so many folds.
SAMPLES, SQUARE, BLOCKS, FOLDS = 24_000, 4, 8, 4
# Of the cube of all colours, over which a transform is kept near the plain one.
CUBE = np.stack(np.meshgrid(*[np.linspace(0, 1, 13)] * 3, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class ColorTransform:
    """`x + terms(x) @ coefficients`, clipped to [0, 1].

    Attributes:
        terms: the functions of a colour, and perhaps a place, that it is a sum of.
        coefficients: `(len(terms), 3)`, float32.
    """

    terms: Terms
    coefficients: Array

    def __post_init__(self) -> None:
        """Check the shape and the values, for these may come from a file."""
        if self.coefficients.shape != (len(self.terms), 3) or not np.isfinite(self.coefficients).all():
            raise ValueError(
                f"expected finite coefficients ({len(self.terms)}, 3) for {self.terms}, got {self.coefficients.shape}"
            )

    @property
    def is_map(self) -> bool:
        """Whether a colour alone decides what becomes of it, as in a LUT, wherever it is."""
        return not self.terms.place and not self.looks_around

    @property
    def looks_around(self) -> bool:
        """Whether what is around a pixel counts, so that `rows` needs the picture itself and not its shape alone."""
        return bool(self.terms.radii)

    def __call__(self, image: Array, weight: float = 1.0) -> Array:
        """`x + weight (T(x) - x)` for a picture `(h, w, 3)` in [0, 1], as float32 in [0, 1]; 24 megapixels in 1-2 s.

        A negative weight turns round: what the transform would do, the other way, from each colour. That is the same
        rule as for an editor's guidance, it is continuous at 0, and it needs no inverse, which most edits do not have:
        black and white, turned round, is twice the colour. For a slight transform it is the inverse to first order.
        """
        check_image("image", image)
        return by_rows(image, self.rows(image, weight))

    def rows(self, picture: npt.NDArray[Any], weight: float = 1.0) -> Rows:
        """The same for the rows of this picture, to be put together with others in one `by_rows`."""
        change = self.terms.evaluator(self.coefficients, picture)

        def evaluate(colors: Array, start: int, stop: int) -> Array:
            colors = np.clip(colors, 0, 1)
            target = np.clip(colors + change(colors, start, stop), 0, 1)
            return target if weight == 1 else np.clip(colors + np.float32(weight) * (target - colors), 0, 1)

        return evaluate


@dataclass(frozen=True, eq=False)
class Samples:
    """Squares of `SQUARE` x `SQUARE` pixels of the pairs, drawn at random, one square after the other.

    Attributes:
        before: `(n, 3)` in [0, 1].
        after: `(n, 3)` in [0, 1].
        folds: `(n,)`: the pair where these are several, else a quarter of the picture, scattered in blocks.
        places: for each of `PLACES`, `(n,)`.
        picked: for each pair, which of its pixels these are, counted row by row.
        soft: for each radius that was asked for, blurred colours less the colours, `(n, 3)`.
    """

    before: Array
    after: Array
    folds: Integers
    places: dict[str, Array]
    picked: list[Integers]
    soft: dict[float, Array]


def draw_samples(
    pairs: Sequence[tuple[Array, Array]],
    valid: Sequence[Mask] | None = None,
    count: int = SAMPLES,
    radii: Sequence[float] = (),
) -> Samples:
    """Squares of pairs `(before, after)`, both `(h, w, 3)`, and only those where all of `valid` `(h, w)` is true."""
    rng = np.random.default_rng(0)
    columns: list[tuple[Array | Integers, ...]] = []
    picked = []
    for number, (before, after) in enumerate(pairs):
        height, width, _ = before.shape
        down, across = height // SQUARE, width // SQUARE
        allowed = np.ones(down * across, bool)
        if valid is not None:
            inside = valid[number][: down * SQUARE, : across * SQUARE]
            allowed = inside.reshape(down, SQUARE, across, SQUARE).all((1, 3)).ravel()
        squares = rng.permutation(np.flatnonzero(allowed))[: max(1, count // SQUARE**2 // len(pairs))]
        row, column = squares // across, squares % across
        blocks = column * BLOCKS // across + 2 * (row * BLOCKS // down)
        folds = (blocks % FOLDS if len(pairs) == 1 else np.full(len(squares), number)).repeat(SQUARE**2)
        within = np.arange(SQUARE)[:, None] * width + np.arange(SQUARE)
        index = ((row * width + column)[:, None] * SQUARE + within.ravel()).ravel()
        places = [place(name, height, width).reshape(-1)[index] for name in PLACES]
        columns.append((before.reshape(-1, 3)[index], after.reshape(-1, 3)[index], folds, *places))
        picked.append(index)
    before, after, folds, *places = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    named = dict(zip(PLACES, places, strict=True))
    soft = {
        radius: np.concatenate(
            [softened(image, radius)(0, len(image))[:, at].T for (image, _), at in zip(pairs, picked, strict=True)]
        )
        - before
        for radius in radii
    }
    return Samples(before.astype(np.float64), after.astype(np.float64), folds, named, picked, soft)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A transform, and what it got wrong of samples on which it was not fitted.

    Attributes:
        transform: fitted to all samples.
        wrong: `(n, 3)`, each fold of the picture left out in turn.
        risk: mean square of what is wrong on another photo: of `wrong` and, for the share `UNSEEN`, of what was wrong
            with colours that were left out.
    """

    transform: ColorTransform
    wrong: Array
    risk: float

    @property
    def error(self) -> float:
        """Mean square of what was wrong."""
        return float(np.square(self.wrong).mean())


def fit_color(samples: Samples, candidates: Sequence[Terms] = COLOR_TERMS) -> Fitted:
    """The stiffest transform among the candidates, ordered so, that nothing more supple beats by `GAIN`."""
    best = _fit(samples, candidates[0])
    for terms in candidates[1:]:
        if best.error < ROUNDING:
            break
        found = _fit(samples, terms)
        if found.risk < best.risk * (1 - GAIN):
            best = found
    return best


def penalty(terms: Terms) -> Array:
    """What a transform costs: a quadratic form of its coefficients, `(len(terms), len(terms))`.

    The mean square of the change over the cube of all colours, of which the affine part counts little. Where the pair
    has no colours nothing but this holds a transform: a ridge in the values over the whole cube, instead of in the
    coefficients, keeps every kind of term near an affine transform there. Curves pay for their bends as well.
    """
    cost = np.zeros((len(terms), len(terms)))
    plain = Terms(terms.degree, terms.axes, terms.knots)
    values = plain.matrix(CUBE)
    affine = values[:, :4]
    bent = values - affine @ np.linalg.lstsq(affine, values, rcond=None)[0]
    cost[: len(plain), : len(plain)] = (bent.T @ bent + 1e-3 * values.T @ values) / len(CUBE)
    for start in range(terms.curves_at, terms.around_at, max(1, terms.knots)):
        here = slice(start, start + terms.knots)
        cost[here, here] += _bends(terms.knots)
    local = 1e-2 * np.eye(terms.local)
    local[:4, :4] = affine.T @ affine / len(CUBE)
    cost[terms.around_at : terms.place_at, terms.around_at : terms.place_at] = local[4:, 4:]
    if terms.place:
        knots = terms.place_knots
        along = _bends(knots) + 1e-2 * np.eye(knots) / knots
        cost[terms.place_at :, terms.place_at :] = np.kron(along, local)
    return cost + 1e-7 * np.eye(len(terms))


def _bends(knots: int) -> Array:
    second = np.diff(np.eye(knots), 2, axis=0)
    return second.T @ second / knots


def _fit(samples: Samples, terms: Terms) -> Fitted:
    around = np.concatenate([samples.soft[radius] for radius in terms.radii], 1) if terms.radii else None
    features = terms.matrix(samples.before, samples.places.get(terms.place), around)
    partitions = [samples.folds]
    if not terms.place:
        # Quarters by how warm the colours are: left out, they show what becomes of colours that a pair does not have.
        warm = samples.before @ (1.0, 0.0, -1.0)
        partitions.append(np.searchsorted(np.quantile(warm, (0.25, 0.5, 0.75)), warm))
    coefficients, wrong, risk = ridge(features, samples.before, samples.after, penalty(terms), partitions)
    return Fitted(ColorTransform(terms, coefficients.astype(np.float32)), wrong, risk)


def ridge(
    features: Array, before: Array, after: Array, cost: Array, partitions: Sequence[Integers]
) -> tuple[Array, Array, float]:
    """Ridge regression of what is to be added to `before`, its strength by cross-validation.

    Of `STRENGTHS`, from the strongest, it is the one that no weaker beats by `GAIN`. The search ends where three weaker
    ones in a row have not.

    Args:
        features: `(n, p)`.
        before: `(n, 3)`; the sum with what is added is clipped to [0, 1].
        after: `(n, 3)`.
        cost: `(p, p)`, a quadratic form of the coefficients.
        partitions: folds `(n,)` of the picture and, perhaps, of colours.

    Returns:
        coefficients `(p, 3)`, and `wrong` and `risk` as of `Fitted`.
    """
    change = after - before
    parts = [[folds == fold for fold in np.unique(folds)] for folds in partitions if folds.min() < folds.max()]
    moments = [[(features[part].T @ features[part], features[part].T @ change[part]) for part in p] for p in parts]
    gram, cross = (sum(matrices) for matrices in zip(*moments[0], strict=True))

    def wrong(strength: float, partition: int) -> Array:
        left = np.empty_like(change)
        for part, (g, c) in zip(parts[partition], moments[partition], strict=True):
            count = len(change) - part.sum()
            without = np.linalg.solve((gram - g) / count + strength * cost, (cross - c) / count)
            left[part] = np.clip(before[part] + features[part] @ without, 0, 1) - after[part]
        return left

    residuals: Array = change
    strength, least, since = 0.0, np.inf, 0
    for weaker in STRENGTHS:
        left, *unseen = (wrong(weaker, partition) for partition in range(len(parts)))
        risk = float(np.average([np.square(e).mean() for e in (left, *unseen)], weights=[1, *[UNSEEN] * len(unseen)]))
        if risk < least * (1 - GAIN):
            strength, least, residuals, since = weaker, risk, left, 0
        elif (since := since + 1) == 3:
            break
    return np.linalg.solve(gram / len(change) + strength * cost, cross / len(change)), residuals, least
