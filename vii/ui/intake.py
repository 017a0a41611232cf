"""What uploads may take on the disk, together; the oldest that nobody needs give way."""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .bodies import Refused

# Bytes: of one request, of all uploads that lie there, and what is left free on the disk.
MAX_BODY, MAX_UPLOADS, SPARE = 200_000_000, 2_000_000_000, 500_000_000
# Seconds during which an upload is not forgotten: somebody is filling in what to do with it.
GRACE = 600.0
# In the folder of uploads, what vii made itself.
OWN = "own"


class Intake:
    """Room for uploads in the folder of a running page, of which `in_use` gives those that jobs still need."""

    def __init__(self, folder: Path, in_use: Callable[[], Collection[Path]] = tuple) -> None:
        self.folder, self._in_use, self._coming = folder, in_use, 0

    @contextmanager
    def room(self, length: int) -> Iterator[None]:
        """Room for this many bytes while they arrive; the oldest uploads that nobody needs give way, or Refused."""
        if length > MAX_BODY:
            raise Refused(413, f"refused: an upload of {length:,} bytes, at most {MAX_BODY:,} are taken at once")
        self._make_room(length + self._coming)
        self._coming += length
        try:
            yield
        finally:
            self._coming -= length

    def uploads(self) -> list[Path]:
        """Uploads, the oldest first."""
        found = []
        for path in self.folder.iterdir():
            if path.name != OWN:
                found += [file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        return sorted(found, key=_age)

    def _make_room(self, length: int) -> None:
        waiting, used = self.uploads(), 0
        sizes = {path: _size(path) for path in waiting}
        used = sum(sizes.values())
        free = shutil.disk_usage(self.folder).free
        needed = set(self._in_use())
        for path in waiting:
            if used + length <= MAX_UPLOADS and length + SPARE <= free:
                return
            if path not in needed and time.time() - _age(path) > GRACE:
                with suppress(OSError):
                    path.unlink()
                    used, free = used - sizes[path], free + sizes[path]
        if used + length > MAX_UPLOADS:
            raise Refused(
                413,
                f"refused: the page holds {used:,} bytes of pictures and files already, at most {MAX_UPLOADS:,} are "
                f"kept; they are forgotten after {GRACE / 60:g} minutes, or when 'vii ui' is started again",
            )
        if length + SPARE > free:
            raise Refused(413, f"refused: the disk under {self.folder.parent} is full")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(_size(path) for path in folder.rglob("*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
