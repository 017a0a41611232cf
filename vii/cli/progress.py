"""A progress line on the terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..text import printable


@contextlib.contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A progress line on stderr where that is a terminal; calling what it gives advances it by one, with a note.

    Without a total it only shows that something goes on.
    """
    # Not a console's own opinion, which FORCE_COLOR changes: a log is no terminal.
    if not sys.stderr.isatty():
        yield lambda note="": None
        return
    columns = (
        TextColumn(label, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(file=cast(IO[str], _Lossy(sys.stderr)))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda note="": bar.update(task, advance=1, note=printable(note))


class _Lossy:
    """A stream that may end before the work does, as a terminal that is closed: what cannot be written is dropped."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()
