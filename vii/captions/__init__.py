"""Where a starting text comes from.

A good start is worth more than any setting of the optimiser: rows that already mean roughly the right thing lie in a
part of the instruction space that the model knows.
"""

from .retrieval import nearest_phrases, starting_texts

__all__ = ["nearest_phrases", "starting_texts"]
