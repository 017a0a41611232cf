"""How good is it: edits with a known right answer, and the paper's own measures where there is none.

`tasks` says what is to be learned, from which examples and on which photos it is judged: formulas (`synthetic`), edits
of one's own (`edits_file`), folders of pictures (`folders`). `methods` are what is compared, from `vii.methods`.
`benchmark` scores every method on every edit (`vii bench`), and `paper` measures as the paper does (`vii eval`), with
the metrics of `metric_table` (`metrics`, and the networks of `metric_models`). `scores` and `results` keep what was
made, so that a run that was stopped goes on; `statistics` draws the conclusions, `report` and `page` write them down.
"""

from .benchmark import Result, count_examples, count_scores, run, split_of
from .edits_file import read_edits
from .folders import read_folders
from .methods import Method, methods_for
from .metric_models import MetricModels, load_metric_models
from .metric_table import BENCHMARK, PAPER, Metric
from .page import page
from .paper import Row, evaluate
from .report import row_csv, row_record, row_sheet, row_table, score_tables
from .scores import Point, Score, Scores
from .statistics import conclusions
from .tasks import Query, Split, Task, choose, read_photos, shipped_tasks, square

__all__ = [
    "BENCHMARK",
    "PAPER",
    "Method",
    "Metric",
    "MetricModels",
    "Point",
    "Query",
    "Result",
    "Row",
    "Score",
    "Scores",
    "Split",
    "Task",
    "choose",
    "conclusions",
    "count_examples",
    "count_scores",
    "evaluate",
    "load_metric_models",
    "methods_for",
    "page",
    "read_edits",
    "read_folders",
    "read_photos",
    "row_csv",
    "row_record",
    "row_sheet",
    "row_table",
    "run",
    "score_tables",
    "shipped_tasks",
    "split_of",
    "square",
]
