"""What other packages offer by entry points: editors, methods and captioners that are named like those in here."""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plugin:
    """One entry point.

    Attributes:
        name: what it is called on the command line.
        package: name of the distribution that offers it.
        value: what it stands for, or None where it cannot be loaded.
        problem: why not, in one line.
    """

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
