"""What `vii learn` makes of a run while it goes on: a strip of pictures, a curve, logs."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..edit_file import Edit
from ..editor import Editor
from ..files import Outputs, mark, write
from ..images import Pair
from ..inversion import Step
from ..rendering import EventLog, Preview, learning_curve
from .terminal import warn


class Observers:
    """Those that were asked for. One that fails is warned of once and left out from then on; learning goes on.

    `files` are what is written besides the edit file, by option; `seconds` what observing took, which is no part of
    learning.
    """

    def __init__(
        self, path: Path, outputs: Outputs, *, preview: bool = False, plot: bool = False, log_dir: str | None = None
    ) -> None:
        """Find out before the work begins whether all of it can be written; pictures lie beside the edit file.

        Raises UsageError where `tensorboard` is not installed, OutputError for a file that cannot be written.
        """
        self.seconds = 0.0
        self._running: dict[str, Any] = {}
        if plot:
            self._running["plot"] = _Curve(outputs.claim(path.with_suffix(".svg")), path.stem)
        self._picture = outputs.claim(path.with_suffix(".png")) if preview else None
        if log_dir:
            self._running["log_dir"] = EventLog(Path(log_dir))
        told = {"plot": plot and path.with_suffix(".svg"), "preview": self._picture, "log_dir": log_dir}
        self.files = {name: str(file) for name, file in told.items() if file}
        self._last: Step | None = None

    def start(self, editor: Editor, pair: Pair, seed: int) -> None:
        """A run begins, of an editor that learns from `pair`."""
        self._run = editor, pair, seed

    def see(self, step: Step) -> None:
        """Show a step to all of them; the first one is that of the starting text."""
        started = time.perf_counter()
        if self._picture and self._last is None:
            editor, pair, seed = self._run
            show = partial(self._try, "log_dir", "picture") if "log_dir" in self._running else None
            self._running["preview"] = Preview(editor, pair, self._picture, step.steps, seed=seed, show=show)
        self._last = step
        for name in list(self._running):
            self._try(name, "see", step)
        self.seconds += time.perf_counter() - started

    def finish(self, edit: Edit) -> None:
        """The run has ended with this edit, which is saved."""
        for name in ("plot", "preview"):
            self._try(name, "finish", edit, self._last)

    def close(self) -> None:
        """Also where the run failed: keep what was logged."""
        self._try("log_dir", "close")

    def _try(self, name: str, what: str, *arguments: Any) -> None:
        if name not in self._running:
            return
        observe: Callable[..., None] = getattr(self._running[name], what)
        try:
            observe(*arguments)
        except Exception as error:  # a full disk, memory: nothing that it is could be worth the edit
            del self._running[name]
            option = f"--{name.replace('_', '-')}"
            warn(f"{option} failed and is left out from here on; learning goes on ({type(error).__name__}: {error})")


class _Curve:
    """The losses as a drawing, made anew with every look at the probe set."""

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.title = path, title
        self.steps: list[Step] = []

    def see(self, step: Step) -> None:
        self.steps.append(step)
        if step.probe is not None:
            self._draw()

    def finish(self, edit: Edit, last: Step) -> None:
        self._draw()

    def _draw(self) -> None:
        write(self.path, f"{mark('.svg')}\n{learning_curve(self.steps, self.title)}")
