"""ImageBrush's visual prompt encoder (Sun et al. 2023, arXiv 2308.00906, section 3.2).

Image tokens of the example's two pictures and of the photo, and boxes as Fourier tokens (eq. 7), go through a
bidirectional transformer; what comes out is what the UNet's cross-attention reads.
"""

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_fourier_embeds_from_boundingbox
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from ..preprocessing import Preprocessing

# A box that covers the whole picture: the default (section 3.2).
WHOLE = (0.0, 0.0, 1.0, 1.0)
# E, E' and I.
BEFORE, AFTER, PHOTO = range(3)


class VisualPromptEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Image tokens and boxes of `p` examples and a photo -> the tokens that say the edit.

    The paper gives 5 layers and a width of 768, and boxes encoded as in GLIGEN. Not said there: what tells the three
    kinds of pictures apart (here a learned vector of each), the norm of image tokens, and how they are thinned out.

    Args:
        feature_width: of the image tokens.
        width: of the transformer and of what it gives.
        layers: of the transformer.
        heads: of its attention.
        expansion: width of its feed-forward layers, in widths.
        frequencies: of the Fourier embedding of a box.
        pool: image tokens are averaged over squares of this side.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        feature_width: int = 1024,
        width: int = 768,
        layers: int = 5,
        heads: int = 12,
        expansion: int = 4,
        frequencies: int = 8,
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(feature_width), nn.Linear(feature_width, width))
        self.box = nn.Sequential(nn.Linear(8 * frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.kinds = nn.Parameter(0.5 * torch.randn(3, width))  # about as large as image tokens at first
        layer = nn.TransformerEncoderLayer(
            width, heads, expansion * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, before: Tensor, after: Tensor, photo: Tensor, boxes: Tensor) -> Tensor:
        """One pass.

        Args:
            before: `(b, p, n, feature_width)`: image tokens of each example's picture before, see `image_tokens`.
            after: likewise of the pictures after.
            photo: `(b, n, feature_width)`.
            boxes: `(b, p, 2, 4)` in [0, 1]: left, top, right and bottom in the pictures before and after.

        Returns:
            `(b, (2 p + 1) n + 2 p, width)`: of the pictures before, after and the photo, then of the boxes.
        """
        pictures = ((BEFORE, before.flatten(1, 2)), (AFTER, after.flatten(1, 2)), (PHOTO, photo))
        tokens = [self.project(image) + self.kinds[kind] for kind, image in pictures]
        embedded = get_fourier_embeds_from_boundingbox(self.config.frequencies, boxes.flatten(1, 2))
        said = self.box(embedded.to(self.kinds.dtype)).unflatten(1, (-1, 2)) + self.kinds[: AFTER + 1]
        return self.transformer(torch.cat([*tokens, said.flatten(1, 2)], 1))


@torch.no_grad()
def image_tokens(tower: Any, preprocess: Preprocessing, pictures: Tensor, pool: int) -> Tensor:
    """What a CLIP's image tower says of pictures, before its projection.

    Args:
        tower: `CLIPVisionModel` of transformers or its like.
        preprocess: what it wants done to a picture.
        pictures: `(b, 3, s, s)` in [0, 1].
        pool: see `VisualPromptEncoder`.

    Returns:
        `(b, n, feature_width)`: the class token, then those of patches, row by row.
    """
    states: Tensor = tower(pixel_values=preprocess(pictures)).last_hidden_state
    first, patches = states[:, :1], states[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    means = F.avg_pool2d(patches.mT.unflatten(2, (side, side)), pool)
    return torch.cat([first, means.flatten(2).mT], 1)
