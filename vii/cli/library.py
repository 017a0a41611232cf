"""`vii library`: the edits at hand, by name."""

from collections.abc import Callable, Sequence

import click

from ..library import Entry, add_edits, library_folder, read_folder, remove_edits
from .common import json_option
from .terminal import say, say_json


@click.group()
def library() -> None:
    """Keep edit files in one folder, in which they are found by name.

    'vii apply NAME', 'vii show NAME' and others take the name of an edit that is there. The folder is VII_LIBRARY if
    that is set, else the platform's place for a user's data; 'vii library path' prints it.
    """


@library.command()
@click.argument("edit_files", nargs=-1, required=True, metavar="EDIT...")
@click.option("--name", metavar="NAME", help="Name to keep one edit under; its file's if not given.")
def add(edit_files: Sequence[str], name: str | None) -> None:
    """Copy edit files into the library. Nothing that it holds is overwritten."""
    for entry in add_edits(edit_files, name):
        say(f"{entry.name}   {entry.path}")


@library.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(names: Sequence[str]) -> None:
    """Delete edits from the library, and say which files these were."""
    for path in remove_edits(names):
        say(f"removed {path}")


@library.command(name="list")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only edits with this tag; repeatable.")
@json_option
def list_edits(tags: Sequence[str], as_json: bool) -> None:
    """List the edits of the library."""
    _print(lambda entry: entry.has_tags(tags), as_json)


@library.command()
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@json_option
def search(words: Sequence[str], as_json: bool) -> None:
    """List edits that have every word in their name, title, description, starting text, author or tags."""
    _print(lambda entry: entry.mentions(words), as_json)


@library.command()
def path() -> None:
    """Print where the library is."""
    say(library_folder())


def _print(wanted: Callable[[Entry], bool], as_json: bool) -> None:
    entries = list(filter(wanted, read_folder(library_folder())))
    if as_json:
        say_json({"library": str(library_folder()), "edits": [entry.describe() for entry in entries]})
        return
    if not entries:
        say(f"no such edits in the library ({library_folder()})", err=True)
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        say(" ".join(f"{entry.name:<{width}}  {_line(entry)}".splitlines()))


def _line(entry: Entry) -> str:
    if entry.edit is None:
        return f"cannot be used: {entry.problem}"
    edit = entry.edit
    tags = f"[{', '.join(edit.tags)}]" if edit.tags else ""
    return "  ".join(text for text in (edit.description or edit.title, tags, f"({edit.editor})") if text)
