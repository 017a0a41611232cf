"""What `vii learn` makes of a run while it goes on: a strip of pictures, a curve, logs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..edit_file import Edit
    from ..editor import Editor
    from ..images import Pair
    from ..inversion import Step
    from ..rendering import EventLog, Preview


class Observers:
    """Those that were asked for.

    Attributes:
        files: what is written besides the edit file, by option.
        seconds: what observing took; no part of learning.
    """

    def __init__(self, path: Path, *, preview: bool = False, plot: bool = False, log_dir: str | None = None) -> None:
        """Find out before the work begins whether all of it can be written.

        Args:
            path: of the edit file; pictures lie beside it.
            preview: whether to sample pictures while learning.
            plot: whether to draw a curve.
            log_dir: where to write logs for TensorBoard.

        Raises:
            UsageError: `tensorboard` is not installed.
            OutputError: a file cannot be written.
        """
        from ..files import check_writable

        self.seconds = 0.0
        self.files: dict[str, str] = {}
        self._curve = path.with_suffix(".svg") if plot else None
        self._picture = path.with_suffix(".png") if preview else None
        for name, file in (("plot", self._curve), ("preview", self._picture)):
            if file:
                check_writable(file)
                self.files[name] = str(file)
        self._steps: list[Step] = []
        self._title = path.stem
        self._preview: Preview | None = None
        self._log: EventLog | None = None
        if log_dir:
            from .. import rendering as progress

            self._log, self.files["log_dir"] = progress.EventLog(Path(log_dir)), log_dir

    def start(self, editor: "Editor", pair: "Pair", steps: int, seed: int) -> None:
        """What only an editor can show: `steps` updates at most, learned from `pair`."""
        from ..rendering import Preview

        if self._picture:
            show = self._log.picture if self._log else None
            self._preview = Preview(editor, pair, self._picture, steps, seed=seed, show=show)

    def see(self, step: "Step") -> None:
        """Show a step to all of them."""
        started = time.perf_counter()
        try:
            self._steps.append(step)
            if self._log:
                self._log.see(step)
            if self._curve and step.probe is not None:
                self._draw(self._curve)
            if self._preview:
                self._preview.see(step)
        finally:
            self.seconds += time.perf_counter() - started

    def finish(self, edit: "Edit") -> None:
        """The run has ended with this edit."""
        if self._curve:
            self._draw(self._curve)
        if self._preview:
            self._preview.finish(edit, self._steps[-1])

    def close(self) -> None:
        """Also where the run failed: keep what was logged."""
        if self._log:
            self._log.close()

    def _draw(self, path: Path) -> None:
        from ..files import replacing
        from ..rendering import learning_curve

        with replacing(path) as temporary:
            temporary.write_text(learning_curve(self._steps, self._title), encoding="utf-8")
