"""Manners of the libraries underneath."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Progress bars and advice of the loading libraries off for the duration."""
    import diffusers
    import transformers

    modules: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    levels = [module.get_verbosity() for module in modules]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    for module in modules:
        module.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for module, level in zip(modules, levels, strict=True):
            module.set_verbosity(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()
