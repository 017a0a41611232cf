"""One score a row, kept in a file: what was measured once under the same conditions is not measured again."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import OutputError
from ...files import replacing

# Raised when a measure changes its meaning, so that rows of before are measured again.
VERSION = 2


@dataclass(frozen=True)
class Point:
    """How good a method that learns is at a moment of learning; see `Score` for the figures."""

    seconds: float
    samples: int
    psnr: float


@dataclass(frozen=True)
class Score:
    """One method on one edit under one seed; measures are means over the test photos.

    Attributes:
        edit: name of the edit.
        said: whether a short instruction says it exactly.
        method: name of the method.
        seed: of the choice of the example, of learning and of sampling.
        psnr: dB to the truth.
        ssim: to the truth, in [-1, 1].
        direction: see `vii.evaluation.metrics.direction`; None where the editor has no joint space.
        preserved: see `vii.evaluation.metrics.preserved`; None where the edit changes (nearly) everything in every
            photo.
        leakage: see `vii.evaluation.metrics.leakage`; None where there is one test photo only.
        learn_seconds: from the pair to the edit, choice of a starting text included; 0 where nothing is learned.
        apply_seconds: a photo.
        samples: images through the UNet while learning.
        kilobytes: of the edit file, in thousands of bytes.
        explained: see `Step.explained`; None where nothing is learned.
        init_text: the starting text, or the words used.
        curve: the starting text, and every look at the probe set, up to the finished edit; empty where nothing is
            learned.
    """

    edit: str
    said: bool
    method: str
    seed: int
    psnr: float
    ssim: float
    direction: float | None
    preserved: float | None
    leakage: float | None
    learn_seconds: float = 0.0
    apply_seconds: float = 0.0
    samples: int = 0
    kilobytes: float = 0.0
    explained: float | None = None
    init_text: str = ""
    curve: Sequence[Point] = ()


class Scores:
    """The scores in a folder by their key, which names all that they depend on; written after every one of them."""

    def __init__(self, folder: Path) -> None:
        """Read what is there.

        Raises:
            OutputError: the file there was not written by this version.
        """
        self.folder, self.path = folder, folder / "scores.json"
        self._rows = _read(self.path) if self.path.exists() else {}

    def get(self, key: str, pictures: int = 0) -> Score | None:
        """The score of this key, if it and as many of its pictures are there."""
        complete = all(path.exists() for path in self.pictures(key, pictures))
        return self._rows.get(key) if complete else None

    def add(self, key: str, score: Score) -> None:
        """Keep a score; the file is whole whenever the run is stopped."""
        self._rows[key] = score
        content = {"version": VERSION, "rows": {key: dataclasses.asdict(row) for key, row in self._rows.items()}}
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def pictures(self, key: str, count: int) -> Sequence[Path]:
        """Where the first results of a score lie as PNG files."""
        return [self.folder / "pictures" / f"{key[:24]}-{index}.png" for index in range(count)]


def _read(path: Path) -> dict[str, Score]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or content.get("version") != VERSION:
            raise ValueError(f"expected version {VERSION} of the scores")
        rows = content["rows"].items()
        return {key: Score(**{**row, "curve": tuple(Point(**point) for point in row["curve"])}) for key, row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{path}: not scores that this version has written ({error}); delete it, or choose another folder with -o"
        ) from None
