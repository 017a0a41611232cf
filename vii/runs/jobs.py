"""Photos in and results out of one run: read, edited and written at once; of a run that was stopped, what is there."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from .. import strict
from ..background import in_background
from ..errors import ImageError, OutputError, ViiError
from ..files import made_by_vii
from ..pictures import MAX_PIXELS, QUALITY, Picture, output_format, read_picture, write_picture
from ..record import chunks, read_record
from ..sizes import Done
from ..storage import fetched, is_elsewhere, stored

LOSSY, DEEP = ("JPEG", "WEBP"), ("PNG", "TIFF")
# Values of photos that were read and wait to be edited; 4 bytes each.
READ_AHEAD = 150_000_000
Image = TypeVar("Image")  # a picture as the plan at hand takes it


@dataclass(frozen=True)
class Writing:
    """How results are written.

    Attributes:
        quality: of JPEG and WebP, 1 to 100.
        keep_metadata: whether EXIF and colour profile are carried over from the photo.
        keep_location: whether its location is, too.
        overwrite: whether a file elsewhere that `vii` did not make is replaced; see `vii.files` for those here.
    """

    quality: int = QUALITY
    keep_metadata: bool = False
    keep_location: bool = False
    overwrite: bool = False

    def record(self, result: Path) -> dict[str, Any]:
        """What of it a file of this name depends on."""
        quality = {"quality": self.quality} if output_format(result) in LOSSY else {}
        return quality | {"keep_metadata": self.keep_metadata, "keep_location": self.keep_location}


@dataclass(frozen=True)
class Job:
    """A photo, where its result goes, and, once it is read, what is known of it besides its pixels."""

    photo: Path
    result: Path
    picture: Picture | None = None
    sha256: str = ""

    def notes(self, writing: Writing) -> list[str]:
        """What was converted or is lost, a sentence each; nothing of a photo that was not read."""
        if self.picture is None:
            return []
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
        edit: images, or `Done` in their places -> results, in their order.
        pixels: a result, and bits a channel -> pixels as `write_picture` takes them.
        record: how every result is made, as `vii.record.record` gives it; of the size of any of them.
        settings: of the editor, with which it is sampled; None without one.
    """

    prepare: Callable[[np.ndarray], Image]
    edit: Callable[[Iterable[Image | Done]], Iterable[Any]]
    pixels: Callable[[Image, int], np.ndarray]
    record: Mapping[str, Any]
    settings: Any = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: with what is known of its photo, where that was read.
        error: what is wrong; None for a result that is there.
        kept: whether it was there before, and nothing was done.
        notes: what else to tell of it, a sentence each.
    """

    job: Job
    error: ViiError | None = None
    kept: bool = False
    notes: Sequence[str] = ()


def edited(jobs: Sequence[Job], plan: Plan[Any], writing: Writing, *, resume: bool = False) -> Iterator[Outcome]:
    """Read, edit and write, each while the others go on.

    Args:
        jobs: in the order in which photos are put into batches.
        plan: what to do with them.
        writing: how results are written.
        resume: keep what `made_before` finds.

    Yields:
        what became of each job, in their order.
    """
    under_way: deque[tuple[int, Outcome]] = deque()  # read and not yet edited, by their place
    unreadable: deque[tuple[int, Outcome]] = deque()

    def read(job: Job) -> tuple[Outcome, Any]:
        with fetched(job.photo) as photo:
            job = replace(job, sha256=digest(photo))
            if resume and (done := made_before(job, plan.record, writing)):
                return Outcome(job, kept=True), done
            found, pixels = opened(job, photo)
        return Outcome(found), plan.prepare(pixels)

    def readable() -> Iterator[Any]:
        reading = in_background(read, jobs, weigh=_values, most=READ_AHEAD)
        for place, (job, future) in enumerate(zip(jobs, reading, strict=True)):
            try:
                found, image = future.result()
            except ViiError as error:
                unreadable.append((place, Outcome(job, error)))
                continue
            under_way.append((place, found))
            yield image

    def write(made: tuple[tuple[int, Outcome], Any]) -> tuple[int, Outcome]:
        (place, outcome), result = made
        job = outcome.job
        if job.picture is None:
            return place, outcome
        try:
            pixels = plan.pixels(result, job.picture.bits)
            save(pixels, job, writing, chunks(_record(plan.record, job, writing, pixels), plan.settings))
        except ViiError as error:
            return place, replace(outcome, error=error)
        return place, outcome

    results = ((under_way.popleft(), result) for result in plan.edit(readable()))
    for future in in_background(write, results):
        place, outcome = future.result()
        while unreadable and unreadable[0][0] < place:
            yield unreadable.popleft()[1]
        yield outcome
    yield from (outcome for _, outcome in unreadable)


def made_before(job: Job, record: Mapping[str, Any], writing: Writing) -> Done | None:
    """What stands in a batch for a photo whose result is there: whole, and with the record that it would be given now.

    Args:
        job: with the digest of its photo.
        record: see `Plan`.
        writing: how results are written.

    Returns:
        None where there is no such result.
    """
    try:
        if not job.result.is_file():
            return None
        with fetched(job.result) as result:
            found = read_record(result)
            size = read_picture(result, around=1).size  # which reads it to its end
        width, height = found["source"].pop("size")
        # Somebody's file says them: no more is taken at its word than a photo can have.
        fits = all(type(side) is int and side > 0 for side in (width, height)) and width * height <= MAX_PIXELS
        fits = fits and found.pop("size") == list(size)
    except (ImageError, OSError, KeyError, TypeError, ValueError, AttributeError):  # it may be anybody's
        return None
    expected = {**record, "source": {"sha256": job.sha256}, "writing": writing.record(job.result)}
    del expected["size"]
    same = fits and found == strict.loads(strict.dumps(expected))
    return Done(height, width) if same else None


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


def opened(job: Job, photo: Path) -> tuple[Job, np.ndarray]:
    """A job whose photo has been read, from a file of this machine, and the photo's pixels.

    Raises:
        ImageError: see `read_picture`.
    """
    picture = read_picture(photo)
    # What is kept until the result is written says how deep the pixels were, without holding them.
    return replace(job, picture=replace(picture, pixels=picture.pixels[:0])), picture.pixels


def save(pixels: np.ndarray, job: Job, writing: Writing, text: dict[str, str] | None = None) -> None:
    """Write a result `(h, w, 3)`, uint8 or uint16, with what is carried over from its photo."""
    if is_elsewhere(job.result) and not writing.overwrite:
        _check_own(job.result)
    with stored(job.result) as result:
        write_picture(
            pixels,
            result,
            text=text,
            quality=writing.quality,
            photo=job.picture,
            keep_metadata=writing.keep_metadata,
            keep_location=writing.keep_location,
        )


def _check_own(place: Path) -> None:
    if place.is_file():
        with fetched(place) as there:
            if not made_by_vii(there):
                raise OutputError(
                    f"{place} is there already, and not made by vii; choose another place, or `overwrite=True`"
                )


def _record(record: Mapping[str, Any], job: Job, writing: Writing, pixels: np.ndarray) -> dict[str, Any]:
    """How one result was made: its size, from which photo, and what was written of it."""
    assert job.picture is not None
    source = {"sha256": job.sha256, "size": list(job.picture.size)}
    size = [pixels.shape[1], pixels.shape[0]]
    return {**record, "size": size, "source": source, "writing": writing.record(job.result)}


def _values(read: tuple[Outcome, Any]) -> float:
    """How many values wait: of an image, not of what is done."""
    return prod(getattr(read[1], "shape", ()) or (0,))
