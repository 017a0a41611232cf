"""The library: a folder of edit files under the user's data directory, in which an edit is found by its name.

There is nothing but the files: what is known about an edit stands in its header, and its name is that of its file.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from . import strict
from .edit_file import SUFFIX, Edit, describe_edit, load_edit
from .errors import EditFileError, OutputError, UsageError, unknown_name
from .files import make_folder, write

VARIABLE = "VII_LIBRARY"
MAX_NAME = 80
# What every file system can store and no shell, weight (NAME:0.5) or command (-o) can be mistaken for.
NAME = re.compile(r"\w([\w .+-]*[\w+-])?")
# Names of devices on Windows, with any suffix.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# Of what `vii show` tells of an edit, what a list does.
LISTED = ("title", "description", "init_text", "editor", "base_model", "author", "license", "tags")
# Where edits were pulled from, by hash: beside the edit files, which stay what their author published, byte for byte,
# whatever they are called later on.
PULLED = ".pulled.jsonl"
ADVICE = f"set {VARIABLE} to a folder that can be written to"


@dataclass(frozen=True, eq=False)
class Entry:
    """One edit file of a folder, by its name without the suffix: what it holds, or why it cannot be used."""

    name: str
    path: Path
    edit: Edit | None
    problem: str = ""

    def describe(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        told: dict[str, Any] = {"name": self.name, "path": str(self.path), "problem": self.problem}
        if self.edit is None:
            return told
        described = describe_edit(self.edit)
        told |= {key: described[key] for key in LISTED}
        return told | {"explained": self.edit.training.get("explained")}

    def has_tags(self, tags: Iterable[str]) -> bool:
        """Whether the edit has every one of these tags, in capitals or not."""
        own = {tag.casefold() for tag in self.edit.tags} if self.edit else set()
        return all(tag.casefold() in own for tag in tags)

    def mentions(self, words: Iterable[str]) -> bool:
        """Whether every word occurs in the name, title, description, starting text, author or tags."""
        texts = [self.name]
        if self.edit:
            edit = self.edit
            texts += [edit.title, edit.description, edit.init_text, edit.author, *edit.tags]
        text = "\n".join(texts).casefold()
        return all(word.casefold() in text for word in words)


def library_folder() -> Path:
    """Where the library is: `VII_LIBRARY`, or the platform's place for a user's data. It need not exist yet.

    Raises UsageError where the user has no home directory.
    """
    try:
        if chosen := os.environ.get(VARIABLE):
            return Path(chosen).expanduser()
        return platformdirs.user_data_path("vii", appauthor=False) / "library"
    except RuntimeError as error:
        raise UsageError(f"the library has no place ({error}); {ADVICE}") from None


def edit_files(folder: Path) -> dict[str, Path]:
    """Name -> path of the edit files directly in a folder, sorted by name; none where there is no folder.

    Raises UsageError where it is no folder, or cannot be read.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and not path.name.startswith(".")]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{folder}: expected a folder of edit files ({error.strerror})") from None
    return {_normal(path.stem): path for path in sorted(paths)}


def read_folder(folder: Path) -> list[Entry]:
    """Every edit file of a folder, checked as `load_edit` does; those that fail say why instead of stopping it."""
    entries = []
    for name, path in edit_files(folder).items():
        try:
            entries.append(Entry(name, path, load_edit(path)))
        except EditFileError as error:
            entries.append(Entry(name, path, None, str(error).removeprefix(f"{path}: ")))
    return entries


def add_edits(
    paths: Sequence[str | Path], name: str | None = None, *, replace: bool = False, option: str = "`name`"
) -> list[Entry]:
    """Copy edit files into the library: all of them, or none.

    Args:
        paths: of edit files. One that the library holds already, byte for byte under its name, is left as it is.
        name: to keep a single file under; the file's own name if not given.
        replace: whether an edit of that name that the library holds gives way.
        option: the argument of the caller's that chooses a name, for the errors.

    Raises:
        EditFileError: one is not a valid edit file.
        UsageError: a name is not safe, or taken by another edit.
        OutputError: the library cannot be written to.
    """
    if name is not None and len(paths) != 1:
        raise UsageError(f"{option} names one edit file, got {len(paths)}; add them one by one")
    folder = library_folder()
    held = {known.casefold(): path for known, path in edit_files(folder).items()}
    planned: dict[str, tuple[Entry, bytes]] = {}
    for source in map(Path, paths):
        edit = load_edit(source)
        chosen = safe_name(source.stem if name is None else name, option)
        data, key = source.read_bytes(), chosen.casefold()
        if key in planned and planned[key][1] != data:
            raise UsageError(f"{source}: another of the files to add is called '{chosen}' too; use {option}")
        if key in held and held[key].read_bytes() != data and not replace:
            raise UsageError(
                f"{source}: the library holds another edit called '{held[key].stem}'; choose a name with {option}, or "
                f"remove that one first: vii library remove '{held[key].stem}'"
            )
        planned[key] = (Entry(chosen, held.get(key, folder / f"{chosen}{SUFFIX}"), edit), data)
    make_folder(folder, ADVICE)
    for key, (entry, data) in planned.items():
        if key not in held or held[key].read_bytes() != data:
            write(entry.path, data, ADVICE)
    return [entry for entry, _ in planned.values()]


def remove_edits(names: Iterable[str]) -> list[Path]:
    """Delete edits from the library, all of them or, where a name is unknown, none; returns the files deleted.

    Raises UsageError for an unknown name, OutputError where a file cannot be deleted.
    """
    known = edit_files(library_folder())
    paths = list(dict.fromkeys(_known(name, known) for name in names))
    for path in paths:
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror})") from None
    return paths


def find_edit(text: str) -> Path:
    """An edit file by path or by name: a file that exists, else what is written like a path, else the library's."""
    if os.path.isfile(text) or written_as_path(text):
        return Path(text)
    try:
        return in_library(text)
    except UsageError as error:
        raise UsageError(f"{error}; there is no file or folder of that name either") from None


def in_library(name: str) -> Path:
    """The library's edit file of this name.

    Raises:
        UsageError: it has none.
    """
    return _known(name, edit_files(library_folder()))


def written_as_path(text: str) -> bool:
    """Whether a text names a file whatever the library holds: it has a folder in it, or ends as edit files do."""
    return Path(text).name != text or text.lower().endswith(SUFFIX)


def _known(name: str, known: Mapping[str, Path]) -> Path:
    found = known.get(_normal(name))
    if found:
        return found
    if not known:
        raise UsageError(
            f"unknown edit '{name}': the library ({library_folder()}) is empty, 'vii library add EDIT' puts files there"
        )
    raise UsageError(unknown_name("edit", name, known))


def safe_name(name: str, option: str = "`name`") -> str:
    """A name under which an edit can be kept anywhere, in one spelling.

    Raises UsageError where it is too long, or some system could not store it or would take it for something else.
    """
    name = _normal(name)
    if len(name) > MAX_NAME or not NAME.fullmatch(name) or RESERVED.fullmatch(name) or name.lower().endswith(SUFFIX):
        raise UsageError(
            f"'{name}' cannot be the name of an edit: expected at most {MAX_NAME} letters, digits, spaces and "
            f"_ - + . that begin with a letter, a digit or _, and no {SUFFIX}; choose one with {option}"
        )
    return name


def _normal(name: str) -> str:
    """One spelling of letters with accents, which macOS and others store in different ways."""
    return unicodedata.normalize("NFC", name)


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
