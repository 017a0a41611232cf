"""Edits to and from the Hugging Face Hub."""

from .transfer import Pulled, Pushed, prepare, pull, push, write_files

__all__ = ["Pulled", "Pushed", "prepare", "pull", "push", "write_files"]
