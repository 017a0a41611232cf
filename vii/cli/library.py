"""`vii library`: the edits at hand, by name."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .common import json_option, printable

if TYPE_CHECKING:
    from ..library import Entry


@click.group()
def library() -> None:
    """Keep edit files in one folder, where 'vii apply NAME' and 'vii show NAME' find them.

    The folder is VII_LIBRARY if that is set, else the platform's place for a user's data; 'vii library path' prints it.
    """


@library.command()
@click.argument("edit_files", nargs=-1, required=True, metavar="EDIT...")
@click.option("--name", metavar="NAME", help="Name to keep one edit under; its file's if not given.")
def add(edit_files: Sequence[str], name: str | None) -> None:
    """Copy edit files into the library. Nothing that it holds is overwritten."""
    from ..library import add_edits

    for entry in add_edits(edit_files, name):
        click.echo(f"{entry.name}   {entry.path}")


@library.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: Sequence[str]) -> None:
    """Delete edits from the library, and say which files these were."""
    from ..library import remove_edits

    for path in remove_edits(names):
        click.echo(f"removed {path}")


@library.command(name="list")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only edits with this tag; repeatable.")
@json_option
def list_edits(tags: Sequence[str], as_json: bool) -> None:
    """List the edits of the library."""
    _print([entry for entry in _entries() if entry.has_tags(tags)], as_json)


@library.command()
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@json_option
def search(words: Sequence[str], as_json: bool) -> None:
    """List edits that have every word in their name, title, description, starting text, author or tags."""
    _print([entry for entry in _entries() if entry.mentions(words)], as_json)


@library.command()
def path() -> None:
    """Print where the library is."""
    from ..library import library_folder

    click.echo(library_folder())


def _entries() -> "list[Entry]":
    from ..library import library_folder, read_folder

    return read_folder(library_folder())


def _print(entries: "Sequence[Entry]", as_json: bool) -> None:
    from ..library import library_folder

    if as_json:
        told = {"library": str(library_folder()), "edits": [entry.describe() for entry in entries]}
        click.echo(json.dumps(told))
        return
    if not entries:
        click.echo(f"no such edits in the library ({library_folder()})", err=True)
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        click.echo(printable(f"{entry.name:<{width}}  {_line(entry)}"))


def _line(entry: "Entry") -> str:
    if entry.edit is None:
        return f"cannot be used: {entry.problem}"
    edit = entry.edit
    tags = f"[{', '.join(edit.tags)}]" if edit.tags else ""
    return "  ".join(text for text in (edit.description or edit.title, tags, f"({edit.editor})") if text)
