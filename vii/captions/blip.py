"""Captions by BLIP (Li et al. 2022, arXiv 2201.12086) through transformers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..editors.loading import FAILURES, fetch
from ..errors import CaptionerError, EditorError
from ..libraries import load_weights, quiet
from ..text import first_line

DEFAULT_MODEL = "Salesforce/blip-image-captioning-base"
FILES = ("*.json", "*.txt", "*.safetensors")
ADVICE = "`captioner`, or start from words, 'retrieve' or 'none', which need nothing"
BATCH = 8
# Beam search as in the paper's captioning experiments; the same picture has the same caption.
BEAMS, NEW_TOKENS = 3, 30


@contextmanager
def captioner_loading(model: str, what: str, advice: str) -> Iterator[None]:
    """Find and load a model that says words, quietly, or raise CaptionerError with what to do."""
    try:
        with quiet():
            yield
    except EditorError as error:
        raise CaptionerError(str(error)) from None
    except FAILURES as error:
        raise CaptionerError(f"cannot load the {what} '{model}' ({first_line(error)}); {advice}") from None


class BlipCaptioner:
    """`transformers.BlipForConditionalGeneration`, in float32, by hub id or folder; safetensors only."""

    def __init__(self, model: str = DEFAULT_MODEL, device: torch.device | str = "cpu") -> None:
        """Load it, or raise CaptionerError."""
        from transformers import BlipForConditionalGeneration, BlipProcessor

        advice = f"give the hub id of a BLIP model for captions or the folder of a local copy with {ADVICE}"
        with captioner_loading(model, "captioner", advice):
            # All at once: the loaders would try to reach the hub again and again.
            folder, _ = fetch(model, None, FILES, "captioner", ADVICE)
            self.processor: Any = BlipProcessor.from_pretrained(folder)
            loaded = load_weights(BlipForConditionalGeneration, folder, dtype=torch.float32)
        self.model = loaded.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)

    @torch.no_grad()
    def caption(self, images: Sequence[Tensor]) -> list[str]:
        """Images `(3, h, w)` in [0, 1], of any sizes -> a caption each."""
        captions: list[str] = []
        for start in range(0, len(images), BATCH):
            batch = [image.detach().cpu().float() for image in images[start : start + BATCH]]
            pixels = self.processor.image_processor(images=batch, do_rescale=False, return_tensors="pt").pixel_values
            ids = self.model.generate(
                pixel_values=pixels.to(self.device), num_beams=BEAMS, max_new_tokens=NEW_TOKENS, do_sample=False
            )
            captions += self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(caption.split()) for caption in captions]
