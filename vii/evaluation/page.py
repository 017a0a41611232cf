"""The results of a benchmark as one HTML page with pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..images import Pair, limited, load_image
from ..rendering.html import render
from ..text import percent
from .benchmark import SHOWN_SIDE, Result, shown
from .metric_table import BENCHMARK
from .report import benchmark_tables
from .scores import Score
from .tasks import Split, Task


def page(
    title: str,
    facts: Mapping[str, str],
    tasks: Sequence[Task],
    split_of: Callable[[Task], Split],
    results: Sequence[Result],
) -> str:
    """The page as text.

    `facts` say what was run, in names and values; `split_of` gives the pictures of the first seed, which are shown.
    """
    sections = [
        _section(index, task, split_of(task), [r for r in results if r.score.task == task.name])
        for index, task in enumerate(tasks)
    ]
    return str(
        render(
            "evaluation/templates/page.html.j2",
            title=title,
            facts=facts,
            tables=benchmark_tables([result.score for result in results]),
            meanings={metric.label: metric.meaning for metric in BENCHMARK if metric.meaning},
            links={section["key"]: section["name"] for section in sections},
            sections=sections,
        )
    )


def _section(index: int, task: Task, split: Split, results: Sequence[Result]) -> dict[str, Any]:
    """What the template shows of one edit; rows are a name and pictures, each after what it shows."""
    first = [result for result in results if result.pictures]
    labels = ["example", *(f"example {number}" for number in range(2, len(split.examples) + 1))]
    queries = {query.name: query for query in split.queries}
    photos = []
    for name in shown(split):
        made = [
            (f"{task.name}, photo {name}: result of {result.score.method}", load_image(result.pictures[name]))
            for result in first
            if name in result.pictures
        ]
        photos.append((name, [*_pair(task.name, f"photo {name}", queries[name].pair()), *made]))
    words = f"closest words: “{task.words}”" if task.words else "no words"
    return {
        "key": f"edit-{index}",
        "name": task.name,
        "words": f"{words}; words {'say' if task.describable else 'do not say'} it exactly",
        "learned": [_learned(result.score) for result in first if result.score.values["samples"]],
        "caption": f"{task.name}: the example, test photos, their truths and the results",
        "methods": [(result.score.method, f"{result.score.values['psnr']:.1f} dB") for result in first],
        "examples": [
            (label, _pair(task.name, f"the {label}", example))
            for label, example in zip(labels, split.pairs(), strict=True)
        ],
        "photos": photos,
    }


def _learned(score: Score) -> str:
    start = f"from “{score.init_text}”" if score.init_text else "from no words"
    explained = percent(score.values["explained"] or 0)
    return f"{score.method}: {start}, explained {explained}, {score.values['learn_seconds']:.0f} s"


def _pair(edit: str, label: str, pair: Pair) -> list[tuple[str, Tensor]]:
    labels = (f"{edit}, {label}: before", f"{edit}, {label}: after, as it should be")
    return [(labels[0], limited(pair.before, SHOWN_SIDE)), (labels[1], limited(pair.after, SHOWN_SIDE))]
