"""Every method on every edit under every seed; what has been scored before is not done again."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from ..edit_file import to_bytes
from ..editor import Editor
from ..files import make_folder
from ..images import Pair, resize, save_image, spread
from ..methods import Learned, Transfer
from ..sizes import fitted_size
from .keys import code_sha256, conditions_of, key
from .methods import Method
from .metrics import direction, leakage, preserved, psnr, ssim
from .scores import Point, Score, Scores
from .tasks import Split, Task, square

# Pictures kept of every score of the first seed, for the page.
SHOWN = 3


@dataclass(frozen=True)
class Result:
    """A score and where its pictures lie; `pictures` maps the names of photos to PNG files, at the editor's size."""

    score: Score
    pictures: Mapping[str, Path]


@dataclass(frozen=True, eq=False)
class Output:
    """What a method made of a photo.

    Attributes:
        picture: at the editor's size, on the CPU.
        test: photo and truth at that size.
        seconds: that it took.
        full: PSNR and SSIM at the photo's own size; None where that is the editor's.
    """

    picture: Tensor
    test: Pair
    seconds: float
    full: tuple[float, float] | None


def shown(split: Split) -> list[str]:
    """Names of the test photos of which pictures are kept."""
    return spread([query.name for query in split.queries], SHOWN)


def count_examples(methods: Sequence[Method]) -> int:
    """How many examples every edit needs, so that all methods are tested on the same photos."""
    return max(method.pairs for method in methods)


def count_scores(tasks: Sequence[Task], methods: Sequence[Method], seeds: Sequence[int]) -> int:
    """How many scores a run has."""
    return len(seeds) * sum(_takes(method, task) for method in methods for task in tasks)


def split_of(
    task: Task, photos: Mapping[str, Tensor], seed: int, side: int, examples: int = 1, max_side: int | None = None
) -> Split:
    """The pictures of a task under a seed, all of them squares; see `square`."""
    return task.source.split(photos, seed, examples, partial(square, side=side, max_side=max_side))


def run(
    editor: Editor,
    tasks: Sequence[Task],
    methods: Sequence[Method],
    photos: Mapping[str, Tensor],
    seeds: Sequence[int],
    folder: Path,
    conditions: Mapping[str, str | None] | None = None,
    max_side: int | None = None,
) -> Iterator[Result]:
    """Score methods on edits, one after the other.

    Methods get pictures at their own size. What they make is compared at the editor's size and, where the photo is
    larger, at the photo's. A score is taken from `folder` where all that it depends on is what it was: the code
    (`keys.code_sha256`), the editor's instruction space (with the fingerprint of its weights), resolution, sampling
    settings, device and precision, `conditions`, every setting of the recipe, the pixels of the examples, the photos
    and the truths, and the seed.

    Args:
        editor: the editor to learn and apply with.
        tasks: the edits.
        methods: see `methods_for`; those that need words leave out edits without.
        photos: squares by name, for edits that are formulas; see `read_photos`.
        seeds: each picks its own photos for the examples, and is the seed of learning and of sampling. A method that
            does not look at the pair runs under the first seed only; its result on a photo is the same under all.
        folder: of scores and pictures; made if it is not there.
        conditions: see `conditions_of`.
        max_side: of the squares that edits made of files are cut to; see `square`.

    Yields:
        a result for every edit, method and seed, in this order.
    """
    make_folder(folder / "pictures")
    scores = Scores(folder)
    common = conditions_of(editor, conditions)
    examples = count_examples(methods)
    for task in tasks:
        splits = {seed: split_of(task, photos, seed, editor.resolution, examples, max_side) for seed in seeds}
        digests = {seed: split.sha256() for seed, split in splits.items()}
        for method in methods:
            if not _takes(method, task):
                continue
            identity = {"common": common, **method.identity(task.words), "pairs": method.pairs}
            identity["code"] = code_sha256(method.entry.builder())
            done: dict[str, Output] = {}
            for seed, split in splits.items():
                used = seed if method.looks_at_the_pair else seeds[0]
                name = key({**identity, "task": task.name, "split": digests[seed], "seeds": (seed, used)})
                names = shown(split) if seed == seeds[0] else []
                pictures = scores.pictures(name, len(names))
                score = scores.get(name, len(names))
                if score is None:
                    pairs = split.examples[: method.pairs]
                    learned = method.prepare(editor, task.words, pairs, used)
                    fresh = {} if method.looks_at_the_pair else done
                    outputs = _outputs(editor, learned.transfer, pairs, split, used, fresh)
                    score = _score(editor, task, method, seed, split, learned, list(outputs.values()))
                    score = replace(score, curve=_curve(editor, learned, pairs, split, used, score.values))
                    for photo, path in zip(names, pictures, strict=True):
                        save_image(outputs[photo].picture, path)
                    scores.add(name, score)
                # Labels are no condition: to call an edit or a method otherwise changes no result.
                score = replace(score, describable=task.describable, method=method.name)
                yield Result(score, dict(zip(names, pictures, strict=True)))


def _takes(method: Method, task: Task) -> bool:
    return bool(task.words) or not method.needs_words


def _outputs(
    editor: Editor, transfer: Transfer, pairs: Sequence[Pair], split: Split, seed: int, done: dict[str, Output]
) -> dict[str, Output]:
    """By name of each test photo; `done` is used and filled."""
    for query in split.queries:
        if query.name not in done:
            test = query.pair()
            started = time.perf_counter()
            picture = transfer(pairs, test.before, seed=seed).cpu()
            done[query.name] = _output(editor, picture, test, time.perf_counter() - started)
    return {query.name: done[query.name] for query in split.queries}


def _output(editor: Editor, picture: Tensor, test: Pair, seconds: float) -> Output:
    own = test.before.shape[-2:]
    size = fitted_size(own[0], own[1], editor.resolution, 1)
    full = None
    if own != size:
        whole = resize(picture, *own)
        full = psnr(whole, test.after), ssim(whole, test.after)
        test = Pair(resize(test.before, *size), resize(test.after, *size))
    return Output(resize(picture, *size), test, seconds, full)


def _score(
    editor: Editor, task: Task, method: Method, seed: int, split: Split, learned: Learned, outputs: Sequence[Output]
) -> Score:
    results, tests, joint = [output.picture for output in outputs], [output.test for output in outputs], editor.joint
    both = [(output.picture, output.test.before, output.test.after) for output in outputs]
    size, example, edit = results[0].shape[-2:], split.examples[0], learned.edit
    full = [output.full for output in outputs if output.full]
    example = Pair(resize(example.before, *size), resize(example.after, *size))
    values = {
        "psnr": _mean([psnr(result, truth) for result, _, truth in both], 3),
        "ssim": _mean([ssim(result, truth) for result, _, truth in both], 4),
        "full_psnr": _mean([decibels for decibels, _ in full], 3),
        "full_ssim": _mean([likeness for _, likeness in full], 4),
        "direction": _mean([direction(joint, *pictures) for pictures in both] if joint else [], 4),
        "preserved": _mean([preserved(*pictures) for pictures in both], 3),
        "leakage": _mean([leakage(results, tests, example)], 4),
        "learn_seconds": round(learned.seconds, 2),
        "apply_seconds": _mean([output.seconds for output in outputs], 3),
        "samples": learned.samples,
        "kilobytes": round(len(to_bytes(edit)) / 1000, 2) if edit else 0.0,
        "explained": edit.training.get("explained") if edit else None,
    }
    words = edit.init_text if edit else task.words if method.needs_words else ""
    return Score(task.name, method.name, seed, values, init_text=words)


def _curve(
    editor: Editor, learned: Learned, pairs: Sequence[Pair], split: Split, seed: int, final: Mapping[str, Any]
) -> tuple[Point, ...]:
    """How good it was on the way; empty where nothing was learned."""
    points = []
    for moment in learned.moments:
        outputs = _outputs(editor, moment.transfer, pairs, split, seed, {}).values()
        quality = fmean(psnr(output.picture, output.test.after) for output in outputs)
        points.append(Point(round(moment.seconds, 2), moment.samples, round(quality, 3)))
    return (*points, Point(final["learn_seconds"], final["samples"], final["psnr"])) if points else ()


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return round(fmean(known), digits) if known else None
