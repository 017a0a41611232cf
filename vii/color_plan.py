"""Edits that are colour transforms, applied without an editor and without torch.

`ColorApplication` is to pictures as files hold them what `vii.application.Application` is to tensors.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .arrangement import SIZES, arrangement, chained, check_choice
from .edit_list import Edits, weighted_edits
from .errors import UsageError
from .finish.tiles import Array, by_rows, scaled
from .record import chunks, record
from .sizes import MULTIPLE, fitted_size

Pixels = TypeVar("Pixels", bound=npt.NDArray[Any])
Box = tuple[int, int, int, int]


def needs_editor(edits: Edits, text: str = "", *, finish: str = "auto") -> bool:
    """Whether an editor has a part in applying edits and words; where not, `ColorApplication` does it.

    Arguments and errors as `Application`.
    """
    return arrangement(weighted_edits(edits), words=bool(text), finish=finish).run is not None


class ColorApplication:
    """Edits that need no editor, made ready for photos; attributes as those of `Application`."""

    warnings: tuple[str, ...] = ()

    def __init__(self, edits: Edits, *, size: str = "photo") -> None:
        """Check everything.

        Args:
            edits: one edit; or several, each with a weight, which are applied in the order given.
            size: "photo", or "editor": about the area of the pictures that the first edit was learned at.

        Raises UsageError for no edit, one that needs an editor, a weight that cannot be, or an unknown size.
        """
        check_choice("size", size, SIZES)
        self.edits, self.size = weighted_edits(edits), size
        steps = arrangement(self.edits)
        if not self.edits or steps.run is not None:
            names = [edit.title or "untitled" for edit, _ in self.edits if edit.needs_editor]
            raise UsageError(f"expected edits that need no editor, got {', '.join(names) or 'none'}; use Application")
        self._steps, self._resolution = steps.before, self.edits[0][0].resolution
        if size == "editor" and not self._resolution:
            raise UsageError("this edit was learned without an editor, so there is no size of one; leave out `size`")

    def __call__(self, pixels: Pixels, mask: Array | Box | None = None) -> Pixels:
        """Edit one photo; besides the result it needs a few megabytes, or few hundred where sharpness counts.

        Args:
            pixels: `(h, w, 3)`, sRGB: uint8, uint16, or floats in [0, 1].
            mask: `(h, w)` in [0, 1], 1 where to edit, 0 where the photo stays as it is; or a box `x, y, w, h` inside
                the photo; None for everywhere.

        Returns:
            `(h', w', 3)` of the same type (float32 of any floats).

        Raises UsageError for a mask of another size, or a box that does not lie inside the photo.
        """
        height, width, _ = pixels.shape
        change, region = chained(self._steps, pixels), _in_rows(mask, height, width)

        def evaluate(colors: Array, start: int, stop: int) -> Array:
            changed = change(colors, start, stop)
            if region is None:
                return changed
            inside = region[start:stop].reshape(-1)
            return colors + inside * (changed - colors)

        result: Any = by_rows(pixels, evaluate)
        if self.size == "editor":
            size, kind = fitted_size(height, width, self._resolution, MULTIPLE), result.dtype
            result = scaled(result, *size)
            most = np.iinfo(kind).max if np.issubdtype(kind, np.integer) else None
            result = np.rint(result.clip(0, most)).astype(kind) if most else result.clip(0, 1)
        return result  # type: ignore[no-any-return]

    def record(
        self, picture: npt.NDArray[Any], mask: Array | Box | None = None, *, names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """How a picture was made; see `Application.record`."""
        names = [edit.title for edit, _ in self.edits] if names is None else names
        return record(
            None,
            [(name, weight, edit) for name, (edit, weight) in zip(names, self.edits, strict=True)],
            None,
            region=mask if mask is None or isinstance(mask, tuple) else "mask",
            size=(picture.shape[1], picture.shape[0]),
            editors_size=self.size == "editor",
        )

    def chunks(
        self, picture: npt.NDArray[Any], mask: Array | Box | None = None, *, names: Sequence[str] | None = None
    ) -> dict[str, str]:
        """The same as text for `vii.pictures.write_picture(..., text=...)`."""
        return chunks(self.record(picture, mask, names=names), None)


def _in_rows(mask: Array | Box | None, height: int, width: int) -> Array | None:
    """A mask `(h, w)` of float32."""
    if not isinstance(mask, tuple):
        if mask is not None and mask.shape != (height, width):
            raise UsageError(f"expected a mask of the photo's size ({height}, {width}), got {mask.shape}")
        return mask
    x, y, w, h = mask
    if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise UsageError(f"the box {x},{y},{w},{h} does not lie inside the photo of {width} x {height}")
    inside = np.zeros((height, width), np.float32)
    inside[y : y + h, x : x + w] = 1
    return inside
