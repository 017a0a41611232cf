"""Edit images by example: learn an edit from one before/after pair, keep it as a small file, apply it anywhere."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .application import Application, apply
    from .edit_file import Edit, load_edit, save_edit
    from .editor import Editor
    from .editors import EDITORS, load_editor
    from .errors import ViiError
    from .images import Pair, load_image, save_image
    from .inversion import InversionSettings, Step, invert, invert_steps
    from .inversion.recipes import load_recipe
    from .region import box_mask

__version__ = "0.1.0"

# Where each public name lives; loaded when first used, so that `import vii` does not load torch.
_HOMES = {
    "Application": "application",
    "EDITORS": "editors",
    "Edit": "edit_file",
    "Editor": "editor",
    "InversionSettings": "inversion",
    "Pair": "images",
    "Step": "inversion",
    "ViiError": "errors",
    "apply": "application",
    "box_mask": "region",
    "invert": "inversion",
    "invert_steps": "inversion",
    "load_edit": "edit_file",
    "load_editor": "editors",
    "load_image": "images",
    "load_recipe": "inversion.recipes",
    "save_edit": "edit_file",
    "save_image": "images",
}

__all__ = [
    "EDITORS",
    "Application",
    "Edit",
    "Editor",
    "InversionSettings",
    "Pair",
    "Step",
    "ViiError",
    "apply",
    "box_mask",
    "invert",
    "invert_steps",
    "load_edit",
    "load_editor",
    "load_image",
    "load_recipe",
    "save_edit",
    "save_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vii' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
