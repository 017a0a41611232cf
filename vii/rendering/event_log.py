"""Logs of a run for TensorBoard, by the optional package `tensorboard`."""

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UsageError
from ..files import make_folder
from ..inversion import Step

ADVICE = "choose another `log_dir`"


class EventLog:
    """Scalars `loss`, `loss/denoising`, `loss/direction`, `probe`, `explained` and `learning_rate`; image `preview`.

    Close it when the run has ended, well or not.
    """

    def __init__(self, folder: Path) -> None:
        """Find out early what is missing; the file itself is opened with the first entry.

        TensorBoard shows each folder as a run of its own. Raises UsageError where the package `tensorboard` is missing,
        OutputError where the folder cannot be made.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                f"logs for TensorBoard need a package that cannot be imported ({error}): pip install tensorboard"
            ) from None
        make_folder(folder, ADVICE)
        self._open, self._folder = SummaryWriter, folder
        self._opened: Any = None

    @property
    def _writer(self) -> Any:
        if self._opened is None:
            self._opened = self._open(str(self._folder))
        return self._opened

    def see(self, step: Step) -> None:
        """Log the figures of a step; what it does not have is left out."""
        figures = {
            "loss": step.loss,
            "loss/denoising": step.mse,
            "loss/direction": step.clip,
            "probe": step.probe,
            "explained": step.explained if step.probe is not None else None,
            "learning_rate": step.learning_rate,
        }
        for name, value in figures.items():
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(name, value, step.step)
        if step.probe is not None:
            self._writer.flush()

    def picture(self, image: Tensor, step: int) -> None:
        """Log a picture `(3, h, w)` in [0, 1] as `preview`."""
        self._writer.add_image("preview", image, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._opened is not None:
            self._opened.close()
