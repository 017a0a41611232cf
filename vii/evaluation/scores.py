"""Scores, and the file that keeps them: what was measured once under the same conditions is not measured again."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import MARK, write
from ..strict import dumps, finite, loads

# Raised when the file changes its form.
VERSION = 4


@dataclass(frozen=True)
class Point:
    """How good a method that learns is at a moment of learning; see `metric_table` for the figures."""

    seconds: float
    samples: int
    psnr: float


@dataclass(frozen=True)
class Score:
    """One method on one task under one seed, on one photo or as means over all of them.

    Attributes:
        values: name of a metric -> its value, None where there is none; see `metric_table`.
        describable: whether a short instruction says the edit exactly.
        photo: name of the photo; empty for means over the photos of the task.
        picture: file of the result, relative to the folder of the run, where it is kept.
        init_text: the starting text, or the words used.
        curve: the starting text, and every look at the probe set, up to the finished edit; empty where nothing is
            learned.
    """

    task: str
    method: str
    seed: int
    values: Mapping[str, Any]
    describable: bool = False
    photo: str = ""
    picture: str = ""
    init_text: str = ""
    curve: Sequence[Point] = ()

    def plain(self) -> dict[str, Any]:
        """All of it as values that JSON can hold, those of the metrics among the others."""
        fields = dataclasses.asdict(self)
        return {**fields, **fields.pop("values")}


class Scores:
    """The scores in a folder by their key, which names all that they depend on; written after every one of them."""

    def __init__(self, folder: Path) -> None:
        """Read what is there, or raise OutputError where it was not written by this version."""
        self.folder, self.path = folder, folder / "scores.json"
        self._rows = _read(self.path) if self.path.exists() else {}

    def get(self, key: str, pictures: int = 0) -> Score | None:
        """The score of this key, if it and as many of its pictures are there."""
        complete = all(path.exists() for path in self.pictures(key, pictures))
        return self._rows.get(key) if complete else None

    def add(self, key: str, score: Score) -> None:
        """Keep a score; the file is whole whenever the run is stopped."""
        self._rows[key] = score
        content = {
            "software": MARK,
            "version": VERSION,
            "rows": {key: dataclasses.asdict(row) for key, row in self._rows.items()},
        }
        write(self.path, dumps(finite(content), indent=1, sort_keys=False))

    def pictures(self, key: str, count: int) -> Sequence[Path]:
        """Where the first results of a score lie as PNG files."""
        return [self.folder / "pictures" / f"{key[:24]}-{index}.png" for index in range(count)]


def _read(path: Path) -> dict[str, Score]:
    try:
        content: Any = loads(path.read_bytes())
        if not isinstance(content, Mapping) or content.get("version") != VERSION:
            raise ValueError(f"expected version {VERSION} of the scores")
        rows = content["rows"].items()
        return {key: Score(**{**row, "curve": tuple(Point(**point) for point in row["curve"])}) for key, row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{path}: not scores that this version has written ({error}); delete it, or choose another folder"
        ) from None
