"""Edit images by example: learn an edit from one before/after pair, keep it as a small file, apply it anywhere."""

import lazy_loader

# The public names stand in __init__.pyi, once; each is imported when it is first used, so that `import vii` is light.
_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name != "__version__":
        return _lazy(name)
    import importlib.metadata

    try:
        return importlib.metadata.version("vii")
    except importlib.metadata.PackageNotFoundError:  # a checkout that was not installed
        return "0+unknown"
