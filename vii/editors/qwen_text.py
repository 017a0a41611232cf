"""The text encoder of Qwen-Image-Edit, which sees the photo: what it reads of each, and what is added to that.

Qwen2.5-VL reads the photo before the words and is causal: its rows are those of the photo, which do not know the words,
of the words, which know the photo, and of the end of the turn, which know both. The words' rows are others for every
photo, so that what is learned is added to them: offsets, of which zeros are the text itself.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from ..images import to_pil
from ..instruction import Instruction
from .flow import SPREAD_TEXTS, FlowEncoding, spread_of
from .turns import Turns

# The pipelines' template, around the photo and the words; the rows of its beginning are dropped.
SYSTEM = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n"
)
BEFORE_PHOTO, AFTER_PHOTO = "<|vision_start|>", "<|vision_end|>"
NUMBERED = "Picture 1: "
END = "<|im_end|>\n<|im_start|>assistant\n"
# Stands for the empty text.
NULL = " "
# Tokens of a text, its end counted.
LENGTH = 1024
# Of -2509 and -2511: the text encoder is shown the photo at about this area; by -Edit, as the autoencoder sees it.
SEEN_AREA = 384 * 384
# Photos read with a text that are kept, on the CPU: of some 200 rows each, of -Edit 1,300 at a megapixel.
KEPT_READINGS = 256
# Between an edit's words and those that are joined to them.
SEPARATOR = ", "


@dataclass(frozen=True, eq=False)
class SeenEncoding(FlowEncoding):
    """A picture at the editor's resolution, and as the text encoder sees it.

    Attributes:
        latents: see `FlowEncoding`.
        patches: `(b, n, p)`, what Qwen2.5-VL's image processor makes of it, on the CPU.
        shape: `(b, 3)`, frames, rows and columns of patches.
        digest: `(b,)`, tells one picture from another.
    """

    patches: Tensor
    shape: Tensor
    digest: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Offsets(Instruction):
    """What is added to the rows of words and of the end of the turn, whatever the photo.

    Attributes:
        words: the tokens of the text; `rows` has a row for each, then those of the end of the turn.
        following: the tokens of the text where it stands behind another, and after a comma.
    """

    words: tuple[int, ...]
    following: tuple[int, ...]

    def with_length(self, k: int) -> Instruction:
        """See `Instruction`; a short text has fewer rows than `k`, and no padding to learn more in: then it is all."""
        return super().with_length(min(k, len(self.rows)))

    def joined(self, words: Self) -> Self:
        """See `Instruction`: the two texts one after the other, each offset with its word or the end of the turn."""
        own, more = len(self.words), self.rows.new_zeros(len(words.following), self.rows.shape[1])
        rows = torch.cat([self.rows[:own], more, self.rows[own:]])
        if len(rows) > LENGTH:
            raise UsageError(f"edit and text are {len(rows)} tokens together, this editor takes {LENGTH}")
        return replace(self, rows=rows, words=(*self.words, *words.following), room=(0, len(rows)))


class PhotoReader:
    """Qwen2.5-VL within the pipelines' template."""

    def __init__(self, tokenizer: Any, processor: Any, model: Any, turns: Turns, *, numbered: bool) -> None:
        """Take the parts.

        Args:
            tokenizer: `Qwen2TokenizerFast`.
            processor: `Qwen2VLImageProcessor`.
            model: a frozen `Qwen2_5_VLForConditionalGeneration`.
            turns: in which it comes to the device.
            numbered: whether photos are shown small and with a number, as to -2509 and -2511.
        """
        self.tokenizer, self.processor, self.model, self.turns = tokenizer, processor, model, turns
        self.numbered, self.config = numbered, model.config
        self.width: int = self.config.get_text_config().hidden_size
        self.readings: OrderedDict[tuple[int, tuple[int, ...]], Tensor] = OrderedDict()

    def tokens(self, text: str) -> list[int]:
        """The tokens of a piece of the template; pieces begin or end with tokens of their own and do not merge."""
        return self.tokenizer(text).input_ids

    def instruction(self, text: str) -> Offsets:
        """Room for offsets, `(n, d)` zeros, of which those of the words are free.

        Raises:
            UsageError: the text is too long.
        """
        words, end = self.tokens(text or NULL), self.tokens(END)
        if (n := len(words) + len(end)) > LENGTH:
            room = LENGTH - len(end)
            raise UsageError(f"the text is {len(words)} tokens long, this editor takes {room}: '{text[:40]}...'")
        return Offsets(
            torch.zeros(n, self.width, device=self.turns.device),
            (0, len(words)),
            spread=self.spread,
            room=(0, n),
            words=tuple(words),
            following=tuple(self.tokens(SEPARATOR + text)),
        )

    @cached_property
    def spread(self) -> Tensor:
        """`(d,)`, see `Instruction.spread`: of words without a photo."""
        texts = [self.tokens(text) for text in SPREAD_TEXTS]
        return spread_of([self._rows([*self.tokens(SYSTEM), *words])[-len(words) :] for words in texts])

    def see(self, picture: Tensor) -> dict[str, Tensor]:
        """A picture `(3, h, w)` in [0, 1] at the editor's size -> the fields of its `SeenEncoding` but the latents."""
        seen = to_pil(picture)
        if self.numbered:
            from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

            seen = seen.resize(calculate_dimensions(SEEN_AREA, seen.width / seen.height), Image.Resampling.LANCZOS)
        made = self.processor(seen, return_tensors="pt")
        digest = hashlib.sha256(made["pixel_values"].numpy().tobytes()).digest()
        number = torch.tensor([int.from_bytes(digest[:8], "little", signed=True)])
        return {"patches": made["pixel_values"][None], "shape": made["image_grid_thw"], "digest": number}

    def look(self, image: SeenEncoding, told: Offsets) -> None:
        """Read what of the photos was not read with these words yet."""
        for patches, shape, digest in zip(image.patches, image.shape, image.digest.tolist(), strict=True):
            key = digest, told.words
            if key not in self.readings:
                self.readings[key] = self._seen(patches, shape, told.words)
            self.readings.move_to_end(key)
        while len(self.readings) > max(KEPT_READINGS, len(image.digest)):
            self.readings.popitem(last=False)

    def rows(self, image: SeenEncoding, told: Offsets) -> Tensor:
        """What the networks read, `(b, n, d)` float32, for photos of one size: with the offsets added."""
        self.look(image, told)
        rows = torch.stack([self.readings[digest, told.words] for digest in image.digest.tolist()])
        rows, photo = rows.to(told.rows), rows.shape[1] - len(told.rows)
        return torch.cat([rows[:, :photo], rows[:, photo:] + told.rows], dim=1)

    def _seen(self, patches: Tensor, shape: Tensor, words: Sequence[int]) -> Tensor:
        """Rows `(n, d)` of one photo, of the words and of the end of the turn, on the CPU."""
        before = (NUMBERED if self.numbered else "") + BEFORE_PHOTO
        pads = [self.config.image_token_id] * (int(shape.prod()) // self.config.vision_config.spatial_merge_size**2)
        head = self.tokens(SYSTEM)
        ids = [*head, *self.tokens(before), *pads, *self.tokens(AFTER_PHOTO), *words, *self.tokens(END)]
        return self._rows(ids, patches, shape)[len(head) :].cpu()

    @torch.no_grad()
    def _rows(self, ids: Sequence[int], patches: Tensor | None = None, shape: Tensor | None = None) -> Tensor:
        """Rows `(n, d)`: the last layer, normalised, in the text encoder's precision."""
        model = self.turns.take(self.model)
        inputs = {"input_ids": torch.tensor([ids], device=model.device)}
        if patches is not None and shape is not None:
            # Without the kinds of tokens transformers 5 takes the picture's positions for those of text, and says
            # nothing; the model was trained with the right ones. Diffusers' pipelines leave them out (issue 14194).
            inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.config.image_token_id).int()
            inputs |= {"pixel_values": patches.to(model.device), "image_grid_thw": shape[None].to(model.device)}
        # Without the head, whose scores of every word in the vocabulary nobody asks for.
        return model.model(**inputs, use_cache=False).last_hidden_state[0]
