"""`vii apply`: edits and words on photos."""

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OutputError, UsageError, ViiError
from .common import STARTED, editor_of, editor_options, fail, json_option, load_editor, progress

if TYPE_CHECKING:
    from torch import Tensor

    from ..edit_file import Edit

# Pickles are named as edits too, so that they meet the refusal that explains why and not "not a picture".
EDIT_ARGUMENT = re.compile(r"(?P<path>.+\.(?:safetensors|pt|pth|bin|ckpt|pkl))(?::(?P<weight>[^:/\\]*))?", re.DOTALL)
SAMPLING = (
    "guidance_scale",
    "image_guidance_scale",
    "controlnet_conditioning_scale",
    "num_inference_steps",
    "scheduler",
)


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="[EDIT[:WEIGHT]]... PHOTO|FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png for one photo, else a folder.")
@click.option("--text", default="", metavar="WORDS", help="Words to add, or to apply alone.")
@click.option("--join-text", is_flag=True, help="Put the words after the first edit's tokens, as the paper does.")
@click.option("--guidance", "guidance_scale", type=float, metavar="S", help="How far along the instruction; 1 = off.")
@click.option("--image-guidance", "image_guidance_scale", type=float, metavar="S", help="How near the photo; 1 = off.")
@click.option(
    "--controlnet-scale",
    "controlnet_conditioning_scale",
    type=float,
    metavar="S",
    help="How near the photo, for an editor with a ControlNet; 1 = as it was trained.",
)
@click.option("--steps", "num_inference_steps", type=int, metavar="N", help="Denoising steps.")
@click.option("--scheduler", metavar="NAME", help="ddim, euler, euler_ancestral, dpmsolver++ or model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Each photo starts from the same noise.")
@click.option(
    "--reuse-noise/--new-noise",
    default=None,
    help="Use the noises that the edit was learned with, or not; if not given, as the edit was learned for.",
)
@click.option("--mask", metavar="PICTURE", help="White where to edit, black where the photo stays.")
@click.option("--box", metavar="X,Y,W,H", help="Edit inside this box only, in pixels of the photo.")
@click.option("--full-size", is_flag=True, help="Results at the photo's size instead of the editor's.")
@click.option("--any-model", is_flag=True, help="Accept an edit learned with other weights of the same shape.")
@editor_options
@json_option
def apply(
    inputs: Sequence[str],
    output: str,
    text: str,
    join_text: bool,
    mask: str | None,
    box: str | None,
    seed: int,
    as_json: bool,
    reuse_noise: bool | None,
    full_size: bool,
    any_model: bool,
    **options: Any,
) -> None:
    """Apply edits, words, or both to photos.

    An edit is a file, or the name of one in the library where no file or folder has that name. A weight follows after
    a colon: 1 as learned, 0.5 half of it, -1 the other way. With one photo OUT may be a file; otherwise it is a folder,
    and every result keeps its photo's stem with .png. A photo that cannot be read is reported and the others are done.
    """
    from ..application import apply as apply_edits
    from ..application import check_together, recommended_settings, reuses_noise
    from ..images import load_image, save_image
    from ..record import chunks, record

    edits, photos = _edits_and_photos(inputs)
    if not edits and not text:
        raise UsageError("nothing to apply: name an edit (a file or one of the library), or words with --text, or both")
    results = _result_paths(photos, output)
    fixed_mask = load_image(mask).mean(0) if mask else None
    if mask and box:
        raise UsageError("give --mask or --box, not both")
    corners = _parse_box(box)
    sampling = {name: options.pop(name) for name in SAMPLING}
    weighted = [(edit, weight) for _, edit, weight in edits]
    check_together([edit for edit, _ in weighted])
    named = [(path.stem, weight, edit) for path, edit, weight in edits]
    editor = load_editor(editor_of(edits[0][1] if edits else None, options))
    used = recommended_settings(editor, weighted[0][0] if weighted else None, **sampling)
    asked: dict[str, Any] = {
        "text": text,
        "join_text": join_text,
        "seed": seed,
        "reuse_noise": reuses_noise(weighted, reuse_noise),
        "full_size": full_size,
    }
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    written, failed = [], 0
    with progress("applying", len(photos)) as advance:
        for photo, result in zip(photos, results, strict=True):
            try:
                image = load_image(photo)
                region = _region(corners, image) if corners else fixed_mask
                edited = apply_edits(editor, weighted, image, mask=region, any_model=any_model, **asked, **sampling)
                size = edited.shape[2], edited.shape[1]
                made = record(editor, named, used, region="mask" if mask else corners, size=size, **asked)
                save_image(edited, result, text=chunks(made))
                written.append(str(result))
            except ViiError as error:
                if len(photos) == 1:
                    raise
                failed += 1
                fail(str(error))
            advance()
    seconds = time.perf_counter() - started
    if as_json:
        report = {
            "paths": written,
            "seconds": round(seconds, 3),
            "startup_seconds": round(startup, 3),
            "failed": failed,
        }
        click.echo(json.dumps(report))
    else:
        for path in written:
            click.echo(path)
    if failed:
        raise OutputError(f"{failed} of {len(photos)} photos could not be edited")


def _edits_and_photos(inputs: Sequence[str]) -> "tuple[list[tuple[Path, Edit, float]], list[Path]]":
    from ..edit_file import load_edit
    from ..images import find_images

    named = [(text, _named_edit(text)) for text in inputs]
    edits = [(found[0], load_edit(found[0]), _weight(text, found[1])) for text, found in named if found]
    photos = [text for text, found in named if not found]
    if not photos:
        raise UsageError("expected at least one photo or a folder of photos")
    return edits, find_images(photos)


def _named_edit(text: str) -> tuple[Path, str | None] | None:
    """The edit file and the weight that an argument names; None where it names photos.

    Files come before the library, so that what is in a folder means the same whatever the library holds.
    """
    from ..library import find_edit, written_as_path
    from ..pictures import SUFFIXES

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


def _result_paths(photos: Sequence[Path], output: str) -> list[Path]:
    """Where each result goes; made, checked for clashes and for being writable before any work is done."""
    from ..files import check_writable, make_folder

    out = Path(output)
    if out.suffix.lower() == ".png" and not out.is_dir():
        if len(photos) > 1:
            raise OutputError(f"{output}: {len(photos)} photos need a folder, not the name of one file")
        results = [out]
    elif out.suffix.lower() in (".jpg", ".jpeg", ".webp") and not out.is_dir():
        raise OutputError(f"{output}: results are PNG files; give a name that ends in .png, or a folder")
    else:
        make_folder(out)
        results = [out / f"{photo.stem}.png" for photo in photos]
    sources = {photo.resolve(): photo for photo in photos}
    taken: dict[Path, Path] = {}
    for photo, result in zip(photos, results, strict=True):
        if result.resolve() in sources:
            raise OutputError(f"{result} is one of the photos and would be overwritten; choose another place with -o")
        if result in taken:
            raise OutputError(f"{taken[result]} and {photo} would both become {result}; rename one")
        taken[result] = photo
        check_writable(result)
    return results


def _parse_box(box: str | None) -> tuple[int, int, int, int] | None:
    if box is None:
        return None
    numbers = box.split(",")
    if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"--box {box}: expected X,Y,W,H, four whole numbers of pixels")
    x, y, w, h = map(int, numbers)
    return x, y, w, h


def _region(corners: tuple[int, int, int, int], image: "Tensor") -> "Tensor":
    from ..application import box_mask

    return box_mask(corners, *image.shape[-2:])
