"""The sizes at which editors work, and photos of which nothing but the size matters any more."""

from dataclasses import dataclass

# What the sides of a picture are multiples of where no editor has said it.
MULTIPLE = 8


def fitted_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """The `(height, width)` at which an editor of this resolution works on a picture.

    The area is about `resolution` squared pixels and the aspect ratio is kept as nearly as multiples of `multiple`
    pixels allow, so that a model sees as many pixels as it was trained on whatever the shape of the photo.
    """
    scale = resolution / (height * width) ** 0.5 / multiple
    return max(1, round(height * scale)) * multiple, max(1, round(width * scale)) * multiple


@dataclass(frozen=True)
class Done:
    """Instead of a photo whose result is there: it takes its place in a batch, and nothing is computed for it.

    What is made in batches depends on their size, if only by the rounding of sums. With these in the places of photos
    that were done before, a run that goes on has the batches of one that was never stopped.

    Attributes:
        height: of the photo.
        width: of the photo.
    """

    height: int
    width: int
