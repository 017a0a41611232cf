"""Edits as they are given to be applied together, each with its weight."""

import math
from collections.abc import Sequence

from .edit import Edit
from .errors import UsageError

Edits = Edit | Sequence[Edit | tuple[Edit, float]] | None
MAX_WEIGHT = 100.0


def weighted_edits(edits: Edits) -> list[tuple[Edit, float]]:
    """Edits as they are given -> each with its weight.

    Raises UsageError for something else, or a weight that is no number in [-`MAX_WEIGHT`, `MAX_WEIGHT`].
    """
    if edits is None or isinstance(edits, Edit):
        return [] if edits is None else [(edits, 1.0)]
    if not isinstance(edits, list | tuple):
        raise UsageError(_no_edit(edits))
    weighted = []
    for item in edits:
        edit, weight = item if isinstance(item, list | tuple) and len(item) == 2 else (item, 1.0)
        if not isinstance(edit, Edit):
            raise UsageError(_no_edit(edit))
        weighted.append((edit, _weight(weight)))
    return weighted


def _weight(weight: object) -> float:
    """Any kind of number, such as NumPy's."""
    try:
        value = math.nan if isinstance(weight, str | bool) else float(weight)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not abs(value) <= MAX_WEIGHT:  # also of NaN
        raise UsageError(
            f"the weight of an edit must be a number from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}, got {weight!r:.40}"
        )
    return value


def _no_edit(given: object) -> str:
    hint = ""
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        hint = "; read an edit file with vii.load_edit"
    elif isinstance(given, int | float):
        hint = "; one edit with a weight is [(edit, 0.5)]"
    elif hasattr(given, "before"):
        hint = "; learn an edit from a pair with vii.invert"
    return f"expected an Edit, or a list of edits and (Edit, weight), got {given!r:.60}{hint}"


def check_together(edits: Sequence[Edit]) -> None:
    """Raise UsageError for edits in spaces of different kinds, which no one editor can apply, before one is loaded."""
    kinds = {edit.space.kind: edit for edit in edits}
    if len(kinds) > 1:
        found = " and ".join(f"{kind} ({edit.title or edit.init_text or 'untitled'})" for kind, edit in kinds.items())
        raise UsageError(
            f"expected edits of one kind of instruction space, got {found}; an editor works in one at a time: apply "
            "one after the other, or learn one of them again in the space of the other (`space`)"
        )
