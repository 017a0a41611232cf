"""From the small picture that a method without an editor makes to one of the photo's own size."""

import torch
from torch import Tensor

from ..finish import Finish
from ..images import resize

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
    arrays = [image.permute(1, 2, 0).float().cpu().numpy() for image in (photo, seen, made)]
    return torch.from_numpy(finish.finish(*arrays)).permute(2, 0, 1).contiguous()
