"""`vii bench`: how good recipes are, on edits with a known right answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .common import editor_options, json_option, load_editor, progress, space_option

# What --quick takes of each half of the edits, and how many photos to test on.
FEW_EDITS, FEW_PHOTOS, PHOTOS, SEEDS = 2, 2, 10, 3


@click.command()
@click.option("-o", "--output", default="vii-bench", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option(
    "--recipe", "recipes", multiple=True, metavar="NAME|FILE|FOLDER", help="Repeatable. [default: visii, default]"
)
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
@click.option("--quick", is_flag=True, help="Four edits, two photos, one seed, without visii: about two minutes.")
@click.option(
    "--speed",
    type=click.Choice(["editor", "sd15"]),
    help="Time the learning loop instead: of the editor, or of random weights in the size of Stable Diffusion 1.5.",
)
@click.option("--pixels", type=int, default=512, show_default=True, help="Side of the picture for --speed sd15.")
@click.option("--updates", type=click.IntRange(1), default=20, show_default=True, help="Updates to time for --speed.")
@space_option
@editor_options
@json_option
def bench(
    output: str,
    recipes: Sequence[str],
    names: Sequence[str],
    edits_file: str | None,
    folder: str | None,
    count: int | None,
    seeds: int | None,
    pairs: Sequence[int],
    quick: bool,
    speed: str | None,
    pixels: int,
    updates: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare recipes with no edit, pixel delta and the true words, on photos never seen.

    The edits are formulas, so that the right answer is known. A seed picks the photos that the examples are made from,
    so that the spread over seeds is that of the choice of the example too; the other photos are for testing, the same
    for all methods. The last recipe named is compared with all other methods.

    A run that was stopped goes on where it was: scores in FOLDER are used again where model, recipe, pictures and seed
    are the same. Writes report.json, page.html with pictures, and scores.json.

    With --speed nothing is judged: the bare UNet, the loop of a recipe (the first --recipe, or default) and the
    authors' loop are timed side by side, with the memory they take; then editing photos against its own networks.
    """
    if speed:
        _speed(speed, pixels, updates, recipes, as_json, options)
        return
    from dataclasses import asdict

    from .. import __version__
    from ..evaluation.benchmark import (
        choose,
        count_examples,
        count_scores,
        methods_for,
        page,
        read_edits,
        read_photos,
        report,
        run,
        shipped_edits,
        tables,
    )
    from ..files import make_folder, replacing

    subjects = choose(read_edits(edits_file) if edits_file else shipped_edits(), names, FEW_EDITS if quick else None)
    methods = methods_for(recipes or (("default",) if quick else ("visii", "default")), sorted({*pairs}) or (1,))
    examples = count_examples(methods)
    chosen_seeds = range(seeds or (1 if quick else SEEDS))
    make_folder(Path(output))
    conditions = {name: options[name] for name in ("clip", "dtype", "device")}
    editor = load_editor(options)
    photos = read_photos(folder, count or (FEW_PHOTOS if quick else PHOTOS), editor.resolution, examples)
    results = []
    with progress("scoring", count_scores(subjects, methods, chosen_seeds)) as advance:
        for result in run(editor, subjects, methods, photos, chosen_seeds, Path(output), conditions):
            results.append(result)
            advance(f"{result.score.edit}: {result.score.method} {result.score.psnr:.2f} dB")
    scores = [result.score for result in results]
    facts = {
        "editor": f"{editor.name} ({editor.space.model}), weights {editor.space.fingerprint}",
        "space": editor.space.kind,
        "photos": ", ".join(photos),
        "seeds": ", ".join(map(str, chosen_seeds)),
    }
    record = {
        **facts,
        "vii": __version__,
        "conditions": conditions,
        "recipes": {method.name: asdict(method.recipe) for method in methods if method.recipe},
        **report(scores),
        "scores": [asdict(score) for score in scores],
    }
    files = {
        "report.json": json.dumps(record, indent=1),
        "page.html": page(
            "Editing by example, measured",
            facts,
            subjects,
            lambda subject: subject.source.task(photos, chosen_seeds[0], editor.resolution, examples),
            results,
        ),
    }
    for name, text in files.items():
        with replacing(Path(output) / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if as_json:
        click.echo(files["report.json"])
        return
    click.echo("\n\n".join(table.markdown() for table in tables(scores)))
    click.echo("\n" + "\n".join(str(Path(output) / name) for name in files))


def _speed(
    what: str, pixels: int, updates: int, recipes: Sequence[str], as_json: bool, options: dict[str, Any]
) -> None:
    """Time the learning loop; see `vii.evaluation.benchmark.speed`."""
    from dataclasses import asdict

    import torch

    from ..editors import space_kind
    from ..editors.ip2p import Ip2pEditor
    from ..errors import UsageError
    from ..evaluation.benchmark.speed import compare, random_stable_diffusion, table
    from ..evaluation.throughput import table as throughput_table
    from ..evaluation.throughput import throughputs
    from ..inversion.recipes import load_recipe

    recipe = load_recipe(recipes[0] if recipes else "default")
    if what == "sd15":
        editor: Any = random_stable_diffusion(pixels, options["device"], options["dtype"], space_kind(options["space"]))
    else:
        editor = load_editor(options)
        if not isinstance(editor, Ip2pEditor):
            raise UsageError(f"--speed times editors of InstructPix2Pix's architecture, not '{editor.name}'")
    paces = compare(editor, recipe, updates)
    # Photos of twice the editor's size, so that scaling them down counts.
    photos = torch.rand(4, 3, *2 * [2 * editor.resolution], generator=torch.Generator().manual_seed(0)).unbind()
    editing: Sequence[Any] = throughputs(editor, photos, rounds=updates)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in [*paces, *editing]]))
    else:
        click.echo(f"{table(paces)}\n\n{throughput_table(editing)}")
