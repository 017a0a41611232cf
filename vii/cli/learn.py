"""`vii learn` and `vii demo`: from a pair to an edit file."""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .common import STARTED, edit_path, editor_options, json_option, load_editor, progress, space_option

if TYPE_CHECKING:
    from ..edit_file import Edit
    from ..editor import Editor
    from ..images import Pair
    from ..inversion import InversionSettings, Step
    from ..inversion.recipes import Recipe


@click.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option("-o", "--output", required=True, metavar="EDIT", help="Where to write the edit file (.safetensors).")
@click.option("--pair", "more", nargs=2, multiple=True, metavar="BEFORE AFTER", help="One more example; repeatable.")
@click.option(
    "--pairs", "folders", multiple=True, metavar="DIR", help="Examples in a folder (vii/inversion/README.md)."
)
@click.option("--recipe", default="default", show_default=True, metavar="NAME|FILE", help="See 'vii recipes'.")
@click.option(
    "--init",
    metavar="TEXT|retrieve|caption|pez|lavis|none",
    help="Starting text, or how to find one (vii/inversion/README.md).",
)
@click.option("--captioner", metavar="MODEL", help="Model behind --init caption, pez or lavis, by id or folder.")
@click.option("--tokens", type=int, metavar="K", help="Rows to learn; 0: as many as the starting text has.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same file.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting of a recipe; repeatable.")
@click.option("--title", default="", help="A short name; the file's name if not given.")
@click.option("--description", default="", help="What the edit does, in a sentence.")
@click.option("--author", default="", help="Who made it.")
@click.option("--license", "license_", default="", help="How the edit file may be used.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; repeatable.")
@click.option("--thumbnail", is_flag=True, help="Store a small picture of the pair in the file (private by default).")
@click.option("--preview", is_flag=True, help="Write EDIT.png while learning: before | after | step 0 | ... | best.")
@click.option("--plot", is_flag=True, help="Write EDIT.svg while learning: the losses as curves.")
@click.option("--log-dir", metavar="DIR", help="Write logs for TensorBoard to DIR.")
@space_option
@editor_options
@json_option
def learn(
    before: str | None,
    after: str | None,
    output: str,
    more: Sequence[tuple[str, str]],
    folders: Sequence[str],
    recipe: str,
    init: str | None,
    captioner: str | None,
    tokens: int | None,
    seed: int,
    assignments: Sequence[str],
    title: str,
    preview: bool,
    plot: bool,
    log_dir: str | None,
    thumbnail: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn an edit from a before/after pair and save it.

    BEFORE and AFTER show the same frame; where only their scale differs, AFTER is scaled to BEFORE. They may be left
    out when the recipe names a pair. Ctrl-C stops early and keeps the best so far.
    """
    import dataclasses

    from ..edit_file import save_edit
    from ..inversion.recipes import read_recipe
    from ..rendering.sheets import thumbnail_of
    from .observe import Observers

    path = edit_path(output)
    chosen = read_recipe(recipe)
    settings = _settings(chosen, assignments, init=init, captioner=captioner, tokens=tokens)
    pairs, photos = _pairs(chosen, before, after, more, folders)
    _warn_of_no_pairs(pairs)
    labels = {name: options.pop(name) for name in ("description", "author", "tags")}
    labels |= {"license": options.pop("license_"), "title": title or path.stem}
    with contextlib.closing(Observers(path, preview=preview, plot=plot, log_dir=log_dir)) as observers:
        editor = load_editor(options)
        startup = time.perf_counter() - STARTED
        observers.start(editor, pairs[0], settings.max_train_steps, seed)
        started = time.perf_counter()
        last, interrupted = _learn(editor, pairs, settings, seed, observers.see)
        edit = dataclasses.replace(last.best(), **labels, thumbnail=thumbnail_of(pairs[0]) if thumbnail else "")
        seconds = time.perf_counter() - started - observers.seconds
        save_edit(edit, path)
        observers.finish(edit)
    report = _learn_report(edit, path, last, interrupted, seconds=seconds, startup=startup) | observers.files
    report |= {"left_out": photos} if photos else {}
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print_learned(report, edit)


@click.command()
@click.option("-o", "--output", default="vii-demo", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def demo(output: str, seed: int, as_json: bool) -> None:
    """Learn the shipped pair, apply it to the shipped photos, write one contact sheet."""
    from ..application import apply as apply_edits
    from ..demo import DEMO_EDIT, demo_pair, demo_photos
    from ..edit_file import save_edit
    from ..files import make_folder
    from ..images import save_image
    from ..inversion.recipes import read_recipe
    from ..rendering.sheets import edit_sheet

    folder = Path(output)
    make_folder(folder)
    pair, photos = demo_pair(), demo_photos()
    click.echo("learning the edit from one pair (about 15 seconds on two CPU cores) ...", err=True)
    editor = load_editor({})
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    last, interrupted = _learn(editor, [pair], read_recipe("default").settings, seed)
    seconds = time.perf_counter() - started
    edit, path = last.best(), folder / f"{DEMO_EDIT}.safetensors"
    save_edit(edit, path)
    results = {}
    with progress("applying", len(photos)) as advance:
        for name, photo in photos.items():
            results[name] = (photo, apply_edits(editor, edit, photo, seed=seed))
            advance()
    sheet = folder / "contact-sheet.png"
    save_image(edit_sheet(pair, results), sheet)
    report = _learn_report(edit, path, last, interrupted, seconds=seconds, startup=startup) | {"sheet": str(sheet)}
    if as_json:
        click.echo(json.dumps(report))
        return
    _print_learned(report, edit)
    click.echo(f"{sheet}   the pair, and {len(photos)} photos it has never seen before and after")


def _settings(recipe: "Recipe", assignments: Sequence[str], **named: Any) -> "InversionSettings":
    from ..settings import override, parse

    return override(override(recipe.settings, **parse(recipe.settings, assignments)), **named)


def _pairs(
    recipe: "Recipe",
    before: str | None,
    after: str | None,
    more: Sequence[tuple[str, str]],
    folders: Sequence[str],
) -> "tuple[list[Pair], list[str]]":
    """The examples, and the photos in their folders that are half of none."""
    from ..images import Pair
    from ..pairs import find_pairs

    if before and not after:
        raise UsageError(f"{before} is the picture before the edit; the one after it is missing")
    paths: list[tuple[str | Path, str | Path]] = [(before, after)] if before and after else []
    paths += [recipe.pair] if recipe.pair and not paths else []
    found = [find_pairs(folder) for folder in folders]
    paths += [*more, *(pair for one in found for pair in one.pairs)]
    if not paths:
        raise UsageError("expected BEFORE and AFTER, two pictures of one frame, or a folder of such with --pairs")
    return [Pair.open(*pair) for pair in paths], [photo for one in found for photo in one.photos]


def _warn_of_no_pairs(pairs: "Sequence[Pair]") -> None:
    from ..pairs import doubts

    for number, pair in enumerate(pairs, 1):
        if doubt := doubts(pair):
            which = f"pair {number} of {len(pairs)}: " if len(pairs) > 1 else ""
            click.echo(f"warning: {which}{doubt}", err=True)


def _learn(
    editor: "Editor",
    pairs: "Sequence[Pair]",
    settings: "InversionSettings",
    seed: int,
    see: "Callable[[Step], None]" = lambda step: None,
) -> "tuple[Step, bool]":
    """Run the loop with a progress line, showing every step to `see`; True when Ctrl-C ended it early."""
    from ..inversion import invert_steps

    last: Step | None = None
    probe: float | None = None  # as last looked at; always before the first update
    with progress("looking for a starting text", None) as note:
        steps = invert_steps(editor, pairs, settings, seed=seed, watch=note)
    with progress("learning", settings.max_train_steps) as advance:
        try:
            for last in steps:
                probe = last.probe if last.probe is not None else probe
                if last.step:
                    advance(f"loss {last.loss:.3g} probe {probe:.3g} explained {last.explained:.0%}")
                see(last)
        except KeyboardInterrupt:
            if last is None:
                raise
            return last, True
    assert last is not None  # the loop yields its starting point before anything else
    return last, False


def _learn_report(edit: "Edit", path: Path, last: "Step", interrupted: bool, **times: float) -> dict[str, Any]:
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "seconds": round(times["seconds"], 3),
        "startup_seconds": round(times["startup"], 3),
        "steps": last.step,
        "samples": last.samples,
        "explained": edit.training["explained"],
        "explained_start": edit.training["explained_start"],
        "init_text": edit.init_text,
        "stopped": "interrupted" if interrupted else "finished" if last.step == last.steps else "early",
    }


def _print_learned(report: dict[str, Any], edit: "Edit") -> None:
    from ..inversion import LOW_EXPLAINED

    click.echo(f"{report['path']}   {report['bytes'] / 1000:.0f} kB")
    click.echo(
        f"{report['steps']} steps in {report['seconds']:.1f} s ({report['stopped']}), start-up "
        f"{report['startup_seconds']:.1f} s; explains {report['explained']:.0%} of what no instruction leaves, the "
        f"starting text '{edit.init_text}' {report['explained_start']:.0%}"
    )
    for photo in report.get("left_out", ()):
        click.echo(f"{photo} was left out: it has no picture after, and is taken for a photo to try the edit on")
    if full := edit.training.get("init_caption"):
        click.echo(f"the caption '{full}' was shortened to what the editor's text encoder takes")
    if report["explained"] < LOW_EXPLAINED:
        click.echo(
            "warning: little was explained; do the two pictures show one frame? Try --init or more steps", err=True
        )
