"""From what an edit does at an editor's size to a picture of the photo's own size that people would keep.

Every edit is kept as what it is. What is a colour transform, perhaps one that varies with the place in the picture, is
fitted as that and needs no editor (`color`). What only an editor can do is made at the editor's size and carried over
to the photo's own pixels (`detail`). Which of them an edit is, is decided on its pairs (`fitting`), and several edits
come together by the rule of `arrange` (`combining`). Colour transforms go out to other programs, and come in, as
look-up tables (`lut`).

Pictures are arrays `(h, w, 3)` of float32 in [0, 1], sRGB. Numpy only: importing and applying load no torch, fitting
loads scipy. Wrong arrays raise ValueError; files and options that a user gives raise a `ViiError`.
"""

from .color import ColorTransform
from .combining import Colors, EditorStep, arrange
from .finish import Finish
from .fitting import Example, fit_finish
from .lut import Lut, bake, from_hald, hald, read_cube, write_cube

__all__ = [
    "ColorTransform",
    "Colors",
    "EditorStep",
    "Example",
    "Finish",
    "Lut",
    "arrange",
    "bake",
    "fit_finish",
    "from_hald",
    "hald",
    "read_cube",
    "write_cube",
]
