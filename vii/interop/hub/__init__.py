"""Edits to and from the Hugging Face Hub."""

from ..origins import origin
from .transfer import Pulled, Pushed, prepare, pull, push, write_files

__all__ = ["Pulled", "Pushed", "origin", "prepare", "pull", "push", "write_files"]
