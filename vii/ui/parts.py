"""Small parts that the pages share: components whose uploads gradio does not decode, polling, handlers' errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import ViiError
from . import fragments
from .jobs import Job
from .studio import Studio
from .uploads import plain, uploaded

# Seconds between two questions how a job is doing.
POLL = 0.7
GONE = "This job is no longer known; start it again."
# Without gradio's queue: its stream of answers closes when none is due, and loses those of what is pressed just then.
# Nothing here takes long: what does is a job.
PRIVATE = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


def picture(label: str, key: str) -> gr.Image:
    """A place to drop one picture; the handler gets its path, and `load_image` is the first to open it."""
    part = gr.Image(label=label, type="filepath", image_mode=None, sources=["upload", "clipboard"], elem_id=key)
    # gradio's own would open it before our checks of its size could refuse it.
    part.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    part.buttons = []
    return part


def seed_box(label: str = "Seed") -> gr.Number:
    """A number that makes a run repeatable."""
    return gr.Number(label=label, value=0, precision=0, minimum=0, maximum=2**53 - 1)


def paths_of(values: Sequence[Any] | None, studio: Studio) -> list[Path]:
    """What a list of files or a gallery gives, as paths of uploads."""
    found = [value[0] if isinstance(value, tuple | list) else value for value in values or []]
    return [uploaded(str(value), studio.folder) for value in found]


def error(problem: Exception, studio: Studio) -> str:
    """An error as the page shows it."""
    return fragments.say(plain(problem, studio.folder), "error")


def live(key: str) -> gr.HTML:
    """A place for messages that screen readers announce when they change; see `app.SCRIPT`."""
    return gr.HTML("", elem_id=key, elem_classes=["live"], min_height=0)


def stopped(studio: Studio, key: str | None) -> None:
    """Ask a job to end with what it has."""
    if job := studio.jobs.find(key):
        studio.jobs.stop(job)


@dataclass(frozen=True, eq=False)
class Controls:
    """What every page with a job has: its buttons, how it is going (a sentence, and how far), its id, and a timer."""

    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    progress: gr.HTML
    key: gr.State
    timer: gr.Timer

    @classmethod
    def make(cls, name: str, label: str, stop: str) -> "Controls":
        """Lay them out; `name` begins the ids of all."""
        with gr.Row():
            begin = gr.Button(label, variant="primary", elem_id=name)
            end = gr.Button(stop, interactive=False, elem_id=f"{name}-stop")
        status, progress = live(f"{name}-status"), gr.HTML("", elem_id=f"{name}-progress")
        return cls(begin, end, status, progress, gr.State(""), gr.Timer(POLL, active=False))

    @property
    def parts(self) -> set[Any]:
        """All of them."""
        return set(vars(self).values())

    def begun(self, studio: Studio, work: Callable[[], Job]) -> dict[Any, Any]:
        """Submit a job; what the page shows then, or in its place where it was refused."""
        try:
            job = work()
        except ViiError as problem:
            return {**self.idle(error(problem, studio)), self.key: ""}
        return {
            self.key: job.id,
            self.timer: gr.Timer(active=True),
            self.start: gr.Button(interactive=False),
            self.stop: gr.Button(interactive=True),
            self.status: fragments.waiting(studio.jobs.ahead(job)),
            self.progress: "",
        }

    def idle(self, told: str, progress: str = "") -> dict[Any, Any]:
        """Nothing runs any more: what came of it, as HTML."""
        return {
            self.timer: gr.Timer(active=False),
            self.start: gr.Button(interactive=True),
            self.stop: gr.Button(interactive=False),
            self.status: told,
            self.progress: progress,
        }

    def ended_badly(self, studio: Studio, job: Job | None) -> dict[Any, Any]:
        """What the page shows for a job that failed, or that is no longer known."""
        return self.idle(error(ViiError(job.problem), studio) if job else fragments.say(GONE, "error"))
