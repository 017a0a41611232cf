"""`vii transfer`: editing by example with any method, from pairs and photos to pictures."""

import time
from collections.abc import Sequence
from typing import Any

import click

from ..errors import UsageError
from ..files import Outputs
from ..images import Pair, load_image, save_image
from ..inversion.recipes import load_recipe
from ..methods import MethodEntry, find_method, load_method, prepare
from ..pictures import find_pictures
from .apply import result_paths
from .common import editor_options, json_option, load_editor, overwrite_option
from .learn import warn_of_no_pairs
from .progress import progress
from .terminal import STARTED, say, say_json, warn


@click.command()
@click.argument("before")
@click.argument("after")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png for one photo, else a folder.")
@click.option("--method", default="inversion", show_default=True, metavar="NAME", help="See 'vii methods'.")
@click.option("--pair", "more", nargs=2, multiple=True, metavar="BEFORE AFTER", help="One more example; repeatable.")
@click.option("--recipe", metavar="NAME|FILE", help="How to learn, for methods that learn by a recipe.")
@click.option("--text", metavar="WORDS", help="Words that say the edit, or that are added to it.")
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
    seed: int,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Give photos the edit that a before/after pair shows, by any method.

    BEFORE and AFTER show the same frame, as for 'vii learn'. Nothing is kept but the pictures: with the method
    'inversion' this is 'vii learn' and 'vii apply' in one, without an edit file. With one photo OUT may be a file;
    otherwise it is a folder, and every result keeps its photo's stem with .png. Photos are all read before the work
    begins, and all results are written when all are made.
    """
    entry = find_method(method)
    _refuse_options(method, entry, {"recipe": recipe, "text": text, **options})
    paths, pictures = [(before, after), *more], find_pictures(photos)
    outputs = Outputs(overwrite=overwrite, advice="choose another place with -o", consent="--overwrite")
    outputs.reads(*pictures.paths, *(path for pair in paths for path in pair))
    results = result_paths(pictures.paths, output, outputs)
    pairs = [Pair.open(*pair) for pair in paths]
    warn_of_no_pairs(pairs)
    if pictures.left_out:
        warn(pictures.sentence())
    for photo in pictures.paths:  # learning takes long: what cannot be read is found before it
        load_image(photo)
    built = load_method(method, **_given(entry, recipe, text, options))
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    with progress("learning" if entry.learns else "starting", None) as note:
        ready = prepare(built, pairs, seed=seed, watch=note)
    learned, made = time.perf_counter(), []
    with progress("applying", len(results)) as advance:
        for photo in pictures.paths:
            made.append(ready.transfer(pairs, load_image(photo), seed=seed))
            advance()
    for picture, result in zip(made, results, strict=True):
        save_image(picture, result)
    if not as_json:
        say("\n".join(map(str, results)))
        return
    say_json(
        {
            "paths": list(map(str, results)),
            "method": method,
            "startup_seconds": round(startup, 3),
            "learn_seconds": round(learned - started, 3),
            "seconds": round(time.perf_counter() - learned, 3),
            "explained": ready.edit.training.get("explained") if ready.edit else None,
        }
    )


def _refuse_options(method: str, entry: MethodEntry, options: dict[str, Any]) -> None:
    """Say of an option that this method would not read that it does not take it.

    Raises:
        UsageError: there is such an option, or the method needs words and there are none.
    """
    known = {*entry.needs, *entry.takes} | (set(options) - {"recipe", "text"} if "editor" in entry.needs else set())
    for name, value in options.items():
        if value is not None and name not in known:
            raise UsageError(f"--{name}: the method '{method}' does not take it; see 'vii methods'")
    if "text" in entry.needs and not options["text"]:
        raise UsageError(f"the method '{method}' needs words; say the edit with --text")


def _given(entry: MethodEntry, recipe: str | None, text: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What the method's builder gets: an editor, or of the editor's options those that are for weights of its own."""
    given: dict[str, Any] = {"text": text, "recipe": load_recipe(recipe) if recipe else None}
    if "editor" in entry.needs:
        return given | {"editor": load_editor(options)}
    return given | {name: value for name, value in options.items() if name in entry.takes}
