"""The interface between the method and the models: what an editor must offer."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .diffusion import Noise
from .errors import UsageError
from .instruction import Instruction
from .space import ENCODER_OUTPUT, ENCODER_OUTPUT_OFFSET, INPUT_EMBEDDING, SPACES, Space

__all__ = [
    "ENCODER_OUTPUT",
    "ENCODER_OUTPUT_OFFSET",
    "INPUT_EMBEDDING",
    "SPACES",
    "Editor",
    "Encoding",
    "JointSpace",
    "RowSpace",
    "Space",
]


class Encoding(Protocol):
    """An editor's own form of one picture: a dataclass whose fields are all tensors `(1, ...)`.

    `stack` puts those of b pictures of one size together, field by field, as one encoding with fields `(b, ...)`. What
    the fields mean is the editor's business.
    """

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one sample of noise for this picture, without the batch."""


def check_editor(editor: object) -> None:
    """Refuse what is no editor, such as the name of one.

    Raises:
        UsageError: it has no instruction space.
    """
    if not hasattr(editor, "space"):
        raise UsageError(f"expected an editor, as vii.load_editor gives, got {type(editor).__name__}")


def stack(encodings: Sequence[Encoding]) -> Any:
    """Encodings of b pictures of one size, each of one picture -> one encoding of all of them, fields `(b, ...)`."""
    first: Any = encodings[0]
    names = [field.name for field in dataclasses.fields(first)]
    return type(first)(**{name: torch.cat([getattr(encoding, name) for encoding in encodings]) for name in names})


class JointSpace(Protocol):
    """A joint image-text embedding, `p` wide. Features are not normalised.

    Attributes:
        captions: descriptions of pictures that it knows, to look for a starting text among; may be empty.
    """

    @property
    def captions(self) -> Sequence[str]:
        """See above."""

    def image_features(self, images: Sequence[Tensor]) -> Tensor:
        """Images `(3, h, w)` in [0, 1], of any sizes -> `(n, p)`."""

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Texts -> `(n, p)`."""


@runtime_checkable
class RowSpace(Protocol):
    """What a `JointSpace` can besides whose text tower is the editor's own: learned rows have a place in it."""

    def project(self, rows: Tensor) -> Tensor:
        """Encoder-output rows `(n, d)` -> `(p,)`: the text projection of their mean (the authors' pooling).

        Of an instruction in another space these are the rows of `Instruction.encoded`.
        """


class Editor(Protocol):
    """A frozen instruction-following image editor.

    Attributes:
        name: what `load_editor` calls it.
        space: identity of its instruction space.
        device: where its networks run.
        resolution: pixels a side of the square picture it works at; others are scaled to the same area.
        num_timesteps: N discrete noise levels; `t` in [0, 1) stands for index `floor(t * N)`.
        settings: its own frozen dataclass of sampling settings, holding the model's recommended values.
        joint: a joint image-text space: that of its text encoder (a `RowSpace`), or one beside it; or None.
        phrases: instructions that the model knows, to look for a starting text among; may be empty.
    """

    name: str
    resolution: int
    settings: Any
    phrases: Sequence[str]

    @property
    def space(self) -> Space:
        """See above."""

    @property
    def device(self) -> torch.device:
        """See above."""

    @property
    def num_timesteps(self) -> int:
        """See above."""

    @property
    def joint(self) -> JointSpace | None:
        """Loaded when first asked for: not every use needs it."""

    def encode(self, image: Tensor) -> Encoding:
        """Image `(3, h, w)` in [0, 1], any size -> this editor's encoding, scaled to its own resolution."""

    def instruct(self, text: str, source: Sequence[Any] = ()) -> Instruction:
        """Text -> its instruction, for any photo; the empty text is the null instruction.

        Args:
            text: words.
            source: encodings of photos that it will be used with, for a text encoder that sees them to read them now,
                while it has the device; one that does not takes no notice, and photos may also be others.

        Raises:
            UsageError: the text is longer than the encoder takes.
        """

    def loss(
        self, before: Any, after: Any, instruction: Instruction, t: Tensor, noise: Tensor, guidance: Any = None
    ) -> Tensor:
        """Denoising loss `(b,)` of turning before into after, differentiable in nothing but the rows.

        Args:
            before: encoding of the picture to edit: of one for all samples, fields `(1, ...)`, or of one for each.
            after: encoding of the edited picture, of the same shape.
            instruction: the instruction to judge, as `instruct` gives it or encoded.
            t: `(b,)` noise levels in [0, 1).
            noise: `(b, *noise_shape)`, standard normal.
            guidance: settings whose guidance is applied inside the loss; None compares the instruction's own
                prediction with the target.
        """

    def edit(self, image: Any, branches: Sequence[tuple[Instruction, float]], settings: Any, noise: Noise) -> Tensor:
        """Sample the edited pictures `(b, 3, h', w')` in [0, 1] at the editor's resolution, on the CPU.

        Every photo is given the same random numbers, so that its result does not depend on the others of the batch
        beyond the rounding of floats. On a CPU several threads may be sampling at once, with one `noise`.

        Args:
            image: encoding of b photos of one size, as `stack` puts them together.
            branches: instructions and their weights; each is its own guidance branch.
            settings: an instance of this editor's settings.
            noise: all random numbers.
        """

    def num_branches(self, weights: Sequence[float], settings: Any) -> int:
        """How many UNet passes one step of sampling, or one sample of a guided loss, takes with these weights."""
