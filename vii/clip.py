"""Joint image-text spaces: CLIP through transformers (a folder or an id) or through open_clip."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from . import strict
from .errors import EditorError
from .libraries import load_weights, quiet
from .preprocessing import of_open_clip, of_transformers
from .prompt_tower import PromptSpace, PromptTower, ids_by, tower_of, whole_words
from .text import first_line

TEXT_BATCH = 256
# Features of lists of texts that a model is always asked for, in its folder, by `digest_of`: read, not computed.
KNOWN_TEXTS = "texts.safetensors"
ADVICE = "give a folder or an id as `clip`, or learn without the CLIP term: `clip=none`"


class Beside:
    """A CLIP beside an editor whose text encoder is none: it compares pictures and texts, and cannot read rows."""

    def __init__(self, clip: PromptSpace) -> None:
        self.captions, self.prompt_tower = clip.captions, clip.prompt_tower
        self.image_features, self.text_features = clip.image_features, clip.text_features


def load_clip(name: str, device: torch.device | str = "cpu", advice: str = ADVICE) -> PromptSpace:
    """Load a CLIP model as a joint space, in float32, or raise EditorError with what to do.

    Args:
        name: a transformers folder or hub id (`openai/clip-vit-large-patch14`), or `open_clip:ARCHITECTURE/WEIGHTS`,
            where WEIGHTS is one of open_clip's tags or a file (`open_clip:ViT-L-14/openai`).
        device: where it runs.
        advice: what the error tells to do.
    """
    try:
        if name.startswith("open_clip:"):
            return OpenClip(*name.removeprefix("open_clip:").partition("/")[::2], device=device)
        return TransformersClip(name, device=device)
    except (OSError, RuntimeError, ValueError) as error:
        raise EditorError(f"cannot load the CLIP model '{name}' ({first_line(error)}); {advice}") from None


class TransformersClip:
    """`transformers.CLIPModel` as a joint space."""

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        from huggingface_hub import snapshot_download
        from transformers import CLIPModel, CLIPTokenizer

        with quiet():
            # All files at once: without a network this fails at once, the loaders would try for minutes.
            files = ["*.json", "*.txt", "model*.safetensors"]
            folder = Path(name) if Path(name).is_dir() else Path(snapshot_download(name, allow_patterns=files))
            model = load_weights(CLIPModel, folder, dtype=torch.float32)
            self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder)
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        processor, known = folder / "preprocessor_config.json", folder / "captions.txt"
        told = strict.loads(processor.read_bytes()) if processor.is_file() else {}
        self.preprocess = of_transformers(told, model.config.vision_config.image_size)
        self.captions: Sequence[str] = known.read_text(encoding="utf-8").splitlines() if known.is_file() else ()
        self._known_texts = folder / KNOWN_TEXTS

    @torch.no_grad()
    def image_features(self, images: Sequence[Tensor]) -> Tensor:
        """See `JointSpace`."""
        pixels = torch.stack([self.preprocess(image.to(self.device)) for image in images])
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """See `JointSpace`."""
        if (known := _known_features(self._known_texts, texts)) is not None:
            return known.to(self.device, torch.float32)
        # Sorting by length keeps short phrases from being padded to the longest of all.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        features = torch.empty(len(texts), self.model.config.projection_dim, device=self.device)
        limit = self.model.config.text_config.max_position_embeddings
        for start in range(0, len(order), TEXT_BATCH):
            batch = order[start : start + TEXT_BATCH]
            tokens = self.tokenizer(
                [texts[index] for index in batch], padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(self.device)
            features[batch] = self.model.text_projection(self.model.text_model(**tokens).pooler_output)
        return features

    def project(self, rows: Tensor) -> Tensor:
        """See `JointSpace`."""
        return self.model.text_projection(rows.to(self.device, torch.float32).mean(0))

    @cached_property
    def _words(self) -> dict[int, str]:
        return whole_words(ids_by(self.tokenizer), self.tokenizer.decode, self.tokenizer)

    def prompt_tower(self, count: int) -> PromptTower:
        """See `PromptSpace`."""

        def encode(ids: Tensor) -> Tensor:
            return self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)

        def tokenize(text: str) -> Tensor:
            limit = self.model.config.text_config.max_position_embeddings
            return self.tokenizer(text, truncation=True, max_length=limit, return_tensors="pt").input_ids

        layer = self.model.text_model.get_input_embeddings()
        return tower_of(self._words, count, tokenize, layer, encode)


def _known_features(path: Path, texts: Sequence[str]) -> Tensor | None:
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(digest_of(texts)) if digest_of(texts) in file.keys() else None  # noqa: SIM118


def digest_of(texts: Sequence[str]) -> str:
    """What the features of a list of texts are called in `KNOWN_TEXTS`."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


class OpenClip:
    """An open_clip model as a joint space."""

    def __init__(self, architecture: str, weights: str, device: torch.device | str = "cpu") -> None:
        import open_clip

        if not weights:
            raise ValueError("expected open_clip:ARCHITECTURE/WEIGHTS")
        self.model: Any = open_clip.create_model(architecture, pretrained=weights, device=str(device))
        self.model.eval().requires_grad_(False)
        self.preprocess = of_open_clip(open_clip.get_model_preprocess_cfg(self.model))
        self.tokenizer: Any = open_clip.get_tokenizer(architecture)
        self.device = torch.device(device)
        self.captions: Sequence[str] = ()

    @torch.no_grad()
    def image_features(self, images: Sequence[Tensor]) -> Tensor:
        """See `JointSpace`."""
        pixels = torch.stack([self.preprocess(image.to(self.device)) for image in images])
        return self.model.encode_image(pixels)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """See `JointSpace`."""
        batches = [list(texts[start : start + TEXT_BATCH]) for start in range(0, len(texts), TEXT_BATCH)]
        return torch.cat([self.model.encode_text(self.tokenizer(batch).to(self.device)) for batch in batches])

    def project(self, rows: Tensor) -> Tensor:
        """See `JointSpace`."""
        projection = getattr(self.model, "text", self.model).text_projection
        mean = rows.to(self.device, torch.float32).mean(0)
        return projection(mean) if isinstance(projection, torch.nn.Module) else mean @ projection

    @cached_property
    def _words(self) -> dict[int, str]:
        inner = getattr(self.tokenizer, "tokenizer", None)  # of a model with a text tower from transformers
        if inner is not None:
            return whole_words(ids_by(inner), inner.decode, inner)
        encode = self.tokenizer.encode
        return whole_words(lambda texts: [encode(text) for text in texts], self.tokenizer.decode, self.tokenizer)

    def prompt_tower(self, count: int) -> PromptTower:
        """See `PromptSpace`."""
        text = getattr(self.model, "text", self.model)
        layer = text.token_embedding if hasattr(text, "token_embedding") else text.transformer.get_input_embeddings()
        return tower_of(self._words, count, self.tokenizer, layer, self.model.encode_text)
