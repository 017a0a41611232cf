"""Where an editor runs, and how precisely."""

import psutil
import torch

from ..cores import memory_limit
from ..errors import UsageError, unknown_name

BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """A precision by name, or the fastest that is safe on the device."""
    if dtype is None:
        return torch.bfloat16 if computes_in_bfloat16(device) else torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise UsageError(unknown_name("dtype", name, DTYPES))
    return DTYPES[name]


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; a CPU without them only imitates it, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return False
    return any(torch.cpu.get_capabilities().get(name) for name in BFLOAT16)


def memory_of(device: torch.device) -> int:
    """Bytes of a device that may be used: a GPU's own, or this machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # older torch cannot say
        return int(torch.mps.recommended_max_memory())
    return memory_limit() or int(psutil.virtual_memory().total)
