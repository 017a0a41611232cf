"""How good is it: edits with a known right answer, learned from one pair, applied to photos never seen.

Every way of editing by example is a `transfer(pairs, image, *, seed) -> image` (`methods`). `edits` says what is to be
learned, from what and on which photos it is judged; `run` scores every method on every edit and keeps the scores
(`scores`), so that a run that was stopped goes on; `report` draws the conclusions and `page` shows the pictures.
"""

from .edits import Subject, Task, choose, read_edits, read_photos, shipped_edits, square
from .methods import Method, Transfer, methods_for
from .page import page
from .report import report, tables
from .run import Result, count_examples, count_scores, run
from .scores import Point, Score, Scores

__all__ = [
    "Method",
    "Point",
    "Result",
    "Score",
    "Scores",
    "Subject",
    "Task",
    "Transfer",
    "choose",
    "count_examples",
    "count_scores",
    "methods_for",
    "page",
    "read_edits",
    "read_photos",
    "report",
    "run",
    "shipped_edits",
    "square",
    "tables",
]
