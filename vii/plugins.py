"""What other packages offer by entry points: editors, methods and captioners that are named like those in here."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name on the command line, whose package offers it, and its value, or why there is none."""

    name: str
    package: str
    value: Any = None
    problem: str = ""


def plugins(group: str) -> Iterator[Plugin]:
    """The entry points of a group, such as "vii.editors", by name; a broken one says so and disturbs no other."""
    for point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name):
        package = point.dist.name if point.dist else "an unknown package"
        try:
            yield Plugin(point.name, package, point.load())
        except (Exception, SystemExit) as error:  # whatever somebody else's module raises when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield Plugin(point.name, package, problem=f"'{point.value}' of {package} cannot be loaded ({reason})")


class Table(Mapping[str, Row], Generic[Row]):
    """Rows by name: our own, and those that other packages offer, which are read when first asked for."""

    def __init__(self, group: str, own: Mapping[str, Row], row: Callable[[Plugin], Row]) -> None:
        """Read nothing yet; `row` turns a plugin, perhaps a broken one, into its row. Our own names are kept."""
        self._group, self._own, self._row = group, own, row

    @cached_property
    def _rows(self) -> Mapping[str, Row]:
        offered = (one for one in plugins(self._group) if one.name not in self._own)
        return {**self._own, **{one.name: self._row(one) for one in offered}}

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._rows

    def __getitem__(self, name: str) -> Row:
        return self._own[name] if name in self._own else self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
