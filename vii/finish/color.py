"""A colour transform: what becomes of each colour, and perhaps how that varies with its place in the picture.

It needs no editor and no torch. Fitted to pairs by ridge regression whose terms and strength are chosen by
cross-validation; applied to photos of any size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .terms import PLACES, Terms, place
from .tiles import Array, Integers, Mask, Rows, by_rows, check_image

CHANNELS = ("red", "green", "blue")
# From the stiffest to the most supple; the last has curves fine enough for the steps of a posterized picture.
COLOR_TERMS = (
    Terms(1),
    Terms(2),
    Terms(3),
    Terms(4),
    Terms(1, ("luma 601",), 33),
    Terms(1, ("luma 709",), 33),
    Terms(2, CHANNELS, 17),
    Terms(3, (*CHANNELS, "luma 601"), 33),
)
STRENGTHS = tuple(10.0**e for e in range(-1, -8, -1))
# What is more supple, or weaker, is preferred only where it takes this share of the squared error away.
GAIN = 0.1
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
        return not self.terms.place

    def __call__(self, image: Array, weight: float = 1.0) -> Array:
        """`x + weight (T(x) - x)` for a picture `(h, w, 3)` in [0, 1], as float32 in [0, 1]; 24 megapixels in 1-2 s.

        A negative weight turns round: what the transform would do, the other way, from each colour. That is the same
        rule as for an editor's guidance, it is continuous at 0, and it needs no inverse, which most edits do not have:
        black and white, turned round, is twice the colour. For a slight transform it is the inverse to first order.
        """
        check_image("image", image)
        return by_rows(image, self.rows(image.shape[0], image.shape[1], weight))

    def rows(self, height: int, width: int, weight: float = 1.0) -> Rows:
        """The same for the rows of a picture of this size, to be put together with others in one `by_rows`."""
        change = self.terms.evaluator(self.coefficients, height, width)

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
    """

    before: Array
    after: Array
    folds: Integers
    places: dict[str, Array]
    picked: list[Integers]


def draw_samples(
    pairs: Sequence[tuple[Array, Array]], valid: Sequence[Mask] | None = None, count: int = SAMPLES
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
    return Samples(before.astype(np.float64), after.astype(np.float64), folds, named, picked)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A transform, and what it got wrong `(n, 3)` of samples on which it was not fitted: each fold left out in turn."""

    transform: ColorTransform
    wrong: Array

    @property
    def error(self) -> float:
        """Mean square of what was wrong."""
        return float(np.square(self.wrong).mean())


def fit_color(samples: Samples, candidates: Sequence[Terms] = COLOR_TERMS) -> Fitted:
    """The stiffest transform among the candidates, ordered so, that nothing more supple beats by `GAIN`."""
    best = _fit(samples, candidates[0])
    for terms in candidates[1:]:
        found = _fit(samples, terms)
        if found.error < best.error * (1 - GAIN):
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
    for start in range(terms.curves_at, terms.place_at, max(1, terms.knots)):
        here = slice(start, start + terms.knots)
        cost[here, here] += _bends(terms.knots)
    if terms.place:
        knots = terms.place_knots
        along = _bends(knots) + 1e-2 * np.eye(knots) / knots
        cost[terms.place_at :, terms.place_at :] = np.kron(along, affine.T @ affine / len(CUBE))
    return cost + 1e-7 * np.eye(len(terms))


def _bends(knots: int) -> Array:
    second = np.diff(np.eye(knots), 2, axis=0)
    return second.T @ second / knots


def _fit(samples: Samples, terms: Terms) -> Fitted:
    features = terms.matrix(samples.before, samples.places.get(terms.place))
    change, cost = samples.after - samples.before, penalty(terms)
    parts = [samples.folds == fold for fold in np.unique(samples.folds)]
    split = [features[part] for part in parts]
    grams = [rows.T @ rows for rows in split]
    crosses = [rows.T @ change[part] for rows, part in zip(split, parts, strict=True)]
    counts = [int(part.sum()) for part in parts]
    gram, cross, count = sum(grams), sum(crosses), sum(counts)

    def wrong(strength: float) -> Array:
        left = np.empty_like(change)
        for part, rows, g, c, n in zip(parts, split, grams, crosses, counts, strict=True):
            without = np.linalg.solve((gram - g) / (count - n) + strength * cost, (cross - c) / (count - n))
            left[part] = np.clip(samples.before[part] + rows @ without, 0, 1) - samples.after[part]
        return left

    strength, residuals = weakest_worth_it(wrong)
    coefficients = np.linalg.solve(gram / count + strength * cost, cross / count)
    return Fitted(ColorTransform(terms, coefficients.astype(np.float32)), residuals)


def weakest_worth_it(wrong: Callable[[float], Array]) -> tuple[float, Array]:
    """Of `STRENGTHS`, from the strongest, the one that no weaker beats by `GAIN`, and what is wrong with it.

    The search ends where three weaker ones in a row have not.
    """
    strength, best, since = STRENGTHS[0], wrong(STRENGTHS[0]), 0
    for weaker in STRENGTHS[1:]:
        found = wrong(weaker)
        if np.square(found).mean() < np.square(best).mean() * (1 - GAIN):
            strength, best, since = weaker, found, 0
        elif (since := since + 1) == 3:
            break
    return strength, best
