"""`vii apply`: edits and words on photos."""

import functools
import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from ..application import Application, Where
from ..background import in_background
from ..edit_file import Edit, load_edit
from ..edit_list import check_together
from ..editors.options import SAMPLING_OPTIONS
from ..errors import OutputError, UsageError, ViiError
from ..files import Outputs, make_folder
from ..images import load_image, save_image
from ..library import find_edit, written_as_path
from ..pictures import SUFFIXES, Pictures, find_pictures, read_mask
from ..region import check_box
from ..settings import parse
from .common import Command, editor_of, editor_options, json_option, load_editor, overwrite_option
from .progress import progress
from .terminal import STARTED, fail, say, say_json, warn

# Pickles are named as edits too, so that they meet the refusal that explains why and not "not a picture".
EDIT_ARGUMENT = re.compile(r"(?P<path>.+\.(?:safetensors|pt|pth|bin|ckpt|pkl))(?::(?P<weight>[^:/\\]*))?", re.DOTALL)
# Pixels of photos that were read and wait to be edited; 12 bytes each.
READ_AHEAD = 50_000_000


def sampling_options(command: Command) -> Command:
    """The settings of editors that are asked for most, each as an option."""
    for option in reversed(SAMPLING_OPTIONS):
        given = click.option(option.flag, option.setting, type=option.kind, metavar=option.metavar, help=option.help)
        command = given(command)
    return command


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="[EDIT[:WEIGHT]]... PHOTO|FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png for one photo, else a folder.")
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
@click.option("--full-size", is_flag=True, help="Results at the photo's size instead of the editor's.")
@click.option("--batch", type=click.IntRange(1), metavar="N", help="Photos of one size that are edited at once.")
@click.option("--any-model", is_flag=True, help="Accept an edit learned with other weights of the same shape.")
@editor_options
@overwrite_option
@json_option
def apply(
    inputs: Sequence[str],
    output: str,
    text: str,
    join_text: bool,
    assignments: Sequence[str],
    seed: int,
    reuse_noise: bool | None,
    mask: str | None,
    box: str | None,
    full_size: bool,
    batch: int | None,
    any_model: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Apply edits, words, or both to photos.

    An edit is a file, or the name of one in the library where no file or folder has that name. A weight follows after
    a colon: 1 as learned, 0.5 half of it, -1 the other way. With one photo OUT may be a file; otherwise it is a folder,
    and every result keeps its photo's stem with .png. A photo that cannot be read is reported and the others are done.
    """
    edits, found = _edits_and_photos(inputs)
    photos = found.paths
    if not edits and not text:
        raise UsageError("nothing to apply: name an edit (a file or one of the library), or words with --text, or both")
    if mask and box:
        raise UsageError("give --mask or --box, not both")
    outputs = Outputs(overwrite=overwrite, advice="choose another place with -o", consent="--overwrite")
    outputs.reads(*photos, *(path for path, _, _ in edits), *([mask] if mask else []))
    results = result_paths(photos, output, outputs)
    where = _in_mask(mask) if mask else _parse_box(box)
    weighted = [(edit, weight) for _, edit, weight in edits]
    check_together([edit for edit, _ in weighted])
    sampling = {option.setting: options.pop(option.setting) for option in SAMPLING_OPTIONS}
    editor = load_editor(editor_of(weighted[0][0] if weighted else None, options))
    plan = Application(
        editor,
        weighted,
        text=text,
        join_text=join_text,
        seed=seed,
        reuse_noise=reuse_noise,
        full_size=full_size,
        any_model=any_model,
        **sampling | parse(editor.settings, assignments),
    )
    for warning in (*plan.warnings, found.sentence()):
        if warning:
            warn(warning)
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    written, skipped = [], {}
    names, jobs = [path.stem for path, _, _ in edits], list(zip(photos, results, strict=True))
    with progress("applying", len(photos)) as advance:
        for photo, result in _edited(plan, jobs, where, names, batch):
            if isinstance(result, Path):
                written.append(str(result))
            elif len(photos) == 1:
                raise result
            else:
                skipped[str(photo)] = str(result)
                fail(str(result))
            advance()
    report = {
        "paths": written,
        "seconds": round(time.perf_counter() - started, 3),
        "startup_seconds": round(startup, 3),
        "failed": len(skipped),
        "skipped": skipped | {str(path): reason for path, reason in found.left_out.items()},
        "warnings": list(plan.warnings),
    }
    if as_json:
        say_json(report)
    else:
        for path in written:
            say(path)
    if skipped:
        raise OutputError(f"{len(skipped)} of {len(photos)} photos could not be edited")


def _edited(
    plan: Application,
    jobs: Sequence[tuple[Path, Path]],
    where: Where,
    names: Sequence[str],
    batch: int | None,
) -> Iterator[tuple[Path, Path | ViiError]]:
    """Read, edit and write, each while the others go on.

    Args:
        plan: what to do.
        jobs: photos, and where their results go.
        where: to edit.
        names: of the edits.
        batch: see `Application.many`.

    Yields:
        each photo with its result, in their order, or with what is wrong with it.
    """
    under_way: deque[tuple[Path, Path]] = deque()  # read and not yet edited
    unreadable: deque[tuple[Path, ViiError]] = deque()

    def read(job: tuple[Path, Path]) -> Tensor:
        photo = load_image(job[0])
        if isinstance(where, tuple):
            check_box(where, *photo.shape[-2:])
        elif callable(where):
            where(photo)  # which refuses a mask of another shape
        return photo

    def readable() -> Iterator[Tensor]:
        reading = in_background(read, jobs, weigh=lambda photo: photo.shape[1] * photo.shape[2], most=READ_AHEAD)
        for job, future in zip(jobs, reading, strict=True):
            try:
                photo = future.result()
            except ViiError as error:
                unreadable.append((job[0], error))
                continue
            under_way.append(job)
            yield photo

    def write(edited: tuple[tuple[Path, Path], Tensor]) -> tuple[Path, Path | ViiError]:
        (photo, result), picture = edited
        try:
            save_image(picture, result, text=plan.chunks(picture, where, names=names))
        except ViiError as error:
            return photo, error
        return photo, result

    pictures = ((under_way.popleft(), picture) for picture in plan.many(readable(), where, batch=batch))
    for future in in_background(write, pictures):
        yield future.result()
        while unreadable:
            yield unreadable.popleft()
    yield from unreadable


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
    if os.path.exists(text) or written_as_path(name) or name.lower().endswith(SUFFIXES):
        return None
    return find_edit(name), weight


def _weight(argument: str, text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        raise UsageError(f"{argument}: expected EDIT:WEIGHT with a number, such as :0.8") from None


def result_paths(photos: Sequence[Path], output: str, outputs: Outputs) -> list[Path]:
    """Where each result goes; made, checked for clashes and for being writable before any work is done."""
    out = Path(output)
    if out.suffix.lower() == ".png" and not out.is_dir():
        if len(photos) > 1:
            raise OutputError(f"{output}: {len(photos)} photos need a folder, not the name of one file")
        return [outputs.claim(out, of=photos[0])]
    if out.suffix.lower() in (".jpg", ".jpeg", ".webp") and not out.is_dir():
        raise OutputError(f"{output}: results are PNG files; give a name that ends in .png, or a folder")
    make_folder(out, outputs.advice)
    return [outputs.claim(out / f"{photo.stem}.png", of=photo) for photo in photos]


def _in_mask(path: str) -> Where:
    """The mask of a file for a photo, read once for all photos of a size that follow each other."""

    @functools.lru_cache(maxsize=2)
    def of_size(height: int, width: int) -> Tensor:
        return torch.from_numpy(read_mask(path, (height, width)))[None]

    return lambda photo: of_size(*photo.shape[-2:])


def _parse_box(box: str | None) -> tuple[int, int, int, int] | None:
    if box is None:
        return None
    numbers = box.split(",")
    if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"--box {box}: expected X,Y,W,H, four whole numbers of pixels")
    x, y, w, h = map(int, numbers)
    return x, y, w, h
