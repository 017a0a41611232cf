"""Where the edits of the library came from: a list of what was pulled into it, by hash.

Beside the edit files and not in them, so that a file stays what its author published, byte for byte; and by hash, so
that a note holds whatever the file is called later on.
"""

import hashlib
from pathlib import Path

from .. import strict
from ..errors import OutputError
from ..library import library_folder

PULLED = ".pulled.jsonl"


def remember(sha256: str, source: str) -> None:
    """Note in the library where a file with this hash came from, or raise OutputError."""
    path = library_folder() / PULLED
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(strict.dumps({"sha256": sha256, "source": source}) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def origin(path: Path) -> str:
    """Where a file of the library was pulled from, `REPO@COMMIT/FILE`; empty for any other or changed one."""
    try:
        lines = (path.parent / PULLED).read_text(encoding="utf-8").splitlines()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""
    for line in reversed(lines):
        try:
            noted = strict.loads(line)
            if noted["sha256"] == digest:
                return str(noted["source"])
        except (ValueError, KeyError, TypeError):  # a line that a full disk cut short
            continue
    return ""
