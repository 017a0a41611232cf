"""The CLIP term of Visual Instruction Inversion, as pure functions on embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F


def edit_direction(before: Tensor, after: Tensor) -> Tensor:
    """Unit vector `(p,)` from before to after in a joint image-text space (arXiv 2307.14331, section 3.3).

    Of image features `(n, p)`, not normalised, one row a pair.
    """
    return F.normalize((after - before).mean(0), dim=0)


def direction_term(projected: Tensor, direction: Tensor, cap: float) -> Tensor:
    """How well an instruction `(p,)` points along an edit direction, a unit vector: `min(cos, cap)`, to be maximised.

    Capping is the authors' choice: above the cap there is no gradient, so that the term steers early steps and then
    leaves the tokens to the denoising loss.
    """
    return torch.cosine_similarity(projected, direction, dim=0).clamp(max=cap)
