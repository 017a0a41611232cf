"""Every method on every edit under every seed; what has been scored before is not done again."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from ... import __version__
from ...editor import Editor
from ...files import make_folder
from ...images import Pair, resize, save_image, spread
from ..metrics import direction, leakage, preserved, psnr, ssim
from .edits import Subject, Task
from .methods import Built, Method, Transfer
from .scores import Point, Score, Scores

# Pictures kept of every score of the first seed, for the page.
SHOWN = 3


@dataclass(frozen=True)
class Result:
    """A score and where its pictures lie; `pictures` maps the names of photos to PNG files."""

    score: Score
    pictures: Mapping[str, Path]


def shown(task: Task) -> list[str]:
    """Names of the test photos of which pictures are kept."""
    return spread(list(task.tests), SHOWN)


def count_examples(methods: Sequence[Method]) -> int:
    """How many examples every edit needs, so that all methods are tested on the same photos."""
    return max(method.pairs for method in methods)


def count_scores(subjects: Sequence[Subject], methods: Sequence[Method], seeds: Sequence[int]) -> int:
    """How many scores a run has."""
    return len(seeds) * sum(_takes(method, subject) for method in methods for subject in subjects)


def run(
    editor: Editor,
    subjects: Sequence[Subject],
    methods: Sequence[Method],
    photos: Mapping[str, Tensor],
    seeds: Sequence[int],
    folder: Path,
    conditions: Mapping[str, str | None] | None = None,
) -> Iterator[Result]:
    """Score methods on edits, one after the other.

    A score is taken from `folder` where the version of this package, the editor's instruction space (with the
    fingerprint of its weights), resolution and sampling settings, `conditions`, every setting of the recipe, the
    pixels of the example, the photos and the truths, and the seed are what they were.

    Args:
        editor: the editor to learn and apply with.
        subjects: the edits.
        methods: see `methods_for`; those that need words leave out edits without.
        photos: name -> `(3, r, r)`, for edits that are formulas; see `read_photos`.
        seeds: each picks its own photos for the examples, and is the seed of learning and of sampling. A method that
            does not look at the pair runs under the first seed only; its result on a photo is the same under all.
        folder: of scores and pictures; made if it is not there.
        conditions: what else the results depend on, such as the precision.

    Yields:
        a result for every edit, method and seed, in this order.
    """
    make_folder(folder / "pictures")
    scores = Scores(folder)
    common = {
        "vii": __version__,
        "space": dataclasses.asdict(editor.space),
        "resolution": editor.resolution,
        "settings": dataclasses.asdict(editor.settings),
        "conditions": dict(conditions or {}),
    }
    examples = count_examples(methods)
    for subject in subjects:
        tasks = {seed: subject.source.task(photos, seed, editor.resolution, examples) for seed in seeds}
        digests = {seed: task.sha256() for seed, task in tasks.items()}
        for method in methods:
            if not _takes(method, subject):
                continue
            done: dict[str, tuple[Tensor, float]] = {}
            for seed, task in tasks.items():
                used = seed if method.looks_at_the_pair else seeds[0]
                key = _key(common, method.identity(subject.words), subject.name, digests[seed], seed, used)
                names = shown(task) if seed == seeds[0] else []
                pictures = scores.pictures(key, len(names))
                score = scores.get(key, len(names))
                if score is None:
                    pairs = task.examples[: method.pairs]
                    built = method.build(editor, subject.words, pairs, used)
                    fresh = {} if method.looks_at_the_pair else done
                    outputs = _transfer(built.transfer, pairs, task, used, fresh)
                    score = _score(editor, subject, method, seed, task, built, outputs)
                    score = dataclasses.replace(score, curve=_curve(built, pairs, task, used, score))
                    for name, path in zip(names, pictures, strict=True):
                        save_image(outputs[name][0], path)
                    scores.add(key, score)
                # The label is no condition: to call an edit said or unsaid changes no result.
                score = dataclasses.replace(score, said=subject.said)
                yield Result(score, dict(zip(names, pictures, strict=True)))


def _takes(method: Method, subject: Subject) -> bool:
    return bool(subject.words) or not method.needs_words


def _key(common: Mapping[str, Any], method: Mapping[str, Any], edit: str, digest: str, *seeds: int) -> str:
    content = {**common, **method, "edit": edit, "task": digest, "seeds": seeds}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _transfer(
    transfer: Transfer, pairs: Sequence[Pair], task: Task, seed: int, done: dict[str, tuple[Tensor, float]]
) -> dict[str, tuple[Tensor, float]]:
    """Name of each test photo -> result on the CPU at the size of the truth, and seconds; `done` is used and filled."""
    for name, pair in task.tests.items():
        if name not in done:
            started = time.perf_counter()
            result = transfer(pairs, pair.before, seed=seed).cpu()
            done[name] = resize(result, *pair.after.shape[-2:]), time.perf_counter() - started
    return {name: done[name] for name in task.tests}


def _score(
    editor: Editor,
    subject: Subject,
    method: Method,
    seed: int,
    task: Task,
    built: Built,
    outputs: Mapping[str, tuple[Tensor, float]],
) -> Score:
    results, tests, joint = [output for output, _ in outputs.values()], list(task.tests.values()), editor.joint
    both = list(zip(results, tests, strict=True))
    kept = [preserved(result, test.before, test.after) for result, test in both]
    directions = [direction(joint, result, test.before, test.after) for result, test in both] if joint else []
    return Score(
        edit=subject.name,
        said=subject.said,
        method=method.name,
        seed=seed,
        psnr=round(fmean(psnr(result, test.after) for result, test in both), 3),
        ssim=round(fmean(ssim(result, test.after) for result, test in both), 4),
        direction=_mean(directions, 4),
        preserved=_mean(kept, 3),
        leakage=_mean([leakage(results, tests, task.examples[0])], 4),
        learn_seconds=round(built.learn_seconds, 2),
        apply_seconds=round(fmean(seconds for _, seconds in outputs.values()), 3),
        samples=built.samples,
        kilobytes=round(built.kilobytes, 2),
        explained=None if built.explained is None else round(built.explained, 4),
        init_text=built.init_text,
    )


def _curve(built: Built, pairs: Sequence[Pair], task: Task, seed: int, final: Score) -> tuple[Point, ...]:
    """How good it was on the way; empty where nothing was learned."""
    points = []
    for moment in built.moments:
        outputs = _transfer(moment.transfer, pairs, task, seed, {})
        quality = fmean(psnr(outputs[name][0], test.after) for name, test in task.tests.items())
        points.append(Point(round(moment.seconds, 2), moment.samples, round(quality, 3)))
    return (*points, Point(final.learn_seconds, final.samples, final.psnr)) if points else ()


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return round(fmean(known), digits) if known else None
