"""Writing files whole or not at all, and finding out early that they cannot be written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

ADVICE = "choose another place with -o"


@contextmanager
def replacing(path: Path, advice: str = ADVICE) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and is removed when it does not.

    Args:
        path: of the file to write.
        advice: what the error tells to do.

    Raises:
        OutputError: nothing can be written there.
    """
    temporary = _temporary_beside(path, advice)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; results follow the user's umask like any other file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error, advice) from None
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out before the work begins whether its result can be written to `path`.

    Raises:
        OutputError: `path` is a folder, or nothing can be written beside it.
    """
    if path.is_dir():
        raise OutputError(f"{path}: expected the name of a file, this is a folder")
    _temporary_beside(path).unlink()


def make_folder(path: Path, advice: str = ADVICE) -> None:
    """Make a folder and its parents, or use the one that is there.

    Args:
        path: of the folder.
        advice: what the error tells to do.

    Raises:
        OutputError: it cannot be made or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error, advice) from None
    _temporary_beside(path / "result", advice).unlink()


def _temporary_beside(path: Path, advice: str = ADVICE) -> Path:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
    except OSError as error:
        raise _cannot_write(path, error, advice) from None
    os.close(handle)
    return Path(name)


def _cannot_write(path: Path, error: OSError, advice: str) -> OutputError:
    return OutputError(f"{path}: cannot be written ({error.strerror}); {advice}")
