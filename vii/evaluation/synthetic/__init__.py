"""Image edits with a known right answer for any photo at any size, and the English that asks for them.

`make` names an edit, `compose` chains several, `sample` draws one; `SyntheticEdit.apply` gives the truth,
`SyntheticEdit.instruction` the words that ask for it and `SyntheticEdit.caption` those that describe the result. The
embedded editor was trained on these very formulas and words: a constant changed here changes its task.

Parameters: `s` strength; `c`, `c2` colours; `pos`, `side` and `shape` words; `w` width of a frame or a bar as a share
of each side; `r` size of a shape or a circle as a share of the shorter side; `t` the brightness below which a pixel
turns to ink.
"""

from .edits import DESCRIBABLE, INDESCRIBABLE, SyntheticEdit, captions, compose, make, phrases, sample
from .family import FAMILIES, Family, Parameter
from .pixels import PLACES, SIDES

__all__ = [
    "DESCRIBABLE",
    "FAMILIES",
    "INDESCRIBABLE",
    "PLACES",
    "SIDES",
    "Family",
    "Parameter",
    "SyntheticEdit",
    "captions",
    "compose",
    "make",
    "phrases",
    "sample",
]
