"""How well an edit carries over to photos for which there may be no right answer: the paper's own measures.

`cases` reads the authors' folders: examples, test photos, truths where there are any. `ways` are what is compared:
edits learned by recipes, an edit file, no edit. `run` learns, applies and measures (`measures`, with the networks of
`judges`); `store` keeps edits and pictures, so that a run that was stopped goes on; `report` makes tables, CSV, JSON
and contact sheets of it.
"""

from .cases import Case, Photo, read_cases
from .judges import Judges, load_judges
from .measures import MEASURES, Measure
from .report import csv_text, report, sheet, table
from .run import Row, evaluate
from .ways import Way, ways_for

__all__ = [
    "MEASURES",
    "Case",
    "Judges",
    "Measure",
    "Photo",
    "Row",
    "Way",
    "csv_text",
    "evaluate",
    "load_judges",
    "read_cases",
    "report",
    "sheet",
    "table",
    "ways_for",
]
