"""Edits and results in a folder, by a key that names all they depend on: what is there is not made again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..edit_file import load_edit, save_edit
from ..editor import Editor
from ..files import make_folder
from ..images import Pair, load_image, save_image
from ..methods import Learned
from ..methods.inversion import AppliedEdit
from .keys import code_sha256, conditions_of, key
from .methods import Method


class Results:
    """Prepares methods and applies them with one editor and one seed, or takes what was learned and made before."""

    def __init__(
        self, folder: Path, editor: Editor, seed: int, conditions: Mapping[str, str | None] | None = None
    ) -> None:
        """Make the folder, of `edits/` and `pictures/`, or raise OutputError; for `conditions` see `conditions_of`."""
        self.editor, self.seed = editor, seed
        self.edits, self.pictures = folder / "edits", folder / "pictures"
        make_folder(self.edits)
        make_folder(self.pictures)
        self.common = {**conditions_of(editor, conditions), "seed": seed}

    def prepared(self, method: Method, pairs: Sequence[Pair], label: str) -> Learned:
        """A method made ready for these pairs; an edit that it learns is kept, in a file named after `label`."""
        path = self.edits / f"{self._name(label, self._identity(method, pairs))}.safetensors"
        if path.exists():
            edit = load_edit(path)
            return Learned(AppliedEdit(self.editor, edit), edit)
        learned = method.prepare(self.editor, "", pairs, self.seed)
        if learned.edit and method.entry.learns:
            save_edit(learned.edit, path)
        return learned

    def applied(
        self, method: Method, ready: Learned, pairs: Sequence[Pair], photo: Tensor, label: str
    ) -> tuple[Tensor, Path]:
        """What a method, prepared, makes of a photo, read back from the 8 bits of its file; and that file."""
        content = {**self._identity(method, pairs), "photo": Pair(photo, photo).sha256()}
        path = self.pictures / f"{self._name(label, content)}.png"
        if not path.exists():
            result = ready.transfer(pairs, photo, seed=self.seed)
            made_by = ready.transfer
            record = made_by.plan(self.seed).chunks(result, names=[label]) if isinstance(made_by, AppliedEdit) else {}
            save_image(result, path, text=record)
        return load_image(path), path

    def _identity(self, method: Method, pairs: Sequence[Pair]) -> dict[str, Any]:
        used = [pair.sha256() for pair in pairs] if method.looks_at_the_pair else []
        return {**method.identity(), "code": code_sha256(method.entry.builder()), "pairs": used}

    def _name(self, label: str, content: Mapping[str, Any]) -> str:
        return f"{label.replace('/', '-')}-{key({'common': self.common, **content})[:12]}"
