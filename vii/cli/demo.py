"""`vii demo`: the shipped pair, learned and applied."""

import time
from pathlib import Path

import click

from ..application import Application
from ..demo import DEMO_EDIT, demo_pair, demo_photos
from ..files import make_folder
from ..images import save_image
from ..inversion.recipes import read_recipe
from ..rendering.sheets import edit_sheet
from .common import json_option, load_editor, outputs_of, overwrite_option
from .learn import learn_report, learn_steps, print_learned, save_finished
from .progress import progress
from .terminal import STARTED, say, say_json


@click.command()
@click.option("-o", "--output", default="vii-demo", show_default=True, metavar="FOLDER", help="Where to write.")
@click.option("--seed", type=int, default=0, show_default=True)
@overwrite_option
@json_option
def demo(output: str, seed: int, overwrite: bool, as_json: bool) -> None:
    """Learn the shipped pair and apply it to the shipped photos.

    What comes of it is one contact sheet.
    """
    folder, outputs = Path(output), outputs_of(overwrite)
    make_folder(folder)
    path, sheet = outputs.claim(folder / f"{DEMO_EDIT}.safetensors"), outputs.claim(folder / "contact-sheet.png")
    pair, photos = demo_pair(), demo_photos()
    say("learning the edit from one pair (about 15 seconds on two CPU cores) ...", err=True)
    editor = load_editor({})
    startup, started = time.perf_counter() - STARTED, time.perf_counter()
    last, ended = learn_steps(editor, [pair], read_recipe("default").settings, seed)
    edit, stopped = save_finished(last.best(), last, path)
    ended = ended or stopped
    seconds = time.perf_counter() - started
    if ended:
        say(path)
        raise ended
    results = {}
    with progress("applying", len(photos)) as advance:
        pictures = Application(editor, edit, seed=seed).many(photos.values())
        for (name, photo), picture in zip(photos.items(), pictures, strict=True):
            results[name] = photo, picture
            advance()
    save_image(edit_sheet(pair, results), sheet)
    report = learn_report(edit, path, last, ended, seconds=seconds, startup=startup) | {"sheet": str(sheet)}
    if as_json:
        say_json(report)
        return
    print_learned(report, path)
    say(f"{sheet}   the pair, and {len(photos)} photos it has never seen before and after")
