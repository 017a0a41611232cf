"""Where a starting text comes from.

A good start is worth more than any setting of the optimiser: rows that already mean roughly the right thing lie in a
part of the instruction space that the model knows.
"""

from .pez import TARGETS, PezStep, pez_steps
from .starting import INITS, nearest_captions, nearest_phrases, shorten, starting_texts

__all__ = [
    "INITS",
    "TARGETS",
    "PezStep",
    "nearest_captions",
    "nearest_phrases",
    "pez_steps",
    "shorten",
    "starting_texts",
]
