"""Captions by salesforce-lavis, which runs in an environment of its own that uv makes.

LAVIS pins libraries of 2023 and Python 3.11, so that it cannot share an environment with this package. What it needs
stands at the head of `lavis_worker.py` (PEP 723), which `uv run` reads: it finds or fetches that Python, installs the
packages once, into uv's own cache, and uses them again.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import strict
from ..errors import CaptionerError, UsageError
from ..images import save_image

DEFAULT_MODEL = "blip_caption/base_coco"
PROGRAM = Path(__file__).parent / "lavis_worker.py"
SIZE = "about 7 GB"
# The first run downloads libraries and weights.
SECONDS = 3600.0


def lavis_command(model: str, device: torch.device | str = "cpu") -> list[str]:
    """The command for captions by a model; the paths of pictures follow it.

    A model is ARCHITECTURE/TYPE of LAVIS's model zoo, or a YAML file in the form of LAVIS's own model configurations.
    It runs on CUDA or the CPU. Raises UsageError for what is no name of a model, CaptionerError where uv is not
    installed.
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
    """Images `(3, h, w)` in [0, 1] -> a caption each, by one run of the program, which sees them as files.

    Arguments and errors as `lavis_command`; paths inside a YAML file are relative to it.
    """
    command = lavis_command(model, device)
    home = Path(model).resolve().parent if Path(model).suffix in (".yaml", ".yml") else None
    with tempfile.TemporaryDirectory(prefix="vii-") as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            save_image(image, path)
        return ask([*command, *map(str, paths)], len(paths), folder=home)


def ask(command: Sequence[str], count: int, *, folder: Path | None = None, seconds: float = SECONDS) -> list[str]:
    """Run a program that prints `{"captions": [...]}`, or `{"error": "..."}`, and believe nothing else of it.

    Python in it imports neither what the caller's does nor what lies beside the program.

    Raises:
        CaptionerError: it cannot be started, fails, takes more than `seconds`, or prints something else.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONSAFEPATH"] = "1"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, env=environment, timeout=seconds
        )
    except OSError as error:
        raise CaptionerError(f"LAVIS cannot be started ({error.strerror}: {command[0]})") from None
    except subprocess.TimeoutExpired:
        raise CaptionerError(f"LAVIS gave no captions within {seconds:g} seconds") from None
    try:
        answer = strict.loads(done.stdout)
        if "error" in answer:
            raise CaptionerError(f"LAVIS reports: {str(answer['error'])[:600]}")
        captions = [" ".join(caption.split()) for caption in answer["captions"]]
        if len(captions) != count:
            raise ValueError(f"{len(captions)} captions")
    except (ValueError, TypeError, KeyError, AttributeError):
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise CaptionerError(f"LAVIS died (exit code {done.returncode}; {said[-1][:300]})") from None
        told = done.stdout[:60].decode(errors="replace")
        raise CaptionerError(f"LAVIS spoke nonsense: expected {count} captions as JSON, got {told!r}") from None
    return captions
