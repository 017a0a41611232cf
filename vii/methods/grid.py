"""The canvas on which an example is shown to an inpainting model: pairs, the photo, and a cell left for the answer.

```
A  A'      examples first, one a row, before on the left
B  B'      the photo, and the answer B'
```

Bar et al. 2022, "Visual prompting via image inpainting", section 3.1; Gu et al. 2024, "Analogist", section 3.2. Knows
no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from ..images import Pair, resize

# Below this a cell shows nothing that could be imitated.
LEAST_CELL = 8
# Axes of `(3, h, w)` to mirror: as it is, left to right, upside down.
FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (1,))
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Grid:
    """Where the cells of a canvas lie. Pictures are squeezed into square cells, whatever their shape.

    Attributes:
        cell: pixels a side of a picture.
        examples: pairs shown, one a row.
        margin: pixels around all cells.
        gap: pixels between two cells.
        swapped: whether pairs stand in columns: before above after. It puts the pictures before, A and B, side by side,
            for where these two are aligned and A and A' are not.
        side: a canvas is filled up to this height and width, at its bottom and right.
        background: of what no picture covers, 0 black to 1 white.
    """

    cell: int
    examples: int = 1
    margin: int = 0
    gap: int = 0
    swapped: bool = False
    side: int = 0
    background: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what has no room for pictures."""
        if self.examples < 1:
            raise UsageError(f"examples: a grid shows at least one pair, got {self.examples}")
        if self.cell < LEAST_CELL:
            raise UsageError(
                f"a grid of {self.examples + 1} rows leaves {self.cell} pixels a side for each picture; it needs at "
                f"least {LEAST_CELL}: show fewer pairs, or use a larger canvas"
            )
        if min(self.margin, self.gap, self.side) < 0 or not 0 <= self.background <= 1:
            raise UsageError(f"a grid has no negative lengths, and a background in [0, 1]; got {self}")

    @classmethod
    def within(cls, side: int, examples: int = 1, *, margin: int = 0, gap: int = 0, **options: bool | float) -> "Grid":
        """The largest cells that fit `examples` pairs and the photo on a square canvas of `side` pixels."""
        cells = examples + 1
        cell = (side - 2 * margin - (cells - 1) * gap) // cells
        return cls(cell, examples, margin, gap, side=side, **options)  # type: ignore[arg-type]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns."""
        return (2, self.examples + 1) if self.swapped else (self.examples + 1, 2)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the canvas, in pixels."""
        down, across = (
            max(self.side, 2 * self.margin + count * self.cell + (count - 1) * self.gap) for count in self.cells
        )
        return down, across

    def place(self, example: int, after: bool) -> tuple[int, int]:
        """Row and column of a picture; `example` counts pairs from 0, and is the photo where it equals `examples`."""
        return (int(after), example) if self.swapped else (example, int(after))

    def box(self, example: int, after: bool) -> Box:
        """Top, left, bottom and right of a picture, in pixels."""
        top, left = (self.margin + index * (self.cell + self.gap) for index in self.place(example, after))
        return top, left, top + self.cell, left + self.cell

    def region(self, example: int, after: bool) -> Box:
        """A picture's part of the canvas: up to half of the gap to its neighbours, and of the margin all."""
        edges = []
        for index, count in zip(self.place(example, after), self.cells, strict=True):
            start = self.margin + index * (self.cell + self.gap)
            low = start - self.gap // 2 if index else 0
            high = start + self.cell + (self.gap - self.gap // 2 if index + 1 < count else self.margin)
            edges.append((low, high))
        (top, bottom), (left, right) = edges
        return top, left, bottom, right

    @property
    def answer(self) -> Box:
        """The region of B'."""
        return self.region(self.examples, True)

    def mask(self) -> Tensor:
        """`(1, h, w)`: 1 in the region of the answer, which is to be made, 0 elsewhere."""
        mask = torch.zeros(1, *self.shape)
        top, left, bottom, right = self.answer
        mask[:, top:bottom, left:right] = 1
        return mask

    def draw(self, pairs: Sequence[Pair], photo: Tensor, answer: Tensor | None = None) -> Tensor:
        """The canvas.

        Args:
            pairs: as many as `examples`, of any sizes.
            photo: `(3, h, w)` in [0, 1], of any size.
            answer: likewise, what the cell of the answer shows; None for the background.

        Returns:
            `(3, h, w)` in [0, 1].

        Raises:
            UsageError: another number of pairs.
        """
        if len(pairs) != self.examples:
            raise UsageError(f"pairs: this grid shows {self.examples}, got {len(pairs)}")
        canvas = torch.full((3, *self.shape), self.background, device=photo.device)
        rows = [*((pair.before, pair.after) for pair in pairs), (photo, answer)]
        for example, (before, after) in enumerate(rows):
            for image, is_after in ((before, False), (after, True)):
                if image is not None:
                    top, left, bottom, right = self.box(example, is_after)
                    canvas[:, top:bottom, left:right] = resize(image, self.cell, self.cell)
        return canvas

    def with_photo_as_answer(self, canvas: Tensor) -> Tensor:
        """A copy with the region of the photo B pasted over that of the answer B', as Analogist starts from it."""
        canvas = canvas.clone()
        top, left, bottom, right = self.region(self.examples, False)
        photo = canvas[:, top:bottom, left:right].clone()
        top, left, bottom, right = self.answer
        canvas[:, top:bottom, left:right] = resize(photo, bottom - top, right - left)
        return canvas

    def cut(self, canvas: Tensor) -> Tensor:
        """The answer `(3, cell, cell)` out of a canvas `(3, h, w)`."""
        top, left, bottom, right = self.box(self.examples, True)
        return canvas[:, top:bottom, left:right]


def over_flips(
    answer: Callable[[Sequence[Pair], Tensor], Tensor],
    pairs: Sequence[Pair],
    photo: Tensor,
    flips: Sequence[tuple[int, ...]] = FLIPS,
) -> Tensor:
    """The mean of answers to mirrored pictures, each mirrored back (Bar et al. 2022, appendix: ensembling).

    Args:
        answer: pairs and a photo -> `(3, h, w)`.
        pairs: the examples.
        photo: `(3, h, w)` in [0, 1].
        flips: for each answer the axes of `(3, h, w)` that are mirrored; the edit must not depend on place along them.
    """
    made = []
    for axes in flips:
        mirrored = [Pair(pair.before.flip(axes), pair.after.flip(axes)) for pair in pairs]
        made.append(answer(mirrored, photo.flip(axes)).flip(axes))
    return torch.stack(made).mean(0)
