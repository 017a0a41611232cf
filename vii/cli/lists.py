"""`vii show`, `vii editors`, `vii recipes`: what there is."""

import json
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from .common import json_option, printable


@click.command()
@click.argument("file", metavar="EDIT|PICTURE")
@click.option("--thumbnail", metavar="FILE", help="Write the picture stored in the file to FILE.")
@json_option
def show(file: str, thumbnail: str | None, as_json: bool) -> None:
    """Show what an edit file holds, or how a picture was made.

    EDIT is a file, or the name of one in the library; PICTURE is a PNG that 'vii apply' wrote.
    """
    description = _picture(file, thumbnail) if file.lower().endswith(".png") else _edit(file, thumbnail)
    if as_json:
        click.echo(json.dumps(description))
        return
    for key, value in description.items():
        if value not in ("", [], {}, None):
            click.echo(f"{key.replace('_', ' '):>24}  {printable(_line(value))}")


def _picture(file: str, thumbnail: str | None) -> dict[str, Any]:
    from ..record import read_record

    if thumbnail:
        raise UsageError(f"{file}: --thumbnail is for edit files, this is a picture")
    return read_record(file)


def _edit(file: str, thumbnail: str | None) -> dict[str, Any]:
    from ..edit_file import describe_edit, load_edit
    from ..interop.hub import origin
    from ..library import find_edit

    path = find_edit(file)
    edit = load_edit(path)
    description = describe_edit(edit)
    if pulled_from := origin(path):
        description["pulled_from"] = pulled_from
    if thumbnail:
        from ..rendering.sheets import save_thumbnail

        save_thumbnail(edit.thumbnail, Path(thumbnail))
        description["thumbnail_written_to"] = thumbnail
    return description


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ("; " if any(isinstance(item, dict | list) for item in value) else ", ").join(map(_line, value))
    return str(value)


@click.command()
@json_option
def editors(as_json: bool) -> None:
    """List the editors that can be named."""
    from ..editors import EDITORS

    if as_json:
        rows = {name: {"description": entry.description, "needs": entry.needs} for name, entry in EDITORS.items()}
        click.echo(json.dumps(rows))
        return
    for name, entry in EDITORS.items():
        click.echo(f"{name:<10} {entry.description}\n{'':<10} needs: {entry.needs}")


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the recipes that can be named."""
    from ..inversion.recipes import read_recipe, recipe_names

    described = {name: read_recipe(name).description for name in recipe_names()}
    if as_json:
        click.echo(json.dumps(described))
        return
    for name, description in described.items():
        click.echo(f"{name:<10} {description}")
