"""A masked autoencoder that predicts codes of a VQGAN, over stock parts (Bar et al. 2022, section 3.2).

`transformers.ViTMAEForPreTraining` with another head, and `diffusers.VQModel`. Pictures are `(b, 3, s, s)` in [0, 1].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from ..editors.loading import loading
from ..editors.stable_diffusion import pixel_multiple
from ..errors import EditorError
from ..libraries import load_weights, quiet

# Of ImageNet, per channel.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WHAT = "visual prompting model"


class MaskedCodes(ViTMAEForPreTraining):  # type: ignore[misc]
    """ViT-MAE whose decoder ends in logits of `config.num_codes` codes for each patch instead of in its pixels."""

    def __init__(self, config: ViTMAEConfig) -> None:
        super().__init__(config)
        self.decoder.decoder_pred = nn.Linear(config.decoder_hidden_size, config.num_codes)
        self.post_init()

    def forward(self, pictures: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One pass.

        Args:
            pictures: `(b, 3, s, s)` in [0, 1].
            noise: `(b, n)`: the patches of the largest noise are masked; None for random ones.

        Returns:
            logits `(b, n, codes)` of all patches, and the mask `(b, n)`, 1 where a patch was not seen.
        """
        mean, std = (pictures.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        seen = self.vit((pictures - mean) / std, noise=noise)
        return self.decoder(seen.last_hidden_state, seen.ids_restore).logits, seen.mask


# transformers looks up the names of weights in older files, which the published ones are, by the name of the class.
MaskedCodes.__name__ = ViTMAEForPreTraining.__name__


@contextmanager
def masking(mae: MaskedCodes, count: int) -> Iterator[None]:
    """Let exactly `count` patches be masked for the duration."""
    config, patches = mae.vit.embeddings.config, mae.vit.embeddings.patch_embeddings.num_patches
    ratio = config.mask_ratio
    # transformers keeps int(n (1 - ratio)): half a patch less than asked for is safe from rounding.
    config.mask_ratio = (count - 0.5) / patches
    try:
        yield
    finally:
        config.mask_ratio = ratio


def code_loss(logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the masked patches, their mean (section 3.2); see `MaskedCodes.forward`; `codes` is `(b, n)`."""
    errors = F.cross_entropy(logits.mT, codes, reduction="none")
    return (errors * mask).sum() / mask.sum()


def encode_codes(vq: VQModel, pictures: Tensor) -> Tensor:
    """Pictures `(b, 3, h, w)` in [0, 1] -> the number of the nearest code of each patch `(b, n)`, row by row."""
    latents = vq.encode(pictures * 2 - 1).latents
    flat = latents.permute(0, 2, 3, 1).flatten(1, 2).float()
    return torch.cdist(flat, vq.quantize.embedding.weight[None]).argmin(-1)


def decode_codes(vq: VQModel, codes: Tensor) -> Tensor:
    """Codes `(b, n)` of square pictures -> `(b, 3, h, w)` in [0, 1]."""
    return decode_vectors(vq, vq.quantize.embedding(codes))


def decode_vectors(vq: VQModel, vectors: Tensor) -> Tensor:
    """Vectors `(b, n, c)` of square pictures, row by row: codes' or means of such -> `(b, 3, h, w)` in [0, 1]."""
    side = round(vectors.shape[1] ** 0.5)
    latents = vectors.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    decoded: Tensor = vq.decode(latents.contiguous(), force_not_quantize=True).sample
    return (decoded / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class PromptingParts:
    """The frozen model.

    Attributes:
        mae: predicts codes.
        vq: turns codes into pictures.
        device: where both run, in float32.
    """

    mae: Any
    vq: Any
    device: torch.device

    @property
    def side(self) -> int:
        """Pixels a side of a canvas."""
        return int(self.mae.config.image_size)

    @property
    def patch(self) -> int:
        """Pixels a side of a patch."""
        return int(self.mae.config.patch_size)


def read_prompting(folder: str, device: torch.device) -> PromptingParts:
    """Read a model: `mae/` as transformers saves it and `vq/` as diffusers does.

    Raises:
        EditorError: it is not there, is not complete, or its two parts do not fit together.
    """
    place = Path(folder)
    if not all((place / part / "config.json").is_file() for part in ("mae", "vq")):
        raise EditorError(
            f"{folder}: no {WHAT}; expected a folder with mae/ and vq/, which recipes.in_context trains, and "
            "recipes.in_context.convert makes of the authors' checkpoints"
        )
    with quiet(), loading(folder, WHAT):
        mae, vq = load_weights(MaskedCodes, place / "mae", dtype=torch.float32), load_weights(VQModel, place / "vq")
    codes, known = mae.config.num_codes, vq.config.num_vq_embeddings
    factor = pixel_multiple(vq)
    if codes != known or mae.config.patch_size != factor:
        raise EditorError(
            f"{folder}: mae/ predicts {codes} codes of patches of {mae.config.patch_size} pixels, and vq/ has {known} "
            f"of {factor}: these two do not belong together"
        )
    mae, vq = (part.eval().requires_grad_(False).to(device) for part in (mae, vq))
    return PromptingParts(mae, vq, device)
