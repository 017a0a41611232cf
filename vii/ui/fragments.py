"""Pieces of HTML that the pages show: what a job is doing, and strips of pictures. Templates escape all text."""

import math
from collections.abc import Mapping, Sequence

from ..rendering.html import macro
from ..text import percent
from .learning import Picture, Progress, duration

TEMPLATE = "ui/templates/fragments.html.j2"


def say(text: str, kind: str = "note") -> str:
    """A sentence; `kind` is "note", "good", "warning" or "error"."""
    return str(macro(TEMPLATE, "say")(text, kind)) if text else ""


def waiting(ahead: int) -> str:
    """For a job that has not begun."""
    before = "the job before it" if ahead == 1 else f"{ahead} jobs before it"
    return say(f"Waiting for {before}." if ahead else "Starting: the editor is being loaded.")


def bar(label: str, done: int, total: int, note: str) -> str:
    """A progress bar that a screen reader can ask for, with a note below."""
    return str(macro(TEMPLATE, "bar")(label, done, total, note))


def learning(progress: Progress, stopping: bool) -> str:
    """How far learning is: step, loss, explained, time left."""
    facts = [f"step {progress.step} of {progress.steps}"]
    facts += [f"loss {progress.loss:.3g}"] if math.isfinite(progress.loss) else []
    facts += [f"explained {percent(progress.explained) or 'nothing yet'}"]
    facts += [f"about {duration(progress.left)} left"] if progress.left is not None else []
    facts += ["stopping"] if stopping else []
    return bar("Learning", progress.step, progress.steps, ", ".join(facts))


def strip(pictures: Sequence[Picture], label: str) -> str:
    """Small pictures side by side, each with its label below; scrolls sideways by itself."""
    return str(macro(TEMPLATE, "strip")(pictures, label)) if pictures else ""


def facts(rows: Mapping[str, object]) -> str:
    """What is known about an edit, as a table."""
    return str(macro(TEMPLATE, "facts")(rows))


def unusable(name: str, problem: str) -> str:
    """An edit file of the library that cannot be used."""
    return str(macro(TEMPLATE, "unusable")(name, problem))
