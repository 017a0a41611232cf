"""`vii apply`: edits and words on photos."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from ..arrangement import FINISHES, SIZES
from ..color_plan import needs_editor
from ..edit_list import check_together
from ..errors import OutputError, UsageError
from ..files import Outputs
from ..pictures import Pictures
from ..runs.jobs import Job, Outcome, Writing
from ..runs.plans import Box, Request
from ..runs.tasks import Applying
from ..sampling_options import SAMPLING_OPTIONS
from ..settings import parse_box
from ..storage import is_elsewhere
from .arguments import NamedEdit, edits_and_photos
from .clips import STEADY, clip_edited, has_clips
from .common import (
    EDITOR_OPTIONS,
    Command,
    editor_of,
    editor_options,
    import_lightly,
    json_option,
    outputs_of,
    overwrite_option,
)
from .engine import engine_of, engine_options, in_this_process
from .photos import jobs_for, told, writing_of, writing_options
from .plan import dry_run_option, say_plan
from .progress import progress
from .served import outcomes_of
from .terminal import STARTED, fail, say, say_json, warn

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
    options["engine"] = engine_of(options)
    edits, found = edits_and_photos(inputs, output, options["recursive"])
    if not edits and not options["text"]:
        raise UsageError("nothing to apply: name an edit (a file or one of the library), or words with --text, or both")
    if dry_run:
        first = next((edit for _, edit, _ in edits if edit.needs_editor), None)
        say_plan(editor_of(first, options), as_json)
        return
    if mask and box:
        raise UsageError("give --mask or --box, not both")
    outputs = outputs_of(overwrite)
    outputs.reads(*(path for path in found.paths if not is_elsewhere(path)), *(path for path, _, _ in edits))
    outputs.reads(*([mask] if mask else []))
    where, warnings = mask or (parse_box(box, "--box") if box is not None else None), list[str]()

    def warned(sentence: str) -> None:
        warnings.append(sentence)
        warn(sentence)

    if has_clips(found):
        report = clip_edited(found, output, outputs, options, lambda: _request(edits, where, options), warned)
    else:
        report = _photos_edited(context, found, output, outputs, edits, where, options, warned, as_json)
    report["warnings"] = warnings
    if as_json:
        say_json(report)
    else:
        _print_report(report, len(found.paths))
    if report["failed"]:
        raise OutputError(f"{report['failed']} of {len(found.paths)} photos could not be edited")


def _photos_edited(
    context: click.Context,
    found: Pictures,
    output: str,
    outputs: Outputs,
    edits: Sequence[NamedEdit],
    where: str | Box | None,
    options: dict[str, Any],
    warned: Callable[[str], None],
    as_json: bool,
) -> dict[str, Any]:
    """What becomes of photos, told as it happens; a photo that is alone raises what is wrong with it."""
    if options.pop("steady") is not None:
        raise UsageError("`steady` is for clips")
    engine, server = options["engine"], options.pop("server")
    jobs = jobs_for(found, output, options.pop("kind"), outputs)
    writing = writing_of(jobs, options, outputs.overwrite)
    if server:
        if engine is not in_this_process:
            raise UsageError("give --server or --engine, not both")
        outcomes = outcomes_of(server, jobs, edits, where, options, writing)
    else:
        request = _request(edits, where, options)
        unused = _given(context, (*OF_EDITORS, *(option.setting for option in SAMPLING_OPTIONS)))
        if request.editor is None and unused:
            warned(f"no editor is needed, so {', '.join(unused)} changes nothing")
        outcomes = engine(Applying(request, writing, options["resume"]), jobs, warned)
    if found.left_out:
        warn(found.sentence())
    startup = time.perf_counter() - STARTED
    report = _followed(outcomes, jobs, writing, as_json)
    report["skipped"] |= {str(path): reason for path, reason in found.left_out.items()}
    return report | {"startup_seconds": round(startup, 3)}


def _request(edits: Sequence[NamedEdit], where: str | Box | None, options: Mapping[str, Any]) -> Request:
    """What is asked for; `options` are those of the command."""
    weighted, names = [(edit, weight) for _, edit, weight in edits], [path.stem for path, _, _ in edits]
    passed_on = {name: options[name] for name in PASSED_ON}
    sampling = {option.setting: options[option.setting] for option in SAMPLING_OPTIONS}
    editor = None
    if needs_editor(weighted, passed_on["text"], finish=passed_on["finish"]):
        every = [edit for edit, _ in weighted]
        sampled = [edit for edit in every if edit.needs_editor or passed_on["finish"] == "none"] or every
        check_together(sampled)
        import_lightly(options)
        editor = editor_of(sampled[0] if sampled else None, {name: options[name] for name in EDITOR_OPTIONS})
    return Request(weighted, names, editor, where, options["batch"], passed_on, sampling, options["assignments"])


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
