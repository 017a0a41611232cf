"""What is written of a run: tables, JSON, CSV and contact sheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files import MARK
from ..images import load_image, spread
from ..rendering.sheets import contact_sheet
from ..strict import finite
from .methods import COLOR_MAP, TOKENS
from .metric_models import MetricModels
from .metric_table import BENCHMARK, FULL_PSNR, PAPER, PSNR, Metric
from .scores import Score
from .statistics import GROUPS, QUALITY, SHORT, Mean, conclusions, mean_of, unique
from .table import NOTHING, Table, number
from .tasks import Task

# Photos on one contact sheet.
SHOWN = 8


def benchmark_tables(scores: Sequence[Score]) -> list[Table]:
    """The scores of `vii bench`, and what `conclusions` draws from them, as tables."""
    found = conclusions(scores)
    compared, against, seeds = found["compared"], found["against"], len({score.seed for score in scores})
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    # The photos' own size is the editor's unless they were kept larger.
    full = any(score.values.get(FULL_PSNR.name) is not None for score in scores)
    metrics = [metric for metric in BENCHMARK if full or not metric.name.startswith("full_")]
    quality = [metric for metric in QUALITY if metric in metrics]
    comparisons = f", corrected for {len(against)} comparisons by Holm's method" if len(against) > 1 else ""

    def share(row: Mapping[str, Any]) -> str:
        part = f" ({row['at_least_as_good'] / row['edits']:.0%})" if row["edits"] else ""
        return f"{row['at_least_as_good']} of {row['edits']}{part}"

    return [
        *(_by_task(scores, metric, over) for metric in (PSNR, FULL_PSNR) if metric in metrics),
        *([_parts_table(compared, found["parts"])] if found["parts"] else []),
        means_table(scores, f"All measures, mean over all edits; {over}", metrics),
        Table(
            f"{compared} against the others, PSNR",
            ["method", "edits at least as good", *(f"dB better, {group}" for group in GROUPS)],
            [
                [other, share(row), *(number(row["db_better"][group], "+.2f") for group in GROUPS)]
                for other, row in against.items()
            ],
        ),
        Table(
            f"{compared} minus the others: mean over edits ± its standard error (p of Wilcoxon's test{comparisons})",
            ["method", *(metric.label for metric in quality)],
            [
                [other, *(_difference_text(row["difference"][metric.name], metric.digits) for metric in quality)]
                for other, row in against.items()
            ],
        ),
        Table(
            f"How soon is {compared} as good as another recipe is in the end?",
            ["method", "its PSNR", "its seconds", f"seconds until {compared} is as good", "ratio"],
            [
                [other, number(row["psnr"], ".2f"), *(number(row[f], ".1f") for f in ("seconds", "reached", "ratio"))]
                for other, row in found["as_good_as"].items()
            ],
        ),
        Table(
            "Does explained predict the gain over no edit?",
            ["method", "rank correlation", "p", "edits"],
            [
                [method, number(row["rank_correlation"], "+.2f"), number(row["p"], ".3f"), str(row["n"])]
                for method, row in found["explained"].items()
            ],
        ),
    ]


def _parts_table(compared: str, found: Mapping[str, Any]) -> Table:
    """What `statistics.conclusions` says of tokens, colours and both."""

    def named(margins: Mapping[str, float]) -> str:
        return ", ".join(f"{task} {margin:+.1f}" for task, margin in margins.items()) or "none"

    label = next(metric.label for metric in BENCHMARK if metric.name == found["metric"])
    better = f"edits as good as the better of {TOKENS} and {COLOR_MAP}, less {SHORT} dB"
    share = f" ({found['as_good_as_the_better'] / found['edits']:.0%})" if found["edits"] else ""
    return Table(
        f"{compared} against its parts alone; {label}",
        ["", compared],
        [
            [better, f"{found['as_good_as_the_better']} of {found['edits']}{share}"],
            ["below that", named(found["short"])],
            [f"dB better than {TOKENS}, scaled up; mean over edits", number(found["over_tokens"], "+.2f")],
            [f"dB better than {COLOR_MAP}; mean over edits", number(found["over_color_map"], "+.2f")],
            [f"edits worse than {TOKENS}, scaled up", named(found["worse_than_tokens"])],
        ],
    )


def means_table(scores: Sequence[Score], caption: str, metrics: Sequence[Metric]) -> Table:
    """Means by method, a metric a line."""
    methods = unique(score.method for score in scores)
    return Table(caption, ["measure", *methods], [[m.label, *_means(scores, methods, m)] for m in metrics])


def paper_table(scores: Sequence[Score]) -> Table:
    """The scores of `vii eval`; every task counts the same, whatever its number of photos."""
    tasks, photos = len({score.task for score in scores}), len({(score.task, score.photo) for score in scores})
    over = f"{photos} photos" if tasks == 1 else f"{tasks} tasks with {photos} photos"
    return means_table(scores, f"Means over {over}", _measured(scores))


def paper_record(scores: Sequence[Score], models: MetricModels, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All of `vii eval`, ready for JSON.

    Returns:
        `facts`, what was run in names and values; `metrics`, each with its meaning and the network that measured it;
        `missing`, what could not be measured and why; `means`, method -> metric -> mean over tasks of the means over
        their photos; and `rows`, a photo each.
    """
    measured, methods = _measured(scores), unique(score.method for score in scores)
    means = {method: [score for score in scores if score.method == method] for method in methods}
    return {
        "software": MARK,
        **facts,
        "metrics": {
            metric.name: {"meaning": metric.meaning, "measured_with": models.names.get(metric.network)}
            for metric in measured
        },
        "missing": list(models.missing),
        "means": {
            method: {m.name: round(mean.mean, 6) if (mean := mean_of(own, m.name)) else None for m in measured}
            for method, own in means.items()
        },
        "rows": [_plain(score, measured) for score in scores],
    }


def paper_csv(scores: Sequence[Score], models: MetricModels, version: str) -> str:
    """A line a score, and a heading; the last columns say which networks measured and which version wrote it."""
    networks = {f"{name}_model": model for name, model in models.names.items()}
    text, rows = io.StringIO(), [{**_plain(score, _measured(scores)), **networks, MARK: version} for score in scores]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def paper_sheet(task: Task, scores: Sequence[Score], folder: Path, cell: int = 160) -> Tensor:
    """The examples of a task, then its photos, `SHOWN` at most: the photo, its truth where known, every result."""
    split = task.source.split({}, 0)
    pictures = [[("before", pair.before), ("after", pair.after)] for pair in split.pairs()]
    for query in spread(split.queries, SHOWN):
        photo, truth = query.read()
        line = [(query.name, photo)] + ([("truth", truth)] if truth is not None else [])
        own = [score for score in scores if (score.task, score.photo) == (task.name, query.name) and score.picture]
        pictures.append(line + [(score.method, load_image(folder / score.picture)) for score in own])
    return contact_sheet(pictures, cell)


def _by_task(scores: Sequence[Score], metric: Metric, over: str) -> Table:
    methods, tasks = unique(score.method for score in scores), unique(score.task for score in scores)
    rows = [[task, *_means([score for score in scores if score.task == task], methods, metric)] for task in tasks]
    for group, chosen in GROUPS.items():
        rows.append([f"mean, {group}", *_means(list(filter(chosen, scores)), methods, metric)])
    return Table(f"{metric.label}; {over}", ["edit", *methods], rows)


def _means(scores: Sequence[Score], methods: Sequence[str], metric: Metric) -> list[str]:
    means = (mean_of([score for score in scores if score.method == method], metric.name) for method in methods)
    return [_mean_text(mean, metric.digits) for mean in means]


def _measured(scores: Sequence[Score]) -> list[Metric]:
    """The paper's metrics that any score has."""
    return [metric for metric in PAPER if any(score.values.get(metric.name) is not None for score in scores)]


def _plain(score: Score, measured: Sequence[Metric]) -> dict[str, Any]:
    place = {"task": score.task, "method": score.method, "photo": score.photo, "result": score.picture or None}
    values = {name: score.values.get(name) for name in ("explained", *(metric.name for metric in measured))}
    return dict(finite({**place, **values}))


def _mean_text(mean: Mean | None, digits: int) -> str:
    if mean is None:
        return NOTHING
    return f"{mean.mean:.{digits}f}" + (f" ± {mean.spread:.{digits}f}" if mean.spread is not None else "")


def _difference_text(found: Mapping[str, Any], digits: int) -> str:
    if found["mean"] is None:
        return NOTHING
    text = f"{found['mean']:+.{digits}f}"
    if found["standard_error"] is not None:
        text += f" ± {found['standard_error']:.{digits}f}"
    return text + (f" ({found['p_holm']:.3f})" if found["p_holm"] is not None else "")
