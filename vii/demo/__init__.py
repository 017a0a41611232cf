"""The shipped pair and photos: what `vii demo` shows, and enough to try everything without a picture of one's own."""

from pathlib import Path

from torch import Tensor

from ..images import Pair, load_image

FOLDER = Path(__file__).parent
DEMO_EDIT = "thermal"


def demo_pair() -> Pair:
    """The pair that the demo learns from."""
    return Pair.open(FOLDER / "before.png", FOLDER / "after.png")


def demo_photos() -> dict[str, Tensor]:
    """Photos that the edit has never seen, by name."""
    return {path.stem: load_image(path) for path in sorted((FOLDER / "photos").glob("*.jpg"))}
