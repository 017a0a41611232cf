"""The finish of an edit as a value: what is kept of it, and how it changes a photo."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .color import ColorTransform
from .detail import transfer, upsampled
from .lut import Lut
from .terms import Terms
from .tiles import Array

KINDS = ("color", "detail", "editor")


@dataclass(frozen=True, eq=False)
class Finish:
    """How an edit gets from a photo to a picture of the photo's own size.

    Attributes:
        kind: `color`: a colour transform, and no editor is needed; `detail`: what the editor made is carried over to
            the photo's own pixels; `editor`: it is scaled up as it is.
        color: the transform of the first kind.
        residual: of detail transfer, see `transfer`.
        correction: of detail transfer, `(7, 3)` float32, see `transfer`; made for this edit alone at weight 1.
        errors: for each candidate its PSNR in dB on the pairs, on parts that it was not fitted to.
    """

    kind: str
    color: ColorTransform | Lut | None = None
    residual: float | None = None
    correction: Array | None = None
    errors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts belong together, for they may come from a file."""
        if self.kind not in KINDS or (self.kind == "color") != (self.color is not None):
            raise ValueError(
                f"expected a finish of kind {', '.join(KINDS)}, and a transform for 'color' only: {self.kind!r}"
            )
        if self.kind != "detail" and (self.residual is not None or self.correction is not None):
            raise ValueError("a residual and a correction belong to a finish of kind 'detail'")
        if self.residual is not None and not 0 <= self.residual <= 1:
            raise ValueError(f"expected a residual of 0 to 1, a share of the shorter side, got {self.residual}")
        if self.correction is not None and (self.correction.shape != (7, 3) or not np.isfinite(self.correction).all()):
            raise ValueError(f"expected a finite correction (7, 3), got {self.correction.shape}")

    @property
    def needs_editor(self) -> bool:
        """Whether applying needs what an editor makes of the photo."""
        return self.kind != "color"

    @property
    def is_color_map(self) -> bool:
        """Whether it can be written as a LUT: a colour alone decides what becomes of it, wherever it is."""
        return self.color is not None and self.color.is_map

    def describe(self) -> str:
        """What the edit consists of, in one line."""
        if self.color is not None:
            terms = getattr(self.color, "terms", None)
            parts = ["sharpness"] * bool(terms and terms.radii) + ["light by place"] * bool(terms and terms.place)
            return f"{' and '.join(['colours', *parts])}, no editor needed"
        if self.kind == "editor":
            return "tokens; the editor's result is scaled up"
        rest = "with detail from the photo"
        return f"tokens, {rest}" + (" and corrected colours" if self.correction is not None else "")

    def finish(self, photo: Array, seen: Array, made: Array, *, correct: bool = True) -> Array:
        """The picture at the photo's size `(H, W, 3)`, for a finish that needs an editor.

        Args:
            photo: `(H, W, 3)` in [0, 1].
            seen: `(h, w, 3)`: the photo at the editor's size.
            made: `(h, w, 3)`: what the editor made of it.
            correct: with the correction, where there is one; see `arrange` for when.
        """
        if self.kind == "color":
            raise ValueError("a colour transform is applied to the photo itself: finish.color(photo, weight)")
        if self.kind == "editor":
            return upsampled(photo, made)
        return transfer(photo, seen, made, self.residual, self.correction if correct else None)

    def tensors(self) -> dict[str, Array]:
        """The arrays to store, by name; `from_parts` takes them back."""
        found = {} if self.correction is None else {"correction": self.correction}
        if self.color is None:
            return found
        return {"lut": self.color.table} if isinstance(self.color, Lut) else {"color": self.color.coefficients}

    def fields(self) -> dict[str, Any]:
        """The rest of it, as values that JSON has."""
        found: dict[str, Any] = {"kind": self.kind, "errors": {k: round(float(v), 2) for k, v in self.errors.items()}}
        if self.residual is not None:
            found["residual"] = self.residual
        if isinstance(self.color, ColorTransform):
            terms = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.color.terms).items()}
            found["terms"] = {name: value for name, value in terms.items() if name != "radii" or value}
        if isinstance(self.color, Lut):
            found["domain"] = [list(self.color.low), list(self.color.high)]
        return found

    @classmethod
    def from_parts(cls, fields: Mapping[str, Any], tensors: Mapping[str, Array]) -> "Finish":
        """The inverse of `fields` and `tensors`; nothing in them is trusted.

        Raises:
            ValueError: a field or an array is missing, unknown, of another type or shape, or not finite.
        """
        try:
            return cls._from_parts(dict(fields), {k: np.asarray(v, np.float32) for k, v in tensors.items()})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"expected the fields of a finish, got something else ({error})") from None

    @classmethod
    def _from_parts(cls, fields: dict[str, Any], tensors: dict[str, Array]) -> "Finish":
        color: ColorTransform | Lut | None = None
        if "terms" in fields:
            terms = {**fields.pop("terms")}
            if any(type(terms.get(name, 0)) is not int for name in ("degree", "knots", "place_knots")):
                raise ValueError(f"expected whole numbers in the terms of a colour transform, got {terms}")
            lists = {name: tuple(terms.get(name, ())) for name in ("axes", "radii")}
            color = ColorTransform(Terms(**terms | lists), tensors.pop("color"))
        elif "domain" in fields:
            low, high = (tuple(map(float, end)) for end in fields.pop("domain"))
            color = Lut(tensors.pop("lut"), low, high)
        errors = {str(name): float(value) for name, value in fields.pop("errors", {}).items()}
        if not all(np.isfinite(list(errors.values()))):
            raise ValueError(f"expected finite errors in dB, got {errors}")
        kind, residual, correction = fields.pop("kind"), fields.pop("residual", None), tensors.pop("correction", None)
        if residual is not None and type(residual) not in (int, float):
            raise ValueError(f"expected a number as residual, got {residual!r:.40}")
        if fields or tensors:
            raise ValueError(f"unknown parts of a finish: {', '.join(sorted([*fields, *tensors]))}")
        return cls(kind, color, None if residual is None else float(residual), correction, errors)
