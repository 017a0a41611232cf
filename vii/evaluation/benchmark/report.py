"""What the scores say: means with their spread over seeds, who beats whom, and whether `explained` foretells it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from .methods import NO_EDIT
from .scores import Score

GROUPS: Mapping[str, Callable[[Score], bool]] = {
    "said": lambda score: score.said,
    "unsaid": lambda score: not score.said,
    "all": lambda score: True,
}


@dataclass(frozen=True)
class Measure:
    """A figure of a `Score`: its field, its name in tables, its decimals, and what it means where that is not plain."""

    field: str
    label: str
    digits: int
    meaning: str = ""


MEASURES = (
    Measure("psnr", "PSNR to the truth, dB", 2, "more is better; 100 at most, where the pictures are the same"),
    Measure("ssim", "SSIM to the truth", 3, "more is better, 1 at most"),
    Measure(
        "direction",
        "CLIP edit direction",
        3,
        "image to image: cosine, in the editor's own CLIP, between the change from photo to result and from photo to "
        "truth; 1 at most, 0 for no change",
    ),
    Measure(
        "preserved",
        "preserved, dB",
        2,
        "PSNR to the photo on the pixels that the truth leaves as they are, over photos where these are 5 % or more",
    ),
    Measure(
        "leakage",
        "leakage",
        3,
        "share of the result's fine structure that is the example's content; about 0 for none, 0.15 where a tenth of "
        "the example was blended in",
    ),
    Measure("learn_seconds", "seconds of learning", 1),
    Measure("apply_seconds", "seconds a photo", 2),
    Measure("samples", "samples", 0, "images through the UNet while learning"),
    Measure("kilobytes", "kilobytes", 1, "of the edit file"),
    Measure("explained", "explained", 3, "share of the loss without an instruction that learning takes away"),
)
PSNR = MEASURES[0]
# Those that say how good a result is, and not what it cost.
QUALITY = MEASURES[:5]
# What a cell holds where there is no figure.
NOTHING = "-"


@dataclass(frozen=True)
class Mean:
    """A mean over edits and seeds.

    Attributes:
        mean: over the seeds' means over edits.
        spread: standard deviation of the seeds' means; None for one seed.
        edits: how many have this figure.
    """

    mean: float
    spread: float | None
    edits: int


def mean_of(scores: Sequence[Score], field: str) -> Mean | None:
    """Mean of a figure over those scores that have it; None where none has."""
    values = {(score.seed, score.edit): getattr(score, field) for score in scores}
    known = {place: float(value) for place, value in values.items() if value is not None}
    if not known:
        return None
    seeds = dict.fromkeys(seed for seed, _ in known)
    means = [fmean(value for (other, _), value in known.items() if other == seed) for seed in seeds]
    return Mean(fmean(means), stdev(means) if len(means) > 1 else None, len({edit for _, edit in known}))


def report(scores: Sequence[Score]) -> dict[str, Any]:
    """All conclusions, ready for JSON.

    `compared` is the last method of the run. `against` it holds every other one: on how many edits the compared
    method's PSNR, mean over seeds, is at least as good, by how many dB it is better in each group, and the difference
    in every measure of quality; over the edits that both have: see `_difference`. `as_good_as` holds for every other
    method that learns how soon the compared one is as good: see `_overtakes`. `explained` holds, for each method that
    learns, Spearman's rank correlation over the n edits of `explained` with the gain in PSNR over no edit, and its p
    value; None for fewer than three edits, or where all of one side are the same.
    """
    methods = _unique(score.method for score in scores)
    by_method = {method: [score for score in scores if score.method == method] for method in methods}
    compared = methods[-1]
    return {
        "means": {
            method: {
                group: {
                    measure.field: asdict(mean) if (mean := mean_of(list(filter(chosen, own)), measure.field)) else None
                    for measure in MEASURES
                }
                for group, chosen in GROUPS.items()
            }
            for method, own in by_method.items()
        },
        "compared": compared,
        "against": {other: _against(by_method[compared], by_method[other]) for other in methods if other != compared},
        "as_good_as": {
            other: _overtakes(by_method[compared], by_method[other])
            for other in methods
            if other != compared and all(score.curve for score in by_method[compared] + by_method[other])
        },
        "explained": {
            method: _foretold(own, by_method.get(NO_EDIT, []))
            for method, own in by_method.items()
            if any(score.explained is not None for score in own)
        },
    }


def _against(own: Sequence[Score], other: Sequence[Score]) -> dict[str, Any]:
    said = {score.edit: score.said for score in own}
    ours, theirs = _over_seeds(own, "psnr"), _over_seeds(other, "psnr")
    margins = {edit: ours[edit] - theirs[edit] for edit in ours if edit in theirs}
    halves = {
        "said": [margin for edit, margin in margins.items() if said[edit]],
        "unsaid": [margin for edit, margin in margins.items() if not said[edit]],
        "all": list(margins.values()),
    }
    return {
        "edits": len(margins),
        "at_least_as_good": sum(margin >= 0 for margin in margins.values()),
        "db_better": {group: fmean(values) if values else None for group, values in halves.items()},
        "difference": {measure.field: _difference(own, other, measure.field) for measure in QUALITY},
    }


def _difference(own: Sequence[Score], other: Sequence[Score], field: str) -> dict[str, Any]:
    """How much larger a figure is, edit by edit and each edit's mean over seeds, over the `edits` that both have it of.

    `mean`: None for no edit. `standard_error` over the edits: None for fewer than two. `p` of Wilcoxon's signed-rank
    test, two-sided: None for fewer than six, with which it could not be below 0.03, and where there is no difference.
    """
    from scipy.stats import wilcoxon

    ours, theirs = _over_seeds(own, field), _over_seeds(other, field)
    margins = [ours[edit] - theirs[edit] for edit in ours if edit in theirs]
    n = len(margins)
    return {
        "mean": fmean(margins) if n else None,
        "standard_error": stdev(margins) / math.sqrt(n) if n > 1 else None,
        "p": float(wilcoxon(margins).pvalue) if n > 5 and any(margins) else None,
        "edits": n,
    }


def _overtakes(own: Sequence[Score], other: Sequence[Score]) -> dict[str, Any]:
    """The first moment at which the mean PSNR of one method reaches the final mean PSNR of another.

    Over the edits and seeds that both have: `psnr` and `seconds` of the other method when it has finished, `reached`,
    the mean seconds of the compared one at that moment, None where it never gets there, and `ratio` of the two.
    """
    finals = {(score.edit, score.seed): score for score in other}
    curves = [score.curve for score in own if (score.edit, score.seed) in finals]
    met = [finals[score.edit, score.seed] for score in own if (score.edit, score.seed) in finals]
    if not met:
        return {"psnr": None, "seconds": None, "reached": None, "ratio": None}
    goal, seconds = fmean(score.psnr for score in met), fmean(score.learn_seconds for score in met)
    reached = None
    for moment in range(max(map(len, curves))):
        # A run that has ended early stays what it was.
        points = [curve[min(moment, len(curve) - 1)] for curve in curves]
        if fmean(point.psnr for point in points) >= goal:
            reached = fmean(point.seconds for point in points)
            break
    return {"psnr": goal, "seconds": seconds, "reached": reached, "ratio": seconds / reached if reached else None}


def _foretold(own: Sequence[Score], unedited: Sequence[Score]) -> dict[str, Any]:
    from scipy.stats import spearmanr

    explained, quality, start = _over_seeds(own, "explained"), _over_seeds(own, "psnr"), _over_seeds(unedited, "psnr")
    edits = [edit for edit in explained if edit in start]
    told, gain = [explained[edit] for edit in edits], [quality[edit] - start[edit] for edit in edits]
    if len(edits) < 3 or len(set(told)) < 2 or len(set(gain)) < 2:
        return {"rank_correlation": None, "p": None, "n": len(edits)}
    correlation, p = spearmanr(told, gain)
    return {"rank_correlation": float(correlation), "p": float(p), "n": len(edits)}


def _over_seeds(scores: Sequence[Score], field: str) -> dict[str, float]:
    """Mean of each edit over its seeds."""
    edits = _unique(score.edit for score in scores)
    values = {edit: [getattr(s, field) for s in scores if s.edit == edit] for edit in edits}
    return {edit: fmean(found) for edit, found in values.items() if None not in found}


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of each row is its heading."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as Markdown, columns aligned for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(4, *(len(line[column]) for line in lines)) for column in range(len(self.header))]

        def line(cells: Sequence[str]) -> str:
            first, *others = (
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return f"| {' | '.join([first, *others])} |"

        rule = "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths))
        return "\n".join([f"**{self.caption}**", "", line(self.header), f"|{rule}|", *map(line, self.rows)])


def tables(scores: Sequence[Score]) -> list[Table]:
    """The scores and the report as tables."""
    found = report(scores)
    methods, seeds = list(found["means"]), len({score.seed for score in scores})
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    edits = _unique(score.edit for score in scores)
    forms = {"psnr": ".2f", "seconds": ".1f", "reached": ".1f", "ratio": ".1f"}

    def cell(edit: str, method: str) -> str:
        chosen = [score for score in scores if score.edit == edit and score.method == method]
        return _text(mean_of(chosen, "psnr"), 2)

    def group_row(group: str, measure: Measure, label: str) -> list[str]:
        means = [found["means"][method][group][measure.field] for method in methods]
        return [label, *(_text(Mean(**mean) if mean else None, measure.digits) for mean in means)]

    by_edit = [[edit, *(cell(edit, method) for method in methods)] for edit in edits]
    by_edit += [group_row(group, PSNR, f"mean, {group}") for group in GROUPS]
    return [
        Table(f"PSNR to the truth, dB; {over}", ["edit", *methods], by_edit),
        Table(
            f"All measures, mean over all edits; {over}",
            ["measure", *methods],
            [group_row("all", measure, measure.label) for measure in MEASURES],
        ),
        Table(
            f"{found['compared']} against the others, PSNR",
            ["method", "edits at least as good", "dB better, said", "dB better, unsaid", "dB better, all"],
            [
                [
                    other,
                    f"{row['at_least_as_good']} of {row['edits']}"
                    + (f" ({row['at_least_as_good'] / row['edits']:.0%})" if row["edits"] else ""),
                    *(_number(row["db_better"][group], "+.2f") for group in GROUPS),
                ]
                for other, row in found["against"].items()
            ],
        ),
        Table(
            f"{found['compared']} minus the others: mean over edits ± its standard error (p of Wilcoxon's test)",
            ["method", *(measure.label for measure in QUALITY)],
            [
                [other, *(_difference_text(row["difference"][measure.field], measure.digits) for measure in QUALITY)]
                for other, row in found["against"].items()
            ],
        ),
        Table(
            f"How soon is {found['compared']} as good as another recipe is in the end?",
            ["method", "its PSNR", "its seconds", f"seconds until {found['compared']} is as good", "ratio"],
            [
                [other, *(_number(row[field], form) for field, form in forms.items())]
                for other, row in found["as_good_as"].items()
            ],
        ),
        Table(
            "Does explained foretell the gain over no edit?",
            ["method", "rank correlation", "p", "edits"],
            [
                [method, _number(row["rank_correlation"], "+.2f"), _number(row["p"], ".3f"), str(row["n"])]
                for method, row in found["explained"].items()
            ],
        ),
    ]


def _text(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return NOTHING
    return f"{mean.mean:.{digits}f}" + (f" ± {mean.spread:.{digits}f}" if mean.spread is not None else "")


def _difference_text(found: Mapping[str, Any], digits: int) -> str:
    if found["mean"] is None:
        return NOTHING
    text = f"{found['mean']:+.{digits}f}"
    if found["standard_error"] is not None:
        text += f" ± {found['standard_error']:.{digits}f}"
    return text + (f" ({found['p']:.3f})" if found["p"] is not None else "")


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None or not math.isfinite(value) else format(value, form)


def _unique(names: Any) -> list[str]:
    return list(dict.fromkeys(names))
