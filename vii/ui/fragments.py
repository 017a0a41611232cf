"""Pieces of HTML that the pages show: what a job is doing, and strips of pictures. All text is escaped."""

import math
from collections.abc import Sequence
from html import escape

from ..rendering.html import wide
from .learning import Picture, Progress, duration


def say(text: str, kind: str = "note") -> str:
    """A sentence; `kind` is "note", "good", "warning" or "error", which is said in words too."""
    if not text:
        return ""
    marks = {"warning": "Careful: ", "error": "That did not work: "}
    return f'<p class="say {kind}">{marks.get(kind, "")}{escape(text)}</p>'


def waiting(ahead: int) -> str:
    """For a job that has not begun."""
    before = "the job before it" if ahead == 1 else f"{ahead} jobs before it"
    return say(f"Waiting for {before}." if ahead else "Starting: the editor is being loaded.")


def bar(label: str, done: int, total: int, note: str) -> str:
    """A progress bar that a screen reader can ask for, with a note below."""
    share = done / total if total else 0.0
    return (
        f'<div class="bar" role="progressbar" aria-label="{escape(label)}" aria-valuemin="0" aria-valuemax="{total}" '
        f'aria-valuenow="{done}" aria-valuetext="{escape(note)}"><div style="width:{share:.1%}"></div></div>'
        f'<p class="say">{escape(note)}</p>'
    )


def learning(progress: Progress, stopping: bool) -> str:
    """How far learning is: step, loss, explained, time left."""
    facts = [f"step {progress.step} of {progress.steps}"]
    facts += [f"loss {progress.loss:.3g}"] if math.isfinite(progress.loss) else []
    facts += [f"explained {progress.explained:.0%}"]
    facts += [f"about {duration(progress.left)} left"] if progress.left is not None else []
    facts += ["stopping"] if stopping else []
    return bar("Learning", progress.step, progress.steps, ", ".join(facts))


def strip(pictures: Sequence[Picture], label: str) -> str:
    """Small pictures side by side, each with its label below; scrolls sideways by itself."""
    if not pictures:
        return ""
    figures = "".join(
        f'<figure><img src="{escape(url)}" alt="{escape(name)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name, url in pictures
    )
    return f'<div class="strip">{wide(label, figures)}</div>'
