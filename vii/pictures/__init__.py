"""Picture files in and out as numpy arrays, without torch: the only package that opens image files."""

from .folders import Pictures, find_pictures
from .formats import FORMATS, MAX_ASPECT, MAX_PIXELS, MIN_SIDE, SUFFIXES
from .masks import ASPECT_TOLERANCE, read_mask
from .reading import Picture, read_picture, read_text
from .writing import OUTPUT_FORMATS, QUALITY, output_format, write_picture

__all__ = [
    "ASPECT_TOLERANCE",
    "FORMATS",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "MIN_SIDE",
    "OUTPUT_FORMATS",
    "QUALITY",
    "SUFFIXES",
    "Picture",
    "Pictures",
    "find_pictures",
    "output_format",
    "read_mask",
    "read_picture",
    "read_text",
    "write_picture",
]
