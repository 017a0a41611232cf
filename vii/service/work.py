"""What the service does with one request: checks the files that came, and makes what `vii apply` would write."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Order:
    """A photo, and what is to be done to it.

    Attributes:
        photo: a file.
        edits: `NAME[:WEIGHT]`, of the library or, as `#N`, one of the files that came along, counted from 0.
        files: edit files that came along.
        mask: a file; None for everywhere.
        box: `x, y, w, h` in pixels of the photo instead.
        format: of the picture, a suffix such as ".png".
        quality: of JPEG and WebP; None as a rule.
        keep_metadata: see `vii.pictures.write_picture`, as for `keep_location`.
        options: arguments of `vii.Application`.
        settings: settings of the editor as `NAME=VALUE`.
    """

    photo: Path
    edits: Sequence[str] = ()
    files: Sequence[Path] = ()
    mask: Path | None = None
    box: Box | None = None
    format: str = ".png"
    quality: int | None = None
    keep_metadata: bool = False
    keep_location: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Sequence[str] = ()

    def request(self) -> Request:
        """The same as `vii apply` says it.

        Raises:
            ViiError: an edit that is not known or not valid, a weight that is none, nothing to do.
        """
        if len(self.edits) > MAX_EDITS:
            raise UsageError(f"{len(self.edits)} edits, at most {MAX_EDITS} are taken")
        if not self.edits and not self.options.get("text"):
            raise UsageError("nothing to apply: name an edit, or give a text, or both")
        if self.mask and self.box:
            raise UsageError("give a mask or a box, not both")
        named = [self._edit(text) for text in self.edits]
        weighted = [(edit, weight) for edit, _, weight in named]
        run = needs_editor(weighted, self.options["text"], finish=self.options["finish"])
        where = str(self.mask) if self.mask else self.box
        return Request(
            weighted, [name for _, name, _ in named], {} if run else None, where, 1, dict(self.options),
            assignments=self.settings,
        )  # fmt: skip

    def writing(self) -> Writing:
        """How the picture is written.

        Raises:
            UsageError: a format that is not known, or a quality where it has none.
        """
        kind = OUTPUT_FORMATS.get(self.format.lower())
        if kind is None:
            raise UsageError(f"format: expected one of {', '.join(OUTPUT_FORMATS)}, got {self.format!r:.40}")
        if self.quality is not None and kind not in LOSSY:
            raise UsageError(f"quality is for JPEG and WebP, not for {self.format}")
        quality = QUALITY if self.quality is None else self.quality
        return Writing(quality, self.keep_metadata or self.keep_location, self.keep_location)

    def _edit(self, text: str) -> tuple[Edit, str, float]:
        """One of `edits`: it, its name, and its weight."""
        name, _, weight = text.partition(":")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            raise UsageError(f"{text:.80}: expected NAME:WEIGHT with a number, such as :0.8") from None
        if not name.startswith("#"):
            path = in_library(name)
        elif name[1:].isdecimal() and int(name[1:]) < len(self.files):
            path = self.files[int(name[1:])]
        else:
            raise UsageError(f"{text:.80}: {len(self.files)} edit files came along, counted from #0")
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

    def picture(self, order: Order) -> tuple[Path, tuple[str, ...]]:
        """Edit a photo.

        Returns:
            the picture's file, beside the photo in a folder of its own, and what was converted or is lost or not done.

        Raises:
            ViiError: what is wrong with the order or with the photo.
        """
        writing = order.writing()
        plan, warnings = order.request().plan(self.editor)
        result = order.photo.parent / "result" / f"result{order.format.lower()}"
        result.parent.mkdir()
        (outcome,) = edited([Job(order.photo, result)], plan, writing)
        if outcome.error is not None:
            raise outcome.error
        return result, (*warnings, *outcome.job.notes(writing))
