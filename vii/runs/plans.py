"""What a run does to photos, said in plain values that another process can be given, and the `Plan` that they make."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..color_plan import ColorApplication
from ..edit import Edit
from ..finish.steady import Steady
from ..pictures import read_mask
from ..settings import parse
from .jobs import Plan, digest

if TYPE_CHECKING:
    from torch import Tensor

    from ..editor import Editor

Box = tuple[int, int, int, int]
A_MASK = np.ones((1, 1), np.float32)  # for records, which say only that there was one


@dataclass(frozen=True)
class Request:
    """Edits and words, and how to apply them.

    Attributes:
        edits: with their weights.
        names: of the edits, for records.
        editor: arguments of `load_editor`, with its name as `editor`; None for edits that need none.
        where: the path of a mask, a box `x, y, w, h` in pixels of the photo, or None for everywhere.
        batch: photos that go through the networks at once; None for what there is room for.
        options: arguments of `Application`, without settings of the editor.
        sampling: settings of the editor, by name.
        assignments: further ones as `NAME=VALUE`.
        steady: for photos that are the frames of one clip, see `vii.finish.steady.Steady`; 0 for others.
    """

    edits: Sequence[tuple[Edit, float]]
    names: Sequence[str]
    editor: dict[str, Any] | None
    where: str | Box | None = None
    batch: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    steady: float = 0.0

    def plan(self, loaded: "Editor | None" = None) -> tuple[Plan[Any], Sequence[str]]:
        """Load what is needed, and check all that does not depend on a photo.

        Args:
            loaded: an editor to use instead of the one that `editor` names.

        Returns:
            the plan, and sentences to warn of.

        Raises:
            ViiError: see `load_editor` and `Application`.
        """
        if self.editor is None:
            return self._with_colors(), ()
        if loaded is not None:
            return self._with_editor(loaded)
        from .. import editors  # which loads torch

        options = dict(self.editor)
        return self._with_editor(editors.load_editor(options.pop("editor", None) or editors.DEFAULT_EDITOR, **options))

    def _with_editor(self, editor: "Editor") -> tuple[Plan[Any], Sequence[str]]:
        import torch

        from ..application import Application
        from ..images import from_array, to_array
        from ..region import check_box

        settings = self.sampling | parse(editor.settings, self.assignments)
        application = Application(editor, self.edits, **self.options, **settings)
        where = self.where

        @functools.lru_cache(maxsize=2)  # photos of a size follow each other
        def masked(height: int, width: int) -> "Tensor":
            return torch.from_numpy(read_mask(str(where), (height, width)))[None]

        region = (lambda photo: masked(*photo.shape[-2:])) if isinstance(where, str) else where

        def prepare(pixels: np.ndarray) -> "Tensor":
            photo = from_array(pixels)
            if isinstance(region, tuple):
                check_box(region, *photo.shape[-2:])
            elif region:
                region(photo)  # which refuses a mask of another shape
            return photo

        def edit(photos: Any) -> Any:
            steady = Steady(self.steady) if self.steady else None
            return application.many(photos, region, batch=self.batch, steady=steady)

        record = application.record(torch.empty(3, 0, 0), region, names=self.names) | self._mask()
        return Plan(prepare, edit, to_array, record, application.settings), application.warnings

    def _with_colors(self) -> Plan[np.ndarray]:
        """A plan that needs neither an editor nor torch, and edits photos where they are read."""
        application, where = ColorApplication(self.edits, size=self.options["size"]), self.where

        @functools.lru_cache(maxsize=2)
        def masked(height: int, width: int) -> np.ndarray:
            return read_mask(str(where), (height, width))

        def prepare(pixels: np.ndarray) -> np.ndarray:
            return application(pixels, masked(*pixels.shape[:2]) if isinstance(where, str) else where)

        shown = A_MASK if isinstance(where, str) else where
        record = application.record(np.empty((0, 0, 3)), shown, names=self.names) | self._mask()
        return Plan(prepare, lambda results: results, lambda result, bits: result, record)

    def _mask(self) -> dict[str, str]:
        return {"mask_sha256": digest(Path(self.where))} if isinstance(self.where, str) else {}
