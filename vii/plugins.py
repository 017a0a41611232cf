"""What other packages offer by entry points: editors, methods and captioners that are named like those in here."""

import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar

Row = TypeVar("Row")
Built = TypeVar("Built")


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


@dataclass(frozen=True)
class Entry(Generic[Built]):
    """A row of a table of what is built by name, and what an entry point of its group stands for.

    Attributes:
        build: gives it; a function or a class, or `package.module:name` of one, which is then imported only when it is
            needed.
        description: one line.
        error: what is raised where it cannot be built.
    """

    build: Callable[..., Built] | str
    description: str
    error: ClassVar[type[Exception]]

    def builder(self) -> Callable[..., Built]:
        """The function or class behind `build`; raises `error` where it cannot be imported."""
        if not isinstance(self.build, str):
            return self.build
        try:
            return pkgutil.resolve_name(self.build)
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(f"'{self.build}' cannot be imported ({error})") from None

    @classmethod
    def offered(cls, plugin: Plugin, **fields: Any) -> Self:
        """The row that another package offers; of one that cannot be used, a row with these fields that says why."""
        if isinstance(plugin.value, cls):
            return plugin.value
        kind, wanted = type(plugin.value).__name__, f"{cls.__module__}.{cls.__name__}"
        what = f"the entry point '{plugin.name}' of {plugin.package} must be a {wanted}, got a {kind}"
        problem = plugin.problem or what
        return cls(partial(_refuse, cls.error, problem), f"not usable: {problem}", **fields)


def _refuse(error: type[Exception], problem: str, **_options: Any) -> NoReturn:
    raise error(problem)


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
