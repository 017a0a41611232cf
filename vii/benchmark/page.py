"""The results as one HTML page with pictures: no other file, no script, readable by eye and by screen reader."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from torch import Tensor

from ..gallery import data_url
from ..images import Pair, load_image
from .edits import Subject, Task
from .report import MEASURES, Table, tables
from .run import Result, shown
from .scores import Score

QUALITY = 88

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #767676; --soft: #f2f2f2; --link: #0b57d0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --line: #8c8c8c; --soft: #262626; --link: #8ab4f8 }
}
body { margin: 0 auto; max-width: 80rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif }
a { color: var(--link) }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem }
nav ul { columns: 18rem; padding-left: 1.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0; white-space: nowrap }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child { text-align: left }
thead th { background: var(--soft); vertical-align: bottom }
table.pictures th, table.pictures td { text-align: left; border: 0; padding: .2rem .3rem }
img { display: block; width: 128px; height: 128px; object-fit: contain; background: var(--soft) }
"""


def page(
    title: str,
    facts: Mapping[str, str],
    subjects: Sequence[Subject],
    task_of: Callable[[Subject], Task],
    results: Sequence[Result],
) -> str:
    """The page as text.

    Args:
        title: the page's.
        facts: what was run, in names and values.
        subjects: the edits.
        task_of: gives the task of the first seed, whose pictures are shown.
        results: of the whole run.
    """
    sections = [
        _section(index, subject, task_of(subject), [r for r in results if r.score.edit == subject.name])
        for index, subject in enumerate(subjects)
    ]
    links = "".join(f'<li><a href="#edit-{i}">{escape(subject.name)}</a></li>' for i, subject in enumerate(subjects))
    told = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in facts.items())
    meanings = "".join(f"<li>{escape(m.label)}: {escape(m.meaning)}</li>" for m in MEASURES if m.meaning)
    summary = "".join(_table(table) for table in tables([result.score for result in results]))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p>Each edit is learned from one example pair, then given to photos that were never seen while learning.</p>
<ul>{told}</ul>
{summary}
<h2>What the measures say</h2>
<ul>{meanings}</ul>
<nav aria-label="Edits"><h2>Pictures</h2><ul>{links}</ul></nav>
{"".join(sections)}
</main>
</body>
</html>
"""


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in others)}</tr>'
        for first, *others in table.rows
    )
    return _wide(
        table.caption,
        f"<table><caption>{escape(table.caption)}</caption><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>",
    )


def _section(index: int, subject: Subject, task: Task, results: Sequence[Result]) -> str:
    first = [result for result in results if result.pictures]
    header = "".join(f'<th scope="col">{name}</th>' for name in ("photo", "before", "truth", *map(_head, first)))
    example = _row("example", _pair(subject.name, "the example", task.example), missing=len(first))
    rows = []
    for name in shown(task):
        label = f"photo {name}"
        cells = _pair(subject.name, label, task.tests[name])
        cells += [
            (f"{subject.name}, {label}: result of {result.score.method}", load_image(result.pictures[name]))
            for result in first
            if name in result.pictures
        ]
        rows.append(_row(name, cells))
    words = f"closest words: “{subject.words}”" if subject.words else "no words"
    kind = "words say it exactly" if subject.said else "words do not say it exactly"
    caption = f"{subject.name}: the example, test photos, their truths and the results"
    pictures = (
        f'<table class="pictures"><caption>{escape(caption)}</caption><thead><tr>{header}</tr></thead>'
        f"<tbody>{example}{''.join(rows)}</tbody></table>"
    )
    learned = "".join(f"<li>{escape(_learned(result.score))}</li>" for result in first if result.score.samples)
    return (
        f'<section aria-labelledby="edit-{index}"><h2 id="edit-{index}">{escape(subject.name)}</h2>'
        f"<p>{escape(words)}; {escape(kind)}</p>{f'<ul>{learned}</ul>' if learned else ''}"
        f"{_wide(caption, pictures)}</section>"
    )


def _head(result: Result) -> str:
    return f"{escape(result.score.method)}<br>{result.score.psnr:.1f} dB"


def _learned(score: Score) -> str:
    start = f"from “{score.init_text}”" if score.init_text else "from no words"
    return f"{score.method}: {start}, explained {score.explained or 0:.0%}, {score.learn_seconds:.0f} s"


def _pair(edit: str, label: str, pair: Pair) -> list[tuple[str, Tensor]]:
    return [(f"{edit}, {label}: before", pair.before), (f"{edit}, {label}: after, as it should be", pair.after)]


def _row(name: str, cells: Sequence[tuple[str, Tensor]], missing: int = 0) -> str:
    pictures = "".join(
        f'<td><img src="{data_url(image, QUALITY)}" alt="{escape(alt)}" '
        f'width="{image.shape[2]}" height="{image.shape[1]}"></td>'
        for alt, image in cells
    )
    return f'<tr><th scope="row">{escape(name)}</th>{pictures}{"<td></td>" * missing}</tr>'


def _wide(label: str, content: str) -> str:
    """A region that scrolls sideways by itself, and by keyboard."""
    return f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0">{content}</div>'
