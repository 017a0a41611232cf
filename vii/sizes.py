"""The sizes at which editors work."""

# What the sides of a picture are multiples of where no editor has said it.
MULTIPLE = 8


def fitted_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """The `(height, width)` at which an editor of this resolution works on a picture.

    The area is about `resolution` squared pixels and the aspect ratio is kept as nearly as multiples of `multiple`
    pixels allow, so that a model sees as many pixels as it was trained on whatever the shape of the photo.
    """
    scale = resolution / (height * width) ** 0.5 / multiple
    return max(1, round(height * scale)) * multiple, max(1, round(width * scale)) * multiple
