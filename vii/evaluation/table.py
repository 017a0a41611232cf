"""Tables of texts, as Markdown that is aligned for a terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What a cell holds where there is no figure.
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of each row is its heading, and the other columns stand to the right."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table in GitHub's Markdown; the columns of numbers align to the right, which rich's tables do not say."""
        lines = [self.header, *self.rows]
        widths = [max(4, *(len(line[column]) for line in lines)) for column in range(len(self.header))]

        def line(cells: Sequence[str]) -> str:
            first, *others = (
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return f"| {' | '.join([first, *others])} |"

        rule = "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths))
        caption = [f"**{self.caption}**", ""] if self.caption else []
        return "\n".join([*caption, line(self.header), f"|{rule}|", *map(line, self.rows)])


def number(value: float | None, form: str) -> str:
    """A number in a format such as `.2f`; `NOTHING` for none, and for those that are not finite."""
    return NOTHING if value is None or not math.isfinite(value) else format(value, form)
