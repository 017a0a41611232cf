"""Finding a model's files and choosing where and how precisely it runs; what every editor with weights needs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import strict
from ..errors import EditorError, UsageError, unknown_name
from ..libraries import load_weights, may_download, quiet
from ..text import printable
from .needs import CLIP

EMBEDDED_MODEL = Path(__file__).parent / "embedded"
MANIFEST = "vii.json"
# Photos of Stable Diffusion 1.x; a model's own vii.json says otherwise.
DEFAULT_MANIFEST = {"resolution": 512, "settings": {}, "clip": CLIP}
MANIFEST_TYPES = {"name": str, "resolution": int, "settings": dict, "clip": str, "phrases": str}
MAX_RESOLUTION = 4096
# What model_index.json may name besides classes of the two libraries: a part that is not loaded.
UNUSED_PARTS = {"safety_checker": "stable_diffusion"}
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
                local_files_only=not may_download(),
                ignore_patterns=["*.py", "*.bin", "*.ckpt", "*.msgpack", "*.fp16.*", "*.non_ema.*", "*.onnx*"],
            )
    except Exception as error:  # a Hub, or a proxy before it, can answer with anything
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
    manifest = {**DEFAULT_MANIFEST, **read_config(path)}
    manifest["clip"] = manifest["clip"] or ""  # null for a model without a joint space
    for key, kind in MANIFEST_TYPES.items():
        if not isinstance(manifest.get(key, kind()), kind) or isinstance(manifest.get(key), bool):
            raise EditorError(f"{path}: {key} must be a {kind.__name__}")
    if not 8 <= manifest["resolution"] <= MAX_RESOLUTION:
        raise EditorError(f"{path}: resolution must be from 8 to {MAX_RESOLUTION}")
    if (clip := manifest["clip"]) and clip != DEFAULT_MANIFEST["clip"]:
        manifest["clip"] = str(inside(folder, clip, path))
    if "phrases" in manifest:
        manifest["phrases"] = str(inside(folder, manifest["phrases"], path))
    return manifest


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model's folder.

    Raises:
        EditorError: it cannot be read, or is not one.
    """
    try:
        content = strict.loads(path.read_bytes())
    except OSError as error:
        raise EditorError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise EditorError(f"{path}: not valid JSON ({printable(str(error)[:200])})") from None
    if not isinstance(content, dict):
        raise EditorError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def inside(folder: Path, name: str, named_by: Path) -> Path:
    """What a model's file names, which must lie in the model's own folder.

    Raises:
        EditorError: it does not, or is not there.
    """
    path = folder / name
    # A snapshot in the Hub's cache consists of links to the blobs beside it.
    homes = [folder.resolve()] + ([folder.resolve().parents[1] / "blobs"] if folder.parent.name == "snapshots" else [])
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise EditorError(f"{named_by}: it names '{printable(name[:80])}', which is not in its folder") from None
    if ".." in Path(name).parts or not any(real.is_relative_to(home) for home in homes):
        raise EditorError(
            f"{named_by}: it names '{printable(name[:80])}', which leads out of its folder; a model's own file names "
            "what lies beside it"
        )
    return path


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


def check_index(index: dict[str, Any]) -> None:
    """Refuse a model_index.json that names anybody's code: a class of another library, or a pipeline of its own.

    Raises:
        ValueError: it does.
    """
    if not isinstance(index.get("_class_name", ""), str):
        raise ValueError("its pipeline is code of its own, which is not run")
    for part, named in index.items():
        if not isinstance(named, list):
            continue
        library = named[0] if named else None
        if library not in (None, "diffusers", "transformers", UNUSED_PARTS.get(part)):
            raise ValueError(
                f"{printable(part[:40])} is of {printable(str(library)[:40])!r}; only classes of diffusers and "
                "transformers are loaded"
            )


def class_of(index: dict[str, Any], part: str, base: str) -> Any:
    """The diffusers class that a model_index.json names for a part.

    Args:
        index: the content of model_index.json.
        part: "vae" or "scheduler".
        base: what the class must derive from.

    Raises:
        ValueError: it names none, or a class of another kind.
    """
    import diffusers

    named = index.get(part)
    name = named[1] if isinstance(named, list) and len(named) == 2 else None
    kind = getattr(diffusers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not isinstance(kind, type) or base not in {ancestor.__name__ for ancestor in kind.__mro__}:
        raise ValueError(f"its {part} is {printable(str(name)[:60])!r}, which diffusers does not have")
    return kind


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
        index = read_config(folder / "model_index.json")
        check_index(index)
        scheduler = class_of(index, "scheduler", "SchedulerMixin")
        parts = {
            "unet": load_weights(UNet2DConditionModel, folder / "unet"),
            "vae": load_weights(class_of(index, "vae", "ModelMixin"), folder / "vae"),
            "scheduler": scheduler.from_pretrained(folder / "scheduler", local_files_only=True),
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
            "text_encoder": load_weights(CLIPTextModel, folder / "text_encoder", dtype=torch.float32),
        }
        phrases = Path(manifest.get("phrases", DEFAULT_PHRASES)).read_text(encoding="utf-8").splitlines()
    return {
        **parts,
        "model": manifest.get("name", local_name(model)),
        "revision": commit,
        "resolution": manifest["resolution"],
        "clip": {None: manifest["clip"] or None, "none": None}.get(clip, clip),
        "phrases": phrases,
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
    return printable(str(error).strip().splitlines()[0][:300]) if str(error).strip() else type(error).__name__
