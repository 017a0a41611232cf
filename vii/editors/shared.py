"""Parts that a model has in common with the embedded editor and leaves out of its own folder.

A small model that was trained on what the embedded editor's autoencoder and text encoder make of pictures and words is
nothing without these, and most of what it would weigh with copies of them. Its vii.json names by digest, in `shares`,
those that it was trained on (`shared_digests`); the folder lacks them, and `Manifest.place` finds them in the editor's,
once `check_shared` has seen that they are the very ones.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch

from ..errors import EditorError
from ..space import same_weights
from ..text import first_line
from .fingerprint import fingerprint
from .loading import EMBEDDED_MODEL, FAILURES, MANIFEST, Manifest, read_config

# What a digest can be asked of, and the file that it is of.
FILES = {
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "clip": "model.safetensors",
    "tokenizer": "tokenizer.json",
}


def shared_digests(folder: Path, parts: Iterable[str]) -> dict[str, str]:
    """What a model that is trained on parts of an embedded editor writes of them into `shares` of its vii.json.

    Args:
        folder: of the editor; of it nothing but these parts need be there.
        parts: keys of `FILES`. Of `vae` the encoder and the scaling factor count, which say what latents are; another
            decoder shows the same latents better or worse. Of `tokenizer` the vocabulary and its merges.

    Raises:
        EditorError: a part is not there, or cannot be read.
    """
    from safetensors import SafetensorError

    found = {}
    for part in parts:
        if part not in FILES:
            raise EditorError(f"{folder}: no part '{part}' can be shared; expected one of {', '.join(FILES)}")
        try:
            found[part] = _digest(folder / part, part)
        except (*FAILURES, SafetensorError) as error:
            raise EditorError(f"{folder / part}: not a part of an embedded editor ({first_line(error)})") from None
    return found


def _digest(folder: Path, part: str) -> str:
    from safetensors.torch import load_file

    path = folder / FILES[part]
    if part == "tokenizer":
        model = read_config(path)["model"]
        known = json.dumps([model["vocab"], model["merges"]], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()[:32]
    tensors = load_file(path)
    if part != "vae":
        return fingerprint({part: tensors})
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    factor = torch.tensor([float(read_config(folder / "config.json")["scaling_factor"])])
    return fingerprint({"encoder": encoder, "scaling": {"factor": factor}})


def check_shared(manifest: Manifest, model: str) -> None:
    """Refuse a model that was trained on parts of another embedded editor than the one that is here.

    Args:
        manifest: of the model.
        model: what the user called it, for the error.

    Raises:
        EditorError: it was.
    """
    if unknown := sorted({*manifest.shares} - {*FILES}):
        raise EditorError(f"{model}: {MANIFEST}: no part '{unknown[0]}' can be shared; expected {', '.join(FILES)}")
    here = shared_digests(EMBEDDED_MODEL, manifest.shares)
    if others := [part for part, digest in manifest.shares.items() if not same_weights(digest, here[part])]:
        raise EditorError(
            f"{model}: it was trained on {' and '.join(others)} of another embedded editor than this version of vii "
            "has; train it again on this one, or use the version of vii that it came with"
        )
