"""Where learning starts from: of the texts that were found, the one with the least loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..captions import shorten, starting_texts
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair
from ..instruction import Instruction
from .settings import InversionSettings


@dataclass(frozen=True, eq=False)
class Start:
    """A starting text, its instruction with the rows to learn marked free, and its loss on the probe set.

    `caption` is what was found, where the text is its beginning, shortened to what the text encoder takes; `candidates`
    how many texts were tried.
    """

    text: str
    instruction: Instruction
    loss: float
    caption: str
    candidates: int


def choose_start(
    editor: Editor,
    pairs: Sequence[Pair],
    settings: InversionSettings,
    seed: int,
    probe: Callable[[Instruction], float],
    watch: Callable[[str], None] | None = None,
    source: Sequence[Any] = (),
) -> Start:
    """The text with the least loss on the probe set, of those that `settings.init` finds.

    `source` are the encodings of the pictures "before", see `Editor.instruct`.

    Raises UsageError: `tokens = 0` and an empty text, a text that does not fit, or as `starting_texts`.
    """
    if settings.init == "text":
        found = texts = [settings.init_text]
    else:
        found = starting_texts(
            editor,
            pairs,
            settings.init,
            settings.init_candidates,
            captioner=settings.captioner,
            seed=seed,
            watch=watch,
            tokens=settings.pez_tokens,
            steps=settings.pez_steps,
            target=settings.pez_target,
        )
        texts = [shorten(editor, text) for text in found]
    # All texts before the first probe: a large text encoder may have to leave the device for the networks.
    instructions = [free(editor.instruct(text, source), settings) for text in texts]
    starts = [
        Start(text, instruction, probe(instruction), "" if text == whole else whole, len(texts))
        for text, whole, instruction in zip(texts, found, instructions, strict=True)
    ]
    best = min(starts, key=lambda start: start.loss)
    if not len(best.instruction.tokens):
        raise UsageError("tokens = 0 learns the rows of the starting text, and it is empty; give a text or a number")
    return best


def free(start: Instruction, settings: InversionSettings) -> Instruction:
    """A starting text with the rows to learn marked free: as many as asked for, or those of its words."""
    return start.with_length(settings.tokens) if settings.tokens else start
