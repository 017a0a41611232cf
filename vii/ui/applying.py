"""What the page *Apply* does: edits and words on photos, one PNG with its settings record for each."""

import math
import re
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..application import Application
from ..edit_file import Edit
from ..errors import UsageError, ViiError
from ..images import load_image, resize, save_image
from .jobs import Job
from .learning import one_line
from .shelf import find
from .studio import Studio
from .uploads import plain

MAX_PHOTOS, MAX_EDITS = 64, 4
MAX_WEIGHT, MAX_GUIDANCE = 3.0, 50.0
# A stroke's soft rim belongs to it.
PAINTED = 0.05


@dataclass(frozen=True, eq=False)
class Wish:
    """What is to be done to every photo.

    Attributes:
        edits: name, weight and edit.
        words: to add, or to apply alone.
        seed: of all random numbers.
        settings: sampling settings that were filled in.
        full_size: results at the photo's size.
        mask: `(h, w)`, 1 where to edit; None for everywhere.
    """

    edits: Sequence[tuple[str, float, Edit]]
    words: str = ""
    seed: int = 0
    settings: Any = None
    full_size: bool = False
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """One photo that is done.

    Attributes:
        name: of the result, without its suffix.
        before: the photo at the result's size, `(3, h, w)`.
        after: the result.
        path: of the PNG.
    """

    name: str
    before: Tensor
    after: Tensor
    path: Path


@dataclass(frozen=True, eq=False)
class Applied:
    """What came of it: results, what could not be done, whether it was stopped, and how many there were to do."""

    results: tuple[Result, ...]
    problems: tuple[str, ...]
    stopped: bool
    total: int


def wish_for(
    names: Sequence[str],
    weights: Sequence[float],
    *,
    words: str = "",
    seed: int = 0,
    guidance: float | None = None,
    image_guidance: float | None = None,
    steps: int | None = None,
    full_size: bool = False,
    mask: Tensor | None = None,
) -> Wish:
    """What was filled in on the page, checked.

    Args:
        names: of edits in the library.
        weights: of each.
        words: to add.
        seed: of the noise.
        guidance: how far along the instruction; None as recommended.
        image_guidance: how near the photo, likewise.
        steps: of denoising, likewise.
        full_size: whether results have the photo's size.
        mask: where to edit.

    Raises:
        UsageError: nothing to apply, or a value that cannot be.
        EditFileError: an edit of the library is broken.
    """
    if len(names) > MAX_EDITS:
        raise UsageError(f"{len(names)} edits were picked, at most {MAX_EDITS} can be stacked here")
    words = one_line(words, "the words")
    if not names and not words:
        raise UsageError("nothing to apply: pick an edit, or write words, or both")
    for weight in weights[: len(names)]:
        if not math.isfinite(weight) or abs(weight) > MAX_WEIGHT:
            raise UsageError(f"a weight must lie between -{MAX_WEIGHT:g} and {MAX_WEIGHT:g}, got {weight}")
    for name, value in (("guidance", guidance), ("image guidance", image_guidance)):
        if value is not None and not 0 <= value <= MAX_GUIDANCE:  # also refuses NaN
            raise UsageError(f"{name}: expected a number from 0 to {MAX_GUIDANCE:g}, got {value}")
    edits = []
    for name, weight in zip(names, weights, strict=False):
        edit = find(name).edit
        assert edit is not None  # find refuses what cannot be used
        edits.append((name, float(weight), edit))
    given = {"guidance_scale": guidance, "image_guidance_scale": image_guidance, "num_inference_steps": steps}
    settings = {key: value for key, value in given.items() if value is not None}
    settings = {key: float(value) if "scale" in key else value for key, value in settings.items()}
    return Wish(edits, words, seed, settings, full_size, mask)


def mask_of(painted: Any) -> Tensor | None:
    """Where somebody painted, `(h, w)` of 0 and 1, from the layers of the brush; None where nowhere.

    Args:
        painted: what gradio's image editor gives: `layers`, each an array `(h, w, 4)` of 8-bit RGBA.
    """
    layers = [np.asarray(layer) for layer in (painted or {}).get("layers", []) if layer is not None]
    layers = [layer for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    if not layers:
        return None
    alpha = np.max([layer[..., 3] for layer in layers if layer.shape == layers[0].shape], axis=0)
    mask = torch.from_numpy((alpha > PAINTED * 255).astype(np.float32))
    return mask if mask.any() else None


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


def apply_to(job: Job, studio: Studio, photos: Sequence[Path], wish: Wish) -> Applied:
    """Edit photos, telling `job.progress`, until all are done or the job is stopped.

    Raises:
        ViiError: not one of them could be edited.
    """
    if not photos:
        raise UsageError("no photo: drop at least one")
    if len(photos) > MAX_PHOTOS:
        raise UsageError(f"{len(photos)} photos, at most {MAX_PHOTOS} are taken at once")
    editor, folder = studio.editor(), studio.new_folder()
    edits = [(edit, weight) for _, weight, edit in wish.edits]
    plan = Application(
        editor, edits, text=wish.words, seed=wish.seed, full_size=wish.full_size, **(wish.settings or {})
    )
    names = [name for name, _, _ in wish.edits]
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

    for edited in plan.many(read(), wish.mask):
        name, photo = under_way.popleft()
        out = folder / f"{name}.png"
        try:
            save_image(edited, out, text=plan.chunks(edited, wish.mask, names=names))
            results.append(Result(name, resize(photo, *edited.shape[-2:]), edited, out))
        except ViiError as error:
            problems.append(plain(error, studio.folder))
        job.progress = Applied(tuple(results), tuple(problems), False, len(photos))
        if job.stopping:
            break
    if problems and not results and not job.stopping:
        raise UsageError("; ".join(problems))
    failed = len(problems) - len(plan.warnings)
    return Applied(tuple(results), tuple(problems), len(results) + failed < len(photos), len(photos))


def files_of(applied: Applied) -> list[str]:
    """What to download: every PNG, and where there are several, one archive of all of them first."""
    paths = [result.path for result in applied.results]
    if len(paths) > 1:
        archive = paths[0].parent / "results.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for path in paths:
                file.write(path, path.name)
        paths = [archive, *paths]
    return [str(path) for path in paths]


def summary(applied: Applied) -> str:
    """What was done, in a sentence or two."""
    count = len(applied.results)
    told = f"{count} of {applied.total} photos done." if applied.total > 1 else "Done." if count else "Stopped."
    if applied.stopped and count:
        told = f"Stopped: {count} of {applied.total} photos done."
    return " ".join([told, *(f"Not done: {problem}." for problem in applied.problems)])
