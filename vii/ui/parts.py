"""Small parts that the pages share: components whose uploads gradio does not decode, polling, handlers' errors."""

from collections.abc import Callable, Sequence
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
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


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


def attempt(studio: Studio, work: Callable[[], Job]) -> tuple[Job | None, str]:
    """Submit a job: it, and what to show in its place where it was refused."""
    try:
        return work(), ""
    except ViiError as problem:
        return None, error(problem, studio)
