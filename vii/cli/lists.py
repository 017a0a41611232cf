"""`vii show`, `vii editors`, `vii recipes`: what there is."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .common import json_option, printable

if TYPE_CHECKING:
    from ..methods import MethodEntry


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


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List the methods of editing by example that can be named; other packages may add theirs."""
    from ..methods import MethodEntry, find_method, method_names

    rows: dict[str, MethodEntry | UsageError] = {}
    for name in method_names():
        try:
            rows[name] = find_method(name)
        except UsageError as error:  # somebody else's package must not hide the other methods
            rows[name] = error
    if as_json:
        click.echo(json.dumps({name: _method(row) for name, row in rows.items()}))
        return
    for name, row in rows.items():
        told = str(row) if isinstance(row, UsageError) else row.description
        needs = [] if isinstance(row, UsageError) else _needs(row)
        click.echo(f"{name:<12} {printable(told)}" + (f"\n{'':<12} needs: {', '.join(needs)}" if needs else ""))


def _method(row: "MethodEntry | UsageError") -> dict[str, Any]:
    if isinstance(row, UsageError):
        return {"error": str(row)}
    return {name: getattr(row, name) for name in ("description", "needs", "takes", "pairs", "learns")}


def _needs(row: "MethodEntry") -> list[str]:
    """What a method needs, in words."""
    needs = {"pairs": row.pairs, "words (--text)": "text" in row.needs, "an editor": "editor" in row.needs}
    return [name for name, needed in needs.items() if needed]
