"""Asking a path what it is: questions that never raise, and the two that raise what the caller says.

Names that are too long, folders without permission, NUL, pipes and sockets have an answer like everything else.
"""

import os
import stat
from pathlib import Path

from .errors import ViiError


def what_is(path: str | Path) -> str:
    """What a path leads to: "file", "folder", "" for nothing, else a phrase such as "a pipe"; never raises."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except ValueError:
        return "out of reach (a NUL in its name)"
    except OSError as error:
        return f"out of reach ({error.strerror})"
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def is_file(path: str | Path) -> bool:
    """Whether a path leads to a plain file; never raises."""
    return what_is(path) == "file"


def is_folder(path: str | Path) -> bool:
    """Whether a path leads to a folder; never raises."""
    return what_is(path) == "folder"


def _named(found: str) -> str:
    return {"": "nothing", "file": "a file", "folder": "a folder"}.get(found, found)


def expect_file(path: str | Path, error: type[ViiError], expected: str = "a file") -> Path:
    """The path of a plain file that is there, or an error of the class given, with what was found instead."""
    found = what_is(path)
    if found == "":
        raise error(f"{path}: no such file")
    if found != "file":
        raise error(f"{path}: expected {expected}, found {_named(found)}")
    return Path(path)


def read_small(path: str | Path, error: type[ViiError], most: int, what: str = "file") -> bytes:
    """The bytes of a file, of `most` at the most, or an error of the class given."""
    if not is_file(path):
        raise error(f"{path}: no such {what}")
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from None
    if len(data) > most:
        raise error(f"{path}: {os.path.getsize(path):,} bytes is too large for this {what} (at most {most:,})")
    return data


def inside(folder: str | Path, error: type[ViiError], expected: str = "a folder") -> list[Path]:
    """What lies in a folder, sorted by name, hidden files left out; or an error of the class given."""
    found = what_is(folder)
    if found != "folder":
        raise error(f"{folder}: expected {expected}, found {_named(found)}")
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError as problem:
        raise error(f"{folder}: this folder cannot be read ({problem.strerror})") from None


def identity(path: str | Path) -> tuple[int, int] | None:
    """Device and inode of what a path leads to, the same for every name of it; None where it leads nowhere."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def resolved(path: str | Path) -> str:
    """The absolute path without links; never raises."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)
