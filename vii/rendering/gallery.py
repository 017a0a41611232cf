"""A gallery: every edit of a folder on the same photos, as contact sheets and as one HTML page."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..application import Application
from ..demo import demo_photos
from ..edit_file import Edit
from ..editor import Editor
from ..errors import ImageError, ViiError
from ..images import load_image, resize, spread
from ..library import Entry
from ..pictures import find_pictures
from ..text import percent
from .html import render
from .sheets import at_most, contact_sheet, thumbnail_image

# Pixels: the longer side of a photo in memory, and of a picture on the page.
WORKING_SIDE, SHOWN_SIDE = 1024, 320
SHEET_ROWS = 12


@dataclass(frozen=True, eq=False)
class Shown:
    """What became of one edit file: photo -> the edited photo `(3, h, w)` in [0, 1], or why it could not be shown."""

    entry: Entry
    results: Mapping[str, Tensor] = field(default_factory=dict)
    problem: str = ""


def gallery_photos(folder: str | Path | None, count: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Photos to show edits on, and what is wrong with those that cannot be read, both by name.

    `count` of a folder, spread evenly over the sorted names; without a folder those that ship with the package.
    Raises ImageError for no such folder, or not one photo in it that can be read.
    """
    if folder is None:
        return demo_photos(), {}
    photos, problems = {}, {}
    for path in spread(find_pictures([folder]).paths, count):
        name = path.stem if path.stem not in photos else path.name
        try:
            photos[name] = at_most(load_image(path), WORKING_SIDE)
        except ImageError as error:
            problems[path.name] = str(error).removeprefix(f"{path}: ")
    if not photos:
        name, problem = next(iter(problems.items()))
        raise ImageError(f"{folder}: not one photo that can be used ({name}: {problem})")
    return photos, problems


def show_edits(
    entries: Sequence[Entry],
    photos: Mapping[str, Tensor],
    load: Callable[[Edit], Editor],
    *,
    seed: int = 0,
    any_model: bool = False,
) -> Iterator[Shown]:
    """Apply every edit to every photo, with the settings that the edit recommends; yields one `Shown` for each entry.

    Edits of one editor and model follow each other, so that one editor at a time is in memory. Whatever is wrong with
    an edit is told in its `Shown`, and the others are done.

    Args:
        entries: the edit files.
        photos: name -> `(3, h, w)` in [0, 1].
        load: gives the editor for an edit; called once for each editor, space and model that edits name.
        seed: of all random numbers; the same for each photo.
        any_model: see `Edit.check_space`.
    """
    by_model: dict[tuple[str, ...], list[tuple[Entry, Edit]]] = {}
    for entry in entries:
        if entry.edit is None:
            yield Shown(entry, problem=entry.problem)
            continue
        edit = entry.edit
        key = (edit.editor, edit.space.kind, edit.space.model, edit.space.revision) if edit.needs_editor else ()
        by_model.setdefault(key, []).append((entry, edit))
    for group in by_model.values():
        try:
            editor = load(group[0][1]) if group[0][1].needs_editor else None
        except ViiError as error:
            yield from (Shown(entry, problem=str(error)) for entry, _ in group)
            continue
        for entry, edit in group:
            try:
                plan = Application(editor, edit, seed=seed, any_model=any_model)
                pictures = (at_most(picture, SHOWN_SIDE) for picture in plan.many(photos.values()))
                yield Shown(entry, dict(zip(photos, pictures, strict=True)))
            except ViiError as error:
                yield Shown(entry, problem=str(error))
        del editor  # before the next one is loaded


def contact_sheets(photos: Mapping[str, Tensor], shown: Sequence[Shown]) -> list[Tensor]:
    """The photos above what each edit makes of them, a dozen edits a sheet."""
    edited = [item for item in shown if item.results]
    originals = list(photos.items())
    return [
        contact_sheet(
            [originals, *([(item.entry.name, image) for image in item.results.values()] for item in part)], cell=160
        )
        for part in (edited[start : start + SHEET_ROWS] for start in range(0, len(edited), SHEET_ROWS))
    ]


def gallery_page(
    title: str,
    photos: Mapping[str, Tensor],
    shown: Sequence[Shown],
    *,
    in_library: bool = False,
    seed: int = 0,
    bad_photos: Mapping[str, str] | None = None,
) -> str:
    """The page as text, of what `show_edits` was given and gave.

    `in_library`: whether the edits are applied by name, and not by the name of the file; `bad_photos`: those that could
    not be read, and why, by name.
    """
    good = sorted((item for item in shown if item.results), key=lambda item: item.entry.name.casefold())
    bad = {item.entry.path.name: item.problem for item in shown if not item.results} | dict(bad_photos or {})
    facts = {
        "edits": str(len(good)),
        "photos": ", ".join(photos),
        "settings": f"those that each edit recommends, seed {seed}",
    }
    sections = [_section(index, item, photos, in_library) for index, item in enumerate(good)]
    links = {section["key"]: section["title"] for section in sections}
    return str(
        render(
            "rendering/templates/gallery.html.j2",
            title=title, facts=facts, sections=sections, links=links, problems=bad,
        )
    )  # fmt: skip


def _section(index: int, item: Shown, photos: Mapping[str, Tensor], in_library: bool) -> dict[str, Any]:
    """What the template shows of one edit."""
    entry, edit = item.entry, item.entry.edit
    assert edit is not None  # it has results
    return {
        "key": f"edit-{index}",
        "name": entry.name,
        "title": edit.title.strip() or entry.name,
        "description": edit.description,
        "example": _example(edit),
        # The photo at the size of its result: as the editor saw it, and so that the two can be compared.
        "photos": [(name, resize(photos[name], *after.shape[-2:]), after) for name, after in item.results.items()],
        "facts": _facts(entry, edit),
        "command": _command(entry, in_library),
    }


def _example(edit: Edit) -> Tensor | None:
    """The example, where the edit file holds its picture and it can be read."""
    try:
        return at_most(thumbnail_image(edit.thumbnail), 2 * SHOWN_SIDE)
    except ImageError:
        return None


def _facts(entry: Entry, edit: Edit) -> dict[str, str]:
    return {
        "file": entry.path.name,
        "starting text": edit.init_text or "none",
        "explained": percent(edit.training.get("explained")) or "not stated",
        "editor": f"{edit.editor} ({edit.space.model})" if edit.space.model != edit.editor else edit.editor,
        "author": edit.author or "not stated",
        "licence": edit.license or "not stated",
        "tags": ", ".join(edit.tags) or "none",
    }


def _command(entry: Entry, in_library: bool) -> str:
    # A name that begins with a dash would be taken for an option.
    safe = entry.name if not entry.name.startswith("-") else f"./{entry.name}"
    edit = safe if in_library else safe + entry.path.suffix
    return f"vii apply {shlex.quote(edit)} photo.jpg -o {shlex.quote(safe + '.png')}"
