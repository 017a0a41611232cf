"""Statistics of scores: means with their spread over seeds, paired differences, and how `explained` correlates."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import spearmanr, wilcoxon

from .methods import COLOR_MAP, NO_EDIT, TOKENS
from .metric_table import BENCHMARK, COST
from .scores import Score

GROUPS: Mapping[str, Callable[[Score], bool]] = {
    "describable": lambda score: score.describable,
    "indescribable": lambda score: not score.describable,
    "all": lambda score: True,
}
# In dB: what an edit may be below the better of its parts, and what rounding alone makes of a difference.
SHORT, ROUNDING = 0.3, 0.05
# Those metrics that say how good a result is, and not what it cost.
QUALITY = [metric for metric in BENCHMARK if metric.network != COST]


@dataclass(frozen=True)
class Mean:
    """A mean over the seeds' means over edits, its standard deviation over the seeds, and how many edits have it."""

    mean: float
    spread: float | None
    edits: int


def mean_of(scores: Sequence[Score], metric: str) -> Mean | None:
    """Mean of a metric over those scores that have it, of photos within their task first; None where none has."""
    known: dict[int, dict[str, list[float]]] = {}
    for score in scores:
        if (value := score.values.get(metric)) is not None:
            known.setdefault(score.seed, {}).setdefault(score.task, []).append(float(value))
    if not known:
        return None
    means = [fmean(map(fmean, tasks.values())) for tasks in known.values()]
    spread = stdev(means) if len(means) > 1 else None
    return Mean(fmean(means), spread, len({task for tasks in known.values() for task in tasks}))


def conclusions(scores: Sequence[Score]) -> dict[str, Any]:
    """All conclusions, ready for JSON.

    `compared` is the last method of the run. `against` it holds every other one: on how many edits the compared
    method's PSNR, mean over seeds, is at least as good, by how many dB it is better in each group, and the difference
    in every metric of quality, over the edits that both have: see `_difference`; of each metric the p values of all
    methods are corrected together: see `holm`. `as_good_as` holds for every other
    method that learns how soon the compared one is as good: see `_overtakes`. `explained` holds, for each method that
    learns, Spearman's rank correlation over the n edits of `explained` with the gain in PSNR over no edit, and its p
    value; None for fewer than three edits, or where all of one side are the same. `parts`: see `_parts`.
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
            method: _gain_predicted(own, by_method.get(NO_EDIT, []))
            for method, own in by_method.items()
            if any(score.values.get("explained") is not None for score in own)
        },
        "parts": _parts(by_method, compared),
    }


def _against(own: Sequence[Score], other: Sequence[Score]) -> dict[str, Any]:
    margins = _margins(own, other, "psnr")
    groups = {group: {score.task for score in own if chosen(score)} for group, chosen in GROUPS.items()}
    found = {group: [margin for task, margin in margins.items() if task in tasks] for group, tasks in groups.items()}
    return {
        "edits": len(margins),
        "at_least_as_good": sum(margin >= 0 for margin in margins.values()),
        "db_better": {group: fmean(values) if values else None for group, values in found.items()},
        "difference": {m.name: _difference([*_margins(own, other, m.name).values()]) for m in QUALITY},
    }


def _difference(margins: Sequence[float]) -> dict[str, Any]:
    """How much larger a metric is, from how much larger it is on each edit that both methods have it of.

    `mean`: None for no edit. `standard_error` over the edits: None for fewer than two. `p` of Wilcoxon's signed-rank
    test, two-sided: None for fewer than six, with which it could not be below 0.03, and where there is no difference;
    `p_holm` is set by `conclusions`, which knows of the other comparisons.
    """
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
    finals = {(score.task, score.seed): score for score in other}
    curves = [score.curve for score in own if (score.task, score.seed) in finals]
    met = [finals[score.task, score.seed] for score in own if (score.task, score.seed) in finals]
    if not met:
        return {"psnr": None, "seconds": None, "reached": None, "ratio": None}
    goal, seconds = fmean(score.values["psnr"] for score in met), fmean(score.values["learn_seconds"] for score in met)
    reached = None
    for moment in range(max(map(len, curves))):
        # A run that has ended early stays what it was.
        points = [curve[min(moment, len(curve) - 1)] for curve in curves]
        if fmean(point.psnr for point in points) >= goal:
            reached = fmean(point.seconds for point in points)
            break
    return {"psnr": goal, "seconds": seconds, "reached": reached, "ratio": seconds / reached if reached else None}


def _parts(by_method: Mapping[str, Sequence[Score]], compared: str) -> dict[str, Any] | None:
    """How an edit of tokens and finish stands to its parts alone: tokens, scaled up, and a colour map of the pair.

    PSNR at the photos' own size where that is known, means over seeds. `edits` have all three; on
    `as_good_as_the_better` of them the compared method reaches the better part less `SHORT`, and `short` says by how
    much the others miss that part. `over_tokens` and `over_color_map` are means over the edits; `worse_than_tokens`
    holds, below 0, those that the finish made worse by more than `ROUNDING`. None without both parts.
    """
    if not {TOKENS, COLOR_MAP} <= set(by_method) - {compared}:
        return None
    own, tokens, colors = by_method[compared], by_method[TOKENS], by_method[COLOR_MAP]
    metric = "full_psnr" if any(score.values.get("full_psnr") is not None for score in own) else "psnr"
    over_tokens, over_colors = _margins(own, tokens, metric), _margins(own, colors, metric)
    over_better = {task: min(margin, over_colors[task]) for task, margin in over_tokens.items() if task in over_colors}
    return {
        "metric": metric,
        "edits": len(over_better),
        "as_good_as_the_better": sum(margin >= -SHORT for margin in over_better.values()),
        "short": {task: margin for task, margin in over_better.items() if margin < -SHORT},
        "over_tokens": fmean(over_tokens.values()) if over_tokens else None,
        "over_color_map": fmean(over_colors.values()) if over_colors else None,
        "worse_than_tokens": {task: margin for task, margin in over_tokens.items() if margin < -ROUNDING},
    }


def _gain_predicted(own: Sequence[Score], unedited: Sequence[Score]) -> dict[str, Any]:
    gains, explained = _margins(own, unedited, "psnr"), _over_seeds(own, "explained")
    pairs = [(explained[task], gain) for task, gain in gains.items() if task in explained]
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return {"rank_correlation": None, "p": None, "n": len(pairs)}
    correlation, p = spearmanr(*zip(*pairs, strict=True))
    return {"rank_correlation": float(correlation), "p": float(p), "n": len(pairs)}


def _margins(own: Sequence[Score], other: Sequence[Score], metric: str) -> dict[str, float]:
    """How much larger a metric is on each task that both have it of, means over seeds."""
    ours, theirs = _over_seeds(own, metric), _over_seeds(other, metric)
    return {task: ours[task] - theirs[task] for task in ours if task in theirs}


def _over_seeds(scores: Sequence[Score], metric: str) -> dict[str, float]:
    """Mean of each task over its seeds, of those that have the metric under every one."""
    values: dict[str, list[Any]] = {}
    for score in scores:
        values.setdefault(score.task, []).append(score.values.get(metric))
    return {task: fmean(found) for task, found in values.items() if None not in found}


def unique(names: Iterable[str]) -> list[str]:
    """Each once, in the order in which they come."""
    return list(dict.fromkeys(names))
