"""What the service does with one request: checks the files that came, and makes what `vii apply` would write."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..color_plan import needs_editor
from ..edit import Edit
from ..edit_file import load_edit
from ..editor import Editor
from ..errors import UsageError
from ..library import in_library
from ..pictures import OUTPUT_FORMATS, QUALITY
from ..runs.jobs import LOSSY, Job, Writing, edited
from ..runs.plans import Box, Request

MAX_EDITS = 16


def request_of(
    edits: Sequence[str],
    files: Sequence[Path],
    where: str | Box | None,
    options: Mapping[str, Any],
    assignments: Sequence[str],
) -> Request:
    """What `vii apply` would be asked for.

    Args:
        edits: `NAME[:WEIGHT]`, of the library or, as `#N`, one of the files that came along, counted from 0.
        files: edit files that came along.
        where: see `Request`, as for `assignments`.
        options: arguments of `vii.Application`.

    Raises:
        ViiError: an edit that is not known or not valid, a weight that is none, nothing to do.
    """
    if len(edits) > MAX_EDITS:
        raise UsageError(f"{len(edits)} edits, at most {MAX_EDITS} are taken")
    if not edits and not options["text"]:
        raise UsageError("nothing to apply: name an edit, or give a text, or both")
    named = [_edit(text, files) for text in edits]
    weighted = [(edit, weight) for edit, _, weight in named]
    run = needs_editor(weighted, options["text"], finish=options["finish"])
    names = [name for _, name, _ in named]
    return Request(weighted, names, {} if run else None, where, 1, dict(options), assignments=assignments)


def writing_of(suffix: str, quality: int | None, keep_metadata: bool, keep_location: bool) -> Writing:
    """How a picture of this suffix, such as ".png", is written; no quality is the usual one.

    Raises:
        UsageError: a format that is not known, or a quality where it has none.
    """
    kind = OUTPUT_FORMATS.get(suffix.lower())
    if kind is None:
        raise UsageError(f"format: expected one of {', '.join(OUTPUT_FORMATS)}, got {suffix!r:.40}")
    if quality is not None and kind not in LOSSY:
        raise UsageError(f"quality is for JPEG and WebP, not for {suffix}")
    return Writing(QUALITY if quality is None else quality, keep_metadata or keep_location, keep_location)


def _edit(text: str, files: Sequence[Path]) -> tuple[Edit, str, float]:
    """One of the edits: it, its name, and its weight."""
    name, _, weight = text.partition(":")
    try:
        value = float(weight) if weight else 1.0
    except ValueError:
        raise UsageError(f"{text:.80}: expected NAME:WEIGHT with a number, such as :0.8") from None
    if not name.startswith("#"):
        path = in_library(name)
    elif name[1:].isdecimal() and int(name[1:]) < len(files):
        path = files[int(name[1:])]
    else:
        raise UsageError(f"{text:.80}: {len(files)} edit files came along, counted from #0")
    return load_edit(path), path.stem, value


class Worker:
    """The editor, used by one request at a time, in a thread of its own.

    Attributes:
        editor: loaded.
        limit: requests that may be here at once, with the one that is worked on.
        here: requests that are here.
    """

    def __init__(self, editor: Editor, limit: int) -> None:
        """Start nothing yet."""
        self.editor, self.limit, self.here = editor, limit, 0
        self.pool = ThreadPoolExecutor(1, "vii-edit")
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Take a place, where there is one."""
        with self._lock:
            if self.here >= self.limit:
                return False
            self.here += 1
            return True

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self.here -= 1

    def picture(self, photo: Path, suffix: str, request: Request, writing: Writing) -> tuple[Path, tuple[str, ...]]:
        """Edit a photo.

        Returns:
            the picture's file, beside the photo in a folder of its own, and what was converted or is lost or not done.

        Raises:
            ViiError: what is wrong with the request or with the photo.
        """
        plan, warnings = request.plan(self.editor)
        result = photo.parent / "result" / f"result{suffix.lower()}"
        result.parent.mkdir()
        (outcome,) = edited([Job(photo, result)], plan, writing)
        if outcome.error is not None:
            raise outcome.error
        return result, (*warnings, *outcome.job.notes(writing))
