"""What an editor needs besides the package, and what learning with it was measured to take.

Only figures that were measured stand in these records, with what they were measured on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """Learning one edit from one pair.

    Attributes:
        device: "cpu", "cuda" or "mps".
        took: how long.
        memory: bytes, the peak of the whole process, or None where it was not measured.
        basis: what it was measured on, and where it is written.
    """

    device: str
    took: str
    memory: int | None
    basis: str


@dataclass(frozen=True)
class Needs:
    """What one editor needs.

    Attributes:
        folder: weights that ship with the package.
        models: id on the Hugging Face Hub -> what it is for.
        measured: what learning took.
    """

    folder: Path | None = None
    models: Mapping[str, str] | None = None
    measured: tuple[Measured, ...] = ()
