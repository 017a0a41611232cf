"""An edit as numbers: what the heads of the CLIP's training read off a text or a change."""

import math

import torch
from torch import Tensor

from vii.evaluation.synthetic import FAMILIES, SyntheticEdit, compose, make


class Targets:
    """Which numbers the auxiliary heads are asked to read off an edit.

    One column a family; then, once for what changes the picture itself and once for what is laid over it, columns
    for every parameter: cosine and sine of a hue, a number scaled to [-1, 1], one column a word.
    """

    def __init__(self) -> None:
        self.families = list(FAMILIES)
        self.columns: dict[tuple[bool, str, str], int] = {}
        for family in FAMILIES.values():
            for name, parameter in family.parameters.items():
                kinds = ["cos", "sin"] if parameter.high == 360 else ["number"] if parameter.word_share < 1 else []
                for kind in [*kinds, *parameter.words]:
                    self.columns.setdefault((_laid_over(family.name), name, kind), len(self))

    def __len__(self) -> int:
        return len(self.families) + len(self.columns)

    def of(self, edit: SyntheticEdit) -> tuple[Tensor, Tensor]:
        """Targets `(n,)` in [-1, 1] and the weights `(n,)` that say which of them mean anything for this edit."""
        targets, weights = torch.zeros(len(self)), torch.zeros(len(self))
        weights[: len(self.families)] = 1
        for part in edit.parts or (edit,):
            targets[self.families.index(part.name)] = 1
            for name, value in part.params.items():
                parameter, where = FAMILIES[part.name].parameters[name], (_laid_over(part.name), name)
                columns = {kind: self.columns[(*where, kind)] for kind in parameter.words}
                weights[list(columns.values())] = 1
                if isinstance(value, str):
                    targets[columns[value]] = 1
                elif parameter.high == 360:
                    for kind, number in (("cos", math.cos), ("sin", math.sin)):
                        targets[self.columns[(*where, kind)]] = number(math.radians(value))
                        weights[self.columns[(*where, kind)]] = 1
                else:
                    middle, half = (parameter.high + parameter.low) / 2, (parameter.high - parameter.low) / 2
                    targets[self.columns[(*where, "number")]] = (value - middle) / half
                    weights[self.columns[(*where, "number")]] = 1
        return targets, weights


def _laid_over(family: str) -> bool:
    return FAMILIES[family].group not in ("color", "light", "style")


def kind_of(edit: SyntheticEdit) -> str:
    """What pairs must share to count as the same edit: everything but strengths and sizes."""
    parts = []
    for part in edit.parts or (edit,):
        known = FAMILIES[part.name].parameters
        said = {key: value for key, value in part.params.items() if known[key].words or known[key].high == 360}
        parts.append(make(part.name, **said))
    return compose(*parts).instruction()
