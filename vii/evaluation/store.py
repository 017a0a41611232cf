"""Edits and results in a folder, by a key that names all they depend on: what is there is not made again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__
from ..application import Application
from ..edit_file import Edit, load_edit, save_edit, to_bytes
from ..editor import Editor
from ..files import make_folder
from ..images import Pair, load_image, save_image
from .ways import Way, learn


class Store:
    """Learns and applies with one editor and one seed, or takes what it has learned and applied before."""

    def __init__(self, folder: Path, editor: Editor, seed: int, conditions: Mapping[str, str | None]) -> None:
        """Make the folder.

        Args:
            folder: of `edits/` and `pictures/`.
            editor: to learn and apply with.
            seed: of learning and of sampling.
            conditions: what results depend on that cannot be seen from the editor, such as the precision.

        Raises:
            OutputError: it cannot be made or not be written to.
        """
        self.editor, self.seed = editor, seed
        self.edits, self.pictures = folder / "edits", folder / "pictures"
        make_folder(self.edits)
        make_folder(self.pictures)
        self.common = {
            "vii": __version__,
            "space": asdict(editor.space),
            "resolution": editor.resolution,
            "settings": asdict(editor.settings),
            "conditions": dict(conditions),
            "seed": seed,
        }

    def learned(self, way: Way, pairs: Sequence[Pair], label: str) -> Edit:
        """The edit that these pairs show, learned by the recipe of a way.

        Args:
            way: with a recipe.
            pairs: the examples.
            label: begins the name of its file.
        """
        assert way.recipe is not None
        path = self.edits / self._name(label, {**way.identity(), "pairs": [pair.sha256() for pair in pairs]})
        path = path.with_name(f"{path.name}.safetensors")
        if not path.exists():
            save_edit(learn(self.editor, pairs, way.recipe, self.seed), path)
        return load_edit(path)

    def applied(self, edit: Edit, image: Tensor, label: str) -> tuple[Tensor, Path]:
        """An edit on a photo, at the editor's size, read back from the 8 bits of its file, and that file.

        Args:
            edit: fits the editor.
            image: `(3, h, w)` in [0, 1].
            label: begins the name of its file.
        """
        pixels = Pair(image, image).sha256()
        path = self.pictures / self._name(label, {"edit": hashlib.sha256(to_bytes(edit)).hexdigest(), "photo": pixels})
        path = path.with_name(f"{path.name}.png")
        if not path.exists():
            plan = Application(self.editor, edit, seed=self.seed)
            result = plan(image)
            save_image(result, path, text=plan.chunks(result, names=[label]))
        return load_image(path), path

    def _name(self, label: str, content: Mapping[str, Any]) -> Path:
        key = hashlib.sha256(json.dumps({**self.common, **content}, sort_keys=True).encode()).hexdigest()
        return Path(f"{label.replace('/', '-')}-{key[:12]}")
