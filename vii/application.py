"""Apply learned edits to photos: alone, with words, with other edits, everywhere or in a region.

(Named so that the function `vii.apply` does not shadow its module.)
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .diffusion import BANKED, Noise
from .edit_file import Edit
from .editor import Editor
from .errors import UsageError
from .images import resize
from .instruction import Instruction, join
from .settings import override

Edits = Edit | Sequence[Edit | tuple[Edit, float]] | None


def apply(
    editor: Editor,
    edits: Edits,
    image: Tensor,
    *,
    text: str = "",
    join_text: bool = False,
    mask: Tensor | None = None,
    seed: int = 0,
    reuse_noise: bool | None = None,
    full_size: bool = False,
    any_model: bool = False,
    **settings: Any,
) -> Tensor:
    """Edit one photo.

    Args:
        editor: the editor that the edits were learned with.
        edits: one edit; several, each with a weight (1 as learned, 0 not at all, negative the other way); or None for
            words alone.
        image: `(3, h, w)` in [0, 1], any size; see `fitted_size` for the size it is worked on at.
        text: words to add, as one more guidance branch of weight 1.
        join_text: put the words after the tokens of the first edit instead, `BOS tokens | words | EOS`, as the paper's
            hybrid instruction does; weaker on the embedded editor (LOG.md).
        mask: `(h, w)` or `(1, h, w)` in [0, 1], of any size, scaled to the photo: 1 where to edit, 0 where the photo
            stays as it is.
        seed: of all random numbers.
        reuse_noise: start from and add the noises that the (first) edit was learned with, each at its timestep (the
            paper's "fixed noise"); needs an edit learned with a noise bank, whose seed is then used instead of `seed`.
            None: where the edit was learned to be applied so (`noise = "reuse"`).
        full_size: give the result at the photo's size instead of the editor's.
        any_model: see `Edit.check_space`.
        settings: fields of the editor's settings (`num_inference_steps`, `guidance_scale`, ...); what is not given
            comes from the first edit, and what that does not say from the model.

    Returns:
        `(3, h', w')` in [0, 1].

    Raises:
        EditorMismatch: an edit was learned for another instruction space.
        UsageError: nothing to do, edits of two kinds of space, a text too long, no noise to reuse, or a setting this
            editor does not have.
    """
    weighted = _weighted(edits)
    if not weighted and not text:
        raise UsageError("nothing to apply: expected an edit, or a text, or both")
    check_together([edit for edit, _ in weighted])
    for edit, _ in weighted:
        edit.check_space(editor.space, any_model=any_model)
    chosen = recommended_settings(editor, weighted[0][0] if weighted else None, **settings)
    noise = _noise(weighted, seed, reuses_noise(weighted, reuse_noise))
    result = editor.edit(editor.encode(image), branches(editor, weighted, text, join_text), chosen, noise)[0]
    if full_size:
        result = resize(result, *image.shape[-2:])
    return result if mask is None else composite(result, image, mask)


def check_together(edits: Sequence[Edit]) -> None:
    """Refuse edits that no one editor can apply, before one is loaded.

    Raises:
        UsageError: they were learned in instruction spaces of different kinds.
    """
    kinds = {edit.space.kind: edit for edit in edits}
    if len(kinds) > 1:
        found = " and ".join(f"{kind} ({edit.title or edit.init_text or 'untitled'})" for kind, edit in kinds.items())
        raise UsageError(
            f"expected edits of one kind of instruction space, got {found}; an editor works in one at a time: apply "
            "one after the other, or learn one of them again in the space of the other (vii learn --space)"
        )


def branches(
    editor: Editor, weighted: Sequence[tuple[Edit, float]], text: str, join_text: bool = False
) -> list[tuple[Instruction, float]]:
    """Each edit, and the words, as a guidance branch of its own, or the words joined to the first edit."""
    built = [(edit.instruction(editor.instruct(edit.init_text)), weight) for edit, weight in weighted]
    if not text:
        return built
    words = editor.instruct(text)
    if join_text and built:
        (first, weight), *others = built
        return [(join(first, words), weight), *others]
    return [*built, (words, 1.0)]


def recommended_settings(editor: Editor, edit: Edit | None, **changes: Any) -> Any:
    """The settings to sample with: those given, over those of the edit, over those of the model."""
    known = {field.name for field in dataclasses.fields(editor.settings)}
    own = {} if edit is None else {key: value for key, value in edit.settings.items() if key in known}
    return override(override(editor.settings, **own), **changes)


def reuses_noise(weighted: Sequence[tuple[Edit, float]], asked: bool | None) -> bool:
    """Whether to use the noises of training: as asked, and where nobody asked, as the first edit was learned."""
    if asked is None:
        return bool(weighted) and weighted[0][0].training.get("noise") == "reuse"
    return asked


def composite(result: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """The result where the mask is 1 and the photo where it is 0, at the result's size."""
    mask = mask if mask.ndim == 3 else mask[None]
    if mask.ndim != 3 or mask.shape[0] != 1:
        raise UsageError(f"expected a mask (h, w) or (1, h, w) in [0, 1], got {tuple(mask.shape)}")
    size = result.shape[-2:]
    mask = resize(mask.float(), *size)
    return mask * result + (1 - mask) * resize(image, *size)


def box_mask(box: tuple[int, int, int, int], height: int, width: int) -> Tensor:
    """A mask `(1, height, width)` that is 1 inside `x, y, w, h`, in pixels of the photo.

    Raises:
        UsageError: the box has no area, or lies outside the photo.
    """
    x, y, w, h = box
    if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise UsageError(f"the box {x},{y},{w},{h} does not lie inside the photo of {width} x {height}")
    mask = torch.zeros(1, height, width)
    mask[:, y : y + h, x : x + w] = 1
    return mask


def _weighted(edits: Edits) -> list[tuple[Edit, float]]:
    if edits is None:
        return []
    if isinstance(edits, Edit):
        return [(edits, 1.0)]
    return [(item, 1.0) if isinstance(item, Edit) else (item[0], float(item[1])) for item in edits]


def _noise(weighted: Sequence[tuple[Edit, float]], seed: int, reuse: bool) -> Noise:
    if not reuse:
        return Noise(seed)
    training = weighted[0][0].training if weighted else {}
    bank_seed = training.get("seed")
    if training.get("noise") not in BANKED or not isinstance(bank_seed, int) or not 0 <= bank_seed < 2**63:
        raise UsageError(
            "this edit was not learned with a noise bank, so there is no noise to reuse; "
            "learn it with --recipe visii or --set noise=bank"
        )
    return Noise(bank_seed, bank=True)
