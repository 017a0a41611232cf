"""Reading a model of the flow editors from a folder in diffusers' layout, or from a hub."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..editor import ENCODER_OUTPUT, Space
from ..errors import EditorError, UsageError
from ..libraries import quiet
from ..settings import override
from ..text import printable
from .devices import pick_device, pick_dtype
from .fingerprint import files_fingerprint
from .loading import (
    MANIFEST,
    Manifest,
    check_index,
    joint_space,
    loading,
    local_name,
    locate,
    read_config,
    read_manifest,
    read_phrases,
)

# Pixels a side of the pictures that these models were trained on.
RESOLUTION = 1024
Settings = TypeVar("Settings")


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowFiles:
    """What stands in the folder of a model.

    Attributes:
        parts: by the names of their folders, frozen, on the CPU.
        index: the content of model_index.json.
        manifest: what the folder says beyond diffusers' files.
        model: id or name of the folder.
        called: what edit files call the model.
        commit: on the hub, or "".
        fingerprint: of its weights.
        dtype: of the networks and the text encoders.
        common: arguments of every `FlowEditor`: `device`, `resolution`, `scheduler`, `phrases`, `clip`.
    """

    parts: Mapping[str, Any]
    index: Mapping[str, Any]
    manifest: Manifest
    model: str
    called: str
    commit: str
    fingerprint: str
    dtype: torch.dtype
    common: Mapping[str, Any]

    def space(self, encoder: str, width: int, wanted: int, length: int, relatives: Sequence[str] = ()) -> Space:
        """The instruction space of this model.

        Args:
            encoder: class of the text encoder, and the layers that are taken where that is not the last.
            width: features of a row that the text encoder gives.
            wanted: those that the networks read.
            length: rows of an instruction.
            relatives: see `Space`.

        Raises:
            EditorError: the networks read rows of another width.
        """
        if width != wanted:
            raise EditorError(f"{self.model}: the networks read rows of {wanted}, the text encoder gives {width}")
        named = (encoder, width, length, self.called, self.fingerprint, self.commit)
        return Space(ENCODER_OUTPUT, *named, relatives=tuple(relatives))

    def settings(self, recommended: Settings) -> Settings:
        """The settings that suit the model: those of its architecture, and what its folder says over them.

        Raises:
            EditorError: the folder says what cannot be.
        """
        try:
            return override(recommended, **self.manifest.settings)
        except UsageError as error:
            raise EditorError(f"{self.model}: {MANIFEST}: {error}") from None


def read_flow(
    model: str,
    pipeline: str,
    folders: Sequence[str],
    read: Callable[[Path, torch.dtype], Mapping[str, Any]],
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    clip: str | None = None,
    resolution: int | None = None,
) -> FlowFiles:
    """Read a model; nothing of it is run.

    Args:
        model: folder in diffusers' layout, or hub id.
        pipeline: the class of diffusers that model_index.json must name.
        folders: those that are needed of it.
        read: the folder and a precision -> the parts.
        revision: branch, tag or commit on the hub.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        dtype: "float32", "bfloat16" or "float16"; by default bfloat16 where the device computes in it, else float32.
        clip: a CLIP beside the model, to look for a starting text with; see `vii.clip.load_clip`; "none" for none.
        resolution: pixels a side; by default what the folder says, or 1024.

    Raises:
        EditorError: the model cannot be found, is not of this architecture, or is not complete.
        UsageError: an unknown device or precision, or a resolution that cannot be.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    default = Manifest(resolution=resolution or RESOLUTION)
    folder, commit = locate(model, revision, folders)
    manifest = read_manifest(folder, default)
    with quiet(), loading(model, f"model of {pipeline}"):
        index = read_config(folder / "model_index.json")
        check_index(index)
        if (named := index.get("_class_name")) != pipeline:
            raise ValueError(f"its pipeline is {printable(str(named)[:60])}")
        parts = read(folder, precision)
        weights = [part for part in folders if hasattr(parts[part], "parameters")]
        fingerprint = files_fingerprint(folder, weights)
    for part in weights:
        parts[part].eval().requires_grad_(False)
    return FlowFiles(
        parts=parts,
        index=index,
        manifest=manifest,
        model=model,
        called=manifest.name or local_name(model),
        commit=commit,
        fingerprint=fingerprint,
        dtype=precision,
        common={
            "device": where,
            "resolution": resolution or manifest.resolution,
            "scheduler": parts["scheduler"],
            "phrases": read_phrases(folder, manifest),
            "clip": joint_space(folder, manifest, clip),
        },
    )
