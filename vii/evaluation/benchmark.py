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
from ..images import Pair, limited, resize, save_image, spread
from ..methods import Learned
from ..sizes import fitted_size
from .keys import code_sha256, conditions_of, key
from .methods import Method
from .metrics import direction, leakage, preserved, psnr, ssim
from .scores import Point, Score, Scores
from .tasks import Photos, Split, Task, within

# The longer side of photos at their own size, which keeps a run with photos of a camera affordable.
MAX_SIDE = 1024
# Pictures kept of every score of the first seed, for the page, and the side of a square of as many pixels as they have.
SHOWN, SHOWN_SIDE = 3, 256


@dataclass(frozen=True)
class Result:
    """A score and where its pictures lie; `pictures` maps the names of photos to PNG files, small enough for a page."""

    score: Score
    pictures: Mapping[str, Path]


@dataclass(frozen=True, eq=False)
class Output:
    """What a method made of a photo, at the editor's size and on the CPU; nothing is held at the photo's own size.

    Attributes:
        test: photo and truth.
        shown: the picture as it is kept, of `SHOWN_SIDE` squared pixels.
        full: PSNR and SSIM at the photo's own size; None where that is the editor's.
        looks: PSNR of what it would have made at each moment of learning.
    """

    picture: Tensor
    test: Pair
    shown: Tensor
    seconds: float
    full: tuple[float, float] | None
    looks: Sequence[float]


def shown(split: Split) -> list[str]:
    """Names of the test photos of which pictures are kept."""
    return spread([query.name for query in split.queries], SHOWN)


def count_examples(methods: Sequence[Method]) -> int:
    """How many examples every edit needs, so that all methods are tested on the same photos."""
    return max(method.pairs for method in methods)


def count_scores(tasks: Sequence[Task], methods: Sequence[Method], seeds: Sequence[int]) -> int:
    """How many scores a run has."""
    return len(seeds) * sum(_takes(method, task) for method in methods for task in tasks)


def split_of(task: Task, photos: Photos, seed: int, side: int, examples: int = 1, max_side: int = MAX_SIDE) -> Split:
    """The pictures of a task under a seed, at the photos' own size, its examples disturbed; see `within`."""
    split, scale = task.source.split(photos, seed, examples), partial(within, side=side, max_side=max_side)
    shown = tuple(replace(case, scale=scale, disturb=task.disturb) for case in split.examples)
    return Split(shown, tuple(replace(query, scale=scale) for query in split.queries))


def run(
    editor: Editor,
    tasks: Sequence[Task],
    methods: Sequence[Method],
    photos: Photos,
    seeds: Sequence[int],
    folder: Path,
    conditions: Mapping[str, str | None] | None = None,
    max_side: int = MAX_SIDE,
) -> Iterator[Result]:
    """Score methods on edits: yields a result for every edit, method and seed, in this order.

    Methods get pictures at their own size, one at a time. What they make is compared at the editor's size and, where
    the photo has another, at the photo's. A score is taken from `folder` where all that it depends on is what it was:
    the code (`keys.code_sha256`), the editor's instruction space (with the fingerprint of its weights), resolution,
    sampling settings, device and precision, `conditions`, every setting of the recipe, the pixels of the examples, the
    photos and the truths, and the seed.

    A seed picks the photos for the examples, and is the seed of learning and of sampling. Methods that need words leave
    out edits without; one that does not look at the pair runs under the first seed only, for its result on a photo is
    the same under all.
    """
    make_folder(folder / "pictures")
    scores = Scores(folder)
    common = conditions_of(editor, conditions)
    examples = count_examples(methods)
    for task in tasks:
        splits = {seed: split_of(task, photos, seed, editor.resolution, examples, max_side) for seed in seeds}
        digests = {seed: split.sha256() for seed, split in splits.items()}
        prepared: dict[str, Learned] = {}
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
                    pairs = split.pairs(method.pairs)
                    same = key({**method.learning(task.words), "pairs": method.pairs, "seeds": (seed, used)})
                    if same not in prepared:
                        prepared[same] = method.prepare(editor, task.words, pairs, used)
                    learned = method.shown(editor, prepared[same])
                    fresh = {} if method.looks_at_the_pair else done
                    outputs = _outputs(editor, learned, pairs, split, used, fresh)
                    score = _score(editor, task, method, seed, pairs[0], learned, list(outputs.values()))
                    for photo, path in zip(names, pictures, strict=True):
                        save_image(outputs[photo].shown, path)
                    scores.add(name, score)
                # Labels are no condition: to call an edit or a method otherwise changes no result.
                score = replace(score, describable=task.describable, method=method.name)
                yield Result(score, dict(zip(names, pictures, strict=True)))


def _takes(method: Method, task: Task) -> bool:
    return bool(task.words) or not method.needs_words


def _outputs(
    editor: Editor, learned: Learned, pairs: Sequence[Pair], split: Split, seed: int, done: dict[str, Output]
) -> dict[str, Output]:
    """By name of each test photo; `done` is used and filled."""
    for query in split.queries:
        if query.name not in done:
            done[query.name] = _output(editor, learned, pairs, query.pair(), seed)
    return {query.name: done[query.name] for query in split.queries}


def _output(editor: Editor, learned: Learned, pairs: Sequence[Pair], test: Pair, seed: int) -> Output:
    own = test.before.shape[-2:]
    size = fitted_size(own[0], own[1], editor.resolution, 1)
    started = time.perf_counter()
    picture = learned.transfer(pairs, test.before, seed=seed).cpu()
    seconds, full = time.perf_counter() - started, None
    if own != size:
        whole = resize(picture, *own)
        full = psnr(whole, test.after), ssim(whole, test.after)
    small = Pair(resize(test.before, *size), resize(test.after, *size))
    made = (moment.transfer(pairs, test.before, seed=seed).cpu() for moment in learned.moments)
    looks = [psnr(resize(one, *size), small.after) for one in made]
    return Output(resize(picture, *size), small, limited(picture, SHOWN_SIDE), seconds, full, looks)


def _score(
    editor: Editor, task: Task, method: Method, seed: int, example: Pair, learned: Learned, outputs: Sequence[Output]
) -> Score:
    joint, edit = editor.joint, learned.edit
    both = [(output.picture, output.test.before, output.test.after) for output in outputs]
    full = [output.full for output in outputs if output.full]
    values = {
        "psnr": _mean([psnr(result, truth) for result, _, truth in both], 3),
        "ssim": _mean([ssim(result, truth) for result, _, truth in both], 4),
        "full_psnr": _mean([decibels for decibels, _ in full], 3),
        "full_ssim": _mean([likeness for _, likeness in full], 4),
        "direction": _mean([direction(joint, *pictures) for pictures in both] if joint else [], 4),
        "preserved": _mean([preserved(*pictures) for pictures in both], 3),
        "leakage": _mean([_leakage(editor.resolution, example, outputs)], 4),
        "learn_seconds": round(learned.seconds, 2),
        "apply_seconds": _mean([output.seconds for output in outputs], 3),
        "samples": learned.samples,
        "kilobytes": round(len(to_bytes(edit)) / 1000, 2) if edit else 0.0,
        "explained": edit.training.get("explained") if edit else None,
    }
    words = edit.init_text if edit else task.words if method.needs_words else ""
    return Score(task.name, method.name, seed, values, init_text=words, curve=_curve(learned, outputs, values))


def _leakage(side: int, example: Pair, outputs: Sequence[Output]) -> float | None:
    """Of pictures squeezed into squares: content counts where it stood, as a share of height and width."""

    def squeezed(pair: Pair) -> Pair:
        return Pair(resize(pair.before, side, side), resize(pair.after, side, side))

    results = [resize(output.picture, side, side) for output in outputs]
    return leakage(results, [squeezed(output.test) for output in outputs], squeezed(example))


def _curve(learned: Learned, outputs: Sequence[Output], final: Mapping[str, Any]) -> tuple[Point, ...]:
    """How good it was on the way; empty where there were no looks on it."""
    looks = zip(*(output.looks for output in outputs), strict=True)
    points = [
        Point(round(moment.seconds, 2), moment.samples, round(fmean(quality), 3))
        for moment, quality in zip(learned.moments, looks, strict=True)
    ]
    return (*points, Point(final["learn_seconds"], final["samples"], final["psnr"])) if points else ()


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return round(fmean(known), digits) if known else None
