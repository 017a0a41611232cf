"""Of `vii apply` and its kind: the names and formats of results, and what is told of photos."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import OutputError, UsageError
from ..files import Outputs, make_folder
from ..pictures import OUTPUT_FORMATS, QUALITY, Pictures, output_format
from ..runs.jobs import LOSSY, Job, Writing
from .common import Command

FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tif": ".tif"}
# What is packed with losses and is no format of results becomes a JPEG; the rest of such, a PNG.
LIKE_JPEG = (".jfif", ".heic", ".heif", ".avif")
LISTED = 3


def writing_options(command: Command) -> Command:
    """The options that say how results are written."""
    for option in (
        click.option("--keep-location", is_flag=True, help="Carry over the location too, with all of --keep-metadata."),
        click.option("--keep-metadata", is_flag=True, help="Carry over colour profile and EXIF, but for the location."),
        click.option(
            "--quality", type=click.IntRange(1, 100), metavar="Q", help=f"Of JPEG and WebP, {QUALITY} as a rule."
        ),
        click.option(
            "--format", "kind", type=click.Choice(FORMATS), help="Of results in a folder; else as photos are."
        ),
    ):
        command = option(command)
    return command


def writing_of(jobs: Sequence[Job], options: dict[str, Any]) -> Writing:
    """How results are written, by the options of `writing_options`, which are taken out of all that were given.

    Raises:
        UsageError: a quality where no result has one.
    """
    quality, metadata, location = (options.pop(name) for name in ("quality", "keep_metadata", "keep_location"))
    if quality is not None and not any(output_format(job.result) in LOSSY for job in jobs):
        raise UsageError("`quality` is for JPEG and WebP, and no result is one")
    return Writing(QUALITY if quality is None else quality, metadata or location, location)


def jobs_for(photos: Pictures, output: str, kind: str | None, outputs: Outputs) -> list[Job]:
    """Where each result goes; checked for clashes and for being writable before any work is done.

    Args:
        photos: to edit.
        output: a file for one photo, or a folder, in which a result has its photo's stem, and its sub-folder.
        kind: a key of `FORMATS`, for a folder; None: as each photo is.
        outputs: of this run.

    Raises:
        UsageError: a name that no format has, or a format besides the name of a file.
        OutputError: several photos for one file, or see `Outputs.claim`.
    """
    out = Path(output)
    named = bool(out.suffix) and not out.is_dir() and not output.endswith(("/", os.sep))
    paths = photos.paths
    if named and len(paths) == 1:
        if kind and OUTPUT_FORMATS[FORMATS[kind]] != output_format(out):
            raise UsageError(f"`kind={kind}` and {output} ask for two formats; leave one out")
        output_format(out)  # refuses names that no format has
        return [Job(paths[0], outputs.claim(out, of=paths[0]))]
    if named and out.suffix.lower() in OUTPUT_FORMATS:
        raise OutputError(f"{output}: {len(paths)} photos need a folder, not the name of one file")
    for folder in {Path(): None} | dict.fromkeys(photos.within.values()):
        make_folder(out / folder, outputs.advice)
    results = [out / photos.within.get(path, "") / f"{path.stem}{_suffix(path, kind)}" for path in paths]
    return [Job(path, outputs.claim(result, of=path)) for path, result in zip(paths, results, strict=True)]


def _suffix(photo: Path, kind: str | None) -> str:
    """The suffix of a photo's result in a folder."""
    if kind:
        return FORMATS[kind]
    if photo.suffix.lower() in OUTPUT_FORMATS:
        return photo.suffix
    return ".jpg" if photo.suffix.lower() in LIKE_JPEG else ".png"


def told(notes: dict[str, list[str]]) -> list[str]:
    """One line for each thing that happened to photos: `a.jpg, b.jpg, c.jpg and 4 more: ...`.

    Args:
        notes: by photo.
    """
    photos: dict[str, list[str]] = {}
    for photo, sentences in notes.items():
        for sentence in sentences:
            photos.setdefault(sentence, []).append(Path(photo).name)
    return [
        f"{', '.join(names[:LISTED])}{f' and {len(names) - LISTED} more' * (len(names) > LISTED)}: {sentence}"
        for sentence, names in photos.items()
    ]
