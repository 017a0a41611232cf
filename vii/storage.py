"""Files elsewhere: whatever fsspec opens by a URL (s3://, gs://, sftp://...), used through copies on this machine.

A place of this machine is a `pathlib.Path`, and one elsewhere universal_pathlib's `UPath`, which has the same names.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from .errors import ImageError, OutputError, UsageError, ViiError


def location(text: str | Path) -> Path:
    """The place that a path or a URL names.

    Raises:
        UsageError: a URL of a kind that fsspec does not know, or the library for it is missing.
    """
    if "://" not in str(text):
        return Path(text)
    try:
        from upath import UPath

        place: Any = UPath(str(text))
        _ = place.fs
    except ImportError as error:
        raise UsageError(f"{text}: {error}; pip install 'vii[ray]', and what the kind of URL needs") from None
    except Exception as error:  # whatever the file system of this kind makes of its address
        raise UsageError(f"{text}: no place that can be reached ({error})") from None
    return cast(Path, place)


def is_elsewhere(place: Path) -> bool:
    """Whether a place is a URL's."""
    return not isinstance(place, Path)


def files_in(folder: Path, *, recursive: bool = True) -> list[Path]:
    """The files of a folder, here or elsewhere, by name; hidden ones and those in hidden folders left out.

    Raises ImageError where it cannot be listed.
    """
    try:
        found = folder.rglob("*") if recursive else folder.iterdir()
        visible = [file for file in found if not any(part[0] == "." for part in file.relative_to(folder).parts)]
    except Exception as error:
        raise ImageError(f"{folder}: cannot be listed ({error})") from None
    return sorted(visible, key=str)


@contextmanager
def fetched(place: Path) -> Iterator[Path]:
    """A file as one of this machine, to be read within the block; errors speak of the place.

    Raises ImageError where it cannot be fetched.
    """
    if not is_elsewhere(place):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="vii-") as folder:
        copy = Path(folder) / place.name
        try:
            with place.open("rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
        except Exception as error:
            raise ImageError(f"{place}: cannot be read ({error})") from None
        with _speaking_of(place, copy):
            yield copy


@contextmanager
def stored(place: Path) -> Iterator[Path]:
    """Where to write a file of this machine that is in its place when the block has ended well.

    Raises OutputError where it cannot be sent there.
    """
    if not is_elsewhere(place):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="vii-") as folder:
        copy = Path(folder) / place.name
        with _speaking_of(place, copy):
            yield copy
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("rb") as source, place.open("wb") as target:
                shutil.copyfileobj(source, target)
        except Exception as error:
            raise OutputError(f"{place}: cannot be written ({error})") from None


@contextmanager
def _speaking_of(place: Path, copy: Path) -> Iterator[None]:
    try:
        yield
    except ViiError as error:
        raise type(error)(str(error).replace(str(copy), str(place))) from None
