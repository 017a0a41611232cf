"""`vii apply`: edits and words on photos."""

import functools
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .. import light_imports
from ..arrangement import FINISHES, SIZES
from ..color_plan import ColorApplication, needs_editor
from ..edit import Edit
from ..edit_file import load_edit
from ..edit_list import check_together
from ..errors import OutputError, UsageError
from ..library import find_edit, written_as_path
from ..pictures import SUFFIXES, Pictures, find_pictures, read_mask
from ..sampling_options import SAMPLING_OPTIONS
from ..settings import parse
from .common import Command, editor_of, editor_options, json_option, load_editor, outputs_of, overwrite_option
from .photos import Plan, edited, jobs_for, told, writing_of, writing_options
from .progress import progress
from .terminal import STARTED, fail, say, say_json, warn

if TYPE_CHECKING:
    from torch import Tensor

# Pickles are named as edits too, so that they meet the refusal that explains why and not "not a picture".
EDIT_ARGUMENT = re.compile(r"(?P<path>.+\.(?:safetensors|pt|pth|bin|ckpt|pkl))(?::(?P<weight>[^:/\\]*))?", re.DOTALL)
# What has nothing to say where no editor runs.
PASSED_ON = ("text", "join_text", "seed", "reuse_noise", "finish", "size", "any_model")
OF_EDITORS = ("join_text", "seed", "reuse_noise", "any_model", "batch", "assignments")
Box = tuple[int, int, int, int]
A_MASK = np.ones((1, 1), np.float32)  # for records, which say only that there was one


def sampling_options(command: Command) -> Command:
    """The settings of editors that are asked for most, each as an option."""
    for option in reversed(SAMPLING_OPTIONS):
        given = click.option(option.flag, option.setting, type=option.kind, metavar=option.metavar, help=option.help)
        command = given(command)
    return command


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="[EDIT[:WEIGHT]]... PHOTO|FOLDER...")
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
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Photos of one size that are edited at once.")
@click.option("--any-model", is_flag=True, help="Accept an edit learned with other weights of the same shape.")
@editor_options
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
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Apply edits, words, or both to photos.

    An edit is a file, or the name of one in the library where no file or folder has that name. A weight follows after
    a colon: 1 as learned, 0.5 half of it, -1 the other way. An edit that is colours alone needs no editor, and none is
    loaded.

    With one photo OUT may be a file, whose name says the format; otherwise it is a folder, in which every result has
    its photo's stem and, if --format is not given, its photo's format. Results have the photo's size and, in PNG and
    TIFF, its 16 bits. A photo that cannot be read is reported and the others are done.
    """
    edits, found = _edits_and_photos(inputs)
    if not edits and not options["text"]:
        raise UsageError("nothing to apply: name an edit (a file or one of the library), or words with --text, or both")
    if mask and box:
        raise UsageError("give --mask or --box, not both")
    where = mask or _parse_box(box)
    outputs = outputs_of(overwrite)
    outputs.reads(*found.paths, *(path for path, _, _ in edits), *([mask] if mask else []))
    jobs = jobs_for(found.paths, output, options.pop("kind"), outputs)
    writing = writing_of(jobs, options)
    weighted, names = [(edit, weight) for _, edit, weight in edits], [path.stem for path, _, _ in edits]
    plan: Plan[Any]
    if needs_editor(weighted, options["text"], finish=options["finish"]):
        plan, warnings = _with_editor(weighted, names, where, batch, options)
    else:
        plan = _with_colors(ColorApplication(weighted, size=options["size"]), names, where)
        unused = _given(context, (*OF_EDITORS, *(option.setting for option in SAMPLING_OPTIONS)))
        warnings = [f"no editor is needed, so {', '.join(unused)} changes nothing"] if unused else []
    for warning in (*warnings, found.sentence()):
        if warning:
            warn(warning)
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    written: list[str] = []
    skipped: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    with progress("applying", len(jobs)) as advance:
        for job, error in edited(jobs, plan, writing):
            if error is None:
                written.append(str(job.result))
                notes[str(job.photo)] = job.notes(writing)
            elif len(jobs) == 1:
                raise error
            else:
                skipped[str(job.photo)] = str(error)
                fail(str(error))
            advance()
    for line in told(notes):
        warn(line)
    report = {
        "paths": written,
        "seconds": round(time.perf_counter() - started, 3),
        "startup_seconds": round(startup, 3),
        "failed": len(skipped),
        "skipped": skipped | {str(path): reason for path, reason in found.left_out.items()},
        "notes": {photo: sentences for photo, sentences in notes.items() if sentences},
        "warnings": list(warnings),
    }
    if as_json:
        say_json(report)
    else:
        for path in written:
            say(path)
    if skipped:
        raise OutputError(f"{len(skipped)} of {len(jobs)} photos could not be edited")


def _with_editor(
    weighted: Sequence[tuple[Edit, float]],
    names: Sequence[str],
    where: str | Box | None,
    batch: int | None,
    options: dict[str, Any],
) -> "tuple[Plan[Tensor], Sequence[str]]":
    """A plan that loads the editor, and what to warn of."""
    light_imports.begin()
    import torch

    from ..application import Application
    from ..images import from_array, to_array
    from ..region import check_box

    every = [edit for edit, _ in weighted]
    sampled = [edit for edit in every if edit.needs_editor or options["finish"] == "none"] or every
    check_together(sampled)
    passed_on = {name: options.pop(name) for name in PASSED_ON}
    assignments = options.pop("assignments")
    sampling = {option.setting: options.pop(option.setting) for option in SAMPLING_OPTIONS}
    editor = load_editor(editor_of(sampled[0] if sampled else None, options))
    plan = Application(editor, weighted, **passed_on, **sampling | parse(editor.settings, assignments))

    @functools.lru_cache(maxsize=2)  # photos of a size follow each other
    def masked(height: int, width: int) -> "Tensor":
        return torch.from_numpy(read_mask(str(where), (height, width)))[None]

    region = (lambda photo: masked(*photo.shape[-2:])) if isinstance(where, str) else where

    def prepare(pixels: np.ndarray) -> "Tensor":
        photo = from_array(pixels)
        if isinstance(region, tuple):
            check_box(region, *photo.shape[-2:])
        elif region:
            region(photo)  # which refuses a mask of another shape
        return photo

    def edit(photos: Any) -> Any:
        return plan.many(photos, region, batch=batch)

    return Plan(prepare, edit, to_array, lambda result: plan.chunks(result, region, names=names)), plan.warnings


def _with_colors(application: ColorApplication, names: Sequence[str], where: str | Box | None) -> Plan[np.ndarray]:
    """A plan that needs neither an editor nor torch, and edits photos where they are read."""

    @functools.lru_cache(maxsize=2)
    def masked(height: int, width: int) -> np.ndarray:
        return read_mask(str(where), (height, width))

    def prepare(pixels: np.ndarray) -> np.ndarray:
        return application(pixels, masked(*pixels.shape[:2]) if isinstance(where, str) else where)

    shown = A_MASK if isinstance(where, str) else where
    return Plan(
        prepare,
        lambda results: results,
        lambda result, bits: result,
        lambda result: application.chunks(result, shown, names=names),
    )


def _given(context: click.Context, names: Sequence[str]) -> list[str]:
    """Those of some options that were given, as they are spelled."""
    here = click.core.ParameterSource.COMMANDLINE
    options = [parameter for parameter in context.command.params if parameter.name in names]
    return [max(option.opts, key=len) for option in options if context.get_parameter_source(str(option.name)) is here]


def _edits_and_photos(inputs: Sequence[str]) -> tuple[list[tuple[Path, Edit, float]], Pictures]:
    named = [(text, _named_edit(text)) for text in inputs]
    edits = [(found[0], load_edit(found[0]), _weight(text, found[1])) for text, found in named if found]
    photos = [text for text, found in named if not found]
    if not photos:
        raise UsageError("expected at least one photo or a folder of photos")
    return edits, find_pictures(photos)


def _named_edit(text: str) -> tuple[Path, str | None] | None:
    """The edit file and the weight that an argument names; None where it names photos.

    Files come before the library, so that what is in a folder means the same whatever the library holds.
    """
    if match := EDIT_ARGUMENT.fullmatch(text):
        return Path(match["path"]), match["weight"]
    name, weight = text.rsplit(":", 1) if ":" in text else (text, None)
    if name.lower().endswith(".cube"):
        raise UsageError(f"{text}: a look-up table becomes an edit by 'vii import {name} -o EDIT.safetensors'")
    if os.path.exists(text) or written_as_path(name) or name.lower().endswith(SUFFIXES):
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
