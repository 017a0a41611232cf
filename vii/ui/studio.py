"""What the pages share: the editor, which is loaded once and used by one job at a time, the queue, and the folder."""

import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from ..editor import Editor
from ..errors import UsageError
from .jobs import Jobs


class Studio:
    """One running page.

    Attributes:
        editor_name: the editor's, known before it is loaded.
        folder: of uploads and results; emptied when the page ends.
        jobs: the queue.
    """

    def __init__(self, editor_name: str, load: Callable[[], Editor], folder: Path) -> None:
        """The editor is loaded by the first job that needs it.

        Args:
            editor_name: what `load_editor` calls it.
            load: loads it.
            folder: for uploads and results.
        """
        self.editor_name, self.folder, self.jobs = editor_name, folder.resolve(), Jobs()
        self._load, self._lock = load, threading.Lock()
        self._editor: Editor | None = None

    def editor(self) -> Editor:
        """The editor, loaded when first asked for."""
        with self._lock:
            if self._editor is None:
                self._editor = self._load()
            return self._editor

    @property
    def loaded(self) -> Editor | None:
        """The editor where it is loaded already."""
        return self._editor

    def new_folder(self) -> Path:
        """A folder of its own for what one job makes."""
        path = self.folder / f"made-{secrets.token_hex(16)}"
        path.mkdir(parents=True)
        return path

    def hand_out(self, path: Path) -> str:
        """A copy of a file in the folder from which the page may download.

        Raises:
            UsageError: the file is gone.
        """
        copy = self.new_folder() / path.name
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise UsageError(f"{path.name} cannot be read any more ({error.strerror})") from None
        return str(copy)
