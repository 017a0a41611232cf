"""Words for what an example does to a photo, by a vision-language model that is shown the marked grid.

Gu et al. 2024, "Analogist", section 3.5: the cells are lettered, arrows lead from A to A' and from B to B', and the
model is asked what B' shows.
"""

from typing import Any

import torch
from PIL import ImageDraw, ImageFont
from torch import Tensor

from ..captions.blip import captioner_loading
from ..editors.loading import fetch
from ..errors import CaptionerError
from ..images import from_pil, to_pil
from ..libraries import load_weights
from ..text import first_line
from .grid import Grid

QUESTION = (
    "The picture is a 2x2 grid of images A, A', B and B'. A' was made from A, and B' is to be made from B in the same "
    "way, as the arrows show. B' is still empty. Say in at most five words what B' shows, as a prompt for an image "
    "generator. Answer with the prompt alone."
)
# Of the letters' boxes, of a canvas of 512 pixels.
LETTER = 36 / 512
ADVICE = "give the hub id or the folder of one of transformers' image-text-to-text models as `vlm`, or say `text`"
FILES = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")
NEW_TOKENS = 40
MOST_WORDS = 12


def marked(grid: Grid, canvas: Tensor) -> Tensor:
    """The canvas with a letter in each cell, white on black, and a red arrow along each pair."""
    picture = to_pil(canvas)
    draw = ImageDraw.Draw(picture)
    size = max(8, round(LETTER * max(grid.shape)))
    font = ImageFont.load_default(size * 0.7)
    for example in range(grid.examples + 1):
        name = "B" if example == grid.examples else "A" if grid.examples == 1 else f"A{example + 1}"
        centers = []
        for after in (False, True):
            top, left, bottom, right = grid.box(example, after)
            text = name + "'" * after
            width = max(size, round(draw.textlength(text, font=font)) + size // 4)
            draw.rectangle((left, top, left + width, top + size), fill="black")
            draw.text((left + width / 2, top + size / 2), text, fill="white", font=font, anchor="mm")
            centers.append(((left + right) / 2, (top + bottom) / 2))
        _arrow(draw, centers[0], centers[1], size)
    return from_pil(picture)


def _arrow(draw: Any, start: tuple[float, float], end: tuple[float, float], size: int) -> None:
    """A red arrow over the middle third of the way."""
    (x0, y0), (x1, y1) = (
        (start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share) for share in (1 / 3, 2 / 3)
    )
    length = max(abs(x1 - x0), abs(y1 - y0))
    dx, dy = (x1 - x0) / length * size / 2, (y1 - y0) / length * size / 2
    draw.line((x0, y0, x1 - dx, y1 - dy), fill="red", width=max(2, size // 6))
    draw.polygon((x1, y1, x1 - dx - dy, y1 - dy + dx, x1 - dx + dy, y1 - dy - dx), fill="red")


class VisionLanguageModel:
    """Any model of transformers that takes a picture and a question: `AutoModelForImageTextToText`."""

    def __init__(self, model: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        """Load it.

        Args:
            model: hub id or folder; weights are read from safetensors only, and no code of the folder is run.
            device: where it runs.
            dtype: how precisely.

        Raises:
            CaptionerError: it cannot be loaded.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        with captioner_loading(model, "vision-language model", ADVICE):
            folder, _ = fetch(model, None, FILES, "model", "`vlm`, or say `text`")
            options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self.processor: Any = AutoProcessor.from_pretrained(folder, **options)
            loaded = load_weights(AutoModelForImageTextToText, folder, dtype=dtype, trust_remote_code=False)
        self.model = loaded.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def ask(self, picture: Tensor, question: str = QUESTION) -> str:
        """What it answers to a question about a picture `(3, h, w)`: the first line, of a dozen words at most.

        Raises:
            CaptionerError: it fails, or says nothing.
        """
        content = [{"type": "image", "image": to_pil(picture)}, {"type": "text", "text": question}]
        try:
            inputs = self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            ).to(self.model.device, self.model.dtype)
            ids = self.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            told = self.processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CaptionerError(
                f"the vision-language model cannot be asked ({first_line(error)}); say `text`"
            ) from None
        words = told.strip().splitlines()[0].strip(" \"'.").split() if told.strip() else []
        if not words:
            raise CaptionerError("the vision-language model said nothing; say `text`")
        return " ".join(words[:MOST_WORDS])
