"""`vii transfer`: editing by example with any method, from pairs and photos to pictures."""

import time
from collections.abc import Sequence
from typing import Any

import click

from ..errors import UsageError
from ..images import Pair, from_array, to_array
from ..inversion.recipes import load_recipe
from ..methods import MethodEntry, find_method, load_method, model_of, prepare
from ..pictures import find_pictures
from ..runs.jobs import opened, save
from .common import editor_options, json_option, load_editor, outputs_of, overwrite_option
from .learn import warn_of_no_pairs
from .photos import jobs_for, told, writing_of, writing_options
from .progress import progress
from .terminal import STARTED, say, say_json, warn


@click.command()
@click.argument("before")
@click.argument("after")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png, .jpg, .webp or .tif, or a folder.")
@writing_options
@click.option("--method", default="inversion", show_default=True, metavar="NAME", help="See 'vii methods'.")
@click.option("--pair", "more", nargs=2, multiple=True, metavar="BEFORE AFTER", help="One more example; repeatable.")
@click.option("--recipe", metavar="NAME|FILE", help="How to learn, for methods that learn by a recipe.")
@click.option("--text", metavar="WORDS", help="Words that say the edit, or that are added to it.")
@click.option("--vlm", metavar="ID|FOLDER", help="A vision-language model that finds the words, for 'analogist'.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of all noise.")
@overwrite_option
@editor_options
@json_option
def transfer(
    before: str,
    after: str,
    photos: Sequence[str],
    output: str,
    method: str,
    more: Sequence[tuple[str, str]],
    recipe: str | None,
    text: str | None,
    vlm: str | None,
    settings: Sequence[str],
    seed: int,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Give photos the edit that a pair shows, by any method.

    BEFORE and AFTER show the same frame, as for 'vii learn'. Nothing is kept but the pictures: with the method
    'inversion' this is 'vii learn' and 'vii apply' in one, without an edit file. OUT, and the formats of
    results, are as for 'vii apply'. Photos are all read before the work begins, and all results are written when all
    are made.
    """
    entry, kind = find_method(method), options.pop("kind")
    outputs, pictures = outputs_of(overwrite), find_pictures(photos)
    outputs.reads(*pictures.paths, before, after, *(path for pair in more for path in pair))
    jobs = jobs_for(pictures, output, kind, outputs)
    writing = writing_of(jobs, options)
    options |= {"vlm": vlm, "settings": settings or None}
    _refuse_options(method, entry, {"recipe": recipe, "text": text, **options})
    pairs = [Pair.open(*pair) for pair in [(before, after), *more]]
    warn_of_no_pairs(pairs)
    if pictures.left_out:
        warn(pictures.sentence())
    jobs = [opened(job, job.photo)[0] for job in jobs]  # learning takes long: what cannot be read is found before it
    notes = {str(job.photo): job.notes(writing) for job in jobs}
    for line in told(notes):
        warn(line)
    built = load_method(method, **_given(entry, recipe, text, options))
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    with progress("learning" if entry.learns else "starting", None) as note:
        ready = prepare(built, pairs, seed=seed, watch=note)
    learned, made = time.perf_counter(), []
    with progress("applying", len(jobs)) as advance:
        for job in jobs:
            made.append(ready.transfer(pairs, from_array(opened(job, job.photo)[1]), seed=seed))
            advance()
    for job, picture in zip(jobs, made, strict=True):
        save(to_array(picture, job.picture.bits if job.picture else 8), job, writing)
    if not as_json:
        say("\n".join(str(job.result) for job in jobs))
        return
    say_json(
        {
            "paths": [str(job.result) for job in jobs],
            "method": method,
            "startup_seconds": round(startup, 3),
            "learn_seconds": round(learned - started, 3),
            "seconds": round(time.perf_counter() - learned, 3),
            "left_out": {str(path): reason for path, reason in pictures.left_out.items()},
            "notes": {photo: sentences for photo, sentences in notes.items() if sentences},
            "explained": ready.edit.training.get("explained") if ready.edit else None,
        }
    )


def _refuse_options(method: str, entry: MethodEntry, options: dict[str, Any]) -> None:
    """Say of an option that this method would not read that it does not take it, and of words or weights missing."""
    own = {"recipe", "text", "vlm", "settings"}
    known = {*entry.needs, *entry.takes} | (set(options) - own if "editor" in entry.needs else set())
    for name, value in options.items():
        if value is not None and name not in known:
            raise UsageError(
                f"--{'set' if name == 'settings' else name}: the method '{method}' does not take it; see 'vii methods'"
            )
    if "text" in entry.needs and not options["text"]:
        raise UsageError(f"the method '{method}' needs words; say the edit with --text")
    if "model" in entry.needs and not model_of(method, options["model"]):
        raise UsageError(f"the method '{method}' needs weights; name a folder or a hub id with --model")


def _given(entry: MethodEntry, recipe: str | None, text: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What the method's builder gets: an editor, or of the editor's options those that are for weights of its own."""
    given: dict[str, Any] = {"text": text, "recipe": load_recipe(recipe) if recipe else None}
    if "editor" in entry.needs:
        return given | {"editor": load_editor(options)}
    return given | {name: value for name, value in options.items() if name in entry.needs + entry.takes}
