"""`vii show`: what an edit file holds, or how a picture was made."""

from typing import Any

import click

from ..edit_file import describe_edit, load_edit
from ..errors import UsageError
from ..library import find_edit, origin
from ..pictures import SUFFIXES
from ..record import read_record
from .common import json_option, outputs_of, overwrite_option
from .terminal import tell


@click.command()
@click.argument("file", metavar="EDIT|PICTURE")
@click.option("--thumbnail", metavar="FILE", help="Write the picture stored in the file to FILE.")
@overwrite_option
@json_option
def show(file: str, thumbnail: str | None, overwrite: bool, as_json: bool) -> None:
    """Show what an edit file holds, or how a picture was made.

    EDIT is a file, or the name of one in the library; PICTURE is one that 'vii apply' wrote.
    """
    description = _picture(file, thumbnail) if file.lower().endswith(SUFFIXES) else _edit(file, thumbnail, overwrite)
    lines = (
        f"{key.replace('_', ' '):>24}  {' '.join(_line(value).splitlines())}"
        for key, value in description.items()
        if value not in ("", [], {}, None)
    )
    tell(as_json, description, "\n".join(lines))


def _picture(file: str, thumbnail: str | None) -> dict[str, Any]:
    if thumbnail:
        raise UsageError(f"{file}: `thumbnail` is for edit files, this is a picture")
    return read_record(file)


def _edit(file: str, thumbnail: str | None, overwrite: bool) -> dict[str, Any]:
    path = find_edit(file)
    edit = load_edit(path)
    description = describe_edit(edit)
    if pulled_from := origin(path):
        description["pulled_from"] = pulled_from
    if thumbnail:
        outputs = outputs_of(overwrite, place="--thumbnail")
        outputs.reads(path)
        from ..rendering.sheets import save_thumbnail

        save_thumbnail(edit.thumbnail, outputs.claim(thumbnail))
        description["thumbnail_written_to"] = thumbnail
    return description


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ("; " if any(isinstance(item, dict | list) for item in value) else ", ").join(map(_line, value))
    return str(value)
