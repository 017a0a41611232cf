"""`vii eval`: how well an edit carries over to other photos, with or without a right answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..edit_file import load_edit
from ..evaluation import paper, report
from ..evaluation.methods import methods_for
from ..evaluation.metric_models import load_metric_models
from ..evaluation.task_files import read_folders
from ..files import make_folder, write
from ..images import save_image
from ..library import find_edit
from ..strict import dumps, finite
from .common import editor_of, editor_options, json_option, load_editor, outputs_of, overwrite_option, space_option
from .progress import progress
from .terminal import fail, say


@click.command(name="eval")
@click.argument("folder")
@click.option("-o", "--output", default="vii-eval", show_default=True, metavar="DIR", help="Where to write.")
@click.option("--recipe", "recipes", multiple=True, metavar="NAME|FILE", help="Repeatable. [default: default]")
@click.option("--method", "named", multiple=True, metavar="NAME[=MODEL]", help="See 'vii methods'; repeatable.")
@click.option("--edit", "edit_file", metavar="FILE|NAME", help="An edit learned before, instead of or beside recipes.")
@click.option("--examples", type=click.IntRange(1), default=1, show_default=True, help="Pairs to learn from.")
@click.option("--text", "words", nargs=2, metavar="BEFORE AFTER", help="Descriptions, for the CLIP direction of texts.")
@click.option("--cycle", is_flag=True, help="There and back, as ImageBrush does; shows every result as an example too.")
@click.option("--measure-clip", metavar="ID|FOLDER", help="CLIP to measure with, instead of the editor's own.")
@click.option("--dino", metavar="ID|FOLDER", help="DINO model that is here already. [default: facebook/dino-vits16]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of learning and of sampling.")
@overwrite_option
@space_option
@editor_options
@json_option
def evaluate(
    folder: str,
    output: str,
    recipes: Sequence[str],
    named: Sequence[str],
    edit_file: str | None,
    examples: int,
    words: tuple[str, str] | None,
    cycle: bool,
    measure_clip: str | None,
    dino: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn from the example of FOLDER, apply to its photos, measure.

    FOLDER holds the pair 0_0 and 0_1, photos to test on 1_0, 2_0, ... and, where the right answer is known, 1_1, 2_1,
    ...; or pairs named otherwise ('vii learn --pairs' reads the same), of which the first is the example and the others
    are photos and truths; or folders of these, each an edit of its own.

    Writes results.csv, results.json, contact sheets, and the edits and pictures, which a later run uses again. LPIPS
    and DINO are measured where their packages and weights are there; nothing is downloaded for them.
    """
    tasks = read_folders(folder, examples)
    path = find_edit(edit_file) if edit_file else None
    edit = load_edit(path) if path else None
    given = (path.stem, edit) if path and edit else None
    default = () if given or named else ("default",)
    methods = methods_for(recipes or default, baselines=("no-edit",), methods=named, edit=given)
    out, outputs = Path(output), outputs_of(overwrite)
    make_folder(out)
    outputs.reads(folder, *([path] if path else []))
    outputs.reads(*(entry for entry in Path(folder).iterdir() if entry.is_dir()))
    table, results = outputs.claim(out / "results.csv"), outputs.claim(out / "results.json")
    ends = [""] if len(tasks) == 1 else [f"-{task.name}" for task in tasks]
    sheets = [outputs.claim(out / f"contact-sheet{end}.png") for end in ends]
    conditions = {name: options[name] for name in ("clip", "dtype", "device")}
    editor = load_editor(editor_of(edit, options))
    queries = [query for task in tasks for query in task.source.split({}, seed).queries]
    truths = any(query.truth is not None for query in queries)
    models = load_metric_models(editor, measure_clip, dino, truths=truths, cycle=cycle, own_clip=options["clip"])
    found = paper.evaluate(
        editor, tasks, methods, models, out, seed=seed, cycle=cycle, words=words, conditions=conditions
    )
    scores = []
    with progress("evaluating", len(methods) * len(queries)) as advance:
        for score in found:
            scores.append(score)
            advance(f"{score.task}: {score.method} on {score.photo}")
    facts = {
        "vii": __version__,
        "editor": f"{editor.name} ({editor.space.model}), weights {editor.space.fingerprint}",
        "space": editor.space.kind,
        "tasks": [task.name for task in tasks],
        "examples": examples,
        "words": words,
        "seed": seed,
        "conditions": conditions,
        "methods": {method.name: method.identity() for method in methods},
    }
    files = {
        table: report.paper_csv(scores, models, __version__),
        results: dumps(finite(report.paper_record(scores, models, facts)), indent=1, sort_keys=False),
    }
    for place, text in files.items():
        write(place, text)
    for task, place in zip(tasks, sheets, strict=True):
        save_image(report.paper_sheet(task, scores, out), place)
    if as_json:
        say(files[results])
        return
    say(report.paper_table(scores).markdown())
    measured = [f"{network} measured with {name}" for network, name in models.names.items()]
    say("\n" + "\n".join([*measured, *map(str, files), *map(str, sheets)]))
    for sentence in models.missing:
        fail(sentence)
