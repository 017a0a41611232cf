"""`vii transfer`: editing by example with any method, from pairs and photos to pictures."""

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .apply import result_paths
from .common import STARTED, editor_options, json_option, load_editor, progress
from .learn import warn_of_no_pairs

if TYPE_CHECKING:
    from ..methods import MethodEntry


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
@click.option("--overwrite", is_flag=True, help="Replace files that vii did not write.")
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
    from ..files import Outputs
    from ..images import Pair, find_images, load_image, save_image
    from ..methods import find_method, prepare

    entry = find_method(method)
    _refuse_options(method, entry, {"recipe": recipe, "text": text, **options})
    paths, found = [(before, after), *more], find_images(photos)
    outputs = Outputs(overwrite=overwrite, advice="choose another place with -o", consent="--overwrite")
    outputs.reads(*found, *(path for pair in paths for path in pair))
    results = result_paths(found, output, outputs)
    pairs = [Pair.open(*pair) for pair in paths] if entry.pairs else []
    warn_of_no_pairs(pairs)
    for photo in found:  # learning takes long: what cannot be read is found before it
        load_image(photo)
    built = entry.build(**_given(entry, recipe, text, options))
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    with progress("learning" if entry.learns else "starting", None) as note:
        ready = prepare(built, pairs, seed=seed, watch=note)
    learned = time.perf_counter()
    pictures = []
    with progress("applying", len(found)) as advance:
        for photo in found:
            pictures.append(ready.transfer(pairs, load_image(photo), seed=seed))
            advance()
    for picture, result in zip(pictures, results, strict=True):
        save_image(picture, result)
    report = {
        "paths": list(map(str, results)),
        "method": method,
        "startup_seconds": round(startup, 3),
        "learn_seconds": round(learned - started, 3),
        "seconds": round(time.perf_counter() - learned, 3),
        "explained": ready.edit.training.get("explained") if ready.edit else None,
    }
    click.echo(json.dumps(report) if as_json else "\n".join(map(str, results)))


def _refuse_options(method: str, entry: "MethodEntry", options: dict[str, Any]) -> None:
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


def _given(entry: "MethodEntry", recipe: str | None, text: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What the method's builder gets: an editor, or of the editor's options those that are for weights of its own."""
    from ..inversion.recipes import load_recipe

    given: dict[str, Any] = {"text": text, "recipe": load_recipe(recipe) if recipe else None}
    if "editor" in entry.needs:
        given["editor"] = load_editor(options)
    else:
        given |= {name: value for name, value in options.items() if name in entry.takes}
    return {name: value for name, value in given.items() if value is not None}
