"""What is installed, what it can run on, and what is missing: for `vii doctor` and for whoever reports a fault.

`examine` yields its findings one section at a time, the quick ones first. Nothing here needs a network.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import ViiError

if TYPE_CHECKING:
    from .editors.needs import Needs

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
WEIGHTS = ("unet", "transformer", "vae", "text_encoder")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
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
    """What vii requires and is missing or too old."""
    try:
        required = importlib.metadata.requires("vii") or []
    except importlib.metadata.PackageNotFoundError:
        return ["vii is not installed but run from its folder, so that its requirements are not known; pip install ."]
    problems = []
    for text in required:
        match = re.fullmatch(r"([\w.-]+)\s*>=\s*([\d.]+)", text)
        if not match:  # of an extra
            continue
        name, least = match.groups()
        version = _version(name)
        if version is None:
            problems.append(f"{name} is not installed, vii needs {least} or newer: pip install '{name}>={least}'")
        elif _numbers(version) < _numbers(least):
            problems.append(f"{name} is {version}, vii needs {least} or newer: pip install '{name}>={least}'")
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
        pinned = _pinned_torch(name)
        if pinned and pinned != torch.partition("+")[0]:
            problems.append(f"{name} {version} was built for torch {pinned}, but torch is {torch}: {advice}")
        elif name != "xformers" and _for_cpu(torch) != _for_cpu(version):
            problems.append(
                f"torch {torch} and {name} {version} are builds for different devices (one for CPU only): {advice}"
            )
    return problems


def machine() -> dict[str, Any]:
    """CPU cores this process may use, and memory in bytes: what there is, what is free, and a container's limit."""
    affinity = getattr(os, "sched_getaffinity", None)
    limit = _read(CGROUP_LIMIT)
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory": _sysconf("SC_PHYS_PAGES"),
        "memory_free": _available(),
        "memory_limit": int(limit) if limit.isdecimal() else None,
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

        from .editors.loading import pick_device

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
        f"{model} ({purpose}): fetched when first used; without a network name the folder of a copy (--model, --clip)"
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


def _pinned_torch(name: str) -> str | None:
    for text in importlib.metadata.requires(name) or []:
        if match := re.match(r"torch\s*\(?==\s*([\d.]+)", text):
            return match[1]
    return None


def _for_cpu(version: str) -> bool:
    """Whether a build of torch or a package beside it is for CPU only; wheels without a label are not, on Linux."""
    label = version.partition("+")[2]
    return label == "cpu" if label or sys.platform == "linux" else True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _sysconf(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has none, and not every system every name
        return None


def _available() -> int | None:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _disk_free(folder: Path) -> int | None:
    """Bytes left where a folder is, or will be when it is made."""
    for place in (folder, *folder.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ViiError) else f"{type(error).__name__}: {text[:300]}"
