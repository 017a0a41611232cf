"""The private folder of one running page: nobody else's to read, and gone when the page is, however it ended."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

PREFIX, LOCK = "vii-ui-", "lock"


@contextmanager
def session_folder() -> Iterator[Path]:
    """A new folder (mode 0700) in the user's temporary folder, removed with all that is in it when the block ends.

    Folders that pages left behind because they were killed are removed first. A page is alive as long as it holds the
    lock in its folder, which the system takes from it when it dies: a process id could be somebody else's by now, or
    that of another container.
    """
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{PREFIX}*"):
        _remove_if_dead(left)
    made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}" if fcntl else PREFIX, dir=place))
    folder = made.with_name(made.name.removeprefix("."))
    with open(made / LOCK, "wb") as lock:
        _locked(lock)
        made = made.rename(folder) if fcntl else made  # named only once it is locked: another start may look now
        try:
            yield made
        finally:
            if not fcntl:
                lock.close()
            shutil.rmtree(made, ignore_errors=True)


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed or this process ends; whether nobody else holds it."""
    if fcntl:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _remove_if_dead(folder: Path) -> None:
    """Remove the folder of a page of this user that no longer runs."""
    with suppress(OSError):
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            return
        if fcntl:
            with open(folder / LOCK, "rb") as lock:
                if not _locked(lock):
                    return
                shutil.rmtree(folder, ignore_errors=True)
        else:
            (folder / LOCK).unlink()
            shutil.rmtree(folder, ignore_errors=True)
