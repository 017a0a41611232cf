"""The command line: parse, call the library, print. Heavy modules are imported by the command that needs them."""

import time

STARTED = time.perf_counter()  # before the imports below, for they are part of what a user waits for

import json  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any, TypeVar  # noqa: E402

import click  # noqa: E402

from .errors import OutputError, UsageError, ViiError  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

    from .edit_file import Edit
    from .editor import Editor
    from .images import Pair
    from .inversion import InversionSettings, Step
    from .recipes import Recipe

Command = TypeVar("Command", bound=Callable[..., Any])
# Pickles are named as edits too, so that they meet the refusal that explains why and not "not a picture".
EDIT_ARGUMENT = re.compile(r"(?P<path>.+\.(?:safetensors|pt|pth|bin|ckpt|pkl))(?::(?P<weight>[^:/\\]*))?", re.DOTALL)
LOW_EXPLAINED = 0.2


class OneLineErrors(click.Group):
    """A group whose errors are one line and exit code 1."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command; what a user can cause is reported in one line."""
        run: Any = super().main
        try:
            code = run(*args, standalone_mode=False, **extra)
        except click.ClickException as error:
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f" (see '{context.command_path} --help')" if context else ""
            code = _fail(error.format_message() + hint)
        except ViiError as error:
            code = _fail(str(error))
        except (KeyboardInterrupt, click.Abort):
            code = _fail("stopped", 130)
        except BrokenPipeError:
            code = 1
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError":
                raise
            code = _fail("out of memory: try --dtype float16, a smaller --set batch_size=..., or --device cpu")
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _fail(message: str, code: int = 1) -> int:
    click.echo(f"vii: {' '.join(message.split())}", err=True)
    return code


def editor_options(command: Command) -> Command:
    """The options that choose an editor and where it runs."""
    for option in (
        click.option("--clip", metavar="ID|FOLDER|none", help="CLIP model of the editor; open_clip:ARCH/WEIGHTS too."),
        click.option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16."),
        click.option("--device", metavar="NAME", help="cuda, mps or cpu; the best there is if not given."),
        click.option("--revision", metavar="REV", help="Branch, tag or commit of a model on a hub."),
        click.option("--model", metavar="ID|FOLDER", help="Weights to use instead of the editor's own."),
        click.option("--editor", metavar="NAME", help="An editor; see 'vii editors'."),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vii", prog_name="vii")
def main() -> None:
    """Edit images by example.

    Learn an edit from one before/after pair, keep it as a small file, apply it to any photo:

    \b
      vii learn before.png after.png -o watercolor.safetensors
      vii apply watercolor.safetensors photo.jpg -o painted.png
      vii apply watercolor.safetensors:0.7 photos/ -o painted/ --text "at night"
    """


@main.command()
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option("-o", "--output", required=True, metavar="EDIT", help="Where to write the edit file (.safetensors).")
@click.option("--pair", "more", nargs=2, multiple=True, metavar="BEFORE AFTER", help="One more example; repeatable.")
@click.option("--recipe", default="default", show_default=True, metavar="NAME|FILE", help="See 'vii recipes'.")
@click.option("--init", metavar="TEXT|retrieve|none", help="Starting text; retrieve: the nearest phrase known.")
@click.option("--tokens", type=int, metavar="K", help="Rows to learn; 0: as many as the starting text has.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same file.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Any setting of a recipe; repeatable.")
@click.option("--title", default="", help="A short name; the file's name if not given.")
@click.option("--description", default="", help="What the edit does, in a sentence.")
@click.option("--author", default="", help="Who made it.")
@click.option("--license", "license_", default="", help="How the edit file may be used.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; repeatable.")
@click.option("--thumbnail", is_flag=True, help="Store a small picture of the pair in the file (private by default).")
@click.option("--preview", is_flag=True, help="Also write EDIT.png: before | after | starting text | learned.")
@editor_options
@json_option
def learn(
    before: str | None,
    after: str | None,
    output: str,
    more: Sequence[tuple[str, str]],
    recipe: str,
    init: str | None,
    tokens: int | None,
    seed: int,
    assignments: Sequence[str],
    title: str,
    preview: bool,
    thumbnail: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn an edit from a before/after pair and save it.

    BEFORE and AFTER show the same frame; where only their scale differs, AFTER is scaled to BEFORE. They may be left
    out when the recipe names a pair. Ctrl-C stops early and keeps the best so far.
    """
    import dataclasses

    from .edit_file import save_edit
    from .files import check_writable
    from .gallery import thumbnail_of
    from .recipes import read_recipe

    path = _edit_path(output)
    check_writable(path)
    chosen = read_recipe(recipe)
    settings = _settings(chosen, assignments, init=init, tokens=tokens)
    pairs = _pairs(chosen, before, after, more)
    labels = {name: options.pop(name) for name in ("description", "author", "tags")}
    labels |= {"license": options.pop("license_"), "title": title or path.stem}
    editor = _load_editor(options)
    startup = time.perf_counter() - STARTED
    started = time.perf_counter()
    last, interrupted = _learn(editor, pairs, settings, seed)
    edit = dataclasses.replace(last.best(), **labels, thumbnail=thumbnail_of(pairs[0]) if thumbnail else "")
    seconds = time.perf_counter() - started
    save_edit(edit, path)
    report = _learn_report(edit, path, last, interrupted, seconds=seconds, startup=startup)
    if preview:
        report["preview"] = str(_write_preview(editor, edit, pairs[0], path.with_suffix(".png"), seed))
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print_learned(report, edit)


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="[EDIT[:WEIGHT]]... PHOTO|FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png for one photo, else a folder.")
@click.option("--text", default="", metavar="WORDS", help="Words to add, or to apply alone.")
@click.option("--join-text", is_flag=True, help="Put the words after the first edit's tokens, as the paper does.")
@click.option("--guidance", "guidance_scale", type=float, metavar="S", help="How far along the instruction; 1 = off.")
@click.option("--image-guidance", "image_guidance_scale", type=float, metavar="S", help="How near the photo; 1 = off.")
@click.option("--steps", "num_inference_steps", type=int, metavar="N", help="Denoising steps.")
@click.option("--scheduler", metavar="NAME", help="ddim, euler, euler_ancestral, dpmsolver++ or model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Each photo starts from the same noise.")
@click.option("--reuse-noise", is_flag=True, help="Use the noises that the edit was learned with.")
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
    reuse_noise: bool,
    full_size: bool,
    any_model: bool,
    **options: Any,
) -> None:
    """Apply edits, words, or both to photos.

    A weight follows an edit's name after a colon: 1 as learned, 0.5 half of it, -1 the other way. With one photo OUT
    may be a file; otherwise it is a folder, and every result keeps its photo's stem with .png. A photo that cannot be
    read is reported and the others are done.
    """
    from .application import apply as apply_edits
    from .application import recommended_settings
    from .images import load_image, save_image

    edits, photos = _edits_and_photos(inputs)
    if not edits and not text:
        raise UsageError("nothing to apply: name an edit file (*.safetensors), or words with --text, or both")
    results = _result_paths(photos, output)
    fixed_mask = load_image(mask).mean(0) if mask else None
    if mask and box:
        raise UsageError("give --mask or --box, not both")
    corners = _parse_box(box)
    sampling = {name: options.pop(name) for name in SAMPLING}
    weighted = [(edit, weight) for _, edit, weight in edits]
    editor = _load_editor(_editor_of(edits, options))
    used = recommended_settings(editor, weighted[0][0] if weighted else None, **sampling)
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    written, failed = [], 0
    with _progress("applying", len(photos)) as advance:
        for photo, result in zip(photos, results, strict=True):
            try:
                image = load_image(photo)
                region = _region(corners, image) if corners else fixed_mask
                edited = apply_edits(
                    editor,
                    weighted,
                    image,
                    text=text,
                    join_text=join_text,
                    mask=region,
                    seed=seed,
                    reuse_noise=reuse_noise,
                    full_size=full_size,
                    any_model=any_model,
                    **sampling,
                )
                save_image(edited, result, text=_settings_chunks(edits, text, editor, used, seed, edited))
                written.append(str(result))
            except ViiError as error:
                if len(photos) == 1:
                    raise
                failed += 1
                _fail(str(error))
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


@main.command()
@click.argument("edit_file", metavar="EDIT")
@click.option("--thumbnail", metavar="FILE", help="Write the picture stored in the file to FILE.")
@json_option
def show(edit_file: str, thumbnail: str | None, as_json: bool) -> None:
    """Show what an edit file holds."""
    from .edit_file import describe_edit, load_edit

    edit = load_edit(edit_file)
    description = describe_edit(edit)
    if thumbnail:
        from .gallery import save_thumbnail

        save_thumbnail(edit.thumbnail, Path(thumbnail))
        description["thumbnail_written_to"] = thumbnail
    if as_json:
        click.echo(json.dumps(description))
        return
    for key, value in description.items():
        if value not in ("", [], {}):
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            click.echo(f"{key.replace('_', ' '):>24}  {', '.join(shown) if isinstance(shown, list) else shown}")


@main.command()
@click.option("-o", "--output", default="vii-demo", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
def demo(output: str, seed: int, as_json: bool) -> None:
    """Learn the shipped pair, apply it to the shipped photos, write one contact sheet."""
    from .demo import DEMO_EDIT, demo_pair, demo_photos
    from .edit_file import save_edit
    from .files import make_folder
    from .images import save_image
    from .recipes import read_recipe

    folder = Path(output)
    make_folder(folder)
    pair, photos = demo_pair(), demo_photos()
    click.echo("learning the edit from one pair (about half a minute on two CPU cores) ...", err=True)
    editor = _load_editor({})
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    last, interrupted = _learn(editor, [pair], read_recipe("default").settings, seed)
    seconds = time.perf_counter() - started
    edit, path = last.best(), folder / f"{DEMO_EDIT}.safetensors"
    save_edit(edit, path)
    sheet = folder / "contact-sheet.png"
    save_image(_demo_sheet(editor, edit, pair, photos, seed), sheet)
    report = _learn_report(edit, path, last, interrupted, seconds=seconds, startup=startup) | {"sheet": str(sheet)}
    if as_json:
        click.echo(json.dumps(report))
        return
    _print_learned(report, edit)
    click.echo(f"{sheet}   the pair, and {len(photos)} photos it has never seen before and after")


@main.command()
@json_option
def editors(as_json: bool) -> None:
    """List the editors that can be named."""
    from .editors import EDITORS

    if as_json:
        rows = {name: {"description": entry.description, "needs": entry.needs} for name, entry in EDITORS.items()}
        click.echo(json.dumps(rows))
        return
    for name, entry in EDITORS.items():
        click.echo(f"{name:<10} {entry.description}\n{'':<10} needs: {entry.needs}")


@main.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the recipes that can be named."""
    from .recipes import read_recipe, recipe_names

    described = {name: read_recipe(name).description for name in recipe_names()}
    if as_json:
        click.echo(json.dumps(described))
        return
    for name, description in described.items():
        click.echo(f"{name:<10} {description}")


SAMPLING = ("guidance_scale", "image_guidance_scale", "num_inference_steps", "scheduler")


def _edit_path(output: str) -> Path:
    path = Path(output)
    if path.suffix != ".safetensors":
        raise OutputError(f"{output}: edit files are named *.safetensors")
    return path


def _settings(recipe: "Recipe", assignments: Sequence[str], **named: Any) -> "InversionSettings":
    from .settings import override, parse

    return override(override(recipe.settings, **parse(recipe.settings, assignments)), **named)


def _pairs(recipe: "Recipe", before: str | None, after: str | None, more: Sequence[tuple[str, str]]) -> "list[Pair]":
    from .images import Pair

    if before and not after:
        raise UsageError(f"{before} is the picture before the edit; the one after it is missing")
    paths: list[tuple[str | Path, str | Path]] = [(before, after)] if before and after else []
    paths += [recipe.pair] if recipe.pair and not paths else []
    paths += more
    if not paths:
        raise UsageError("expected BEFORE and AFTER, two pictures of one frame")
    return [Pair.open(*pair) for pair in paths]


def _load_editor(options: dict[str, Any]) -> "Editor":
    from .editors import load_editor

    options = dict(options)
    return load_editor(options.pop("editor", None) or "embedded", **options)


def _editor_of(edits: "Sequence[tuple[Path, Edit, float]]", options: dict[str, Any]) -> dict[str, Any]:
    """Editor options, completed from the first edit file: the editor and the weights it was learned with."""
    if not edits or options.get("editor"):
        return options
    edit = edits[0][1]
    own: dict[str, Any] = {"editor": edit.editor}
    # A hub id can be fetched again; the name of somebody's folder cannot.
    if "/" in edit.space.model and not options.get("model"):
        own |= {"model": edit.space.model, "revision": edit.space.revision or None}
    return {**options, **own}


def _learn(editor: "Editor", pairs: "Sequence[Pair]", settings: "InversionSettings", seed: int) -> "tuple[Step, bool]":
    """Run the loop with a progress line; True when Ctrl-C ended it early."""
    from .inversion import invert_steps

    last: Step | None = None
    with _progress("learning", settings.steps) as advance:
        try:
            for last in invert_steps(editor, pairs, settings, seed=seed):
                if last.step:
                    advance(f"explained {last.explained:.0%}")
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
    click.echo(f"{report['path']}   {report['bytes'] / 1000:.0f} kB")
    click.echo(
        f"{report['steps']} steps in {report['seconds']:.1f} s ({report['stopped']}), start-up "
        f"{report['startup_seconds']:.1f} s; explains {report['explained']:.0%} of what no instruction leaves, the "
        f"starting text '{edit.init_text}' {report['explained_start']:.0%}"
    )
    if report["explained"] < LOW_EXPLAINED:
        click.echo(
            "warning: little was explained; do the two pictures show one frame? Try --init or more steps", err=True
        )


def _write_preview(editor: "Editor", edit: "Edit", pair: "Pair", path: Path, seed: int) -> Path:
    from .application import apply as apply_edits
    from .gallery import contact_sheet
    from .images import save_image

    words = edit.init_text or "no words"
    row = [("before", pair.before), ("after", pair.after)]
    if edit.init_text:
        row.append((f"start: {words}", apply_edits(editor, None, pair.before, text=edit.init_text, seed=seed)))
    row.append(("learned", apply_edits(editor, edit, pair.before, seed=seed)))
    save_image(contact_sheet([row]), path)
    return path


def _demo_sheet(editor: "Editor", edit: "Edit", pair: "Pair", photos: "dict[str, Tensor]", seed: int) -> "Tensor":
    from .application import apply as apply_edits
    from .gallery import contact_sheet

    with _progress("applying", len(photos)) as advance:
        results = {}
        for name, photo in photos.items():
            results[name] = apply_edits(editor, edit, photo, seed=seed)
            advance()
    return contact_sheet(
        [
            [("before", pair.before), *((name, photo) for name, photo in photos.items())],
            [("after", pair.after), *(("edited", result) for result in results.values())],
        ]
    )


def _edits_and_photos(inputs: Sequence[str]) -> "tuple[list[tuple[Path, Edit, float]], list[Path]]":
    from .edit_file import load_edit
    from .images import find_images

    matches = [(text, EDIT_ARGUMENT.fullmatch(text)) for text in inputs]
    edits = [(Path(m["path"]), load_edit(m["path"]), _weight(text, m["weight"])) for text, m in matches if m]
    photos = [text for text, match in matches if not match]
    if not photos:
        raise UsageError("expected at least one photo or a folder of photos")
    return edits, find_images(photos)


def _weight(argument: str, text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        raise UsageError(f"{argument}: expected EDIT:WEIGHT with a number, such as :0.8") from None


def _result_paths(photos: Sequence[Path], output: str) -> list[Path]:
    """Where each result goes; made, checked for clashes and for being writable before any work is done."""
    from .files import check_writable, make_folder

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
    from .application import box_mask

    return box_mask(corners, *image.shape[-2:])


def _settings_chunks(
    edits: "Sequence[tuple[Path, Edit, float]]", text: str, editor: "Editor", used: Any, seed: int, image: "Tensor"
) -> dict[str, str]:
    """PNG text: `parameters` as other tools show it, and `vii` as JSON."""
    import dataclasses

    from . import __version__

    settings = dataclasses.asdict(used)
    names = ", ".join(f"{path.stem}:{weight:g}" for path, _, weight in edits)
    parameters = {
        "Steps": settings.get("num_inference_steps"),
        "Sampler": settings.get("scheduler"),
        "CFG scale": settings.get("guidance_scale"),
        "Image CFG scale": settings.get("image_guidance_scale"),
        "Seed": seed,
        "Size": f"{image.shape[2]}x{image.shape[1]}",
        "Model": editor.space.model,
        "Edits": f'"{names}"' if names else None,
        "Version": f"vii {__version__}",
    }
    line = ", ".join(f"{key}: {value}" for key, value in parameters.items() if value is not None)
    record = {
        "version": __version__,
        "editor": editor.name,
        "base_model": editor.space.model,
        "edits": [{"name": path.stem, "weight": weight, "sha256": edit.sha256()} for path, edit, weight in edits],
        "text": text,
        "settings": settings,
        "seed": seed,
    }
    return {"parameters": f"{text}\n{line}" if text else line, "vii": json.dumps(record)}


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress line on stderr; calling what it gives advances it by one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, note="")
        yield lambda note="": progress.update(task, advance=1, note=note)
