"""`vii gallery`: what the edits of a folder do, on one page."""

from pathlib import Path
from typing import Any

import click

from ..errors import OutputError, UsageError
from ..files import make_folder, write
from ..images import save_image
from ..library import library_folder, read_folder
from ..rendering.gallery import contact_sheets, gallery_page, gallery_photos, show_edits
from .common import editor_of, editor_options, json_option, load_editor, outputs_of, overwrite_option
from .progress import progress
from .terminal import fail, say, say_json

PHOTOS, SHEET = 6, "contact-sheet-{}.png"


@click.command()
@click.argument("folder", required=False)
@click.option("-o", "--output", default="vii-gallery", show_default=True, metavar="DIR", help="Where to write.")
@click.option("--photos", "photo_folder", metavar="DIR", help="Photos instead of the shipped ones.")
@click.option("--count", type=click.IntRange(1), default=PHOTOS, show_default=True, help="Photos of DIR to show.")
@click.option("--title", metavar="TEXT", help="Heading of the page.")
@click.option("--seed", type=int, default=0, show_default=True, help="Each photo starts from the same noise.")
@click.option("--any-model", is_flag=True, help="Accept edits learned with other weights of the same shape.")
@overwrite_option
@editor_options
@json_option
def gallery(
    folder: str | None,
    output: str,
    photo_folder: str | None,
    count: int,
    title: str | None,
    seed: int,
    any_model: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Show every edit of a folder on the same photos, as a page.

    FOLDER is the library if not given. Writes index.html, which needs no other file, and contact sheets. Each edit is
    shown with the editor that it was learned with; what cannot be used is listed on the page with the reason, and the
    others are shown.
    """
    source = Path(folder) if folder else library_folder()
    if folder and not source.is_dir():
        raise UsageError(f"{folder}: expected a folder of edit files (*.safetensors)")
    entries = read_folder(source)
    if not entries:
        raise UsageError(f"{source}: no edit files (*.safetensors) in this folder")
    photos, bad_photos = gallery_photos(photo_folder, count)
    out, outputs = Path(output), outputs_of(overwrite)
    make_folder(out)
    outputs.reads(source, *([photo_folder] if photo_folder else []))
    path, first = outputs.claim(out / "index.html"), outputs.claim(out / SHEET.format(1))
    shown = []
    with progress("applying", len(entries)) as advance:
        for item in show_edits(
            entries, photos, lambda edit: load_editor(editor_of(edit, options)), seed=seed, any_model=any_model
        ):
            shown.append(item)
            advance(item.entry.name)
    heading = title or (f"Edits in {source.resolve().name}" if folder else "Edits in the library")
    page = gallery_page(heading, photos, shown, in_library=not folder, seed=seed, bad_photos=bad_photos)
    write(path, page)
    sheets = []
    for number, sheet in enumerate(contact_sheets(photos, shown), start=1):
        place = first if number == 1 else outputs.claim(out / SHEET.format(number))
        save_image(sheet, place)
        sheets.append(str(place))
    problems = {item.entry.path.name: item.problem for item in shown if item.problem} | bad_photos
    if as_json:
        edits = [{**item.entry.describe(), "problem": item.problem} for item in shown]
        say_json({"page": str(path), "sheets": sheets, "photos": list(photos), "edits": edits, "problems": problems})
    else:
        say("\n".join([str(path), *sheets]))
        for name, problem in problems.items():
            fail(f"not shown: {name}: {problem}")
    if all(item.problem for item in shown):
        raise OutputError(f"{source}: not one of the {len(shown)} edit files could be shown; {path} says why")
