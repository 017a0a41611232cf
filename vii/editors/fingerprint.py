"""What a model's weights are called: a fingerprint over every number of them, whatever precision they were saved in.

It is of the weights as their files hold them, under names that no version of transformers or diffusers changes.

Three precisions of one model share no exact hash of their values. Rounding to bfloat16 and rounding to float16 put
their boundaries into each other's cells, so that a function which is constant under both is constant along a chain
through all positive numbers: only the sign is left. A fingerprint therefore holds three digests,

- `float16` and `bfloat16`: the values rounded to the nearest, ties to even. Rounding what was rounded to the same
  precision before changes nothing, so that a copy in float16 has the first digest of the original, and a copy in
  bfloat16 the second. A part that was saved in one of the two does not know what the other would have been, and the
  fingerprint then leaves that digest out;
- `sign`: the sign bits, which every rounding keeps, also of what becomes zero. Between a copy in float16 and one in
  bfloat16 it decides.

`vii.space.same_weights` compares two fingerprints by the finest digest that both hold.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..space import DIGESTS

# What versions of the libraries, compilers and parallel wrappers put before a name, and spellings of before 2023.
PREFIXES = ("_orig_mod.", "module.", "text_model.")
RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
# Numbers that are rounded at a time: they stay in the processor's cache.
CHUNK = 1 << 18
# Rows of a matrix that stand for all of it in the fingerprint of a large model.
SAMPLES = 16


def fingerprint(parts: Mapping[str, Mapping[str, Tensor]]) -> str:
    """`"float16:H bfloat16:B sign:S"`, each 32 hex digits; see above.

    Args:
        parts: name of each part of a model (`unet`, `vae`, ...) -> its tensors by name: a module's `state_dict()`
            before it is cast, or what safetensors reads from its file. What is not of floating point, such as a table
            of positions, is no weight.
    """
    tensors = {
        (part, canonical_name(name)): tensor
        for part, named in parts.items()
        for name, tensor in named.items()
        if tensor.is_floating_point()
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing and rounding let go of the interpreter
        found = dict(zip(tensors, pool.map(_Digests, tensors.values()), strict=True))
    whole = {name: hashlib.sha256() for name in DIGESTS}
    for key, digests in sorted(found.items()):
        for name in DIGESTS:
            label = f"{key[0]}/{key[1]} {tuple(tensors[key].shape)} {digests.hex[name]}\n"
            whole[name].update(label.encode())
    known = [name for name in DIGESTS if all(_knows(name, found, part) for part in parts)]
    return " ".join(f"{name}:{whole[name].hexdigest()[:32]}" for name in known)


def files_fingerprint(folder: Path, parts: Sequence[str]) -> str:
    """The fingerprint of a model too large to be hashed whole whenever it is loaded: of `SAMPLES` rows of every tensor.

    It is taken from the files, before anything is cast or quantised.

    Args:
        folder: of the model, in diffusers' layout.
        parts: folders in it with safetensors.

    Raises:
        ValueError: a part has none, or one cannot be read.
    """
    return fingerprint({part: _sampled(folder / part) for part in parts})


def _sampled(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    paths = [path for path in sorted(folder.glob("*.safetensors")) if ".fp16." not in path.name]
    if not paths:
        raise ValueError(f"{folder.name} holds no safetensors")
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    shape = part.get_shape()
                    rows = sorted({round(at) for at in np.linspace(0, shape[0] - 1, SAMPLES)}) if shape else []
                    # One row of a vector is one number: vectors are few and short.
                    whole = len(shape) < 2 or shape[0] <= SAMPLES
                    sample = file.get_tensor(name) if whole else torch.cat([part[row : row + 1] for row in rows])
                    tensors[f"{name} of {tuple(shape)}"] = sample
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path.name} cannot be read ({error})") from None
    return tensors


def canonical_name(name: str) -> str:
    """A tensor's name as no version of the libraries changes it.

    >>> canonical_name("text_model.encoder.layers.0.mlp.fc1.weight")
    'encoder.layers.0.mlp.fc1.weight'
    """
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""):
        name = name.removeprefix(prefix)
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


class _Digests:
    """Digests of one tensor, and which of the two short precisions hold all its values exactly."""

    def __init__(self, tensor: Tensor) -> None:
        flat = tensor.detach().reshape(-1)
        hashes = {name: hashlib.sha256() for name in DIGESTS}
        self.exact = {"float16": True, "bfloat16": True}
        for start in range(0, len(flat), CHUNK):
            chunk = flat[start : start + CHUNK].cpu().float()
            for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
                rounded = chunk.to(dtype)
                hashes[name].update(rounded.view(torch.int16).numpy().data)
                self.exact[name] = self.exact[name] and torch.equal(rounded.float(), chunk)
            hashes["sign"].update(np.packbits(torch.signbit(chunk).numpy()).data)
        self.hex = {name: digest.hexdigest() for name, digest in hashes.items()}


def _knows(name: str, found: Mapping[tuple[str, str], _Digests], part: str) -> bool:
    """Whether a part's digest in a precision is that of the model: it was not saved in the other short one alone."""
    if name == "sign":
        return True
    other = "bfloat16" if name == "float16" else "float16"
    digests = [digest for (of, _), digest in found.items() if of == part]
    return all(digest.exact[name] for digest in digests) or not all(digest.exact[other] for digest in digests)


def version_1_fingerprints(text_encoder: Any, networks: Sequence[Any]) -> tuple[str, str]:
    """What edit files of format version 1 call these weights: with transformers from 5.6 on, and before.

    A digest of names, shapes and four values of each parameter, as the installed libraries name them. The text
    encoder's lost the prefix `text_model.` in transformers 5.6. The autoencoder is not in it.
    """
    modern, before, prefix = hashlib.sha256(), hashlib.sha256(), "text_model."
    named = [(prefix, name.removeprefix(prefix), parameter) for name, parameter in text_encoder.named_parameters()]
    named += [("", *one) for network in networks for one in network.named_parameters()]
    for prefix, name, parameter in named:
        flat = parameter.detach().flatten()
        spread = flat[torch.linspace(0, len(flat) - 1, 4, dtype=torch.float64).long()]
        values = spread.float().cpu().numpy().tobytes()
        for digest, label in ((modern, name), (before, prefix + name)):
            digest.update(f"{label}{tuple(parameter.shape)}".encode())
            digest.update(values)
    return modern.hexdigest()[:32], before.hexdigest()[:32]
