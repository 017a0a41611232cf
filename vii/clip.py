"""Joint image-text spaces: CLIP through transformers (a folder or an id) or through open_clip."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .editor import JointSpace
from .errors import EditorError
from .libraries import quiet

TEXT_BATCH = 256
# The statistics of OpenAI's CLIP, for folders without a preprocessor_config.json.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load_clip(name: str, device: torch.device | str = "cpu") -> JointSpace:
    """Load a CLIP model as a joint space, in float32.

    Args:
        name: a transformers folder or hub id (`openai/clip-vit-large-patch14`), or `open_clip:ARCHITECTURE/WEIGHTS`,
            where WEIGHTS is one of open_clip's tags or a file (`open_clip:ViT-L-14/openai`).
        device: where it runs.

    Raises:
        EditorError: it cannot be loaded.
    """
    try:
        if name.startswith("open_clip:"):
            return OpenClip(*name.removeprefix("open_clip:").partition("/")[::2], device=device)
        return TransformersClip(name, device=device)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EditorError(
            f"cannot load the CLIP model '{name}' ({reason}); give a folder or an id with --clip, or learn without "
            "the CLIP term: --clip none"
        ) from None


def preprocess(image: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Image `(3, h, w)` in [0, 1] -> `(3, size, size)`: short side to `size` (bicubic), centre crop, normalised."""
    height, width = image.shape[-2:]
    scale = size / min(height, width)
    target = [max(size, round(side * scale)) for side in (height, width)]
    scaled = F.interpolate(image[None], target, mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    crop = scaled[:, top : top + size, left : left + size]
    return (crop - crop.new_tensor(mean).view(3, 1, 1)) / crop.new_tensor(std).view(3, 1, 1)


class TransformersClip:
    """`transformers.CLIPModel` as a joint space."""

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        from transformers import CLIPModel, CLIPTokenizer

        with quiet():
            model: Any = CLIPModel.from_pretrained(name, dtype=torch.float32)
            self.tokenizer: Any = CLIPTokenizer.from_pretrained(name)
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        statistics = _preprocessor_config(name)
        self.mean, self.std = statistics.get("image_mean", MEAN), statistics.get("image_std", STD)

    @torch.no_grad()
    def image_features(self, images: Sequence[Tensor]) -> Tensor:
        """See `JointSpace`."""
        size = self.model.config.vision_config.image_size
        pixels = torch.stack([preprocess(image.to(self.device), size, self.mean, self.std) for image in images])
        features: Tensor = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)
        return features

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """See `JointSpace`."""
        # Sorting by length keeps short phrases from being padded to the longest of all.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        features = torch.empty(len(texts), self.model.config.projection_dim, device=self.device)
        limit = self.model.config.text_config.max_position_embeddings
        for start in range(0, len(order), TEXT_BATCH):
            batch = order[start : start + TEXT_BATCH]
            tokens = self.tokenizer(
                [texts[index] for index in batch],
                padding=True,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
            ).to(self.device)
            features[batch] = self.model.text_projection(self.model.text_model(**tokens).pooler_output)
        return features

    def project(self, rows: Tensor) -> Tensor:
        """See `JointSpace`."""
        projected: Tensor = self.model.text_projection(rows.to(self.device, torch.float32).mean(0))
        return projected


class OpenClip:
    """An open_clip model as a joint space."""

    def __init__(self, architecture: str, weights: str, device: torch.device | str = "cpu") -> None:
        import open_clip

        if not weights:
            raise ValueError("expected open_clip:ARCHITECTURE/WEIGHTS")
        self.model: Any = open_clip.create_model(architecture, pretrained=weights, device=str(device))
        self.model.eval().requires_grad_(False)
        self.tokenizer: Any = open_clip.get_tokenizer(architecture)
        self.device = torch.device(device)

    @torch.no_grad()
    def image_features(self, images: Sequence[Tensor]) -> Tensor:
        """See `JointSpace`."""
        visual = self.model.visual
        size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
        mean, std = visual.image_mean or MEAN, visual.image_std or STD
        pixels = torch.stack([preprocess(image.to(self.device), size, mean, std) for image in images])
        features: Tensor = self.model.encode_image(pixels)
        return features

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """See `JointSpace`."""
        batches = [list(texts[start : start + TEXT_BATCH]) for start in range(0, len(texts), TEXT_BATCH)]
        return torch.cat([self.model.encode_text(self.tokenizer(batch).to(self.device)) for batch in batches])

    def project(self, rows: Tensor) -> Tensor:
        """See `JointSpace`."""
        projection = getattr(self.model, "text", self.model).text_projection
        mean = rows.to(self.device, torch.float32).mean(0)
        projected: Tensor = projection(mean) if isinstance(projection, torch.nn.Module) else mean @ projection
        return projected


def _preprocessor_config(name: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    file = "preprocessor_config.json"
    if Path(name).is_dir():
        path = Path(name) / file
        return json.loads(path.read_text()) if path.exists() else {}  # type: ignore[no-any-return]
    try:
        return json.loads(Path(hf_hub_download(name, file)).read_text())  # type: ignore[no-any-return]
    except EntryNotFoundError:
        return {}
