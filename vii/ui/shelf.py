"""What the page *Library* does: list, search, show, import, remove. Edits go by their names, never by paths."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..edit_file import describe_edit, load_edit
from ..errors import EditFileError, ImageError, UsageError, ViiError, unknown_name
from ..files import replacing
from ..images import to_pil
from ..library import Entry, add_edits, edit_files, library_folder, origin, read_folder, remove_edits
from ..rendering.sheets import thumbnail_image
from ..text import percent, printable
from .uploads import plain

MAX_IMPORT = 50
MAX_SHOWN = 2000
CARD = (256, 128)
INK, PAPER = (90, 90, 90), (236, 238, 242)


def entries(search: str = "") -> list[Entry]:
    """The edits of the library, broken ones too, that have every word of a search; by names that can be shown."""
    found = [entry for entry in read_folder(library_folder()) if entry.mentions(search.split())]
    return [dataclasses.replace(entry, name=printable(entry.name)) for entry in found]


def names_for(editor: str) -> list[str]:
    """Names of the edits that were learned with this editor, or need none."""
    edits = [(entry.name, entry.edit) for entry in entries()]
    return [name for name, edit in edits if edit and (edit.editor == editor or not edit.needs_editor)]


def find(name: str | None) -> Entry:
    """An edit of the library by its exact name; UsageError for an unknown one, EditFileError for a broken one."""
    held = _held()
    if not name or name not in held:
        raise UsageError(unknown_name("edit", (name or "")[:80], list(held)) if held else "the library is empty")
    try:
        return Entry(name, held[name], load_edit(held[name]))
    except EditFileError as error:
        raise EditFileError(str(error).replace(str(held[name]), name)) from None


def _held() -> dict[str, Path]:
    return {printable(name): path for name, path in edit_files(library_folder()).items()}


def cards(found: Sequence[Entry], folder: Path) -> list[tuple[str, str]]:
    """A picture and a caption for each edit.

    Pictures go by their contents and are written into `folder` once: gradio would write them anew at every listing,
    also while another tab is being sent them.
    """
    folder.mkdir(exist_ok=True)
    told = []
    for entry in found:
        source = entry.edit.thumbnail if entry.edit else "broken"
        path = folder / f"{hashlib.sha256(source.encode()).hexdigest()}.png"
        if not path.exists():
            with replacing(path) as temporary:
                card(entry).save(temporary, format="PNG")
        told.append((str(path), entry.name if entry.edit else f"{entry.name} (cannot be used)"))
    return told


def card(entry: Entry) -> Image.Image:
    """The picture of one edit."""
    if entry.edit and entry.edit.thumbnail:
        try:
            return to_pil(thumbnail_image(entry.edit.thumbnail))
        except ImageError:
            pass  # a damaged picture does not make the edit unusable
    picture = Image.new("RGB", CARD, PAPER)
    text = "no picture" if entry.edit else "broken"
    font = ImageFont.load_default(20)
    ImageDraw.Draw(picture).text((CARD[0] / 2, CARD[1] / 2), text, fill=INK, font=font, anchor="mm")
    return picture


def facts(entry: Entry) -> dict[str, object]:
    """What is known about an edit, by what it is called on the page; somebody else's values."""
    assert entry.edit is not None
    told = describe_edit(entry.edit)
    training = told["training"]
    rows = {
        "Name": entry.name,
        "Title": told["title"],
        "Description": told["description"],
        "Tags": ", ".join(told["tags"]),
        "Author": told["author"],
        "Licence": told["license"],
        "Explained": percent(training.get("explained")),
        "Starting words": told["init_text"],
        "Recipe": training.get("recipe"),
        "Steps": training.get("steps"),
        "Seed": training.get("seed"),
        "Editor": f"{told['editor']} ({told['base_model']})",
        "Tokens": told["tokens"],
        "Recommended": ", ".join(f"{key} {value}" for key, value in told["settings"].items()),
        "From": origin(entry.path),
        "File": f"{entry.path.stat().st_size / 1000:.0f} kB",
    }
    return {name: str(value)[:MAX_SHOWN] for name, value in rows.items() if value not in (None, "")}


def import_files(paths: Sequence[Path], folder: Path) -> tuple[list[str], list[str]]:
    """Add uploads to the library, each checked as any edit file is: names of those added, and what was refused.

    No message names `folder`, in which they lie.
    """
    if len(paths) > MAX_IMPORT:
        raise UsageError(f"{len(paths)} files, at most {MAX_IMPORT} are imported at once")
    added, refused = [], []
    for path in paths:
        try:
            if path.suffix.lower() != ".safetensors":
                raise EditFileError(f"{path.name}: edit files are named *.safetensors")
            added.append(add_edits([path], option="another file name")[0].name)
        except ViiError as error:
            refused.append(plain(error, folder))
    return added, refused


def remove(name: str) -> None:
    """Delete an edit from the library; UsageError where there is none, OutputError where it cannot be deleted."""
    held = _held()
    if name not in held:
        raise UsageError(f"the library holds no edit '{name[:80]}' any more")
    remove_edits([held[name].stem])
