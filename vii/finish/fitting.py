"""Which finish an edit needs: decided on its pairs, whose answer is known, by cross-validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .alignment import align
from .color import COLOR_TERMS, SQUARE, ColorTransform, Fitted, Samples, draw_samples, fit_color, ridge
from .detail import transfer, upsampled
from .finish import Finish
from .terms import PLACES, Terms
from .tiles import Array, Mask, check_image, scaled

# Pairs are compared at no more pixels than this.
MOST_PIXELS = 4_000_000
# Of detail transfer: without the residual, with the soft part of it, with all of it.
RESIDUALS = {"detail": None, "detail and soft residual": 1 / 32, "detail and residual": 0.0}
CORRECTED = "corrected detail"
# A few knots to find the place that counts, then as many as a frame's edge needs.
FEWEST_KNOTS, FEW_KNOTS, MANY_KNOTS = 17, 33, 129
# Of what is around a pixel: from what sharpens a photo to what is called clarity.
RADII = tuple(2.0**-e for e in range(10, 4, -1))
# In dB. What the pair says of the editor it says of every photo, for the editor has not seen the pair's answer; what is
# fitted to the pair fits other photos less well, the more so the worse it fits and the more it can express.
EXACT, EXACT_MARGIN = 35.0, -1.0
COLOR_OVER_EDITOR, PLACE_OVER_EDITOR = 7.0, 6.0
# In the means of small squares, over which cancels what JPEG adds to a pair.
EXACT_IN_SQUARES, SQUARES_OVER_EDITOR = 30.0, 1.5
CORRECTION_MARGIN, SHARPNESS_OVER_COLOR, PLACE_OVER_COLOR = 3.0, 3.0, 6.0
# What has got a pair right like this needs nothing else.
RIGHT = 50.0
MAX_DB = 100.0


@dataclass(frozen=True, eq=False)
class Example:
    """One pair and, unless the finish is to be a colour transform, what the editor made of its picture before.

    Attributes:
        before: `(h, w, 3)` in [0, 1].
        after: `(h, w, 3)` in [0, 1].
        seen: `(h', w', 3)` in [0, 1]: the picture before at the editor's size.
        made: `(h', w', 3)` in [0, 1]: what the editor made of it with the edit at weight 1.
    """

    before: Array
    after: Array
    seen: Array | None = None
    made: Array | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        for name in ("before", "after", "seen", "made"):
            if (image := getattr(self, name)) is not None:
                check_image(name, image)
        if self.before.shape != self.after.shape:
            raise ValueError(f"before and after must have one size, got {self.before.shape} and {self.after.shape}")
        editors = {image.shape if image is not None else None for image in (self.seen, self.made)}
        if len(editors) > 1:
            raise ValueError("seen and made belong together, and must have one size")


def fit_finish(examples: Sequence[Example]) -> Finish:
    """Choose and fit the finish of an edit.

    Every candidate is scored at the pairs' own size: what the editor made, scaled up; detail transfer without, with the
    soft part of and with all of its residual; the best of these with a linear correction; a colour transform; one that
    looks at what is around a pixel as well; and one that varies with the place. What is fitted to the pair is scored on
    parts left out: quarters scattered in blocks or, where there are several pairs, each pair in turn.

    The rule: the best of what the editor made, with its correction where that wins by `CORRECTION_MARGIN`. Instead of
    it a colour transform where that reaches `EXACT` and loses no more than a decibel, for it is exact and needs no
    editor, or beats the editor by `COLOR_OVER_EDITOR`; or where it loses no more than a decibel and, in the means of
    small squares, reaches `EXACT_IN_SQUARES` and beats the editor by `SQUARES_OVER_EDITOR`; the one that looks around a
    pixel where it beats the plain one by `SHARPNESS_OVER_COLOR` and the editor likewise. Instead of all these a
    transform that varies by place where it beats them by `PLACE_OVER_COLOR` and the editor by `PLACE_OVER_EDITOR`. A
    correction is fitted to the pair as well, so that it need only be reached; and `RIGHT` is enough always. Nothing is
    chosen that did worse on the pairs than the editor's result scaled up.

    Args:
        examples: one or more; all with, or all without, what an editor made of them.

    Raises:
        ValueError: no example, or only some of them with an editor's picture.
    """
    if not examples or len({example.made is None for example in examples}) > 1:
        raise ValueError("expected one or more examples, all with or all without what the editor made of them")
    laid, in_place = zip(*[_laid(example) for example in examples], strict=True)
    samples = draw_samples([(e.before, e.after) for e, _ in laid], [valid for _, valid in laid], radii=RADII)
    colors = {"color": fit_color(samples)}
    colors["color and sharpness"] = _fit_sharpness(samples, colors["color"])
    colors["color by place"] = _fit_place(samples, colors["color and sharpness"])
    wrong = {name: fitted.wrong for name, fitted in colors.items()}
    made = Finish("color", colors["color"].transform)
    if examples[0].made is not None:
        made, editors = _editors_best(laid, samples)
        wrong |= editors
    errors = {name: _db(values) for name, values in wrong.items()}
    # A correction that is not used is no rival.
    rivals = [
        name for name in wrong if not name.startswith("color") and (name != CORRECTED or made.correction is not None)
    ]
    finish, enough = made, _enough(errors, rivals, COLOR_OVER_EDITOR)
    sharp = errors["color and sharpness"] >= max(errors["color"] + SHARPNESS_OVER_COLOR, enough)
    name = "color and sharpness" if sharp else "color"
    if errors[name] >= errors.get("editor", -np.inf) and _color_wins(name, wrong, errors, rivals):
        finish = Finish("color", colors[name].transform)
    enough = _enough(errors, rivals, PLACE_OVER_EDITOR)
    if errors["color by place"] >= max(errors[name] + PLACE_OVER_COLOR, enough):
        finish = Finish("color", colors["color by place"].transform)
    if isinstance(finish.color, ColorTransform) and all(in_place):
        finish = replace(finish, color=_at_own_size(examples, finish.color))
    return replace(finish, errors=errors)


def _enough(errors: Mapping[str, float], rivals: Sequence[str], over_editor: float) -> float:
    """What a fit must reach on the pairs to be better than its rivals on other photos, as a rule."""
    best = max((errors[name] for name in rivals if name != CORRECTED), default=-np.inf)
    return max([min(RIGHT, best + over_editor), *(errors[name] for name in rivals if name == CORRECTED)])


def _color_wins(color: str, wrong: Mapping[str, Array], errors: Mapping[str, float], rivals: Sequence[str]) -> bool:
    close = errors[color] >= max((errors[name] for name in rivals), default=-np.inf) + EXACT_MARGIN
    if close if errors[color] >= EXACT else errors[color] >= _enough(errors, rivals, COLOR_OVER_EDITOR):
        return True
    coarse = {name: _db(_squares(wrong[name])) for name in (color, *rivals)}
    return close and coarse[color] >= max(EXACT_IN_SQUARES, _enough(coarse, rivals, SQUARES_OVER_EDITOR))


def _squares(values: Array) -> Array:
    """`(n, 3)` of samples -> the mean of each square, `(n / SQUARE^2, 3)`."""
    return values.reshape(-1, SQUARE**2, 3).mean(1)


def _laid(example: Example) -> tuple[tuple[Example, Mask], bool]:
    """The example at no more than `MOST_PIXELS`, after laid onto before, and where after is known, `(h, w)` bool; and
    whether it lay there already.
    """
    height, width, _ = example.before.shape
    share = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
    size = (max(1, round(height * share)), max(1, round(width * share)))
    before, after = (scaled(image, *size).clip(0, 1) for image in (example.before, example.after))
    after, valid, moved = align(before, after)
    return (replace(example, before=before, after=after), valid), moved == 0


def _at_own_size(examples: Sequence[Example], color: ColorTransform) -> ColorTransform:
    """The transform fitted to the pixels that the pairs have: scaled down they are mixed, and what becomes of a mixture
    is not the mixture of what became of its colours.
    """
    if all(example.before[..., 0].size <= MOST_PIXELS for example in examples):
        return color
    terms = color.terms
    samples = draw_samples([(example.before, example.after) for example in examples], radii=terms.radii)
    return fit_color(samples, [terms] if terms.place or terms.radii else COLOR_TERMS).transform


def _fit_sharpness(samples: Samples, color: Fitted) -> Fitted:
    """The transform with what is around a pixel at the radius that counts, and at its neighbours where these help."""
    if _db(color.wrong) >= RIGHT:
        return color
    one = min((fit_color(samples, [Terms(1, radii=(r,))]) for r in RADII), key=lambda fitted: fitted.error)
    (radius,) = one.transform.terms.radii
    near = tuple(r for r in RADII if radius / 2 <= r <= radius * 2)
    # Curves of each channel beside what is around a pixel fit one photo's colours, and throw another's about.
    stiff = (Terms(0), Terms(1), Terms(2), *(Terms(1, (axis,), 33) for axis in ("luma 601", "luma 709")))
    around = [replace(terms, radii=radii) for terms in stiff for radii in ((radius,), near)]
    return fit_color(samples, [color.transform.terms, *around])


def _fit_place(samples: Samples, color: Fitted) -> Fitted:
    """The best transform that varies by place; with more terms, and all knots, only where that may win."""
    plain = color.transform.terms
    radii: list[tuple[float, ...]] = [(r,) for r in RADII[2:]] if plain.radii else []
    scan = [
        Terms(1, place=place, place_knots=FEWEST_KNOTS if r else FEW_KNOTS, radii=r)
        for r in [(), *radii]
        for place in PLACES
    ]
    best = min((fit_color(samples, [terms]) for terms in scan), key=lambda fitted: fitted.error)
    if _db(best.wrong) < _db(color.wrong) + PLACE_OVER_COLOR / 2:
        return best
    found = best.transform.terms
    knots = FEW_KNOTS if found.radii else MANY_KNOTS
    finer = [
        replace(terms, place=found.place, place_knots=knots, radii=found.radii)
        for terms in (Terms(1), replace(plain, radii=()) if plain.axes else Terms(3))
    ]
    return min([best, *(fit_color(samples, [terms]) for terms in finer)], key=lambda fitted: fitted.error)


def _editors_best(laid: Sequence[tuple[Example, Mask]], samples: Samples) -> tuple[Finish, dict[str, Array]]:
    """The best of what needs an editor, and what each candidate got wrong of the samples, `(n, 3)`."""

    def wrong_with(image_of: Callable[[Array, Array, Array], Array]) -> Array:
        images = [image_of(e.before, e.seen, e.made) for e, _ in laid if e.seen is not None and e.made is not None]
        picked = [image.reshape(-1, 3)[at] for image, at in zip(images, samples.picked, strict=True)]
        return np.concatenate(picked) - samples.after

    wrong = {"editor": wrong_with(lambda before, seen, made: upsampled(before, made))}
    for name, residual in RESIDUALS.items():
        wrong[name] = wrong_with(partial(transfer, residual=residual))
    name = min(wrong, key=lambda name: float(np.square(wrong[name]).mean()))
    if name == "editor":
        return Finish("editor"), wrong
    result = samples.after + wrong[name]
    features = np.concatenate([np.ones((len(result), 1)), samples.before, result], 1)
    correction, corrected, _ = ridge(features, result, samples.after, np.eye(7), [samples.folds])
    wins = _db(corrected) >= _db(wrong[name]) + CORRECTION_MARGIN
    finish = Finish("detail", residual=RESIDUALS[name], correction=correction.astype(np.float32) if wins else None)
    return finish, wrong | {CORRECTED: corrected}


def _db(wrong: Array) -> float:
    return float(min(MAX_DB, -10 * np.log10(max(np.square(wrong).mean(), 1e-10))))
