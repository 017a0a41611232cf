"""The shipped pair and photos: what `vii demo` shows, and enough to try everything without a picture of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..images import Pair

FOLDER = Path(__file__).parent
DEMO_EDIT = "thermal"


def demo_pair() -> "Pair":
    """The pair that the demo learns from."""
    from ..images import Pair

    return Pair.open(FOLDER / "before.png", FOLDER / "after.png")


def photo_files() -> list[Path]:
    """Photos that the shipped edits have never seen."""
    return sorted((FOLDER / "photos").glob("*.jpg"))


def demo_photos() -> "dict[str, Tensor]":
    """The same as tensors, by name."""
    from ..images import load_image

    return {path.stem: load_image(path) for path in photo_files()}
