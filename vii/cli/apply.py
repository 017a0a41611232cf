"""`vii apply`: edits and words on photos."""

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .. import light_imports
from ..arrangement import FINISHES, SIZES
from ..clips import is_clip
from ..color_plan import needs_editor
from ..edit import Edit
from ..edit_file import load_edit
from ..edit_list import check_together
from ..errors import OutputError, UsageError
from ..library import find_edit, written_as_path
from ..pictures import SUFFIXES, Pictures, find_pictures
from ..runs.jobs import Job, Outcome, Writing
from ..runs.plans import Box, Request
from ..runs.tasks import Applying
from ..sampling_options import SAMPLING_OPTIONS
from ..storage import is_elsewhere
from .clips import STEADY, clip_output, clip_report, has_clips
from .common import Command, editor_of, editor_options, json_option, outputs_of, overwrite_option
from .engine import engine_of, engine_options, in_this_process
from .photos import jobs_for, told, writing_of, writing_options
from .plan import dry_run_option, say_plan
from .progress import progress
from .served import outcomes_of
from .terminal import STARTED, fail, say, say_json, warn

# Pickles are named as edits too, so that they meet the refusal that explains why and not "not a picture".
EDIT_ARGUMENT = re.compile(
    r"(?i)(?P<path>.+\.(?:safetensors|pt|pth|bin|ckpt|pkl))(?::(?P<weight>[^:/\\]*))?", re.DOTALL
)
# What has nothing to say where no editor runs.
PASSED_ON = ("text", "join_text", "seed", "reuse_noise", "finish", "size", "any_model")
OF_EDITORS = ("join_text", "seed", "reuse_noise", "any_model", "batch", "assignments")


def sampling_options(command: Command) -> Command:
    """The settings of editors that are asked for most, each as an option."""
    for option in reversed(SAMPLING_OPTIONS):
        given = click.option(option.flag, option.setting, type=option.kind, metavar=option.metavar, help=option.help)
        command = given(command)
    return command


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="[EDIT[:WEIGHT]]... PHOTO|FOLDER|CLIP...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png, .jpg, .webp or .tif, or a folder.")
@writing_options
@click.option("--text", default="", metavar="WORDS", help="Words to add, or to apply alone.")
@click.option("--join-text", is_flag=True, help="Put the words after the first edit's tokens, as the paper does.")
@sampling_options
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting of the editor; repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="Each photo starts from the same noise.")
@click.option(
    "--reuse-noise/--new-noise",
    default=None,
    help="Use the noises that the edit was learned with, or not; if not given, as the edit was learned for.",
)
@click.option("--mask", metavar="PICTURE", help="White where to edit, black where the photo stays.")
@click.option("--box", metavar="X,Y,W,H", help="Edit inside this box only, in pixels of the photo.")
@click.option("--finish", type=click.Choice(FINISHES), default="auto", help="none: the editor's picture as it is.")
@click.option("--size", type=click.Choice(SIZES), default="photo", help="Results at the photo's or the editor's size.")
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Photos of one size edited at once; else by memory.")
@click.option("--recursive", "-r", is_flag=True, help="Photos in sub-folders too; their results lie in such as well.")
@click.option("--resume", is_flag=True, help="Keep the results of a run of this command that was stopped.")
@click.option(
    "--steady", type=click.FloatRange(0, 0.98), metavar="S", help=f"Of clips: less flicker, {STEADY} as a rule; 0: off."
)
@click.option("--server", metavar="ADDRESS", help="Have a running 'vii serve' edit, and load nothing here.")
@click.option(
    "--offload", is_flag=True, default=None, help="Bring layers to the device as they are run: less memory, more time."
)
@click.option("--any-model", is_flag=True, help="Accept an edit learned with other weights of the same shape.")
@engine_options
@editor_options
@dry_run_option
@overwrite_option
@json_option
@click.pass_context
def apply(
    context: click.Context,
    /,
    inputs: Sequence[str],
    output: str,
    mask: str | None,
    box: str | None,
    batch: int | None,
    recursive: bool,
    resume: bool,
    server: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Apply edits, words, or both to photos.

    An edit is a file, or the name of one in the library where no file or folder has that name. A weight follows after
    a colon: 1 as learned, 0.5 half of it, -1 the other way. An edit that is colours alone needs no editor, and none is
    loaded.

    With one photo OUT may be a file, whose name says the format; otherwise it is a folder, in which every result has
    its photo's stem and, if --format is not given, its photo's format. Results have the photo's size and, in PNG and
    TIFF, its 16 bits. A photo that cannot be read is reported and the others are done; the exit code is then 1.

    A clip (.mp4, .mov, .mkv, .webm, .avi) is edited frame by frame, each from the same noise, and keeps its sound.

    With --resume a result that is there is kept where it is whole and says that it was made from the same photo in the
    same way; all else is made, or made again. With --json and several photos, a line is printed for each, and the
    report in the last one.
    """
    engine = engine_of(options)
    edits, found = _edits_and_photos(inputs, output, recursive)
    if not edits and not options["text"]:
        raise UsageError("nothing to apply: name an edit (a file or one of the library), or words with --text, or both")
    if dry_run:
        first = next((edit for _, edit, _ in edits if edit.needs_editor), None)
        say_plan(editor_of(first, options), as_json)
        return
    if mask and box:
        raise UsageError("give --mask or --box, not both")
    outputs = outputs_of(overwrite)
    outputs.reads(
        *(path for path in found.paths if not is_elsewhere(path)),
        *(path for path, _, _ in edits),
        *([mask] if mask else []),
    )
    where, warnings, steady = mask or _parse_box(box), list[str](), options.pop("steady")

    def warned(sentence: str) -> None:
        warnings.append(sentence)
        warn(sentence)

    jobs: list[Job] = []
    if has_clips(found):
        if server or engine is not in_this_process:
            raise UsageError("a clip is edited here, frame after frame; leave out --server and --engine")
        options |= {"resume": resume, "recursive": recursive}
        clip = clip_output(found, output, options, outputs)
        request = replace(_request(edits, where, batch, options), steady=STEADY if steady is None else steady)
        plan, sentences = request.plan()
        for sentence in sentences:
            warned(sentence)
        startup = time.perf_counter() - STARTED
        report = clip_report(found.paths[0], clip, plan)
    else:
        if steady is not None:
            raise UsageError("`steady` is for clips")
        jobs = jobs_for(found, output, options.pop("kind"), outputs)
        writing = writing_of(jobs, options, overwrite)
        if server:
            if engine is not in_this_process:
                raise UsageError("give --server or --engine, not both")
            outcomes = outcomes_of(server, jobs, edits, where, options | {"batch": batch, "resume": resume}, writing)
        else:
            request = _request(edits, where, batch, options)
            unused = _given(context, (*OF_EDITORS, *(option.setting for option in SAMPLING_OPTIONS)))
            if request.editor is None and unused:
                warned(f"no editor is needed, so {', '.join(unused)} changes nothing")
            outcomes = engine(Applying(request, writing, resume), jobs, warned)
        if found.left_out:
            warn(found.sentence())
        startup = time.perf_counter() - STARTED
        report = _followed(outcomes, jobs, writing, as_json)
        report["skipped"] |= {str(path): reason for path, reason in found.left_out.items()}
    report |= {"startup_seconds": round(startup, 3), "warnings": warnings}
    if as_json:
        say_json(report)
    else:
        _print_report(report, len(jobs))
    if report["failed"]:
        raise OutputError(f"{report['failed']} of {len(jobs)} photos could not be edited")


def _request(
    edits: Sequence[tuple[Path, Edit, float]], where: str | Box | None, batch: int | None, options: dict[str, Any]
) -> Request:
    """What is asked for; `options` are all that say how, of editors among them."""
    weighted, names = [(edit, weight) for _, edit, weight in edits], [path.stem for path, _, _ in edits]
    passed_on = {name: options.pop(name) for name in PASSED_ON}
    assignments = options.pop("assignments")
    sampling = {option.setting: options.pop(option.setting) for option in SAMPLING_OPTIONS}
    editor = None
    if needs_editor(weighted, passed_on["text"], finish=passed_on["finish"]):
        every = [edit for edit, _ in weighted]
        sampled = [edit for edit in every if edit.needs_editor or passed_on["finish"] == "none"] or every
        check_together(sampled)
        if not options.get("quantize"):  # whose packages the light way leaves out
            light_imports.begin()
        editor = editor_of(sampled[0] if sampled else None, options)
    return Request(weighted, names, editor, where, batch, passed_on, sampling, assignments)


def _followed(outcomes: Iterable[Outcome], jobs: Sequence[Job], writing: Writing, as_json: bool) -> dict[str, Any]:
    """What becomes of photos, told as it happens; a photo that is alone raises what is wrong with it."""
    started = time.perf_counter()
    paths: list[str] = []
    skipped: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    kept = 0
    with progress("applying", len(jobs)) as advance:
        for outcome in outcomes:
            job, error = outcome.job, outcome.error
            line: dict[str, Any] = {"photo": str(job.photo)}
            if error is None:
                line |= {"path": str(job.result), "kept": outcome.kept}
                paths.append(line["path"])
                kept += outcome.kept
                if sentences := [*job.notes(writing), *outcome.notes]:
                    line["notes"] = notes[line["photo"]] = sentences
            elif len(jobs) == 1:
                raise error
            else:
                skipped[line["photo"]] = line["error"] = str(error)
                fail(str(error))
            if as_json and len(jobs) > 1:
                say_json(line)
            advance()
    for sentence in told(notes):
        warn(sentence)
    seconds = round(time.perf_counter() - started, 3)
    return {
        "paths": paths,
        "seconds": seconds,
        "kept": kept,
        "failed": len(skipped),
        "skipped": skipped,
        "notes": notes,
    }


def _print_report(report: dict[str, Any], count: int) -> None:
    for path in report["paths"]:
        say(path)
    if count > 1:
        made = len(report["paths"]) - report["kept"]
        parts = [f"{made} edited", *(f"{report[name]} {name}" for name in ("kept", "failed") if report[name])]
        pace = f", {made / report['seconds']:.1f} photos a second" if report["seconds"] and made else ""
        say(f"{count} photos: {', '.join(parts)}; {report['seconds']:.1f} s{pace}", err=True)


def _given(context: click.Context, names: Sequence[str]) -> list[str]:
    """Those of some options that were given, as they are spelled."""
    here = click.core.ParameterSource.COMMANDLINE
    options = [parameter for parameter in context.command.params if parameter.name in names]
    return [max(option.opts, key=len) for option in options if context.get_parameter_source(str(option.name)) is here]


def _edits_and_photos(
    inputs: Sequence[str], output: str, recursive: bool
) -> tuple[list[tuple[Path, Edit, float]], Pictures]:
    named = [(text, _named_edit(text)) for text in inputs]
    edits = [(found[0], load_edit(found[0]), _weight(text, found[1])) for text, found in named if found]
    photos = [text for text, found in named if not found]
    if not photos:
        raise UsageError("expected at least one photo or a folder of photos")
    return edits, find_pictures(photos, recursive=recursive, apart=output)


def _named_edit(text: str) -> tuple[Path, str | None] | None:
    """The edit file and the weight that an argument names; None where it names photos.

    Files come before the library, so that what is in a folder means the same whatever the library holds.
    """
    if "://" in text:
        return None
    if match := EDIT_ARGUMENT.fullmatch(text):
        return Path(match["path"]), match["weight"]
    name, weight = text.rsplit(":", 1) if ":" in text else (text, None)
    if name.lower().endswith(".cube"):
        raise UsageError(f"{text}: a look-up table becomes an edit by 'vii import {name} -o EDIT.safetensors'")
    if os.path.exists(text) or written_as_path(name) or name.lower().endswith(SUFFIXES) or is_clip(Path(name)):
        return None
    return find_edit(name), weight


def _weight(argument: str, text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        raise UsageError(f"{argument}: expected EDIT:WEIGHT with a number, such as :0.8") from None


def _parse_box(box: str | None) -> Box | None:
    if box is None:
        return None
    numbers = box.split(",")
    if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"--box {box}: expected X,Y,W,H, four whole numbers of pixels")
    x, y, w, h = map(int, numbers)
    return x, y, w, h
