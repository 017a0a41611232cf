"""The results of a benchmark as one HTML page with pictures."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from torch import Tensor

from ..images import Pair, load_image
from ..rendering.html import contents, document, listed, picture, wide
from .benchmark import Result, shown
from .metric_table import BENCHMARK
from .report import benchmark_tables
from .scores import Score
from .table import Table
from .tasks import Split, Task

STYLE = """
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0; white-space: nowrap }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child { text-align: left }
thead th { background: var(--soft); vertical-align: bottom }
table.pictures th, table.pictures td { text-align: left; border: 0; padding: .2rem .3rem }
img { width: 128px; height: 128px }
"""


def page(
    title: str,
    facts: Mapping[str, str],
    tasks: Sequence[Task],
    split_of: Callable[[Task], Split],
    results: Sequence[Result],
) -> str:
    """The page as text.

    Args:
        title: the page's.
        facts: what was run, in names and values.
        tasks: the edits.
        split_of: gives the pictures of the first seed, which are shown.
        results: of the whole run.
    """
    sections = [
        _section(index, task, split_of(task), [r for r in results if r.score.task == task.name])
        for index, task in enumerate(tasks)
    ]
    meanings = {metric.label: metric.meaning for metric in BENCHMARK if metric.meaning}
    body = f"""<p>Each edit is learned from one example pair, then given to photos never seen while learning.</p>
{listed(facts)}
{"".join(_table(table) for table in benchmark_tables([result.score for result in results]))}
<h2>What the measures say</h2>
{listed(meanings)}
{contents("Edits", "Pictures", {f"edit-{index}": task.name for index, task in enumerate(tasks)})}
{"".join(sections)}"""
    return document(title, body, STYLE)


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in others)}</tr>'
        for first, *others in table.rows
    )
    return wide(
        table.caption,
        f"<table><caption>{escape(table.caption)}</caption><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>",
    )


def _section(index: int, task: Task, split: Split, results: Sequence[Result]) -> str:
    first = [result for result in results if result.pictures]
    header = "".join(f'<th scope="col">{name}</th>' for name in ("photo", "before", "truth", *map(_head, first)))
    labels = ["example", *(f"example {number}" for number in range(2, len(split.examples) + 1))]
    examples = [
        _row(label, _pair(task.name, f"the {label}", example), missing=len(first))
        for label, example in zip(labels, split.examples, strict=True)
    ]
    rows = []
    queries = {query.name: query for query in split.queries}
    for name in shown(split):
        label = f"photo {name}"
        cells = _pair(task.name, label, queries[name].pair())
        cells += [
            (f"{task.name}, {label}: result of {result.score.method}", load_image(result.pictures[name]))
            for result in first
            if name in result.pictures
        ]
        rows.append(_row(name, cells))
    words = f"closest words: “{task.words}”" if task.words else "no words"
    kind = "words say it exactly" if task.describable else "words do not say it exactly"
    caption = f"{task.name}: the example, test photos, their truths and the results"
    pictures = (
        f'<table class="pictures"><caption>{escape(caption)}</caption><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(examples)}{''.join(rows)}</tbody></table>"
    )
    learned = "".join(
        f"<li>{escape(_learned(result.score))}</li>" for result in first if result.score.values["samples"]
    )
    return (
        f'<section aria-labelledby="edit-{index}"><h2 id="edit-{index}">{escape(task.name)}</h2>'
        f"<p>{escape(words)}; {escape(kind)}</p>{f'<ul>{learned}</ul>' if learned else ''}"
        f"{wide(caption, pictures)}</section>"
    )


def _head(result: Result) -> str:
    return f"{escape(result.score.method)}<br>{result.score.values['psnr']:.1f} dB"


def _learned(score: Score) -> str:
    start = f"from “{score.init_text}”" if score.init_text else "from no words"
    explained, seconds = score.values["explained"] or 0, score.values["learn_seconds"]
    return f"{score.method}: {start}, explained {explained:.0%}, {seconds:.0f} s"


def _pair(edit: str, label: str, pair: Pair) -> list[tuple[str, Tensor]]:
    return [(f"{edit}, {label}: before", pair.before), (f"{edit}, {label}: after, as it should be", pair.after)]


def _row(name: str, cells: Sequence[tuple[str, Tensor]], missing: int = 0) -> str:
    pictures = "".join(f"<td>{picture(image, alt)}</td>" for alt, image in cells)
    return f'<tr><th scope="row">{escape(name)}</th>{pictures}{"<td></td>" * missing}</tr>'
