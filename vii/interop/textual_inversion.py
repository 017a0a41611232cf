"""Edits as textual inversions, the embedding files that other programs put in place of a word of a prompt.

Only edits learned in the input embeddings of a text encoder can go there. Their tokens, in a prompt of their own, are
followed by EOS and padding, as they were when they were learned, so that the prompt is the whole edit.
"""

import re
from pathlib import Path

from ..edit_file import SUFFIX, Edit, is_edit_name, tensor_bytes
from ..editor import INPUT_EMBEDDING
from ..errors import OutputError, UsageError
from ..files import write

DIFFUSERS, COMFYUI = "diffusers-ti", "comfyui"
# Formats, and what reads them.
TEXTUAL_INVERSION = {DIFFUSERS: "load_textual_inversion of diffusers", "a1111": "AUTOMATIC1111", COMFYUI: "ComfyUI"}
# The one tensor of an embedding file of AUTOMATIC1111, ComfyUI and kohya's scripts; they go by the name of the file.
EMBEDDING = "emb_params"
MAX_NAME = 64


def check_textual_inversion(edit: Edit, kind: str) -> None:
    """Refuse an export that would load elsewhere and mean nothing there.

    Raises UsageError: the edit was not learned in input embeddings, or begins with rows that are not its own.
    """
    if edit.space.kind != INPUT_EMBEDDING:
        raise UsageError(
            f"{kind} holds rows of a text encoder's input embeddings, and this edit's belong to the "
            f"{edit.space.kind.replace('_', ' ')} of {edit.space.encoder}: {TEXTUAL_INVERSION[kind]} would take them, "
            "for the width is the same, and draw something else. Export it with `kind=npz`, whose arrays belong where "
            "the text encoder's output goes, or learn the edit again with `space='input'` where the editor has that"
        )
    if edit.start != 1:
        raise UsageError(
            f"expected an edit whose tokens follow BOS, got one whose tokens start at row {edit.start}: {kind} has no "
            "place for the words before them"
        )


def token_name(edit: Edit) -> str:
    """The placeholder for an edit in a prompt: its title in angle brackets, which no tokenizer takes for a word."""
    name = re.sub(r"[^a-z0-9]+", "-", edit.title.lower())[:MAX_NAME].strip("-")
    return f"<{name or 'vii-edit'}>"


def export_textual_inversion(edit: Edit, path: str | Path, kind: str, name: str | None = None) -> str:
    """Write an edit as a textual inversion, and return what to write in a prompt.

    The file is safetensors with one tensor `(k, d)`, float32. For diffusers it is called as the placeholder, `name` or
    `token_name`; for the others `emb_params`, and the file's name is what they call it by.

    Raises:
        UsageError: see `check_textual_inversion`; or a placeholder that cannot be one, or for a program that has none.
        OutputError: the name does not end in `.safetensors`, ComfyUI could not read it, or it cannot be written.
    """
    check_textual_inversion(edit, kind)
    path = Path(path)
    if not is_edit_name(path):
        raise OutputError(f"{path}: files of this format are named *{SUFFIX}")
    if name is not None and kind != DIFFUSERS:
        raise UsageError(f"{TEXTUAL_INVERSION[kind]} calls an embedding by the name of its file; got token name {name}")
    if kind == COMFYUI and re.search(r"\s", path.stem):
        raise OutputError(f"{path}: ComfyUI reads the name of an embedding up to a space; choose another name")
    chosen = token_name(edit) if name is None else name
    if not chosen.isprintable() or not 0 < len(chosen) <= MAX_NAME + 2 or re.search(r"\s", chosen):
        raise UsageError(f"expected a token name of 1 to {MAX_NAME + 2} characters without spaces, got {chosen!r}")
    metadata = {
        "format": "pt",
        "modelspec.title": edit.title,
        "modelspec.author": edit.author,
        "modelspec.license": edit.license,
        "vii.base_model": edit.space.model,
    }
    written = {key: value for key, value in metadata.items() if value}
    tensor = {chosen if kind == DIFFUSERS else EMBEDDING: edit.arrays()["tokens"]}
    write(path, tensor_bytes(tensor, written))
    return {DIFFUSERS: chosen, COMFYUI: f"embedding:{path.stem}"}.get(kind, path.stem)
