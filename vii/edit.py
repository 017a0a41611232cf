"""An `Edit`, the product of this package. Nothing here needs torch unless tokens are asked for as tensors."""

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import EditorMismatch, UsageError
from .finish import Finish
from .finish.tiles import Array
from .space import NO_SPACE, SPACES, Space
from .text import printable

if TYPE_CHECKING:
    from torch import Tensor

    from .instruction import Instruction

MAX_TEXT = 64_000
MAX_TAGS, MAX_PAIRS = 100, 10_000
THUMBNAIL = re.compile(r"data:image/(jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}")


class _Rows:
    """A field that holds numpy's float32 and gives torch tensors, for which torch is imported when one is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, edit: Any, owner: type | None = None) -> "Tensor":
        if edit is None:
            return ()  # type: ignore[return-value]  # what dataclass takes for the default
        import torch

        return torch.from_numpy(edit.arrays()[self.name])

    def __set__(self, edit: Any, value: Any) -> None:
        array = as_array(value)
        if not np.isfinite(array).all():
            raise UsageError(f"{self.name} hold values that are not finite")
        edit.__dict__[f"_{self.name}"] = array


def as_array(value: Any) -> Array:
    """Anybody's numbers, a torch tensor's among them, as a float32 array of its own."""
    if hasattr(value, "detach"):
        value = value.detach().float().cpu().numpy()
    return np.array(value, np.float32)


@dataclass(frozen=True, eq=False)
class Edit:
    """A learned edit: tokens, for what only an editor can do, and a finish, which brings it to the photo's own pixels.

    Attributes:
        tokens: `(k, d)` float32, the learned rows; given as a tensor or an array, and had as a tensor. Without rows
            for an edit that needs no editor.
        space: the instruction space they were learned in.
        editor: name of the editor.
        init_text: the starting text; needed to rebuild the rows around the tokens, for CLIP is causal and the rows
            after them depend on it. Input embeddings do not; there it only tells what learning started from.
        start: position of the first learned row.
        resolution: pixels a side at which it was learned.
        settings: recommended sampling settings of the editor, by name.
        training: how it was learned and how well: recipe, seed, noise, steps, samples, losses, explained.
        pairs: SHA-256 of each pair (see `Pair.sha256`); the pictures themselves are not stored.
        title: a short name.
        description: what it does, in a sentence.
        author: who made it.
        license: how it may be used.
        tags: words to find it by.
        thumbnail: a `data:image/jpeg;base64,...` picture, only where it was asked for.
        pooled: `(p,)` float32, the vector that some editors read besides the rows; empty where there is none.
        finish: what comes after the editor, or instead of it; None where the editor's picture is scaled up.
        format_version: of the file it was read from; what is written has the newest.
    """

    tokens: _Rows = _Rows()
    space: Space = NO_SPACE
    editor: str = ""
    init_text: str = ""
    start: int = 0
    resolution: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    pairs: Sequence[str] = ()
    title: str = ""
    description: str = ""
    author: str = ""
    license: str = ""
    tags: Sequence[str] = ()
    thumbnail: str = ""
    pooled: _Rows = _Rows()
    finish: Finish | None = None
    format_version: int = 2

    def arrays(self) -> dict[str, Array]:
        """The tensors as numpy has them: `tokens` and `pooled`."""
        return {name: self.__dict__[f"_{name}"] for name in ("tokens", "pooled")}

    @property
    def num_tokens(self) -> int:
        """k; 0 for an edit that no editor knows."""
        return len(self.arrays()["tokens"])

    @property
    def needs_editor(self) -> bool:
        """Whether applying it needs an editor: not where the finish is a colour transform."""
        return self.finish is None or self.finish.needs_editor

    @property
    def consists_of(self) -> str:
        """What the edit consists of, in one line."""
        return self.finish.describe() if self.finish else "tokens; the editor's result is scaled up"

    def instruction(self, start: "Instruction", strength: float = 1.0) -> "Instruction":
        """The full conditioning: the rows of the starting text with the learned ones in their place.

        In the space of input embeddings only what precedes the learned rows is of that text; see `with_span`.

        Args:
            start: the editor's instruction for `init_text`.
            strength: w of `start + w (learned - start)`, for the learned rows and the pooled vector.
        """
        made = start.with_span(self.start, self.start + self.num_tokens)
        learned = self.tokens.to(start.rows)
        made = made.with_tokens(learned if strength == 1 else made.tokens.lerp(learned, strength))
        if not len(self.arrays()["pooled"]):
            return made
        pooled = self.pooled.to(start.rows)
        return made.with_pooled(
            pooled if strength == 1 or start.pooled is None else start.pooled.lerp(pooled, strength)
        )

    def check_space(self, space: Space, *, any_model: bool = False) -> None:
        """Raise EditorMismatch for an editor in whose space the tokens mean nothing.

        `any_model` accepts other weights of the same shape, such as a fine-tune of the base model.
        """
        if not self.num_tokens:
            return
        for name in ("kind", "encoder", "width", "length"):
            wanted, got = getattr(self.space, name), getattr(space, name)
            if wanted != got:
                raise EditorMismatch(
                    f"this edit was learned for {self._origin()}, with {name} {printable(str(wanted))}; the editor at "
                    f"hand ({space.model}) has {name} {got}. Load the editor it was learned with"
                    + self._space_option(name)
                )
        if not (any_model or space.has_weights_of(self.space) or space.is_related_to(self.space)):
            raise EditorMismatch(
                f"this edit was learned for {self._origin()} with other weights than those of the editor at hand "
                f"({space.model}). Load the editor it was learned with, or accept any weights of this shape with "
                "`any_model=True`, at the price of a weaker edit"
            )

    def labelled(self, **labels: Any) -> "Edit":
        """A copy with other labels: title, description, author, license, tags, thumbnail; errors as `check_labels`."""
        check_labels(**labels)
        labelled = copy.copy(self)
        labelled.__dict__.update({name: tuple(text) if name == "tags" else text for name, text in labels.items()})
        return labelled

    def sha256(self) -> str:
        """Hex digest of the tensors' bytes as they stand in a file, as in the header's `modelspec.hash_sha256`."""
        return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(stored(self).items()))).hexdigest()

    def _space_option(self, name: str) -> str:
        """How to load an editor with this kind of space, where it is the kind that differs."""
        option = next((option for option, kind in SPACES.items() if kind == self.space.kind), None)
        return f': load_editor(..., space="{option}")' if name == "kind" and option else ""

    def _origin(self) -> str:
        return printable(f"the editor '{self.editor}' ({self.space.model})")


def stored(edit: Edit) -> dict[str, Array]:
    """Name in an edit file -> little-endian float32 array, of all that it holds."""
    arrays = {name: array for name, array in edit.arrays().items() if array.size}
    if edit.finish is not None:
        arrays |= {f"finish.{name}": np.asarray(array) for name, array in edit.finish.tensors().items()}
    return {name: np.ascontiguousarray(array, "<f4") for name, array in arrays.items()}


def check_labels(
    *,
    title: str = "",
    description: str = "",
    author: str = "",
    license: str = "",
    tags: Sequence[str] = (),
    thumbnail: str = "",
    pairs: Sequence[str] = (),
) -> None:
    """Refuse what an edit file cannot hold; call it before learning, so that nothing learned is lost.

    Raises:
        UsageError: a text that is too long, holds half a character or control characters other than line ends and
            tabs, or turns the direction of text; an empty tag; too many tags or pairs; a thumbnail that is none.
    """
    for name, text in (("title", title), ("description", description), ("author", author), ("license", license)):
        _check_text(name, text)
    if isinstance(tags, str):
        raise UsageError(f"tags must be a list of texts, got the text '{printable(tags[:40])}'")
    for tag in tags:
        _check_text("tags", tag)
        if not tag.strip():
            raise UsageError("tags must not be empty; leave it out")
    if len(tags) > MAX_TAGS or sum(map(len, tags)) > MAX_TEXT // 8:
        raise UsageError(f"at most {MAX_TAGS} tags of {MAX_TEXT // 8:,} letters together, got {len(tags)}")
    if len(pairs) > MAX_PAIRS:
        raise UsageError(f"an edit can name at most {MAX_PAIRS:,} pairs, got {len(pairs):,}")
    if thumbnail and (len(thumbnail) > MAX_TEXT or not THUMBNAIL.fullmatch(thumbnail)):
        raise UsageError(f"thumbnail must be a data: URL of a JPEG, PNG or WebP of at most {MAX_TEXT:,} characters")


def _check_text(name: str, text: str) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{name} must be text, got {type(text).__name__}")
    if len(text) > MAX_TEXT:
        raise UsageError(f"{name} has {len(text):,} characters, at most {MAX_TEXT:,} can be kept")
    if not is_clean(text):
        raise UsageError(
            f"{name} holds control characters, marks that turn the direction of text, or bytes that are no text: "
            f"'{printable(text[:40])}'; leave them out"
        )


def is_clean(text: str) -> bool:
    """Whether a text is one that can be kept and shown: nothing in it but what is seen, line ends and tabs."""
    one_line = re.sub(r"\r\n|[\n\t]", " ", text)
    return printable(one_line) == one_line
