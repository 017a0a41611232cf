"""Photos in and results out, of one run of `vii apply`: names and formats, what is carried over, what is told."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
import numpy as np

from ..background import in_background
from ..errors import OutputError, UsageError, ViiError
from ..files import Outputs, make_folder
from ..pictures import OUTPUT_FORMATS, QUALITY, Picture, output_format, read_picture, write_picture
from .common import Command

FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tif": ".tif"}
# What is packed with losses and is no format of results becomes a JPEG; the rest of such, a PNG.
LIKE_JPEG = (".jfif", ".heic", ".heif", ".avif")
LOSSY, DEEP = ("JPEG", "WEBP"), ("PNG", "TIFF")
# Values of photos that were read and wait to be edited; 4 bytes each.
READ_AHEAD = 150_000_000
LISTED = 3
Image = TypeVar("Image")  # a picture as the plan at hand takes it


@dataclass(frozen=True)
class Writing:
    """How results are written.

    Attributes:
        quality: of JPEG and WebP, 1 to 100.
        keep_metadata: whether EXIF and colour profile are carried over from the photo.
        keep_location: whether its location is, too.
    """

    quality: int = QUALITY
    keep_metadata: bool = False
    keep_location: bool = False


@dataclass(frozen=True)
class Job:
    """A photo, where its result goes, and, once it is read, what is known of it besides its pixels."""

    photo: Path
    result: Path
    picture: Picture | None = None

    def notes(self, writing: Writing) -> list[str]:
        """What was converted or is lost, a sentence each."""
        assert self.picture is not None
        kind, sentences = output_format(self.result), list(self.picture.notes)
        if self.picture.has_alpha:
            sentences.append("transparency was laid on white")
        if self.picture.bits == 16 and kind not in DEEP:
            sentences.append(f"of 16 bits a channel a {kind} keeps 8; PNG and TIFF keep them all")
        if self.picture.bits == 16 and kind == "TIFF" and writing.keep_metadata and self.picture.exif:
            sentences.append("of the EXIF a TIFF of 16 bits keeps maker, model, date, artist and copyright alone")
        return sentences


@dataclass(frozen=True)
class Plan(Generic[Image]):
    """What to do with photos, whatever kind of image it works on.

    Attributes:
        prepare: pixels as `read_picture` gives them -> an image; refuses a photo that cannot be edited.
        edit: images -> results, in their order.
        pixels: a result, and bits a channel -> pixels as `write_picture` takes them.
        text: of a result, what to write with it.
    """

    prepare: Callable[[np.ndarray], Image]
    edit: Callable[[Iterable[Image]], Iterable[Image]]
    pixels: Callable[[Image, int], np.ndarray]
    text: Callable[[Image], dict[str, str]]


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


def writing_of(jobs: "Sequence[Job]", options: dict[str, Any]) -> Writing:
    """How results are written, by the options of `writing_options`, which are taken out of all that were given.

    Raises:
        UsageError: a quality where no result has one.
    """
    quality, metadata, location = (options.pop(name) for name in ("quality", "keep_metadata", "keep_location"))
    if quality is not None and not any(output_format(job.result) in LOSSY for job in jobs):
        raise UsageError("`quality` is for JPEG and WebP, and no result is one")
    return Writing(QUALITY if quality is None else quality, metadata or location, location)


def jobs_for(photos: Sequence[Path], output: str, kind: str | None, outputs: Outputs) -> list[Job]:
    """Where each result goes; checked for clashes and for being writable before any work is done.

    Args:
        photos: to edit.
        output: a file for one photo, or a folder, in which a result has its photo's stem.
        kind: a key of `FORMATS`, for a folder; None: as each photo is.
        outputs: of this run.

    Raises:
        UsageError: a name that no format has, or a format besides the name of a file.
        OutputError: several photos for one file, or see `Outputs.claim`.
    """
    out = Path(output)
    named = bool(out.suffix) and not out.is_dir() and not output.endswith(("/", os.sep))
    if named and len(photos) == 1:
        if kind and OUTPUT_FORMATS[FORMATS[kind]] != output_format(out):
            raise UsageError(f"`kind={kind}` and {output} ask for two formats; leave one out")
        output_format(out)  # refuses names that no format has
        return [Job(photos[0], outputs.claim(out, of=photos[0]))]
    if named and out.suffix.lower() in OUTPUT_FORMATS:
        raise OutputError(f"{output}: {len(photos)} photos need a folder, not the name of one file")
    make_folder(out, outputs.advice)
    return [Job(photo, outputs.claim(out / f"{photo.stem}{_suffix(photo, kind)}", of=photo)) for photo in photos]


def _suffix(photo: Path, kind: str | None) -> str:
    """The suffix of a photo's result in a folder."""
    if kind:
        return FORMATS[kind]
    if photo.suffix.lower() in OUTPUT_FORMATS:
        return photo.suffix
    return ".jpg" if photo.suffix.lower() in LIKE_JPEG else ".png"


def edited(jobs: Sequence[Job], plan: Plan[Any], writing: Writing) -> Iterator[tuple[Job, ViiError | None]]:
    """Read, edit and write, each while the others go on.

    Yields:
        each job, in their order, with what is wrong with it where something is.
    """
    under_way: deque[Job] = deque()  # read and not yet edited
    unreadable: deque[tuple[Job, ViiError]] = deque()

    def read(job: Job) -> tuple[Job, Any]:
        found, pixels = opened(job)
        return found, plan.prepare(pixels)

    def readable() -> Iterator[Any]:
        reading = in_background(read, jobs, weigh=lambda found: prod(found[1].shape), most=READ_AHEAD)
        for job, future in zip(jobs, reading, strict=True):
            try:
                found, image = future.result()
            except ViiError as error:
                unreadable.append((job, error))
                continue
            under_way.append(found)
            yield image

    def write(made: tuple[Job, Any]) -> tuple[Job, ViiError | None]:
        job, result = made
        assert job.picture is not None
        try:
            save(plan.pixels(result, job.picture.bits), job, writing, plan.text(result))
        except ViiError as error:
            return job, error
        return job, None

    results = ((under_way.popleft(), result) for result in plan.edit(readable()))
    for future in in_background(write, results):
        yield future.result()
        while unreadable:
            yield unreadable.popleft()
    yield from unreadable


def opened(job: Job) -> tuple[Job, np.ndarray]:
    """A job whose photo has been read, and the photo's pixels.

    Raises:
        ImageError: see `read_picture`.
    """
    picture = read_picture(job.photo)
    # What is kept until the result is written says how deep the pixels were, without holding them.
    return replace(job, picture=replace(picture, pixels=picture.pixels[:0])), picture.pixels


def save(pixels: np.ndarray, job: Job, writing: Writing, text: dict[str, str] | None = None) -> None:
    """Write a result `(h, w, 3)`, uint8 or uint16, with what is carried over from its photo."""
    write_picture(
        pixels,
        job.result,
        text=text,
        quality=writing.quality,
        photo=job.picture,
        keep_metadata=writing.keep_metadata,
        keep_location=writing.keep_location,
    )


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
