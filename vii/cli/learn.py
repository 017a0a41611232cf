"""`vii learn`: from a pair to an edit file."""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ..edit_file import Edit, save_edit
from ..editor import Editor
from ..errors import OutputError, UsageError
from ..images import Pair
from ..inversion import InversionSettings, Step, invert_steps, learning_advice, little_learned
from ..inversion.recipes import Recipe, read_recipe
from ..pairs import doubts, find_pairs
from ..rendering.sheets import thumbnail_of
from ..runs.learning import Teaching
from ..settings import override, parse
from ..signals import stoppable
from .common import (
    edit_path,
    editor_options,
    json_option,
    load_editor,
    outputs_of,
    overwrite_option,
    space_option,
    weighed,
    written,
)
from .engine import engine_of, engine_options, in_this_process
from .learn_each import learn_each
from .observe import Observers
from .plan import dry_run_option, say_plan
from .progress import progress
from .terminal import STARTED, say, say_json, warn


@click.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option("-o", "--output", required=True, metavar="EDIT", help="Where to write the edit file (.safetensors).")
@click.option("--pair", "more", nargs=2, multiple=True, metavar="BEFORE AFTER", help="One more example; repeatable.")
@click.option("--pairs", "folders", multiple=True, metavar="DIR", help="Examples in a folder (docs/learning.md).")
@click.option("--each", metavar="DIR", help="Many edits: of each sub-folder, and of each pair.")
@click.option("--resume", is_flag=True, help="Keep what a run with --each that was stopped has learned.")
@click.option("--recipe", default="default", show_default=True, metavar="NAME|FILE", help="See 'vii recipes'.")
@click.option(
    "--init",
    metavar="TEXT|retrieve|caption|pez|lavis|none",
    help="Starting text, or how to find one (docs/learning.md).",
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
@overwrite_option
@engine_options
@dry_run_option
@editor_options
@json_option
@click.pass_context
def learn(
    context: click.Context,
    /,
    before: str | None,
    after: str | None,
    output: str,
    more: Sequence[tuple[str, str]],
    folders: Sequence[str],
    each: str | None,
    resume: bool,
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
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn an edit from a before/after pair and save it.

    BEFORE and AFTER show the same frame; where only their scale differs, AFTER is scaled to BEFORE. They may be left
    out when the recipe names a pair. Ctrl-C, SIGTERM and SIGHUP stop early and keep the best so far.

    With --each many edits are learned by one process, and a table says how well. Stopped, it keeps those that are
    finished, and goes on with --resume. With --json a line is printed for each, and the report in the last one.
    """
    chosen = read_recipe(recipe)
    settings = override(
        override(chosen.settings, **parse(chosen.settings, assignments)), init=init, captioner=captioner, tokens=tokens
    )
    outputs, engine = outputs_of(overwrite), engine_of(options)
    if dry_run:
        say_plan(options, as_json, batch=settings.batch_size)
        return
    labels = {name: options.pop(name) for name in ("description", "author", "tags")}
    labels |= {"license": options.pop("license_"), "title": title}
    if each:
        teaching = Teaching(settings, options, seed, labels, thumbnail)
        learn_each(context, each, output, teaching, outputs, engine=engine, resume=resume, as_json=as_json)
        return
    if resume or engine is not in_this_process:
        raise UsageError("--resume and --engine are for many edits; give --each too")
    paths, photos = _pair_paths(chosen, before, after, more, folders)
    outputs.reads(recipe, *folders, *(path for pair in paths for path in pair))
    path = edit_path(output, outputs)
    labels["title"] = title or path.stem
    with contextlib.closing(Observers(path, outputs, preview=preview, plot=plot, log_dir=log_dir)) as observers:
        pairs = [Pair.open(*pair) for pair in paths]
        warn_of_no_pairs(pairs)
        editor = load_editor(options)
        if advice := learning_advice(editor):
            warn(advice)
        startup = time.perf_counter() - STARTED
        observers.start(editor, pairs[0], seed)
        started = time.perf_counter()
        last, ended = learn_steps(editor, pairs, settings, seed, observers.see)
        labels |= {"thumbnail": thumbnail_of(pairs[0]) if thumbnail else ""}
        edit, stopped = save_finished(dataclasses.replace(last.best(), **labels), last, path)
        ended = ended or stopped
        seconds = time.perf_counter() - started - observers.seconds
        observers.finish(edit)
    report = learn_report(edit, path, last, ended, seconds=seconds, startup=startup) | observers.files
    report |= {"left_out": photos} if photos else {}
    if as_json:
        say_json(report)
    else:
        print_learned(report, path)
    if ended:
        raise ended


def learn_steps(
    editor: Editor,
    pairs: Sequence[Pair],
    settings: InversionSettings,
    seed: int,
    see: Callable[[Step], None] = lambda step: None,
) -> tuple[Step, BaseException | None]:
    """Run the loop with a progress line, showing every step to `see`.

    Returns:
        the last step, and what ended the loop early: the caller raises it when the best so far is saved.
    """
    with progress("looking for a starting text", None) as note:
        steps = invert_steps(editor, pairs, settings, seed=seed, watch=note)
        last = next(steps)
    probe = last.probe  # as last looked at
    with progress("learning", last.steps) as advance, stoppable():
        try:
            see(last)
            for last in steps:
                probe = last.probe if last.probe is not None else probe
                advance(f"loss {last.loss:.3g} probe {probe:.3g} explained {last.explained:.0%}")
                see(last)
        except KeyboardInterrupt as stopped:
            return last, stopped
        except Exception as error:  # whatever it is, it must not cost the updates that went well
            if not last.step:
                raise
            return last, error
    return last, None


def save_finished(edit: Edit, last: Step, path: Path) -> tuple[Edit, BaseException | None]:
    """Write what was learned, then find its finish and write it again; what stops that costs no more than the finish.

    Args:
        edit: the best of `last`, with its labels.
        last: step of the run.
        path: where to write.

    Returns:
        the edit as it stands in the file, and what ended the search for a finish.
    """
    save(edit, path)
    try:
        with progress("fitting the finish", None), stoppable():
            finish = last.finished().finish
    except (KeyboardInterrupt, Exception) as error:
        told = "" if isinstance(error, KeyboardInterrupt) else f" ({type(error).__name__}: {error})"
        warn(f"the edit was saved without a finish{told}: the editor's picture will be scaled up")
        return edit, error
    if finish is not None:
        edit = dataclasses.replace(edit, finish=finish)
        save(edit, path)
    return edit, None


def save(edit: Edit, path: Path) -> None:
    """Write what was learned; where that is not possible any more, to a temporary folder.

    Raises:
        OutputError: `path` cannot be written; it says where the edit is.
    """
    try:
        save_edit(edit, path)
    except OutputError as error:
        kept = Path(tempfile.mkdtemp(prefix="vii-learned-")) / path.name
        save_edit(edit, kept)
        raise OutputError(f"{error}; what was learned is in {kept}") from None


def learn_report(edit: Edit, path: Path, last: Step, ended: BaseException | None, **times: float) -> dict[str, Any]:
    """What `--json` tells of a run; `times` are `seconds` and `startup`."""
    finished = "finished" if last.step == last.steps else "early"
    return written(path) | {
        "seconds": round(times["seconds"], 3),
        "startup_seconds": round(times["startup"], 3),
        "steps": last.step,
        "samples": last.samples,
        "explained": edit.training["explained"],
        "explained_start": edit.training["explained_start"],
        "little_learned": little_learned(edit),
        "consists_of": edit.consists_of,
        "finish": edit.finish.fields() if edit.finish else None,
        "init_text": edit.init_text,
        "init_caption": edit.training.get("init_caption", ""),
        "stopped": finished if ended is None else "interrupted" if isinstance(ended, KeyboardInterrupt) else "failed",
    }


def print_learned(report: dict[str, Any], path: Path) -> None:
    """The same for people."""
    say(f"{weighed(path)}   {report['consists_of']}")
    say(
        f"{report['steps']} steps in {report['seconds']:.1f} s ({report['stopped']}), start-up "
        f"{report['startup_seconds']:.1f} s; explains {report['explained']:.0%} of what no instruction leaves, the "
        f"starting text '{report['init_text']}' {report['explained_start']:.0%}"
    )
    for photo in report.get("left_out", ()):
        say(f"{photo} was left out: it has no picture after, and is taken for a photo to try the edit on")
    if full := report["init_caption"]:
        say(f"the caption '{full}' was shortened to what the editor's text encoder takes")
    if report["little_learned"]:
        warn("little was explained; do the two pictures show one frame? Try --init or more steps")


def _pair_paths(
    recipe: Recipe, before: str | None, after: str | None, more: Sequence[tuple[str, str]], folders: Sequence[str]
) -> tuple[list[tuple[str | Path, str | Path]], list[str]]:
    """The files of the examples, and the photos in their folders that are half of none."""
    if before and not after:
        raise UsageError(f"{before} is the picture before the edit; the one after it is missing")
    paths: list[tuple[str | Path, str | Path]] = [(before, after)] if before and after else []
    paths += [recipe.pair] if recipe.pair and not paths else []
    found = [find_pairs(folder) for folder in folders]
    paths += [*more, *(pair for one in found for pair in one.pairs)]
    if not paths:
        raise UsageError("expected BEFORE and AFTER, two pictures of one frame, or a folder of such with --pairs")
    return paths, [photo for one in found for photo in one.photos]


def warn_of_no_pairs(pairs: Sequence[Pair]) -> None:
    """Say of pairs that do not look like one frame before and after an edit that they do not."""
    for number, pair in enumerate(pairs, 1):
        if doubt := doubts(pair):
            warn((f"pair {number} of {len(pairs)}: " if len(pairs) > 1 else "") + doubt)
