"""The libraries underneath, made to load what they are given or to fail: quietly, from this machine, and no code."""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

# Tables of positions that older versions of transformers saved and newer ones compute.
COMPUTED = ("position_ids",)
_DOWNLOADS = ContextVar("downloads", default=True)


@contextmanager
def downloads(allowed: bool) -> Iterator[None]:
    """Whether models may be downloaded for the duration, or must be on this machine."""
    before = _DOWNLOADS.set(allowed and may_download())
    try:
        yield
    finally:
        _DOWNLOADS.reset(before)


def may_download() -> bool:
    """Whether models may be downloaded here and now; see `downloads`."""
    return _DOWNLOADS.get()


def quiet_imports() -> None:
    """For commands, before the libraries are imported: what they say then, of optional packages, helps nobody there."""
    for name in ("bitsandbytes", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


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


def load_weights(kind: Any, folder: str | Path, *, unused: Collection[str] = (), **options: Any) -> Any:
    """A model of diffusers or transformers from a folder, with every weight of its own and none besides.

    The libraries fill in at random what a file lacks, and say so in a warning. Only safetensors are read, nothing is
    downloaded, and no code of the folder is run: `kind` is a class of the library's own.

    Args:
        kind: a concrete model class.
        folder: with config.json and safetensors.
        unused: beginnings of the names of weights that the caller makes no use of, and which may be missing.
        options: for `from_pretrained`.

    Raises ValueError where weights are missing, of another shape, or belong to nothing in the model.
    """
    model, found = kind.from_pretrained(
        folder, output_loading_info=True, use_safetensors=True, local_files_only=True, **options
    )
    missing = {name for name in found["missing_keys"] if not name.startswith(tuple(unused))}
    missing |= {str(name[0]) for name in found.get("mismatched_keys", ())}
    unexpected = {name for name in found["unexpected_keys"] if not name.endswith(COMPUTED)}
    for problem, names in (("lacks", missing), ("has, and the model does not,", unexpected)):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise ValueError(f"the file of {kind.__name__} {problem} {len(names)} weights: {listed}")
    if found.get("error_msgs"):
        raise ValueError(f"{kind.__name__}: {found['error_msgs'][0]}")
    return model
