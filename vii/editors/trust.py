"""What an edit file may make happen: it can name a model, and by itself it makes nothing be downloaded.

An edit is used with a model that is on this machine, or with its editor's own. Any other is named by whoever is at
hand: `model=` in Python, `--model` on the command line. The decision stands here, once.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..edit import Edit
from ..editor import Editor
from ..errors import ModelNotNamed
from ..space import INPUT_EMBEDDING
from ..text import printable
from . import EDITORS, load_editor

# Of a folder, or of a repository on the Hub; two models are joined by +.
NAME = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?(\+\w[\w.-]{0,95}(/\w[\w.-]{0,95})?)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
# A file that the snapshot of a model, or of a ControlNet, begins with.
FIRST_FILES = ("model_index.json", "config.json")


def editor_for(edit: Edit, *, allow_download: bool = False, **options: Any) -> Editor:
    """Load the editor that an edit was learned with.

    Args:
        edit: a learned edit, anybody's.
        allow_download: fetch the model that the edit names, if need be.
        options: as for `load_editor`; `editor` and `model` to use others than the edit names.

    Raises:
        ModelNotNamed: the edit's model is not on this machine, nor the editor's own.
        EditorError: see `load_editor`.
    """
    chosen = dict(options_for(edit, options, allow_download=allow_download))
    return load_editor(chosen.pop("editor", None) or "embedded", **chosen)


def options_for(edit: Edit | None, options: Mapping[str, Any], *, allow_download: bool = False) -> dict[str, Any]:
    """Options for `load_editor`, completed from an edit: its editor, its space, and its model where that is allowed.

    Args:
        edit: an edit, or None for words alone.
        options: what the user said: `editor`, `model` and the rest; None for what was not said.
        allow_download: whether the user agrees that the model which the edit names is fetched.

    Returns:
        the options; with `download` False where the model is to be taken from this machine or not at all.

    Raises:
        ModelNotNamed: the user has to name the model.
    """
    if edit is None or not edit.num_tokens:
        return dict(options)
    said = dict(options)
    if edit.space.kind == INPUT_EMBEDDING and not said.get("space"):
        said["space"] = "input"
    if said.get("editor"):
        return said
    said["editor"] = edit.editor
    own = EDITORS[edit.editor].model if edit.editor in EDITORS else ""
    model, revision = edit.space.model, edit.space.revision or None
    if said.get("model") or said.get("controlnet") or (model == own and ("/" not in own or allow_download)):
        return said
    if model == own and is_cached(own, None):  # its own, at no revision of a stranger's choice
        return said | {"download": False}
    if not own and "/" not in model:  # an editor of somebody's own, which knows its model
        return said
    if not NAME.fullmatch(model):
        raise ModelNotNamed(f"this edit names '{printable(model[:80])}' as its model, which is no name of one", "...")
    if all(Path(part).is_dir() for part in model.split("+")):
        return said | {"model": model, "download": False}
    if "/" not in model:
        known = f" of this version of vii, '{own}'; learn it again, or" if own and "/" not in own else ";"
        raise ModelNotNamed(
            f"this edit was learned with a model in a folder called '{model}', which is not that of the editor "
            f"'{edit.editor}'{known} name the folder",
            f"PATH/{model}",
        )
    if allow_download:
        return said | {"model": model, "revision": revision}
    if is_cached(model, revision):
        return said | {"model": model, "revision": revision, "download": False}
    raise ModelNotNamed(
        f"this edit was learned with '{model}', which is not on this machine, and a file by itself makes nothing be "
        "downloaded; if you trust it, name it",
        model,
    )


def is_cached(model: str, revision: str | None) -> bool:
    """Whether the Hub's cache on this machine has a model, or both of two joined by `+`, at these commits."""
    from huggingface_hub import try_to_load_from_cache

    names, commits = model.split("+"), (revision or "").split("+")
    for name, commit in zip(names, commits + [""] * (len(names) - len(commits)), strict=False):
        at = commit if COMMIT.fullmatch(commit) else None
        found = [try_to_load_from_cache(name, file, revision=at) for file in FIRST_FILES] if "/" in name else []
        if not any(isinstance(path, str) for path in found):
            return False
    return True
