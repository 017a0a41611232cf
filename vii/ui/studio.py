"""What the pages share: the editor, which is loaded once and used by one job at a time, the queue, and the folder."""

import hashlib
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from ..editor import Editor
from ..errors import UsageError
from ..files import replacing
from ..text import printable
from .intake import OWN
from .jobs import Job, Jobs


class Studio:
    """One running page: the editor, loaded by the first job that needs it, the queue, and a folder of its own."""

    def __init__(self, editor_name: str, load: Callable[[], Editor], folder: Path) -> None:
        self.editor_name, self.folder, self.jobs = editor_name, folder.resolve(), Jobs()
        self._load, self._lock = load, threading.Lock()
        self._editor: Editor | None = None

    def editor(self) -> Editor:
        """The editor, loaded when first asked for."""
        with self._lock:
            if self._editor is None:
                self._editor = self._load()
            return self._editor

    def own(self, name: str) -> Path:
        """A folder for what the page makes itself; `name` is its own."""
        path = self.folder / OWN / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def folder_for(self, job: Job) -> Path:
        """The folder of what a job makes."""
        job.folder = self.own(f"job-{secrets.token_hex(16)}")
        return job.folder

    def hand_out(self, path: Path) -> str:
        """A copy of a file where the page may download it from; the same one for the same bytes and name."""
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            copy = self.own(digest) / printable(path.name)
            if not copy.exists():
                with replacing(copy) as temporary:
                    shutil.copyfile(path, temporary)
        except OSError as error:
            raise UsageError(f"{path.name} cannot be read any more ({error.strerror})") from None
        return str(copy)
