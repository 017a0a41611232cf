"""What scores say: means with their spread over seeds, who beats whom, and whether `explained` foretells it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from .methods import NO_EDIT
from .metric_table import BENCHMARK, COST
from .scores import Score

GROUPS: Mapping[str, Callable[[Score], bool]] = {
    "describable": lambda score: score.describable,
    "indescribable": lambda score: not score.describable,
    "all": lambda score: True,
}
# Those metrics that say how good a result is, and not what it cost.
QUALITY = [metric for metric in BENCHMARK if metric.network != COST]


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


def conclusions(scores: Sequence[Score]) -> dict[str, Any]:
    """All conclusions, ready for JSON.

    `compared` is the last method of the run. `against` it holds every other one: on how many edits the compared
    method's PSNR, mean over seeds, is at least as good, by how many dB it is better in each group, and the difference
    in every metric of quality, over the edits that both have: see `_difference`; of each metric the p values of all
    methods are corrected together: see `holm`. `as_good_as` holds for every other
    method that learns how soon the compared one is as good: see `_overtakes`. `explained` holds, for each method that
    learns, Spearman's rank correlation over the n edits of `explained` with the gain in PSNR over no edit, and its p
    value; None for fewer than three edits, or where all of one side are the same.
    """
    methods = unique(score.method for score in scores)
    by_method = {method: [score for score in scores if score.method == method] for method in methods}
    compared = methods[-1]
    against = {other: _against(by_method[compared], by_method[other]) for other in methods if other != compared}
    for metric in QUALITY:
        found = [row["difference"][metric.name] for row in against.values()]
        for difference, p in zip(found, holm([difference["p"] for difference in found]), strict=True):
            difference["p_holm"] = p
    return {
        "means": {
            method: {
                group: {
                    metric.name: asdict(mean) if (mean := mean_of(list(filter(chosen, own)), metric.name)) else None
                    for metric in BENCHMARK
                }
                for group, chosen in GROUPS.items()
            }
            for method, own in by_method.items()
        },
        "compared": compared,
        "against": against,
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
    ours, theirs = _over_seeds(own, "psnr"), _over_seeds(other, "psnr")
    groups = {group: {score.edit for score in own if chosen(score)} for group, chosen in GROUPS.items()}
    margins = {edit: ours[edit] - theirs[edit] for edit in ours if edit in theirs}
    halves = {group: [margins[edit] for edit in margins if edit in edits] for group, edits in groups.items()}
    return {
        "edits": len(margins),
        "at_least_as_good": sum(margin >= 0 for margin in margins.values()),
        "db_better": {group: fmean(values) if values else None for group, values in halves.items()},
        "difference": {metric.name: _difference(own, other, metric.name) for metric in QUALITY},
    }


def _difference(own: Sequence[Score], other: Sequence[Score], field: str) -> dict[str, Any]:
    """How much larger a figure is, edit by edit and each edit's mean over seeds, over the `edits` that both have it of.

    `mean`: None for no edit. `standard_error` over the edits: None for fewer than two. `p` of Wilcoxon's signed-rank
    test, two-sided: None for fewer than six, with which it could not be below 0.03, and where there is no difference;
    `p_holm` is set by `conclusions`, which knows of the other comparisons.
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


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for that many comparisons (Holm 1979); those that are None are no comparison.

    Of m values in rising order the k-th, counted from 0, is multiplied by m - k; none is less than those before it,
    nor more than 1.
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for k, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - k)))
        corrected[index] = highest
    return corrected


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
    edits = unique(score.edit for score in scores)
    values = {edit: [getattr(s, field) for s in scores if s.edit == edit] for edit in edits}
    return {edit: fmean(found) for edit, found in values.items() if None not in found}


def unique(names: Iterable[str]) -> list[str]:
    """Each once, in the order in which they come."""
    return list(dict.fromkeys(names))
