"""Finding a model's files and choosing where and how precisely it runs; what every editor with weights needs."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import torch

from ..errors import EditorError, UsageError, unknown_name
from ..libraries import quiet

EMBEDDED_MODEL = Path(__file__).parent / "embedded"
MANIFEST = "vii.json"
MAX_RESOLUTION = 8192
DEFAULT_PHRASES = Path(__file__).parent.parent / "captions" / "instructions.txt"
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def locate(model: str, revision: str | None) -> tuple[Path, str]:
    """Folder or hub id -> a local folder in diffusers' layout and, for an id, the commit.

    Raises:
        EditorError: neither a folder nor an id that can be reached.
    """
    if Path(model).is_dir():
        if not (Path(model) / "model_index.json").exists():
            raise EditorError(f"{model}: no model_index.json; expected a folder in diffusers' layout")
        return Path(model), ""
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    wanted = ["model_index.json", MANIFEST, "*.txt", *(f"{part}/*" for part in parts)]
    return fetch(model, revision, wanted, "model", "`model`, or use the editor 'embedded', which needs no download")


def fetch(repository: str, revision: str | None, wanted: Sequence[str], what: str, advice: str) -> tuple[Path, str]:
    """The folder of a hub repository in the cache, downloaded where needed, and its commit.

    Args:
        repository: hub id.
        revision: branch, tag or commit; None for the main branch.
        wanted: patterns of files; half-precision duplicates and pickles are left out whatever they say.
        what: "model" or the like, for the error.
        advice: what follows "give the folder of a local copy with" in the error.

    Raises:
        EditorError: it cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            folder = snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(wanted),
                ignore_patterns=["*.bin", "*.ckpt", "*.msgpack", "*.fp16.*", "*.non_ema.*", "*.onnx*"],
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise EditorError(
            f"cannot fetch the {what} '{repository}' ({_reason(error)}); give the folder of a local copy with {advice}"
        ) from None
    return Path(folder), Path(folder).name


@dataclass(frozen=True)
class Manifest:
    """What a model's folder says beyond diffusers' configuration files, in an optional `vii.json`.

    The defaults are right for Stable Diffusion 1.x.

    Attributes:
        name: of the model, written into edit files; empty for that of the folder or the hub id.
        resolution: pixels a side of the pictures it was trained on.
        settings: sampling settings that suit it, by name.
        clip: joint space: a folder within the model's, or what `vii.clip.load_clip` takes; None for none.
        phrases: file within the model's folder with one instruction a line that the model knows; empty for a list of
            common ones.
    """

    name: str = ""
    resolution: int = 512
    settings: Mapping[str, Any] = field(default_factory=dict)
    clip: str | None = "openai/clip-vit-large-patch14"
    phrases: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for name in ("name", "phrases", *(["clip"] if self.clip is not None else [])):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} must be a text, got {getattr(self, name)!r}")
        if type(self.resolution) is not int or not 8 <= self.resolution <= MAX_RESOLUTION:
            raise UsageError(f"resolution must be a whole number from 8 to {MAX_RESOLUTION}, got {self.resolution!r}")
        if not isinstance(self.settings, Mapping):
            raise UsageError(f"settings must be an object, got {self.settings!r}")
        for name in ("phrases", "clip"):
            path = PurePath(getattr(self, name) or "")
            if ".." in path.parts or path.is_absolute() or path.drive:
                raise UsageError(f"{name} must lie in the model's folder, got {getattr(self, name)!r}")


def read_manifest(folder: Path) -> Manifest:
    """A model's `vii.json`, or the defaults.

    Raises:
        EditorError: the file is not valid.
    """
    path = folder / MANIFEST
    if not path.exists():
        return Manifest()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UsageError(f"expected a JSON object, got {str(content)[:40]}")
        for name in content:
            if name not in Manifest.__dataclass_fields__:
                raise UsageError(unknown_name("entry", name, Manifest.__dataclass_fields__))
        return Manifest(**content)
    except (OSError, ValueError, RecursionError, UsageError) as error:
        raise EditorError(f"{path}: not a valid {MANIFEST} ({_reason(error)})") from None


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
        return torch.bfloat16 if computes_in_bfloat16(device) else torch.float32
    if dtype not in DTYPES:
        raise UsageError(unknown_name("dtype", dtype, DTYPES))
    return DTYPES[dtype]


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; a CPU without them only imitates it, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return False
    return any(torch.cpu.get_capabilities().get(name) for name in BFLOAT16)


def fingerprint(*modules: torch.nn.Module) -> str:
    """Hex digest that names a model's weights: names and shapes of all parameters and four values of each.

    Call it before casting; files in half precision are loaded in float32 without loss, so that one set of weights has
    one fingerprint whatever precision it will run in.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, parameter in module.named_parameters():
            flat = parameter.detach().flatten()
            spread = flat[torch.linspace(0, len(flat) - 1, 4, dtype=torch.float64).long()]
            digest.update(f"{name}{tuple(parameter.shape)}".encode())
            digest.update(spread.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def class_of(index: dict[str, Any], part: str) -> Any:
    """The diffusers class that a model_index.json names for a part."""
    import diffusers

    return getattr(diffusers, index[part][1])


def read_parts(folder: Path, model: str, what: str) -> dict[str, Any]:
    """The parts of a Stable Diffusion 1.x model: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler`.

    Args:
        folder: in diffusers' layout.
        model: what the user called it, for the error.
        what: the kind of model expected, likewise.

    Raises:
        EditorError: it is not complete.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    with quiet(), loading(model, what):
        index = json.loads((folder / "model_index.json").read_text())
        return {
            "unet": UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True),
            "vae": class_of(index, "vae").from_pretrained(folder / "vae", use_safetensors=True),
            "scheduler": class_of(index, "scheduler").from_pretrained(folder / "scheduler"),
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "text_encoder": CLIPTextModel.from_pretrained(
                folder / "text_encoder", use_safetensors=True, dtype=torch.float32
            ),
        }


def read_phrases(folder: Path, manifest: Manifest) -> Sequence[str]:
    """Instructions that a model knows, or common ones.

    Raises:
        EditorError: its file cannot be read.
    """
    path = folder / manifest.phrases if manifest.phrases else DEFAULT_PHRASES
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise EditorError(f"{folder / MANIFEST}: its phrases cannot be read ({_reason(error)})") from None


def joint_space(folder: Path, manifest: Manifest, clip: str | None) -> str | None:
    """What `vii.clip.load_clip` is to load for a model: what was asked for, or its own; None for none ("none")."""
    if clip is not None:
        return None if clip == "none" else clip
    own = manifest.clip
    return str(folder / own) if own and (folder / own).is_dir() else own


def local_name(model: str) -> str:
    """A hub id as it is; of a folder its name only, for where somebody keeps it is nobody's business."""
    return Path(model).absolute().name if Path(model).is_dir() else model


@contextmanager
def loading(model: str, what: str) -> Iterator[None]:
    """Turn whatever the loading libraries raise into one sentence about the model."""
    try:
        yield
    except (OSError, KeyError, AttributeError, ValueError, RuntimeError) as error:
        raise EditorError(f"{model}: not a complete {what} ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
