"""`vii bench`: how good recipes are, on edits with a known right answer."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from .. import __version__
from ..editors import space_kind
from ..editors.ip2p import Ip2pEditor
from ..errors import UsageError
from ..evaluation.benchmark import MAX_SIDE, count_examples, count_scores, run, split_of
from ..evaluation.methods import methods_for
from ..evaluation.page import page
from ..evaluation.report import benchmark_tables
from ..evaluation.speed import editing_paces, learning_paces, random_stable_diffusion, table
from ..evaluation.statistics import conclusions
from ..evaluation.task_files import read_edits
from ..evaluation.tasks import DISTURBANCES, choose, read_photos, shipped_tasks, within
from ..files import MARK, make_folder, write
from ..inversion.recipes import load_recipe
from ..strict import dumps, finite
from .common import editor_options, json_option, load_editor, outputs_of, overwrite_option, space_option
from .progress import progress
from .terminal import say, say_json

# What --quick takes of each half of the edits, and how many photos to test on.
FEW_EDITS, FEW_PHOTOS, PHOTOS, SEEDS = 2, 2, 10, 3


@click.command()
@click.option("-o", "--output", default="vii-bench", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME|FILE|FOLDER", help="Repeatable. [default: visii, default]"
)
@click.option("--method", "methods", multiple=True, metavar="NAME[=MODEL]", help="See 'vii methods'; repeatable.")
@click.option("--edit", "names", multiple=True, metavar="NAME", help="Only this edit; repeatable.")
@click.option("--edits", "edits_file", metavar="FILE", help="Edits of your own instead of the shipped ones (TOML).")
@click.option("--photos", "folder", metavar="FOLDER", help="Photos instead of the shipped ones.")
@click.option("--count", type=click.IntRange(1), metavar="N", help=f"Photos to test on. [default: {PHOTOS}]")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help=f"Runs with seeds 0 to N - 1. [default: {SEEDS}]")
@click.option(
    "--pairs",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Learn from N pairs; repeatable, for a comparison. [default: 1]",
)
@click.option(
    "--max-side",
    type=click.IntRange(16),
    default=MAX_SIDE,
    show_default=True,
    metavar="PIXELS",
    help="Photos keep their own size up to this, of the longer side.",
)
@click.option("--disturb", type=click.Choice([*DISTURBANCES]), help="Learn from pairs that do not fit to the pixel.")
@click.option("--quick", is_flag=True, help="Four edits, two photos, one seed, without visii: about two minutes.")
@click.option(
    "--speed",
    type=click.Choice(["editor", "sd15"]),
    help="Time the learning loop instead: of the editor, or of random weights in the size of Stable Diffusion 1.5.",
)
@click.option("--pixels", type=int, default=512, show_default=True, help="Side of the picture for --speed sd15.")
@click.option("--updates", type=click.IntRange(1), default=20, show_default=True, help="Updates to time for --speed.")
@overwrite_option
@space_option
@editor_options
@json_option
def bench(
    output: str,
    recipes: Sequence[str],
    methods: Sequence[str],
    names: Sequence[str],
    edits_file: str | None,
    folder: str | None,
    count: int | None,
    seeds: int | None,
    pairs: Sequence[int],
    max_side: int,
    disturb: str | None,
    quick: bool,
    speed: str | None,
    pixels: int,
    updates: int,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare recipes and methods on photos never seen.

    Rows besides: no edit, pixel delta, a colour map fitted on the pair, and the true words. The edits are formulas, so
    that the right answer is known. A seed picks the photos that the examples are made from, so that the spread over
    seeds is that of the choice of the example too; no photo makes an example under two seeds. The other photos are for
    testing, the same for all methods. The last recipe named is compared with all others.

    Results are scored at the editor's size and at the photos' own. The row 'tokens' is the last recipe with the finish
    of its edits left out: what the editor made, scaled up.

    With --disturb the picture after of every example is shifted by two pixels, saved as JPEG of quality 80, or cropped
    by 2 %; what results are compared with stays as it is.

    A run that was stopped goes on where it was: scores in FOLDER are used again where code, model, recipe, pictures,
    device and seed are the same. Writes report.json, page.html with pictures, and scores.json.

    With --speed nothing is judged: the bare UNet, the loop of a recipe (the first --recipe, or default) and the
    authors' loop are timed side by side, with the memory they take; then editing photos against its own networks.
    """
    if speed:
        _speed(speed, pixels, updates, recipes, as_json, options)
        return
    tasks = read_edits(edits_file) if edits_file else shipped_tasks()
    tasks = choose(tasks, names, FEW_EDITS if quick else None)
    rows = methods_for(
        recipes or (("default",) if quick else ("visii", "default")),
        methods=methods,
        pairs=sorted({*pairs}) or (1,),
        known_words=True,
        tokens=True,
    )
    if disturb:
        tasks = [replace(task, disturb=DISTURBANCES[disturb][0]) for task in tasks]
    examples, chosen_seeds = count_examples(rows), range(seeds or (1 if quick else SEEDS))
    out, outputs = Path(output), outputs_of(overwrite)
    make_folder(out)
    outputs.reads(*filter(None, (edits_file, folder)))
    report, html, _ = (outputs.claim(out / name) for name in ("report.json", "page.html", "scores.json"))
    conditions = {name: options[name] for name in ("clip", "dtype", "device")}
    editor = load_editor(options)
    count = count or (FEW_PHOTOS if quick else PHOTOS)
    scale = partial(within, side=editor.resolution, max_side=max_side)
    photos = read_photos(folder, count, scale, examples, len(chosen_seeds))
    results = []
    with progress("scoring", count_scores(tasks, rows, chosen_seeds)) as advance:
        for result in run(editor, tasks, rows, photos, chosen_seeds, out, conditions, max_side):
            results.append(result)
            advance(f"{result.score.task}: {result.score.method} {result.score.values['psnr']:.2f} dB")
    scores = [result.score for result in results]
    facts = {
        "editor": f"{editor.name} ({editor.space.model}), weights {editor.space.fingerprint}",
        "space": editor.space.kind,
        "photos": ", ".join(photos),
        "seeds": ", ".join(map(str, chosen_seeds)),
        "size": f"the photos' own, up to {max_side} pixels a side",
        "examples": DISTURBANCES[disturb][1] if disturb else "as they are",
    }
    record = {
        "software": MARK,
        **facts,
        "vii": __version__,
        "conditions": conditions,
        "recipes": {row.name: asdict(row.recipe) for row in rows if row.recipe},
        **conclusions(scores),
        "scores": [score.plain() for score in scores],
    }
    files = {
        report: dumps(finite(record), indent=1, sort_keys=False),
        html: page(
            "Editing by example, measured",
            facts,
            tasks,
            lambda task: split_of(task, photos, chosen_seeds[0], editor.resolution, examples, max_side),
            results,
        ),
    }
    for place, text in files.items():
        write(place, text)
    tables = "\n\n".join(table.markdown() for table in benchmark_tables(scores))
    say(files[report] if as_json else "\n".join([tables, "", *map(str, files)]))


def _speed(
    what: str, pixels: int, updates: int, recipes: Sequence[str], as_json: bool, options: dict[str, Any]
) -> None:
    """Time the learning loop and editing; see `vii.evaluation.speed`."""
    recipe = load_recipe(recipes[0] if recipes else "default")
    if what == "sd15":
        editor: Any = random_stable_diffusion(pixels, options["device"], options["dtype"], space_kind(options["space"]))
    else:
        editor = load_editor(options)
        if not isinstance(editor, Ip2pEditor):
            raise UsageError(f"--speed times editors of InstructPix2Pix's architecture, not '{editor.name}'")
    learning = learning_paces(editor, recipe, updates)
    # Photos of twice the editor's size, so that scaling them down counts.
    photos = torch.rand(4, 3, *2 * [2 * editor.resolution], generator=torch.Generator().manual_seed(0)).unbind()
    editing = editing_paces(editor, photos, rounds=updates)
    if as_json:
        paces = [*learning, *editing]
        say_json([asdict(pace) | {"samples_per_second": pace.samples_per_second} for pace in paces])
    else:
        say(f"{table(learning, 'learning').markdown()}\n\n{table(editing, 'editing').markdown()}")
