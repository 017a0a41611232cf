"""The rows as a table, as CSV, as JSON and as contact sheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from ..images import load_image, spread
from ..rendering.sheets import contact_sheet
from .benchmark.report import NOTHING, Table
from .cases import Case
from .judges import Judges
from .measures import MEASURES, Measure
from .run import Row

# Photos on one contact sheet.
SHOWN = 8


def report(rows: Sequence[Row], judges: Judges, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, ready for JSON.

    Args:
        rows: of the whole run.
        judges: what measured.
        facts: what was run, in names and values.

    Returns:
        the facts; `measures`, each with its meaning and the network that measured it; `missing`, what could not be
        measured and why; `means`, way -> measure -> mean over cases of the means over their photos; and `rows`.
    """
    used = _used(rows)
    return {
        **facts,
        "measures": {
            measure.name: {"meaning": measure.meaning, "measured_with": judges.names.get(measure.network)}
            for measure in used
        },
        "missing": list(judges.missing),
        "means": {way: {measure.name: _mean(rows, way, measure) for measure in used} for way in _ways(rows)},
        "rows": [_plain(row, used) for row in rows],
    }


def csv_text(rows: Sequence[Row], judges: Judges) -> str:
    """A line a row, and a heading; the last columns say which networks measured."""
    used = _used(rows)
    networks = {f"{name}_model": model for name, model in judges.names.items()}
    text = io.StringIO()
    plain = [{**_plain(row, used), **networks} for row in rows]
    writer = csv.DictWriter(text, fieldnames=list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue()


def table(rows: Sequence[Row]) -> Table:
    """Means by way, a measure a line."""
    ways, cases = _ways(rows), len({row.case for row in rows})
    photos = len({(row.case, row.photo.name) for row in rows})
    over = f"{photos} photos" if cases == 1 else f"{cases} cases with {photos} photos"
    lines = [
        [measure.label, *(_text(_mean(rows, way, measure), measure.digits) for way in ways)] for measure in _used(rows)
    ]
    return Table(f"Means over {over}", ["measure", *ways], lines)


def sheet(case: Case, rows: Sequence[Row], cell: int = 160) -> Tensor:
    """The examples of a case, then its photos, `SHOWN` at most: the photo, its truth where known, every result."""
    pictures = [[("before", load_image(before)), ("after", load_image(after))] for before, after in case.examples]
    for photo in spread(case.photos, SHOWN):
        line = [(photo.name, load_image(photo.path))]
        if photo.truth:
            line.append(("truth", load_image(photo.truth)))
        line += [
            (row.way, load_image(row.result))
            for row in rows
            if row.case == case.name and row.photo == photo and row.result
        ]
        pictures.append(line)
    return contact_sheet(pictures, cell)


def _used(rows: Sequence[Row]) -> list[Measure]:
    """The measures that any row has."""
    return [measure for measure in MEASURES if any(row.measures[measure.name] is not None for row in rows)]


def _ways(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.way for row in rows))


def _mean(rows: Sequence[Row], way: str, measure: Measure) -> float | None:
    """Every case counts the same, whatever its number of photos."""
    values: dict[str, list[float]] = {}
    for row in rows:
        value = row.measures[measure.name]
        if row.way == way and value is not None:
            values.setdefault(row.case, []).append(value)
    return round(fmean(map(fmean, values.values())), 6) if values else None


def _plain(row: Row, used: Sequence[Measure]) -> dict[str, Any]:
    values = {measure.name: row.measures[measure.name] for measure in used}
    return {
        "case": row.case,
        "way": row.way,
        "photo": row.photo.name,
        "result": _file(row.result),
        "explained": row.explained,
        **{name: None if value is None else round(value, 6) for name, value in values.items()},
    }


def _file(path: Path | None) -> str | None:
    """Relative to the folder of the results."""
    return None if path is None else f"{path.parent.name}/{path.name}"


def _text(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
