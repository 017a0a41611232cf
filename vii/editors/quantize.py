"""Weights in fewer bits: the kinds that pass a gradient to what is learned, and a sentence for those that do not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..errors import EditorError, UsageError, unknown_name
from ..libraries import load_weights


@dataclass(frozen=True)
class Kind:
    """A kind of quantised weights.

    Attributes:
        packages: what has to be installed besides.
        bytes: of a weight of a linear layer; others keep their precision.
        configuration: diffusers or transformers, and a precision to compute in -> what `from_pretrained` takes.
        cpu: whether it runs on a CPU.
    """

    packages: tuple[str, ...]
    bytes: float
    configuration: Callable[[Any, torch.dtype], Any]
    cpu: bool


def _torchao(name: str) -> Callable[[Any, torch.dtype], Any]:
    return lambda library, _: library.TorchAoConfig(getattr(import_module("torchao.quantization"), name)())


KINDS: Mapping[str, Kind] = {
    # Blocks of 64 weights share a scale, and 256 of these another (QLoRA, arXiv 2305.14314, section 3).
    "nf4": Kind(
        ("bitsandbytes", "accelerate"),
        0.5 + 1 / 64 + 4 / (64 * 256),
        lambda library, dtype: library.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        ),
        False,
    ),
    "int8": Kind(
        ("bitsandbytes", "accelerate"), 1, lambda library, _: library.BitsAndBytesConfig(load_in_8bit=True), False
    ),
    "int8wo": Kind(("torchao",), 1, _torchao("Int8WeightOnlyConfig"), True),
    "float8wo": Kind(("torchao",), 1, _torchao("Float8WeightOnlyConfig"), True),
}
GGUF = ".gguf"
GGUF_PACKAGES = ("gguf", "accelerate")
# Products of quantised activations, which have no derivative: the gradient would be exactly zero.
WITHOUT_GRADIENT = ("int8dq", "float8dq", "int4dq", "fp8", "float8", "mxfp8", "mxfp4", "nvfp4", "svdquant", "nunchaku")
NO_GRADIENT = (
    "{}: weights quantised together with activations pass no gradient to an instruction, so that nothing could be "
    "learned; expected weights alone: {}, or a GGUF file"
)


def check_kind(quantize: str | None) -> None:
    """Refuse what is no kind, or would pass no gradient.

    Args:
        quantize: a key of `KINDS`, the path of a GGUF file of the network, or None.

    Raises:
        UsageError: it is none of these.
    """
    if quantize is None:
        return
    if quantize.lower() in WITHOUT_GRADIENT:
        raise UsageError(NO_GRADIENT.format(f"quantize={quantize}", ", ".join(KINDS)))
    if is_gguf(quantize):
        if not Path(quantize).is_file():
            raise UsageError(f"{quantize}: no such file")
    elif quantize not in KINDS:
        raise UsageError(unknown_name("kind of quantize", quantize, [*KINDS, f"FILE{GGUF}"]))


def check_usable(quantize: str | None, device: torch.device) -> None:
    """Refuse what cannot be loaded here; see `check_kind`.

    Raises:
        UsageError: a package is missing, or the device is none for it.
    """
    check_kind(quantize)
    if quantize is None:
        return
    packages = GGUF_PACKAGES if is_gguf(quantize) else KINDS[quantize].packages
    if missing := [package for package in packages if not find_spec(package)]:
        raise UsageError(f"quantize={quantize} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    if not is_gguf(quantize) and not KINDS[quantize].cpu and device.type != "cuda":
        raise UsageError(f"quantize={quantize} needs a CUDA device, this is '{device.type}'; int8wo needs none")


def is_gguf(quantize: str) -> bool:
    """Whether it is a file, by its name."""
    return quantize.lower().endswith(GGUF)


def check_config(config: Mapping[str, Any], what: str) -> None:
    """Refuse a model whose own files are quantised by a kind that passes no gradient.

    Args:
        config: of a part of a model, as its config.json has it.
        what: the part, for the error.

    Raises:
        EditorError: it is.
    """
    told = config.get("quantization_config") or {}
    method, kind = str(told.get("quant_method", "")).lower(), str(told.get("quant_type", "")).lower()
    dynamic = any(word in kind for word in ("dynamic", "dq", "mxfp", "nvfp"))
    if method in (*WITHOUT_GRADIENT, "modelopt", "fbgemm_fp8") or (method == "torchao" and dynamic):
        raise EditorError(NO_GRADIENT.format(f"{what} ({method})", ", ".join(KINDS)))


def load_large(kind: Any, folder: Path, dtype: torch.dtype, quantize: str | None = None) -> Any:
    """A network or a text encoder from its folder, quantised or not; see `load_weights`.

    Args:
        kind: class of diffusers or transformers.
        folder: with config.json and, unless a GGUF file takes their place, safetensors.
        dtype: to compute in.
        quantize: as `check_usable` lets it pass; with a GGUF file, of the network, text encoders are not quantised.

    Raises:
        ValueError: see `load_weights`.
    """
    name = kind.__module__.partition(".")[0]
    library, told = import_module(name), "torch_dtype" if name == "diffusers" else "dtype"
    options: dict[str, Any] = {told: dtype}
    if quantize is None or (is_gguf(quantize) and name != "diffusers"):
        return load_weights(kind, folder, **options)
    if is_gguf(quantize):
        packed = library.GGUFQuantizationConfig(compute_dtype=dtype)
        where = {"config": str(folder), "local_files_only": True}
        return kind.from_single_file(quantize, quantization_config=packed, **where, **options)
    packed = KINDS[quantize].configuration(library, dtype)
    return load_weights(kind, folder, quantization_config=packed, **options)
