"""The one module that decides about every path that is written: what may be replaced, whole or not at all.

A command says what it read, claims every path that it will write before the work begins, and then writes:

    outputs = Outputs(overwrite=overwrite)
    outputs.reads(*photos, mask, edit_file)              # never written over, by whatever name
    result = outputs.claim(folder / "cat.png", of="cat.jpg")
    sheet = outputs.claim("sheet.png")                   # an error now, not after hours of learning
    ...
    with replacing(result) as temporary:                 # or vii.save_image(image, result)
        temporary.write_bytes(data)

A file that is there already is replaced where `vii` made it (`made_by_vii`) or where it is empty; any other needs
`overwrite=True`. What was read is never replaced.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError
from .paths import identity, is_file, is_folder, resolved, what_is

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed by another process
    fcntl = None  # type: ignore[assignment]

ADVICE = "choose another place"
# By this `vii` knows its own files again, within their first or last 64 KiB: text files have a comment or a meta
# element (see `mark`), PNGs the text chunk and other pictures the EXIF tag Software, edit files their header.
MARK = "made with vii"
MARKS = re.compile(rb"%b|Software\0vii |(?<![A-Za-z])vii \d+\.\d+[\w.+]*[\0\"]|\"vii\.format_version\"" % MARK.encode())
LOOKED_AT = 65_536
PARTIAL = (".vii-", ".part")
_swept: set[str] = set()


class Outputs:
    """What one run has read, and where it is going to write.

    Args:
        overwrite: whether files that `vii` did not make may be replaced.
        advice: what errors tell to do, such as "choose another place with -o".
        consent: how this caller's user says `overwrite`, such as "--overwrite".
    """

    def __init__(self, *, overwrite: bool = False, advice: str = ADVICE, consent: str = "overwrite=True") -> None:
        self.overwrite, self.advice, self.consent = overwrite, advice, consent
        self._read: dict[tuple[int, int], str] = {}
        self._read_names: dict[str, str] = {}
        self._claimed: dict[str, str] = {}

    def reads(self, *paths: str | Path) -> None:
        """Remember files that were or will be read; of a folder, the files directly in it."""
        for path in map(Path, paths):
            files = [path]
            if is_folder(path):
                with suppress(OSError):
                    files = [Path(entry.path) for entry in os.scandir(path) if is_file(entry.path)]
            for file in files:
                if found := identity(file):
                    self._read[found] = str(file)
                self._read_names[resolved(file)] = str(file)

    def claim(self, path: str | Path, *, of: str | Path = "") -> Path:
        """A path in a folder that is there, which this run may write, found out before the work begins.

        `of`: what it will be the result of, for the error where two results would have one name.

        Raises:
            OutputError: it was read, it is claimed already, it is a file that `vii` did not make and `overwrite` is
                not set, it is no plain file, or nothing can be written there.
        """
        path = Path(path)
        read = self._read.get(identity(path) or (0, 0)) or self._read_names.get(resolved(path))
        if read is not None:
            same = "" if read == str(path) else f" (as {read})"
            raise OutputError(f"{path} is read by this run{same} and would be overwritten; {self.advice}")
        key = check_writable(path, self.advice)
        if is_file(path) and not self.overwrite and not made_by_vii(path):
            raise OutputError(f"{path} is there already, and not made by vii; {self.advice}, or give {self.consent}")
        label = str(of) or str(path)
        if key in self._claimed:
            raise OutputError(f"{self._claimed[key]} and {label} would both be written to {path}; rename one")
        self._claimed[key] = label
        return path


def mark(suffix: str) -> str:
    """The comment by which `made_by_vii` knows a text file again; to be written within its first lines."""
    return f"<!-- {MARK} -->" if suffix.lower() in (".html", ".svg", ".md", ".xml") else f"# {MARK}"


def made_by_vii(path: str | Path) -> bool:
    """Whether nothing of anybody else's is lost with this file: it carries one of `MARKS`, or is empty.

    JSON files carry `MARK` as the value of a key.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(LOOKED_AT)
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOOKED_AT))
            tail = file.read(LOOKED_AT)
    except (OSError, ValueError):
        return False
    return not head or bool(MARKS.search(head) or MARKS.search(tail))


@contextmanager
def replacing(path: str | Path, advice: str = ADVICE) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well and is removed when it does not.

    What was written is on the disk before it takes the place of what was there. Links are followed, and the
    permissions of a file that is replaced are kept. What a killed process left behind in this folder is removed.

    Raises OutputError, which tells `advice`, where nothing can be written there.
    """
    path = Path(path)
    target, handle, temporary = _beside(path, advice)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        if fcntl is None:
            os.close(handle)
            handle = -1
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _cannot_write(path, error, advice) from None
    finally:
        temporary.unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)


def write(path: str | Path, data: str | bytes, advice: str = ADVICE) -> None:
    """Write a file, whole or not at all, texts as UTF-8; see `replacing`."""
    with replacing(path, advice) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def check_writable(path: str | Path, advice: str = ADVICE) -> str:
    """Find out before the work begins whether its result can be written to `path`; nothing is left there.

    Returns a key that is the same for every spelling of the path, in whatever case where the file system ignores case.
    Raises OutputError where `path` is a folder, or nothing can be written beside it.
    """
    target, handle, temporary = _beside(Path(path), advice)
    ignores_case = os.path.exists(temporary.with_name(temporary.name.upper()))
    temporary.unlink(missing_ok=True)
    os.close(handle)
    return str(target).casefold() if ignores_case else str(target)


def make_folder(path: str | Path, advice: str = ADVICE) -> None:
    """Make a folder and its parents, or use the one that is there; OutputError where it cannot be written to."""
    path = Path(path)
    if (found := what_is(path)) not in ("", "folder"):
        raise OutputError(f"{path}: expected a folder, this is {'a file' if found == 'file' else found}; {advice}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary(path)
        temporary.unlink()
        os.close(handle)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error, advice) from None


def sweep(folder: str | Path) -> None:
    """Remove what killed processes left in a folder: temporary files on which nobody holds a lock any more."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(PARTIAL[0]) and entry.name.endswith(PARTIAL[1]):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    if fcntl is None:
        os.unlink(path)
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


def _temporary(folder: Path) -> tuple[int, Path]:
    """An open, locked, empty file in a folder, and its path; the lock ends with the process, however that ends."""
    if (name := os.path.realpath(folder)) not in _swept:
        sweep(folder)
        _swept.add(name)
    while True:
        path = folder / f"{PARTIAL[0]}{secrets.token_hex(8)}{PARTIAL[1]}"
        # The kernel applies the umask: asking for it would set it for all threads for a moment.
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)
        if fcntl is None:
            return handle, path
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process sweeps this folder and was quicker
            os.close(handle)
            continue
        except OSError:  # a file system without locks
            return handle, path
        if os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)


def _beside(path: Path, advice: str) -> tuple[Path, int, Path]:
    """What `path` leads to, and a temporary file in the same folder, open and locked."""
    if (found := what_is(path)) not in ("file", ""):
        found = "a folder" if found == "folder" else found
        raise OutputError(f"{path}: expected the name of a file, this is {found}")
    try:
        target = Path(os.path.realpath(path))
        return target, *_temporary(target.parent)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error, advice) from None


def _sync_folder(folder: Path) -> None:
    """A new name is safe from a power cut once its folder is on the disk; not every system can open folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cannot_write(path: Path, error: OSError | ValueError, advice: str) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return OutputError(f"{path}: cannot be written ({reason}); {advice}")
