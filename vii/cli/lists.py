"""`vii show`, `vii editors`, `vii recipes`: what there is."""

import json
from pathlib import Path

import click

from .common import json_option, printable


@click.command()
@click.argument("edit_file", metavar="EDIT")
@click.option("--thumbnail", metavar="FILE", help="Write the picture stored in the file to FILE.")
@json_option
def show(edit_file: str, thumbnail: str | None, as_json: bool) -> None:
    """Show what an edit file holds. EDIT is a file, or the name of one in the library."""
    from ..edit_file import describe_edit, load_edit
    from ..library import find_edit

    edit = load_edit(find_edit(edit_file))
    description = describe_edit(edit)
    if thumbnail:
        from ..gallery import save_thumbnail

        save_thumbnail(edit.thumbnail, Path(thumbnail))
        description["thumbnail_written_to"] = thumbnail
    if as_json:
        click.echo(json.dumps(description))
        return
    for key, value in description.items():
        if value not in ("", [], {}):
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            text = ", ".join(shown) if isinstance(shown, list) else str(shown)
            click.echo(f"{key.replace('_', ' '):>24}  {printable(text)}")


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
    from ..recipes import read_recipe, recipe_names

    described = {name: read_recipe(name).description for name in recipe_names()}
    if as_json:
        click.echo(json.dumps(described))
        return
    for name, description in described.items():
        click.echo(f"{name:<10} {description}")
