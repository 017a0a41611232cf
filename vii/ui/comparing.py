"""What the page *Compare* does: one pair and one photo, given to several methods of editing by example in turn."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UsageError
from ..images import Pair, load_image, save_image
from ..methods import METHODS, find_method, load_method, model_of, prepare
from ..rendering.sheets import at_most
from .applying import SHOWN
from .jobs import Job, problem_of
from .learning import one_line, whole
from .studio import Studio
from .uploads import plain


@dataclass(frozen=True, eq=False)
class Result:
    """What one method made: the PNG of full size, one of at most `SHOWN` pixels a side, and the seconds it took.

    These are of learning and applying; reading a model from the disk is not among them.
    """

    method: str
    path: Path
    shown: Path
    seconds: float


@dataclass(frozen=True, eq=False)
class Compared:
    """What came of it: results in the order of the methods, what could not be done, and whether somebody ended it.

    `now` is the method that is at work, and `note` what it says of itself.
    """

    total: int
    results: tuple[Result, ...] = ()
    problems: tuple[str, ...] = ()
    stopped: bool = False
    now: str = ""
    note: str = ""

    @property
    def done(self) -> int:
        """Methods that have ended."""
        return len(self.results) + len(self.problems)


@dataclass(frozen=True)
class Asked:
    """What was filled in, checked; see `asked_for`."""

    names: tuple[str, ...]
    words: str = ""
    seed: int = 0


class _StoppedError(Exception):
    """Somebody ended the job while a method was learning."""


def usable() -> list[str]:
    """Methods that can run here: weights of theirs ship, and they change something."""
    return [
        name
        for name, entry in METHODS.items()
        if {*entry.needs} <= {"editor", "text", "model"}
        and (entry.pairs or entry.needs)
        and ("model" not in entry.needs or model_of(name))
    ]


def asked_for(names: Sequence[str] | None, words: str | None = "", seed: float | None = 0) -> Asked:
    """What was filled in.

    Raises:
        UsageError: no method, one that cannot run here, or a value that cannot be.
    """
    if not names:
        raise UsageError("no method: tick at least one")
    for name in names:
        if name not in usable():
            raise UsageError(f"unknown method '{name!s:.40}'; expected some of {', '.join(usable())}")
    return Asked(tuple(names), one_line(words, "the words"), whole(seed, "seed", 0, 2**53 - 1) or 0)


def compare(job: Job, studio: Studio, pair: Pair, photo: Path, asked: Asked) -> Compared:
    """Have every method edit the photo, telling `job.progress`, until all are done or the job is stopped.

    Raises:
        UsageError: none could; what each said, in one line.
        ImageError: the photo cannot be read.
    """
    image, folder = load_image(photo), studio.folder_for(job)
    results: list[Result] = []
    problems: list[str] = []

    def told(**others: Any) -> Compared:
        return Compared(len(asked.names), tuple(results), tuple(problems), **others)

    for name in asked.names:

        def watch(note: str, name: str = name) -> None:
            if job.stopping:
                raise _StoppedError
            job.progress = told(now=name, note=note)

        try:
            watch("starting")
            edited, seconds = _edited(studio, name, pair, image, asked, watch)
            results.append(_kept(folder, name, edited, seconds))
        except _StoppedError:
            break
        except Exception as error:  # of one method, which holds up no other
            problems.append(f"{name}: {plain(UsageError(problem_of(error)), studio.folder)}")
    if problems and not results and not job.stopping:
        raise UsageError("; ".join(problems))
    return told(stopped=len(results) + len(problems) < len(asked.names))


def _edited(
    studio: Studio, name: str, pair: Pair, image: Tensor, asked: Asked, watch: Callable[[str], None]
) -> tuple[Tensor, float]:
    entry = find_method(name)
    if "text" in entry.needs and not asked.words:
        raise UsageError("it needs words; write them above")
    options: dict[str, Any] = {"editor": studio.editor()} if "editor" in entry.needs else {}
    if asked.words and "text" in entry.needs + entry.takes:
        options["text"] = asked.words
    method = load_method(name, **options)
    started = time.perf_counter()
    ready = prepare(method, [pair], seed=asked.seed, watch=watch)
    watch("applying")
    return ready.transfer([pair], image, seed=asked.seed), time.perf_counter() - started


def _kept(folder: Path, name: str, edited: Tensor, seconds: float) -> Result:
    path = shown = folder / f"{name}.png"
    save_image(edited, path)
    if max(edited.shape) > SHOWN:
        shown = folder / "shown" / path.name
        shown.parent.mkdir(exist_ok=True)
        save_image(at_most(edited, SHOWN), shown)
    return Result(name, path, shown, seconds)


def summary(compared: Compared) -> str:
    """What was done, in a sentence, and one for each method that could not."""
    told = f"{len(compared.results)} of {compared.total} methods done."
    told = f"Stopped: {told}" if compared.stopped else told
    return " ".join([told, *(f"Not done: {problem}." for problem in compared.problems)])
