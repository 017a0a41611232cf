"""What the page *Apply* does: edits and words on photos, one PNG with its settings record for each."""

import re
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..application import Application
from ..errors import UsageError, ViiError
from ..images import load_image, resize, save_image
from ..rendering.sheets import at_most
from .jobs import Job
from .request import Request
from .studio import Studio
from .uploads import plain

MAX_PHOTOS = 24
# Pixels a side at most of what is compared on the page; the files have their full size.
SHOWN = 1600


@dataclass(frozen=True, eq=False)
class Result:
    """One photo that is done: files, for pictures of a phone in memory are hundreds of megabytes each.

    `before` and `after` are what the page compares, at most `SHOWN` pixels a side; `path` is the PNG of full size.
    """

    name: str
    path: Path
    before: Path
    after: Path


@dataclass(frozen=True, eq=False)
class Applied:
    """What came of it: results in the photos' order, what could not be done, and whether somebody ended it early.

    `files` are to download, once all is done: every PNG, and where there are several, one archive of them first.
    """

    results: tuple[Result, ...]
    problems: tuple[str, ...]
    stopped: bool
    total: int
    files: tuple[Path, ...] = ()


def result_names(paths: Sequence[Path]) -> list[str]:
    """A name for each result: the photo's own, made safe; numbered where two photos have one name."""
    names: list[str] = []
    for path in paths:
        stem = re.sub(r"[^\w.-]+", "_", path.stem)[:60].strip("._") or "photo"
        name, number = stem, 2
        while name.casefold() in {taken.casefold() for taken in names}:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names


def check_photos(photos: Sequence[Path]) -> None:
    """Raise UsageError for no photo, and for more than `MAX_PHOTOS`."""
    if not photos:
        raise UsageError("no photo: drop at least one above")
    if len(photos) > MAX_PHOTOS:
        raise UsageError(
            f"{len(photos)} photos, at most {MAX_PHOTOS} are taken at once; take some out, or have the whole folder "
            "edited by the command 'vii apply'"
        )


def apply_to(job: Job, studio: Studio, photos: Sequence[Path], request: Request) -> Applied:
    """Edit photos, telling `job.progress`, until all are done or the job is stopped; ViiError where none could be."""
    check_photos(photos)
    editor, folder = studio.editor(), studio.folder_for(job)
    plan = Application(editor, **request.options)
    under_way: deque[tuple[str, Tensor]] = deque()
    results: list[Result] = []
    problems = [plain(UsageError(warning), studio.folder) for warning in plan.warnings]

    def read() -> Iterator[Tensor]:
        for path, name in zip(photos, result_names(photos), strict=True):
            if job.stopping:
                return
            try:
                photo = load_image(path)
            except ViiError as error:
                if len(photos) == 1:
                    raise
                problems.append(plain(error, studio.folder))
                continue
            under_way.append((name, photo))
            yield photo

    for edited in plan.many(read(), request.mask):
        name, photo = under_way.popleft()
        out = folder / f"{name}.png"
        try:
            save_image(edited, out, text=plan.chunks(edited, request.mask, names=request.names))
            results.append(Result(name, out, *_shown(folder / "shown" / name, photo, edited)))
        except ViiError as error:
            problems.append(plain(error, studio.folder))
        job.progress = Applied(tuple(results), tuple(problems), False, len(photos))
        if job.stopping:
            break
    if problems and not results and not job.stopping:
        raise UsageError("; ".join(problems))
    failed = len(problems) - len(plan.warnings)
    stopped = len(results) + failed < len(photos)
    return Applied(tuple(results), tuple(problems), stopped, len(photos), _files(folder, results))


def _shown(folder: Path, photo: Tensor, edited: Tensor) -> tuple[Path, Path]:
    """The photo and its result as the page compares them, both at one size."""
    folder.mkdir(parents=True)
    after = at_most(edited, SHOWN)
    before, paths = resize(photo, *after.shape[-2:]), (folder / "before.png", folder / "after.png")
    for image, path in zip((before, after), paths, strict=True):
        save_image(image, path)
    return paths


def _files(folder: Path, results: Sequence[Result]) -> tuple[Path, ...]:
    paths = [result.path for result in results]
    if len(paths) > 1:
        archive = folder / "results.zip"
        try:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
                for path in paths:
                    file.write(path, path.name)
            paths = [archive, *paths]
        except OSError:  # a full disk; the pictures are there
            archive.unlink(missing_ok=True)
    return tuple(paths)


def summary(applied: Applied) -> str:
    """What was done, in a sentence or two."""
    count = len(applied.results)
    told = f"{count} of {applied.total} photos done." if applied.total > 1 else "Done." if count else "Stopped."
    if applied.stopped and count:
        told = f"Stopped: {count} of {applied.total} photos done."
    return " ".join([told, *(f"Not done: {problem}." for problem in applied.problems)])
