"""`vii transfer` and `vii methods`: editing by example with any method, from pairs and photos to pictures."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .common import STARTED, editor_options, json_option, load_editor, progress
from .learn import warn_of_no_pairs
from .results import result_paths

if TYPE_CHECKING:
    from ..images import Pair
    from ..methods import MethodEntry, Transfer

# Options of an editor that a method with weights of its own may take -> how they are written.
OWN_WEIGHTS = ("model", "revision", "device", "dtype")


@click.command()
@click.argument("before")
@click.argument("after")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="A .png for one photo, else a folder.")
@click.option("--method", default="inversion", show_default=True, metavar="NAME", help="See 'vii methods'.")
@click.option("--pair", "more", nargs=2, multiple=True, metavar="BEFORE AFTER", help="One more example; repeatable.")
@click.option("--recipe", metavar="NAME|FILE", help="How to learn, for methods that learn by a recipe.")
@click.option("--text", metavar="WORDS", help="Words that say the edit, or that are added to it.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same pictures.")
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
    as_json: bool,
    **options: Any,
) -> None:
    """Give photos the edit that a before/after pair shows, by any method.

    BEFORE and AFTER show the same frame, as for 'vii learn'. Nothing is kept but the pictures; with the method
    'inversion' it is 'vii learn' and 'vii apply' in one, without an edit file. With one photo OUT may be a file;
    otherwise it is a folder, and every result keeps its photo's stem with .png.
    """
    from ..images import find_images, load_image, save_image
    from ..methods import find_method, prepare

    entry = find_method(method)
    found = find_images(photos)
    results = result_paths(found, output, sources=[before, after, *(path for pair in more for path in pair)])
    pairs = _pairs([(before, after), *more]) if entry.pairs else []
    build = _options(method, entry, recipe, text, options)
    transfer: Transfer = entry.build(**build)
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    with progress("learning" if entry.learns else "starting", None) as note:
        ready = prepare(transfer, pairs, seed=seed, watch=note)
    learned = time.perf_counter()
    with progress("applying", len(found)) as advance:
        for photo, result in zip(found, results, strict=True):
            save_image(ready.transfer(pairs, load_image(photo), seed=seed), result)
            advance()
    if as_json:
        report = {
            "method": method,
            "paths": [str(path) for path in results],
            "startup_seconds": round(startup, 3),
            "learn_seconds": round(learned - started, 3),
            "seconds": round(time.perf_counter() - learned, 3),
            "explained": ready.edit.training.get("explained") if ready.edit else None,
        }
        click.echo(json.dumps(report))
        return
    click.echo("\n".join(map(str, results)))
