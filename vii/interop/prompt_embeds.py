"""Prompt embeddings: the authors' files to edit files, edit files to plain arrays and into a pipeline of diffusers."""

import dataclasses
import hashlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..edit import Edit
from ..edit_file import MAX_BYTES
from ..edit_format import MAX_NORM
from ..editor import ENCODER_OUTPUT, ENCODER_OUTPUT_OFFSET, INPUT_EMBEDDING, Editor
from ..editors.clip_text import encoder_of, instruct
from ..editors.stable_diffusion import space_of
from ..errors import EditFileError, OutputError, UsageError
from ..files import replacing
from ..paths import read_small
from ..space import digests

# What the authors' test.py samples with; the guidance is also that inside their training loss.
AUTHORS_SETTINGS = {"num_inference_steps": 20, "guidance_scale": 7.5, "image_guidance_scale": 1.5}
# Relative distance up to which two rows are of the same text. On the embedded model half precision moves rows by
# 0.06 %, and "an" in place of "a" in the caption one of those after it by 7 %.
SAME_ROWS = 0.01


def read_prompt_embeds(path: str | Path) -> Tensor:
    """The instruction in a `prompt_embeds_*.pt` of the authors' code, rows `(n, d)`, float32.

    Their file is `(3, n, d)`, the instruction and twice the empty text, as their pipeline stacks its guidance branches;
    `(1, n, d)` and `(n, d)` are the instruction alone. The rows are BOS, the learned tokens, then EOS and padding of
    the caption that learning started from. It is a pickle, read with tensors allowed in it and nothing else.

    Raises:
        EditFileError: it is missing, too large, damaged, holds code, or anything but finite rows of that shape.
    """
    data = read_small(path, EditFileError, MAX_BYTES)
    try:
        return _instruction_rows(_load_tensor(data))
    except EditFileError as error:
        raise EditFileError(f"{path}: {error}") from None


def _load_tensor(data: bytes) -> Any:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
    except Exception:  # a damaged archive can fail in any way
        raise EditFileError("not a file that torch.save wrote (or one of before 2020; save it again)") from None
    if unpacked > MAX_BYTES:
        raise EditFileError(f"{unpacked:,} bytes when unpacked is too large (at most {MAX_BYTES:,})")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of tensors that are refused a moment later
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise EditFileError("it holds more than tensors, and could run code when opened; refused") from None
    except Exception:  # likewise
        raise EditFileError("damaged, or not a file that torch.save wrote") from None


def _instruction_rows(loaded: Any) -> Tensor:
    expected = "expected one tensor (3, n, d), (1, n, d) or (n, d) of prompt embeddings"
    if not isinstance(loaded, Tensor):
        raise EditFileError(f"{expected}, found a {type(loaded).__name__}")
    stacked = loaded.ndim == 3 and len(loaded) in (1, 3)
    if loaded.layout != torch.strided or not loaded.is_floating_point() or not (stacked or loaded.ndim == 2):
        raise EditFileError(f"{expected}, found {loaded.dtype} {tuple(loaded.shape)}")
    if not loaded.numel() or loaded.numel() * 4 > MAX_BYTES:  # a small file can claim a large tensor
        raise EditFileError(f"{expected}, found {tuple(loaded.shape)}, which is empty or too large")
    rows = loaded.detach().float()
    if not torch.isfinite(rows).all() or rows.norm(dim=-1).max() > MAX_NORM:
        raise EditFileError(f"it holds values that are not finite, or rows longer than {MAX_NORM:g}")
    if len(rows) == 3 and stacked and not torch.equal(rows[1], rows[2]):
        raise EditFileError("expected an instruction and twice the empty text, found three different texts")
    return (rows[0] if stacked else rows).clone()


def import_prompt_embeds(editor: Editor, path: str | Path, caption: str | None = None) -> Edit:
    """An edit from the authors' `prompt_embeds_*.pt`.

    With the caption it holds what was learned, the rows of the caption's words; the rows around them are rebuilt from
    the caption, and must be those of the file. Without one it holds all rows after BOS: exact too, and larger.

    Args:
        editor: the editor that the file was learned with, in float32, so that its rows can be compared.
        path: of the file.
        caption: the text that learning started from: `learned_prompt.txt` beside the file, or the hard prompt.

    Raises:
        EditFileError: see `read_prompt_embeds`; or rows of another text encoder, or of another caption.
        UsageError: a caption without words, or too long.
    """
    rows, space = read_prompt_embeds(path), editor.space
    if space.kind != ENCODER_OUTPUT:
        raise UsageError(
            f"the authors' files hold rows of a text encoder's output; this editor's instructions are of kind "
            f"{space.kind}. Load it without space=..."
        )
    if rows.shape != (space.length, space.width):
        raise EditFileError(
            f"{path}: it holds {tuple(rows.shape)} rows, the editor '{editor.name}' ({space.model}) has "
            f"{(space.length, space.width)}; name the editor and the model it was learned with (`editor`, `model`)"
        )
    start = editor.instruct(caption or "")
    first, stop = start.free if caption is not None else (1, space.length)
    if stop == first:
        raise UsageError("the caption has no words; leave it out to keep all rows")
    if (distance := _distance(rows[:first], start.rows[:first])) > SAME_ROWS:
        raise EditFileError(
            f"{path}: its first row differs from that of {space.model} by {distance:.0%}, and no text changes that "
            "row: it comes from another text encoder; name the model it was learned with (`model`)"
        )
    if stop < space.length and (distance := _distance(rows[stop:], start.rows[stop:])) > SAME_ROWS:
        raise EditFileError(
            f"{path}: the rows after its tokens differ from those of the caption '{caption}' by {distance:.0%}; give "
            "the text it was learned from (learned_prompt.txt beside it), or no caption, to keep all rows"
        )
    known = {field.name for field in dataclasses.fields(editor.settings)}
    return Edit(
        tokens=rows[first:stop].clone(),
        space=space,
        editor=editor.name,
        init_text=caption or "",
        start=first,
        resolution=editor.resolution,
        settings={name: value for name, value in AUTHORS_SETTINGS.items() if name in known},
        training={"recipe": "visii", "imported_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()},
    )


def _distance(rows: Tensor, expected: Tensor) -> float:
    """The largest distance of two rows, relative to the expected one."""
    expected = expected.to(rows)
    return float(((rows - expected).norm(dim=1) / expected.norm(dim=1)).max())


def export_npz(edit: Edit, editor: Editor, path: str | Path, *, any_model: bool = False) -> None:
    """Write an edit, by the editor it was learned with, as plain arrays that `numpy.load` reads without pickle.

    `tokens (k, d)`, `start ()`, `init_text ()`, `base_model ()`, and for this editor `prompt_embeds (1, n, d)` and
    `negative_prompt_embeds (1, n, d)`, all float32 or text; of an editor that reads a pooled vector also
    `pooled_prompt_embeds (1, p)` and `negative_pooled_prompt_embeds (1, p)`. Of an editor whose text encoder sees the
    photo there are no embeddings without one, but `offsets (n, d)`: what is added to the last n rows of any photo's.
    For `any_model` see `Edit.check_space`.

    Raises EditorMismatch for an edit of another instruction space, OutputError where no `*.npz` can be written there.
    """
    import numpy as np

    path = Path(path)
    if path.suffix != ".npz":
        raise OutputError(f"{path}: files of this format are named *.npz")
    edit.check_space(editor.space, any_model=any_model)
    arrays: dict[str, Any] = {
        "tokens": edit.arrays()["tokens"],
        "start": np.array(edit.start),
        "init_text": np.array(edit.init_text),
        "base_model": np.array(edit.space.model),
    }
    told = {"": edit.instruction(editor.instruct(edit.init_text)), "negative_": editor.instruct("")}
    if editor.space.kind == ENCODER_OUTPUT_OFFSET:
        arrays["offsets"], told = told[""].rows.cpu().numpy(), {}
    for prefix, instruction in told.items():
        encoded = instruction.encoded()
        arrays[f"{prefix}prompt_embeds"] = encoded.rows[None].cpu().numpy()
        if encoded.pooled is not None:
            arrays[f"{prefix}pooled_prompt_embeds"] = encoded.pooled[None].cpu().numpy()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def prompt_embeds(edit: Edit, pipeline: Any, *, any_model: bool = False) -> Tensor:
    """An edit as the `prompt_embeds (1, n, d)` of somebody's own diffusers pipeline, in its precision, on its device.

    Args:
        edit: a learned edit.
        pipeline: `StableDiffusionInstructPix2PixPipeline`, `StableDiffusionControlNetPipeline`, or another with the
            same parts.
        any_model: see `Edit.check_space`; needed for edit files of format version 1 in half precision, in which they do
            not recognise the model.

    Raises EditorMismatch for a pipeline of another model, UsageError for what is no such pipeline.
    """
    wanted = ("tokenizer", "text_encoder", "unet", "vae")
    if missing := [name for name in wanted if getattr(pipeline, name, None) is None]:
        raise UsageError(
            f"expected a pipeline with {', '.join(wanted)}, got a {type(pipeline).__name__} without {missing[0]}"
        )
    tokenizer, text_encoder = pipeline.tokenizer, pipeline.text_encoder
    networks = [pipeline.unet, *([pipeline.controlnet] if hasattr(pipeline, "controlnet") else [])]
    if text_encoder.dtype != torch.float32 and not any_model and not digests(edit.space.fingerprint):
        raise UsageError(
            f"the pipeline is in {text_encoder.dtype}, in which an edit file of format version 1 does not recognise "
            "its model; load it in float32, or pass any_model=True if it is the one that the edit was learned with"
        )
    before_encoder = edit.space.kind == INPUT_EMBEDDING
    kind = INPUT_EMBEDDING if before_encoder else ENCODER_OUTPUT
    space = space_of(text_encoder, tokenizer, networks, pipeline.vae, type(pipeline).__name__, kind=kind)
    edit.check_space(space, any_model=any_model)
    encoder = encoder_of(tokenizer, text_encoder) if before_encoder else None
    with torch.no_grad():  # the pipeline is somebody's own, and need not be frozen
        rows = edit.instruction(instruct(edit.init_text, tokenizer, text_encoder, encoder)).encoded().rows
    return rows[None].to(text_encoder.device, text_encoder.dtype)
