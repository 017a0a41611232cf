"""What a run does to each of its items, said in plain values, so that another process can start it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .jobs import Job, Outcome, Writing, edited
from .plans import Request

if TYPE_CHECKING:
    from .learning import Learned, Lesson, Teaching

# Photos that are worth handing out at once: some batches, so that reading and writing overlap with editing.
PIECE, BATCH = 64, 8


class Task(Protocol):
    """Work that is started once in each process, and then done on any number of items."""

    def start(self) -> tuple[Callable[[Sequence[Any]], Iterator[Any]], Sequence[str]]:
        """What to do with items, and sentences to warn of; raises ViiError where it cannot be started."""

    def piece(self, items: int, workers: int) -> int:
        """How many of so many items one of so many workers is given at once."""


@dataclass(frozen=True)
class Applying:
    """Photos to results; see `edited`."""

    request: Request
    writing: Writing = field(default_factory=Writing)
    resume: bool = False

    def start(self) -> tuple[Callable[[Sequence[Job]], Iterator[Outcome]], Sequence[str]]:
        """See `Task`."""
        plan, warnings = self.request.plan()
        return lambda jobs: edited(jobs, plan, self.writing, resume=self.resume), warnings

    def piece(self, items: int, workers: int) -> int:
        """Whole batches, and some for each worker, so that none waits long for the last."""
        batch = self.request.batch or BATCH
        share = min(max(PIECE, batch), -(-items // (4 * workers)))
        return max(1, round(share / batch)) * batch


@dataclass(frozen=True)
class Learning:
    """Lessons, and where their edits go, to edits; see `vii.runs.learning.learn`."""

    teaching: "Teaching"
    resume: bool = False

    def start(self) -> "tuple[Callable[[Sequence[tuple[Lesson, Path]]], Iterator[Learned]], Sequence[str]]":
        """See `Task`."""
        from ..inversion import learning_advice
        from .learning import learn

        editor = self.teaching.load()
        advice = learning_advice(editor)

        def work(lessons: "Sequence[tuple[Lesson, Path]]") -> "Iterator[Learned]":
            return (learn(editor, lesson, path, self.teaching, resume=self.resume) for lesson, path in lessons)

        return work, [advice] if advice else []

    def piece(self, items: int, workers: int) -> int:
        """One: an edit takes long."""
        return 1
