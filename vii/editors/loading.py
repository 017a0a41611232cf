"""Finding a model's files and choosing where and how precisely it runs; what every editor with weights needs."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import EditorError, UsageError, unknown_name
from ..libraries import quiet

EMBEDDED_MODEL = Path(__file__).parent / "embedded"
MANIFEST = "vii.json"
# Photos of Stable Diffusion 1.x; a model's own vii.json says otherwise.
DEFAULT_MANIFEST = {"resolution": 512, "settings": {}, "clip": "openai/clip-vit-large-patch14"}
DEFAULT_PHRASES = Path(__file__).parent.parent / "captions" / "instructions.txt"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def locate(model: str, revision: str | None) -> tuple[Path, str]:
    """Folder or hub id -> a local folder and, for an id, the commit.

    Raises:
        EditorError: neither a folder nor an id that can be reached.
    """
    if Path(model).is_dir():
        if not (Path(model) / "model_index.json").exists():
            raise EditorError(f"{model}: no model_index.json; expected a folder in diffusers' layout")
        return Path(model), ""
    from huggingface_hub import snapshot_download

    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    try:
        with quiet():
            folder = snapshot_download(
                model,
                revision=revision,
                allow_patterns=["model_index.json", MANIFEST, *(f"{part}/*" for part in parts)],
                ignore_patterns=["*.bin", "*.ckpt", "*.msgpack", "*.fp16.*", "*.non_ema.*", "*.onnx*"],
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EditorError(
            f"cannot fetch the model '{model}' ({reason}); give the folder of a local copy with --model, or use the "
            "editor 'embedded', which needs no download"
        ) from None
    return Path(folder), Path(folder).name


def read_manifest(folder: Path) -> dict[str, Any]:
    """A model's `vii.json` over the defaults for Stable Diffusion 1.x.

    Raises:
        EditorError: the file is not valid.
    """
    path = folder / MANIFEST
    if not path.exists():
        return dict(DEFAULT_MANIFEST)
    try:
        return {**DEFAULT_MANIFEST, **json.loads(path.read_text(encoding="utf-8"))}
    except ValueError as error:
        raise EditorError(f"{path}: not valid JSON ({error})") from None


def pick_device(device: str | None) -> torch.device:
    """A device by name, or the best there is."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"the device '{device}' cannot be used ({str(error).splitlines()[0]})") from None


def pick_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """A precision by name, or the fastest that is safe on the device."""
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if dtype not in DTYPES:
        raise UsageError(unknown_name("dtype", dtype, DTYPES))
    return DTYPES[dtype]


def fingerprint(*modules: torch.nn.Module) -> str:
    """Hex digest that names a model's weights: names and shapes of all parameters and four values of each.

    Call it before casting; files in half precision are loaded in float32 without loss, so that one set of weights has
    one fingerprint whatever precision it will run in.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, parameter in module.named_parameters():
            flat = parameter.detach().flatten()
            spread = flat[torch.linspace(0, len(flat) - 1, 4).long()]
            digest.update(f"{name}{tuple(parameter.shape)}".encode())
            digest.update(spread.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def class_of(index: dict[str, Any], part: str) -> Any:
    """The diffusers class that a model_index.json names for a part."""
    import diffusers

    return getattr(diffusers, index[part][1])


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn whatever the loading libraries raise into one sentence about the model."""
    try:
        yield
    except (OSError, KeyError, AttributeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EditorError(f"{model}: not a complete InstructPix2Pix model ({reason})") from None
