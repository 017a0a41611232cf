"""What is installed, what it can run on, and what is missing: for `vii doctor` and for whoever reports a fault.

`examine` yields its findings one section at a time, the quick ones first. Nothing here needs a network.
"""

import importlib.metadata
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from . import __version__
from .cores import cores, memory_limit
from .errors import ViiError

if TYPE_CHECKING:
    from .editors import Needs

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open-clip-torch",
    "safetensors",
    "huggingface-hub",
    "numpy",
    "pillow",
    "xformers",
)
# Compiled for one version of torch each; beside another, importing them fails and takes diffusers or open_clip along.
BUILT_FOR_TORCH = ("torchvision", "torchaudio", "xformers")
# Parts of a model that hold weights, as diffusers names their folders.
WEIGHTS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2")
INSTALL_TORCH = "https://pytorch.org/get-started/locally"


def examine() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (section, findings) in plain values that JSON can hold; what could not be found out is None.

    The sections: `versions`, `problems`, `machine`, `cache`, `devices`, `editors`, `embedded`. Only the last three load
    torch, and the last one runs the embedded editor.
    """
    yield "versions", versions()
    yield "problems", {"found": [*requirement_problems(), *torch_problems()]}
    yield "machine", machine()
    found = cache()
    yield "cache", found
    seen = devices()
    yield "devices", seen
    yield "editors", editors(found["models"], seen["used"])
    yield "embedded", embedded()


def versions() -> dict[str, Any]:
    """Versions of vii, Python and what matters underneath; None for what is not installed."""
    told: dict[str, Any] = {"vii": __version__, "python": platform.python_version(), "platform": platform.platform()}
    return told | {name: _version(name) for name in PACKAGES}


def requirement_problems() -> list[str]:
    """What vii requires here, its extras aside, and is missing or of a version that it does not work with."""
    try:
        required = _required("vii")
    except importlib.metadata.PackageNotFoundError:
        return ["vii is not installed but run from its folder, so that its requirements are not known; pip install ."]
    problems = []
    for requirement in required:
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            found = f"is {version}" if version else "is not installed"
            wanted = f"{requirement.name}{requirement.specifier}"
            problems.append(f"{requirement.name} {found}, vii needs {requirement.specifier}: pip install '{wanted}'")
    return problems


def torch_problems() -> list[str]:
    """Packages that were compiled for another torch than the one installed."""
    torch = _version("torch")
    if torch is None:
        return []
    problems = []
    for name in BUILT_FOR_TORCH:
        version = _version(name)
        if version is None:
            continue
        advice = (
            f"pip uninstall {name}, which vii does not need"
            if name == "xformers"
            else f"install torch and {name} together, from one index ({INSTALL_TORCH})"
        )
        # A build pins the release that it was compiled for; the label of a build (+cpu) is not part of that.
        pins = [requirement.specifier for requirement in _required(name) if requirement.name == "torch"]
        if any(not pin.contains(Version(torch).public, prereleases=True) for pin in pins):
            built = str(pins[0]).removeprefix("==")
            problems.append(f"{name} {version} was built for torch {built}, but torch is {torch}: {advice}")
        elif name != "xformers" and _for_cpu(torch) != _for_cpu(version):
            problems.append(
                f"torch {torch} and {name} {version} are builds for different devices (one for CPU only): {advice}"
            )
    return problems


def machine() -> dict[str, Any]:
    """CPU cores this process may use, and memory in bytes: what there is, what is free, and a container's limit."""
    memory = psutil.virtual_memory()
    return {
        "cores": cores(),
        "memory": memory.total,
        "memory_free": memory.available,
        "memory_limit": memory_limit(),
    }


def cache() -> dict[str, Any]:
    """The Hugging Face cache: where it is, its size, the space left, and the models in it (id -> bytes, complete)."""
    found: dict[str, Any] = {"folder": None, "bytes": 0, "disk_free": None, "offline": False, "models": {}}
    try:
        from huggingface_hub import CacheNotFound, constants, scan_cache_dir
    except ImportError as error:
        return found | {"problem": f"huggingface_hub cannot be imported ({error})"}
    folder = Path(constants.HF_HUB_CACHE)
    found |= {"folder": str(folder), "disk_free": _disk_free(folder), "offline": bool(constants.HF_HUB_OFFLINE)}
    try:
        scanned = scan_cache_dir(folder)
    except (CacheNotFound, OSError, ValueError):
        return found  # nothing was ever downloaded
    models = {
        repo.repo_id: {
            "bytes": repo.size_on_disk,
            "complete": any(_complete(Path(revision.snapshot_path)) for revision in repo.revisions),
        }
        for repo in scanned.repos
        if repo.repo_type == "model"
    }
    return found | {"bytes": scanned.size_on_disk, "models": models}


def devices() -> dict[str, Any]:
    """What torch can compute on, which device is used unless another is named, and what is wrong with torch."""
    found: dict[str, Any] = {"used": None, "cuda": [], "mps": None, "problem": ""}
    try:
        import torch

        from .editors.devices import pick_device

        found["used"] = pick_device(None).type
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                free, total = torch.cuda.mem_get_info(index)
                name = torch.cuda.get_device_name(index)
                found["cuda"].append({"name": name, "memory": total, "memory_free": free})
        elif shutil.which("nvidia-smi"):
            built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
            found["problem"] = (
                f"there is an NVIDIA driver but torch (built for {built}) finds no CUDA device: "
                f"install a build of torch that suits the driver ({INSTALL_TORCH})"
            )
        if torch.backends.mps.is_available():
            # How much of the memory shared with the CPU the GPU may take; older torch cannot say.
            limit: Callable[[], int] | None = getattr(torch.mps, "recommended_max_memory", None)
            found["mps"] = {"memory": limit() if limit else None}
    except Exception as error:  # whatever a broken installation raises is a finding
        found["problem"] = f"torch does not work ({_reason(error)}): install it again ({INSTALL_TORCH})"
    return found


def editors(cached: Mapping[str, Any], device: str | None) -> dict[str, Any]:
    """What each editor needs, whether it is there, how to get it, and what learning with it was measured to take.

    Args:
        cached: models in the cache, as `cache` gives them.
        device: "cpu", "cuda", "mps", or None where torch does not work; without torch there are no editors either.
    """
    if device is None:
        return {}
    from .editors import EDITORS

    return {name: _editor(entry.needs, entry.files, cached, device) for name, entry in EDITORS.items()}


def _editor(told: str, needs: "Needs | None", cached: Mapping[str, Any], device: str) -> dict[str, Any]:
    found: dict[str, Any] = {"needs": told, "ready": None, "missing": [], "weights": None, "learning": None}
    if needs is None:
        return found
    models = needs.models or {}
    missing = [model for model in models if not cached.get(model, {}).get("complete")]
    found["missing"] = [
        f"{model} ({purpose}): fetched when first used; without a network name the folder of a copy"
        for model, purpose in models.items()
        if model in missing
    ]
    if needs.folder and not _complete(needs.folder):
        found["missing"].append(f"weights in {needs.folder}: install vii again")
    measured = next((one for one in needs.measured if one.device == device), None)
    return found | {
        "ready": not found["missing"],
        "weights": _weights(needs, cached),
        "learning": asdict(measured) if measured else None,
    }


def embedded() -> dict[str, Any]:
    """Load the editor that ships with the package and take one step with it."""
    started = time.perf_counter()
    try:
        import torch

        from .application import apply
        from .editors import load_editor

        apply(load_editor(), None, torch.full((3, 64, 64), 0.5), text="make it night", num_inference_steps=1)
    except Exception as error:  # whatever a broken installation raises is a finding
        return {"runs": False, "seconds": None, "problem": _reason(error)}
    return {"runs": True, "seconds": round(time.perf_counter() - started, 1), "problem": ""}


def _weights(needs: "Needs", cached: Mapping[str, Any]) -> int | None:
    """Bytes of the weights on disk; None where not all are there."""
    models = needs.models or {}
    if any(model not in cached for model in models):
        return None
    own = sum(path.stat().st_size for path in needs.folder.rglob("*.safetensors")) if needs.folder else 0
    return own + sum(cached[model]["bytes"] for model in models)


def _complete(folder: Path) -> bool:
    """Whether a model's folder holds its weights: those of a pipeline's parts, or those of one model."""
    index = folder / "model_index.json"
    if not index.exists():
        return (folder / "config.json").exists() and _has_weights(folder)
    listed = index.read_text(encoding="utf-8")
    return all(_has_weights(folder / part) for part in WEIGHTS if f'"{part}"' in listed)


def _has_weights(folder: Path) -> bool:
    # A download that was broken off leaves links to nothing, which glob lists and exists() does not find.
    return any(path.exists() for path in folder.glob("*.safetensors"))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _required(name: str) -> list[Requirement]:
    """What an installed package requires on this machine, extras aside."""
    required = map(Requirement, importlib.metadata.requires(name) or [])
    return [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]


def _for_cpu(version: str) -> bool:
    """Whether a build of torch or a package beside it is for CPU only; wheels without a label are not, on Linux."""
    label = Version(version).local
    return label == "cpu" if label or sys.platform == "linux" else True


def _disk_free(folder: Path) -> int | None:
    """Bytes left where a folder is, or will be when it is made."""
    for place in (folder, *folder.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ViiError) else f"{type(error).__name__}: {text[:300]}"
