"""A node for ComfyUI that turns an edit file into CONDITIONING. This folder can be copied into `ComfyUI/custom_nodes`.

It imports `vii` by its full name, so that a copy works wherever `vii` can be imported, and of it only what needs torch
and safetensors, which ComfyUI has: `pip install --no-deps` is enough there. Nothing of ComfyUI is imported but, where
there is one, `folder_paths`.
"""

import hashlib
import importlib
from pathlib import Path
from typing import Any

from vii.edit_file import Edit, load_edit
from vii.editor import ENCODER_OUTPUT, ENCODER_OUTPUT_OFFSET
from vii.errors import EditorMismatch, UsageError
from vii.files import make_folder
from vii.instruction import Instruction
from vii.library import edit_files, library_folder

FOLDER = "vii_edits"
# ComfyUI's own syntax in a prompt, which a starting text does not have.
EMBEDDING = "embedding:"
# What ComfyUI calls the text encoder of FLUX.1.
T5 = "t5xxl"


class LoadViiEdit:
    """An edit file, and the CLIP of the model it was learned with -> CONDITIONING.

    ComfyUI does with it what it does with an encoded prompt: InstructPixToPixConditioning adds the photo.
    """

    RETURN_TYPES = ("CONDITIONING", "STRING")
    RETURN_NAMES = ("conditioning", "base_model")
    OUTPUT_TOOLTIPS = ("in place of an encoded prompt", "the model that the edit was learned with, to compare")
    FUNCTION = "load"
    CATEGORY = "conditioning/instructpix2pix"
    DESCRIPTION = "Loads an edit learned by vii. Connect the CLIP of the checkpoint that it was learned with."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (ComfyUI's name)
        """What ComfyUI asks for, and shows as a list, a socket and a text field."""
        return {
            "required": {"edit": (list(available_edits()),), "clip": ("CLIP",)},
            "optional": {"text": ("STRING", {"default": "", "tooltip": "words to put after the edit's tokens"})},
        }

    @classmethod
    def IS_CHANGED(cls, edit: str, **_: Any) -> str:  # noqa: N802 (ComfyUI's name)
        """Changes when the file does, so that ComfyUI loads it again."""
        path = available_edits().get(edit)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else ""

    def load(self, edit: str, clip: Any, text: str = "") -> tuple[list[Any], str]:
        """The conditioning, as ComfyUI has it: `[[rows (1, n, d), options], ...]`; and the name of the base model.

        Raises:
            UsageError: no edit of that name, or a text too long.
            EditFileError: not a valid edit file.
            EditorMismatch: a CLIP of another shape.
        """
        known = available_edits()
        if edit not in known:
            raise UsageError(f"no edit called '{edit}' in ComfyUI's models/{FOLDER} or the library of vii")
        loaded = load_edit(known[edit])
        return conditioning(loaded, clip, text), loaded.space.model


def available_edits() -> dict[str, Path]:
    """Name -> path: those in ComfyUI's `models/vii_edits`, which is made, and those in the library of vii."""
    try:
        models = Path(importlib.import_module("folder_paths").models_dir)
    except ImportError:
        return edit_files(library_folder())
    make_folder(models / FOLDER)
    return {**edit_files(library_folder()), **edit_files(models / FOLDER)}


def conditioning(edit: Edit, clip: Any, text: str = "") -> list[Any]:
    """An edit, and words after it, as ComfyUI's CONDITIONING.

    Args:
        edit: a learned edit.
        clip: ComfyUI's CLIP object.
        text: words; as plain text, without ComfyUI's emphasis and embeddings.
    """
    if edit.space.kind == ENCODER_OUTPUT_OFFSET:
        raise UsageError("this edit is for an editor whose text encoder sees the photo, which this node does not know")
    if edit.space.kind != ENCODER_OUTPUT:
        raise UsageError(
            f"this edit is of kind {edit.space.kind}, before the text encoder, and needs no node: write it with 'vii "
            "export EDIT --format comfyui -o NAME.safetensors' to models/embeddings, and embedding:NAME in a prompt"
        )
    encoded, _ = _encode(edit, clip, edit.init_text)
    rows, pooled = encoded[0][0][0].float(), encoded[0][1].get("pooled_output")
    start = Instruction(rows, (edit.start, edit.start), pooled=None if pooled is None else pooled[0])
    learned = edit.instruction(start)
    if text:
        words, read = _encode(edit, clip, text)
        learned = learned.joined(Instruction(words[0][0][0].float(), _words(clip, read)))
    # The pooled vector beside the rows, which SD 1.x ignores, is that of the starting text unless it was learned.
    beside = {} if learned.pooled is None else {"pooled_output": learned.pooled[None].to(encoded[0][0])}
    return [[learned.rows[None].to(encoded[0][0]), options | beside] for _, options in encoded]


def _encode(edit: Edit, clip: Any, text: str) -> tuple[list[Any], Any]:
    """What ComfyUI's CLIP gives for a text, and the tokens that it read."""
    if EMBEDDING in text:
        raise UsageError(f"'{text[:40]}': '{EMBEDDING}' would load another file; expected plain words")
    # Brackets would be taken for emphasis.
    text = text.replace("(", "\\(").replace(")", "\\)")
    wanted, tokens = (1, edit.space.length, edit.space.width), clip.tokenize(text)
    if T5 in tokens:  # which ComfyUI pads to fewer rows than it was trained with, and all of them are seen
        clip = clip.clone()
        clip.set_tokenizer_option(f"{T5}_min_length", edit.space.length)
        tokens = clip.tokenize(text)
    encoded = clip.encode_from_tokens_scheduled(tokens)
    shape = tuple(encoded[0][0].shape)
    if shape[1] > wanted[1] and shape[2] == wanted[2]:
        raise UsageError(f"'{text[:40]}...': too long, there are {wanted[1] - 2} tokens at most")
    if shape != wanted:
        raise EditorMismatch(
            f"this edit was learned for '{edit.editor}' ({edit.space.model}), whose text embeddings are {wanted}; this "
            f"CLIP gives {shape}. Connect the CLIP of the checkpoint that it was learned with"
        )
    return encoded, tokens


def _words(clip: Any, tokens: Any) -> tuple[int, int]:
    """Which tokens of a CLIP are those of the words."""
    if not set(tokens) <= {"l", "g", "h"}:
        raise UsageError("words are put after the tokens of edits for CLIP text encoders alone; leave the text empty")
    ids = [token for token, *_ in next(iter(tokens.values()))[0]]
    end = next(iter(clip.tokenize("").values()))[0][1][0]  # of the empty text: BOS, EOS, padding
    return 1, ids.index(end, 1)


NODE_CLASS_MAPPINGS = {"LoadViiEdit": LoadViiEdit}
NODE_DISPLAY_NAME_MAPPINGS = {"LoadViiEdit": "Load vii edit"}
