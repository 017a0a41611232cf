"""Every error that a caller of `vii` can cause."""

import difflib
from collections.abc import Iterable


class ViiError(Exception):
    """Something the caller can put right; the message says what was expected, what arrived and what to do."""


class UsageError(ViiError):
    """An argument that does not make sense."""


class ImageError(ViiError):
    """A picture that cannot be used."""


class EditFileError(ViiError):
    """A file that is not a valid edit file."""


class EditorError(ViiError):
    """An editor that cannot be loaded."""


class EditorMismatch(EditorError):  # noqa: N818 (the name is part of the sentence that reports it)
    """An edit that was learned for another instruction space."""


class ModelNotNamed(EditorError):  # noqa: N818 (likewise)
    """An edit whose model is neither at hand nor its editor's own: the user is to name it.

    `reason` is the sentence without what to do, `model` what to name.
    """

    def __init__(self, reason: str, model: str) -> None:
        super().__init__(f"{reason}: model={model!r}")
        self.reason, self.model = reason, model


class CaptionerError(ViiError):
    """A captioner that cannot be loaded or set up, or that fails."""


class OutputError(ViiError):
    """A place that cannot be written to."""


class HubError(ViiError):
    """A repository on the Hub that cannot be reached, read or written to."""


class RecipeError(ViiError):
    """A recipe that cannot be read."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """A sentence for a name that is not known, with the nearest known one.

    >>> unknown_name("editor", "embeded", ["embedded", "toy"])
    "unknown editor 'embeded'; did you mean 'embedded'? Known: embedded, toy"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{name}'{hint} Known: {', '.join(known)}"
