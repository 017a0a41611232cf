"""Captions by salesforce-lavis, which runs in an environment of its own that uv makes.

LAVIS pins libraries of 2023 and Python 3.11, so that it cannot share an environment with this package. What it needs
stands at the head of `lavis_worker.py` (PEP 723), which `uv run` reads: it finds or fetches that Python, installs the
packages once, into uv's own cache, and uses them again.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CaptionerError, UsageError
from ..images import save_image
from .worker import Worker

DEFAULT_MODEL = "blip_caption/base_coco"
PROGRAM = Path(__file__).parent / "lavis_worker.py"
SIZE = "about 7 GB"


def lavis_command(model: str, device: torch.device | str = "cpu") -> list[str]:
    """The command that starts the worker for a model.

    Args:
        model: ARCHITECTURE/TYPE of LAVIS's model zoo, or a YAML file in the form of LAVIS's own model configurations.
        device: where it runs; anything but CUDA is the CPU.

    Raises:
        UsageError: not the name of a model.
        CaptionerError: uv is not installed.
    """
    if Path(model).suffix in (".yaml", ".yml"):
        if not Path(model).is_file():
            raise UsageError(f"{model}: no such file; expected a LAVIS model configuration")
        model = str(Path(model).resolve())
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(
            f"expected a LAVIS model as ARCHITECTURE/TYPE, such as {DEFAULT_MODEL} or blip2_opt/caption_coco_opt2.7b, "
            f"or a .yaml file; got '{model}'"
        )
    if not (uv := find_uv()):
        raise CaptionerError(
            "the captioner 'lavis' runs in an environment that uv makes, and uv is not here: pip install uv, or start "
            "from words, 'caption', 'retrieve' or 'none'"
        )
    kind = "cuda" if torch.device(device).type == "cuda" else "cpu"
    return [uv, "run", "--script", str(PROGRAM), model, kind]


def find_uv() -> str | None:
    """The program uv: the one on the PATH, or the one that was installed beside this package."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return shutil.which("uv")
    return shutil.which("uv") or os.fsdecode(find_uv_bin())


def uv_state() -> str:
    """Whether LAVIS can be run here, in words."""
    return f"by uv, which fetches {SIZE} when it is first used" if find_uv() else "needs uv: pip install uv"


def lavis_captions(
    images: Sequence[Tensor], model: str = DEFAULT_MODEL, device: torch.device | str = "cpu"
) -> list[str]:
    """Images `(3, h, w)` in [0, 1] -> a caption each, by one worker that sees them as files.

    Arguments as `lavis_command`; paths inside a YAML file are relative to it.

    Raises:
        UsageError: not the name of a model.
        CaptionerError: uv is not installed, or the worker fails.
    """
    command = lavis_command(model, device)
    home = Path(model).resolve().parent if Path(model).suffix in (".yaml", ".yml") else None
    with tempfile.TemporaryDirectory(prefix="vii-") as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            save_image(image, path)
        with Worker(command, name="lavis", folder=home) as worker:
            return [caption_of(worker, path) for path in paths]


def caption_of(worker: Worker, path: Path) -> str:
    """Ask a worker for the caption of a picture file.

    Raises:
        CaptionerError: it fails, or gives no text.
    """
    caption = worker.ask(image=str(path)).get("caption")
    if not isinstance(caption, str):
        raise CaptionerError(f"the worker of '{worker.name}' spoke nonsense: expected a caption, got {caption!r}")
    return " ".join(caption.split())
