"""Importing no more of diffusers and transformers than one editor runs on, for commands that edit a photo and end.

A UNet, an autoencoder and a text encoder bring most of both libraries with them, and SciPy and torch's compiler: 3,700
modules and four seconds, for an edit of 0.05 s. Once `begin` was called, what is not needed is found but not run:

- packages whose `__init__` only collects what lies in them, and modules that are imported and not used, run when a name
  of theirs is first asked for (`POSTPONED`);
- of these some names are there at once (`GIVEN`): decorators that say something to torch's compiler leave a function
  as it is;
- while `classes` imports, both libraries take some packages that they would support besides for not installed
  (`ABSENT`), and the latter writes no docstrings.

What was imported so is not fit for compiling, several machines or LoRA files, so that only a command may ask for it.
"""

import importlib.metadata
import pkgutil
import re
import sys
import threading
import typing
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

POSTPONED = {
    "torch._dynamo",
    "scipy.integrate",
    "scipy.stats",
    "diffusers.hooks",
    "diffusers.models.autoencoders",
    "diffusers.models.controlnets",
    "diffusers.models.transformers",
    "diffusers.models.unets",
    "transformers",
    "transformers.generation.continuous_batching",
    "transformers.models",
    "transformers.processing_utils",
    "transformers.quantizers",
}


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return _unmarked if function is None else function


GIVEN: Mapping[str, Mapping[str, Any]] = {
    "torch._dynamo": dict.fromkeys(("allow_in_graph", "assume_constant_result", "disable"), _unmarked),
    "transformers.processing_utils": {"Unpack": typing.Unpack},
}
# Of packages whose modules need what the package itself runs, those that do not.
ALONE = {"torch._dynamo": ("_trace_wrapped_higher_order_op",)}
ABSENT = {
    "diffusers": ("transformers", "bitsandbytes", "torchao", "gguf"),
    "transformers": ("bitsandbytes", "scipy", "torch_distributed", "torch_flex_attn", "torchao", "torchvision"),
}
# A module that is asked for as if it were a name of its package, which would then run.
NAMED = ("transformers.initialization",)
VERSION = re.compile(rb'^__version__ = "([^"]+)"', re.MULTILINE)
_running = threading.RLock()


class _Later(ModuleType):
    """A module that runs when a name is asked for that it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":  # the import system and `inspect` look for such everywhere
            raise AttributeError(name)
        with _running:
            if (loader := self.__dict__.pop("_loader", None)) is not None:
                loader.exec_module(self)  # which puts its own in the place of what was given
        module = sys.modules[self.__name__]  # which some put another object in the place of
        if module is self and name not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(module, name)


class _Postponing(Loader, MetaPathFinder):
    """Finds the modules of `POSTPONED` and loads them as `_Later`."""

    names = POSTPONED

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `MetaPathFinder`."""
        parent, _, child = name.rpartition(".")
        if child not in ALONE.get(parent, (child,)):
            getattr(sys.modules[parent], "__all__", None)  # runs it
        found = PathFinder.find_spec(name, path, target) if name in self.names else None
        if found is None or not isinstance(found.loader, SourceFileLoader):
            return None
        found.loader_state, found.loader = found.loader, self
        return found

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """See `Loader`."""
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run yet; what the version is stands in the text."""
        spec = module.__spec__
        assert spec is not None
        spec.loader = loader = spec.loader_state
        if version := VERSION.search(loader.get_data(loader.path)):
            module.__dict__["__version__"] = version[1].decode()
        module.__dict__.update(GIVEN.get(spec.name, {}), __loader__=loader, _loader=loader)


class _Distributions(UserDict[str, list[str]]):
    """What `packages_distributions` gives, found out when somebody looks, for it reads every installed file's name."""

    def __init__(self) -> None:
        """Nothing is looked at yet."""

    @cached_property
    def data(self) -> dict[str, list[str]]:  # type: ignore[override]
        """The names of packages, and of what they came in."""
        return dict(_packages_distributions())


_packages_distributions = importlib.metadata.packages_distributions
_finder = _Postponing()


def begin() -> None:
    """From now on import no more than is needed; for a process that loads one editor and compiles nothing."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        importlib.metadata.packages_distributions = _Distributions  # type: ignore[assignment]


def end() -> None:
    """From now on import as usual, and both libraries anew."""
    _finder.names = set()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ABSENT:
            del sys.modules[name]
        elif isinstance(module, _Later):
            getattr(module, "__all__", None)  # runs it


def classes(*names: str) -> list[Any]:
    """Import classes of diffusers and transformers, `package.module:Class` each; lightly where `begin` was called.

    Where that fails, because a library is of a version that needs more, they are imported as usual.
    """
    if _finder in sys.meta_path and _finder.names:
        try:
            with _absent():
                return [pkgutil.resolve_name(name) for name in names]
        except Exception:
            end()
    return [pkgutil.resolve_name(name) for name in names]


@contextmanager
def _absent() -> Iterator[None]:
    """Have both libraries take for not installed what `ABSENT` names."""
    for name in NAMED:
        importlib.import_module(name)
    changed: list[tuple[ModuleType, str, Any]] = []

    def change(module: ModuleType, name: str, value: Any) -> None:
        if hasattr(module, name):
            changed.append((module, name, getattr(module, name)))
            setattr(module, name, value)

    try:
        for library, packages in ABSENT.items():
            for module in map(importlib.import_module, (f"{library}.utils.import_utils", f"{library}.utils")):
                for package in packages:
                    change(module, f"is_{package}_available", lambda: False)
                change(module, "auto_docstring", _unmarked)
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)
