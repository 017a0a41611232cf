"""Finding a model's files and choosing where and how precisely it runs; what every editor with weights needs."""

import hashlib
import json
from collections.abc import Iterator, Sequence
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
    wanted = ["model_index.json", MANIFEST, *(f"{part}/*" for part in parts)]
    return fetch(model, revision, wanted, "model", "--model, or use the editor 'embedded', which needs no download")


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


def read_model(model: str, revision: str | None, clip: str | None, what: str) -> dict[str, Any]:
    """Read a Stable Diffusion 1.x model and what its `vii.json` says.

    Args:
        model: folder in diffusers' layout, or hub id.
        revision: branch, tag or commit on the hub.
        clip: joint space instead of the model's own; "none" for none.
        what: the kind of model expected, for the error.

    Returns:
        arguments for an editor: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler`, `model`, `revision`,
        `resolution`, `clip`, `phrases`, and `settings`, still as a mapping.

    Raises:
        EditorError: it cannot be found, or is not complete.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    folder, commit = locate(model, revision)
    manifest = read_manifest(folder)
    with quiet(), loading(model, what):
        index = json.loads((folder / "model_index.json").read_text())
        parts = {
            "unet": UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True),
            "vae": class_of(index, "vae").from_pretrained(folder / "vae", use_safetensors=True),
            "scheduler": class_of(index, "scheduler").from_pretrained(folder / "scheduler"),
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            "text_encoder": CLIPTextModel.from_pretrained(
                folder / "text_encoder", use_safetensors=True, dtype=torch.float32
            ),
        }
    own_clip = manifest.get("clip")
    if own_clip and (folder / own_clip).is_dir():
        own_clip = str(folder / own_clip)
    phrases = folder / manifest["phrases"] if "phrases" in manifest else DEFAULT_PHRASES
    return {
        **parts,
        "model": manifest.get("name", local_name(model)),
        "revision": commit,
        "resolution": manifest["resolution"],
        "clip": {None: own_clip, "none": None}.get(clip, clip),
        "phrases": phrases.read_text(encoding="utf-8").splitlines(),
        "settings": manifest["settings"],
    }


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
