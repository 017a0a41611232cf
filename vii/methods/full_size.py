"""From the small picture that a method without an editor makes to one of the photo's own size."""

from torch import Tensor

from ..finish import Finish
from ..images import channels_first, channels_last, resize

# Light and soft things of what was made are kept, its outlines come from the photo. Which finish suits an edit cannot
# be decided on the example here, as learning decides it: the answer to the example stands on the canvas.
SOFT = Finish("detail", residual=1 / 32)


def at_full_size(photo: Tensor, made: Tensor, finish: Finish = SOFT) -> Tensor:
    """What was made of a photo, carried over to the photo's own pixels; see `vii.finish`.

    Args:
        photo: `(3, h, w)` in [0, 1].
        made: `(3, h', w')` in [0, 1], of the whole photo, perhaps squeezed.
        finish: how.

    Returns:
        `(3, h, w)` in [0, 1].
    """
    seen = resize(photo, *made.shape[-2:])
    return channels_first(finish.finish(*map(channels_last, (photo, seen, made))))
