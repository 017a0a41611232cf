"""What is written of a run: tables, JSON, CSV and contact sheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from ..images import load_image, spread
from ..rendering.sheets import contact_sheet
from .metric_models import MetricModels
from .metric_table import BENCHMARK, FULL_PSNR, PAPER, PSNR, Metric
from .paper import Row
from .scores import Score
from .statistics import GROUPS, QUALITY, Mean, conclusions, mean_of, unique
from .table import NOTHING, Table, number
from .tasks import Task

# What tables call the edits that words say exactly, and the others.
LABELS = dict(zip(GROUPS, ("said", "unsaid", "all"), strict=True))
# Photos on one contact sheet.
SHOWN = 8


def score_tables(scores: Sequence[Score]) -> list[Table]:
    """The scores of `vii bench`, and what `conclusions` draws from them, as tables."""
    found = conclusions(scores)
    methods, seeds, compared = list(found["means"]), len({score.seed for score in scores}), found["compared"]
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    full = any(score.full_psnr is not None for score in scores)
    # The photos' own size is that of the editor unless they were kept larger.
    known = [metric for metric in BENCHMARK if full or not metric.name.startswith("full_")]
    quality = [metric for metric in QUALITY if metric in known]

    def group_row(group: str, metric: Metric, label: str) -> list[str]:
        means = [found["means"][method][group][metric.name] for method in methods]
        return [label, *(_mean_text(Mean(**mean) if mean else None, metric.digits) for mean in means)]

    def by_edit(metric: Metric) -> Table:
        rows = []
        for edit in unique(score.edit for score in scores):
            chosen = [[s for s in scores if s.edit == edit and s.method == method] for method in methods]
            rows.append([edit, *(_mean_text(mean_of(own, metric.name), metric.digits) for own in chosen)])
        rows += [group_row(group, metric, f"mean, {LABELS[group]}") for group in GROUPS]
        return Table(f"{metric.label}; {over}", ["edit", *methods], rows)

    comparisons = f", corrected for {len(found['against'])} comparisons by Holm's method"
    return [
        by_edit(PSNR),
        *([by_edit(FULL_PSNR)] if full else []),
        Table(
            f"All measures, mean over all edits; {over}",
            ["measure", *methods],
            [group_row("all", metric, metric.label) for metric in known],
        ),
        Table(
            f"{compared} against the others, PSNR",
            ["method", "edits at least as good", *(f"dB better, {LABELS[group]}" for group in GROUPS)],
            [
                [
                    other,
                    f"{row['at_least_as_good']} of {row['edits']}"
                    + (f" ({row['at_least_as_good'] / row['edits']:.0%})" if row["edits"] else ""),
                    *(number(row["db_better"][group], "+.2f") for group in GROUPS),
                ]
                for other, row in found["against"].items()
            ],
        ),
        Table(
            f"{compared} minus the others: mean over edits ± its standard error (p of Wilcoxon's test"
            f"{comparisons if len(found['against']) > 1 else ''})",
            ["method", *(metric.label for metric in quality)],
            [
                [other, *(_difference_text(row["difference"][metric.name], metric.digits) for metric in quality)]
                for other, row in found["against"].items()
            ],
        ),
        Table(
            f"How soon is {compared} as good as another recipe is in the end?",
            ["method", "its PSNR", "its seconds", f"seconds until {compared} is as good", "ratio"],
            [
                [
                    other,
                    number(row["psnr"], ".2f"),
                    *(number(row[field], ".1f") for field in ("seconds", "reached", "ratio")),
                ]
                for other, row in found["as_good_as"].items()
            ],
        ),
        Table(
            "Does explained foretell the gain over no edit?",
            ["method", "rank correlation", "p", "edits"],
            [
                [method, number(row["rank_correlation"], "+.2f"), number(row["p"], ".3f"), str(row["n"])]
                for method, row in found["explained"].items()
            ],
        ),
    ]


def row_table(rows: Sequence[Row]) -> Table:
    """Means of `vii eval` by method, a metric a line."""
    methods, tasks = unique(row.method for row in rows), len({row.task for row in rows})
    photos = len({(row.task, row.query.name) for row in rows})
    over = f"{photos} photos" if tasks == 1 else f"{tasks} tasks with {photos} photos"
    lines = [
        [metric.label, *(number(_mean(rows, method, metric), f".{metric.digits}f") for method in methods)]
        for metric in _measured(rows)
    ]
    return Table(f"Means over {over}", ["measure", *methods], lines)


def row_record(rows: Sequence[Row], models: MetricModels, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All of `vii eval`, ready for JSON.

    Args:
        rows: of the whole run.
        models: what measured.
        facts: what was run, in names and values.

    Returns:
        the facts; `metrics`, each with its meaning and the network that measured it; `missing`, what could not be
        measured and why; `means`, method -> metric -> mean over tasks of the means over their photos; and `rows`.
    """
    measured = _measured(rows)
    return {
        **facts,
        "metrics": {
            metric.name: {"meaning": metric.meaning, "measured_with": models.names.get(metric.network)}
            for metric in measured
        },
        "missing": list(models.missing),
        "means": {
            method: {metric.name: _mean(rows, method, metric) for metric in measured}
            for method in unique(row.method for row in rows)
        },
        "rows": [_plain(row, measured) for row in rows],
    }


def row_csv(rows: Sequence[Row], models: MetricModels) -> str:
    """A line a row, and a heading; the last columns say which networks measured."""
    measured, networks = _measured(rows), {f"{name}_model": model for name, model in models.names.items()}
    text, plain = io.StringIO(), [{**_plain(row, measured), **networks} for row in rows]
    writer = csv.DictWriter(text, fieldnames=list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue()


def row_sheet(task: Task, rows: Sequence[Row], cell: int = 160) -> Tensor:
    """The examples of a task, then its photos, `SHOWN` at most: the photo, its truth where known, every result."""
    split = task.source.split({}, 0)
    pictures = [[("before", pair.before), ("after", pair.after)] for pair in split.examples]
    for query in spread(split.queries, SHOWN):
        photo, truth = query.read()
        line = [(query.name, photo)] + ([("truth", truth)] if truth is not None else [])
        own = [row for row in rows if row.task == task.name and row.query.name == query.name]
        pictures.append(line + [(row.method, load_image(row.result)) for row in own if row.result])
    return contact_sheet(pictures, cell)


def _measured(rows: Sequence[Row]) -> list[Metric]:
    """The metrics that any row has."""
    return [metric for metric in PAPER if any(row.metrics[metric.name] is not None for row in rows)]


def _mean(rows: Sequence[Row], method: str, metric: Metric) -> float | None:
    """Every task counts the same, whatever its number of photos."""
    values: dict[str, list[float]] = {}
    for row in rows:
        value = row.metrics[metric.name]
        if row.method == method and value is not None:
            values.setdefault(row.task, []).append(value)
    return round(fmean(map(fmean, values.values())), 6) if values else None


def _plain(row: Row, measured: Sequence[Metric]) -> dict[str, Any]:
    values = {metric.name: row.metrics[metric.name] for metric in measured}
    return {
        "task": row.task,
        "method": row.method,
        "photo": row.query.name,
        "result": f"{row.result.parent.name}/{row.result.name}" if row.result else None,
        "explained": row.explained,
        **{name: None if value is None else round(value, 6) for name, value in values.items()},
    }


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
