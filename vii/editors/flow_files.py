"""Reading a model of the flow editors from a folder in diffusers' layout, or from a hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..editor import ENCODER_OUTPUT, Space
from ..errors import EditorError
from ..libraries import quiet
from ..settings import Settings
from ..text import printable
from .devices import pick_device, pick_dtype
from .fingerprint import files_fingerprint
from .loading import (
    Manifest,
    class_of,
    joint_space,
    loading,
    local_name,
    locate,
    read_config,
    read_index,
    read_manifest,
    read_phrases,
)
from .quantize import check_config, check_usable, is_gguf, load_large

# Pixels a side of the pictures that these models were trained on.
RESOLUTION = 1024
# What the part that predicts is called.
NETWORKS = ("transformer", "unet")
# In place of the class of a scheduler: the one that the model's folder names.
ANY_SCHEDULER = "diffusers:SchedulerMixin"
# Class of a pipeline of diffusers -> name of each part of it that is read -> its class, as `library:class`.
Pipelines = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowFiles:
    """What stands in the folder of a model, and where it is to run.

    Attributes:
        parts: by the names of their folders, frozen, on the CPU.
        index: the content of model_index.json.
        manifest: what the folder says beyond diffusers' files.
        model: id or name of the folder.
        called: what edit files call the model.
        commit: on the hub, or "".
        fingerprint: of its weights.
        device: where it runs.
        dtype: of the networks and the text encoders.
        resolution: pixels a side.
        phrases: instructions that the model knows.
        clip: of the joint space beside it, see `vii.clip.load_clip`; None for none.
        whole: whether the fingerprint is of all its weights, and not of all but those in a GGUF file.
    """

    parts: Mapping[str, Any]
    index: Mapping[str, Any]
    manifest: Manifest
    model: str
    called: str
    commit: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype
    resolution: int
    phrases: Sequence[str]
    clip: str | None
    whole: bool = True

    @property
    def network(self) -> Any:
        """The part that predicts."""
        return next(self.parts[part] for part in NETWORKS if part in self.parts)

    @property
    def pipeline(self) -> str:
        """The class of diffusers that the folder names."""
        return str(self.index["_class_name"])

    def space(
        self, encoder: str, width: int, length: int, *, kind: str = ENCODER_OUTPUT, relatives: Sequence[str] = ()
    ) -> Space:
        """The instruction space of this model.

        Args:
            encoder: class of the text encoder, and the layers that are taken where that is not the last.
            width: features of a row that the text encoder gives.
            length: rows of an instruction.
            kind: see `Space`.
            relatives: see `Space`.

        Raises:
            EditorError: the networks read rows of another width.
        """
        config = self.network.config
        if width != (wanted := config.get("joint_attention_dim") or config.get("cross_attention_dim")):
            raise EditorError(f"{self.model}: the networks read rows of {wanted}, the text encoder gives {width}")
        named = (encoder, width, length, self.called, self.fingerprint, self.commit)
        # A GGUF file does not say of which weights it was made: with one, edits of the model by this name are taken.
        own = () if self.whole else (self.called,)
        return Space(kind, *named, relatives=(*relatives, *own))

    def settings(self, recommended: Settings) -> Settings:
        """See `Manifest.suiting`."""
        return self.manifest.suiting(recommended, self.model)


def read_flow(
    model: str,
    pipelines: Pipelines,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    resolution: int | None = None,
    quantize: str | None = None,
) -> FlowFiles:
    """Read a model; nothing of it is run.

    Args:
        model: folder in diffusers' layout, or hub id.
        pipelines: what model_index.json may name, and what is read then.
        revision: branch, tag or commit on the hub.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 where the device computes in it, else float32.
        clip: a CLIP beside the model, to look for a starting text with; see `vii.clip.load_clip`; "none" for none.
        resolution: pixels a side; by default what the folder says, or 1024.
        quantize: a key of `vii.editors.quantize.KINDS` for the network and large text encoders, or a GGUF file of the
            network; None for none.

    Raises:
        EditorError: the model cannot be found, is not of these architectures, or is not complete.
        UsageError: an unknown device or precision, or a resolution that cannot be.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    check_usable(quantize, where)
    packed = NETWORKS if quantize and is_gguf(quantize) else ()
    default = Manifest(resolution=resolution or RESOLUTION)
    needed = sorted({part for kinds in pipelines.values() for part in kinds})
    folder, commit = locate(model, revision, [f"{part}/config.json" if part in packed else part for part in needed])
    manifest = read_manifest(folder, default)
    with quiet(), loading(model, f"model of {' or '.join(pipelines)}"):
        index = read_index(folder)
        if (named := str(index.get("_class_name"))) not in pipelines:
            raise ValueError(f"its pipeline is {printable(named[:60])}")
        kinds = dict(pipelines[named])
        if kinds["scheduler"] == ANY_SCHEDULER:
            kinds["scheduler"] = f"diffusers:{class_of(index, 'scheduler', 'SchedulerMixin').__name__}"
        parts = {part: _read_part(folder / part, kind, precision, quantize) for part, kind in kinds.items()}
        modules = {part: module for part, module in parts.items() if isinstance(module, torch.nn.Module)}
        there = [part for part in modules if part not in packed or [*(folder / part).glob("*.safetensors")]]
        fingerprint = files_fingerprint(folder, there)
    for module in modules.values():
        module.eval().requires_grad_(False)
    return FlowFiles(
        parts=parts,
        index=index,
        manifest=manifest,
        model=model,
        called=manifest.name or local_name(model),
        commit=commit,
        fingerprint=fingerprint,
        device=where,
        dtype=precision,
        resolution=resolution or manifest.resolution,
        phrases=read_phrases(folder, manifest),
        clip=joint_space(folder, manifest, clip),
        whole=len(there) == len(modules),
    )


def _read_part(folder: Path, kind: str, dtype: torch.dtype, quantize: str | None) -> Any:
    """A part of a model; an autoencoder in float32, for it runs once a picture; a CLIP is too small to quantise."""
    library, name = kind.split(":")
    part = getattr(import_module(library), name)
    if not issubclass(part, torch.nn.Module):
        return part.from_pretrained(folder, local_files_only=True)
    check_config(read_config(folder / "config.json"), folder.name)
    precision = torch.float32 if folder.name == "vae" else dtype
    return load_large(part, folder, precision, None if folder.name == "vae" or name.startswith("CLIP") else quantize)
