"""Many edits: which pairs of a folder are an edit each, and learning one after another with an editor that stays."""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import strict
from ..edit_file import Edit, load_edit, save_edit
from ..editor import Editor
from ..editors import DEFAULT_EDITOR, load_editor
from ..errors import EditFileError, ImageError, ViiError
from ..images import Pair
from ..inversion import InversionSettings, Step, invert_steps
from ..pairs import doubts, match_pairs, pair_name
from ..pictures import SUFFIXES
from ..record import computed_by
from ..rendering.sheets import thumbnail_of
from ..storage import fetched, files_in, stored

# In a training record: the digest of all that an edit was learned from and with.
DIGEST = "learned_from"
HALVES = ("before", "after")


@dataclass(frozen=True)
class Lesson:
    """An edit to learn: its name, and the files (before, after) of its pairs; `wrong` says why there are none."""

    name: str
    pairs: Sequence[tuple[Path, Path]]
    wrong: str = ""


@dataclass(frozen=True)
class Teaching:
    """How every edit of a run is learned, in plain values that another process can be given.

    `editor` are the arguments of `load_editor`, with its name as `editor`; `labels` those of `Edit.labelled`, of which
    the title, where it is empty, is the name of each.
    """

    settings: InversionSettings
    editor: dict[str, Any]
    seed: int = 0
    labels: dict[str, Any] = field(default_factory=dict)
    thumbnail: bool = False

    def load(self) -> Editor:
        """The editor."""
        options = dict(self.editor)
        return load_editor(options.pop("editor", None) or DEFAULT_EDITOR, **options)


@dataclass(frozen=True)
class Learned:
    """What became of a lesson: the edit, or what is wrong; `kept` where it was there before, `doubts` of its pairs."""

    name: str
    path: Path
    edit: Edit | None = None
    error: ViiError | None = None
    kept: bool = False
    seconds: float = 0.0
    doubts: Sequence[str] = ()


def lessons_in(folder: Path) -> list[Lesson]:
    """The edits that a folder holds pairs of: each sub-folder is one, with all its pairs, and so is each pair directly
    in the folder.

    Raises:
        ImageError: there are no pictures, or those directly in the folder are no pairs.
    """
    groups: dict[str, list[str]] = {}
    for file in files_in(folder):
        name = file.relative_to(folder).as_posix()
        first, _, rest = name.partition("/")
        if file.suffix.lower() in SUFFIXES:
            inside = rest and first.lower() not in HALVES
            groups.setdefault(first if inside else "", []).append(rest if inside else name)
    if not groups:
        raise ImageError(f"{folder}: no pictures in this folder; expected pairs, or sub-folders of pairs")
    direct = match_pairs(groups.pop("")).pairs if "" in groups else []
    lessons = [Lesson(pair_name(before), [(folder / before, folder / after)]) for before, after in direct]
    for name, files in sorted(groups.items()):
        try:
            pairs = [(folder / name / before, folder / name / after) for before, after in match_pairs(files).pairs]
            lessons.append(Lesson(name, pairs))
        except ImageError as error:
            lessons.append(Lesson(name, [], f"{folder / name}: {error}"))
    return lessons


def learn(
    editor: Editor,
    lesson: Lesson,
    path: Path,
    teaching: Teaching,
    *,
    resume: bool = False,
    see: Callable[[Step], None] = lambda step: None,
) -> Learned:
    """Learn one edit, fit its finish, and write its file, whole or not at all.

    Args:
        editor: as `teaching` loads it.
        lesson: what to learn from.
        path: of the edit file.
        teaching: how.
        resume: keep a file that was learned from the same pairs in the same way.
        see: called after every step.
    """
    started, doubted = time.perf_counter(), [""]
    try:
        if lesson.wrong:
            raise ImageError(lesson.wrong)
        with ExitStack() as stack:
            files = [[stack.enter_context(fetched(half)) for half in pair] for pair in lesson.pairs]
            pairs = [Pair.open(*pair) for pair in files]
        labels = teaching.labels | {"title": teaching.labels.get("title") or lesson.name}
        labels |= {"thumbnail": thumbnail_of(pairs[0]) if teaching.thumbnail else ""}
        digest = _digest(editor, pairs, teaching, labels)
        if resume and (edit := _made_before(path, digest)):
            return Learned(lesson.name, path, edit, kept=True)
        doubted = [doubt for pair in pairs if (doubt := doubts(pair))]
        for step in invert_steps(editor, pairs, teaching.settings, seed=teaching.seed):
            see(step)
        edit = step.finished()
        edit = dataclasses.replace(edit, training={**edit.training, DIGEST: digest}, **labels)
        with stored(path) as file:
            save_edit(edit, file)
    except ViiError as error:
        return Learned(lesson.name, path, error=error)
    return Learned(lesson.name, path, edit, seconds=time.perf_counter() - started, doubts=doubted)


def _digest(editor: Editor, pairs: Sequence[Pair], teaching: Teaching, labels: dict[str, Any]) -> str:
    """The SHA-256 of all that decides about the bytes of an edit file."""
    settings, pictures = dataclasses.asdict(teaching.settings), [pair.sha256() for pair in pairs]
    made = [computed_by(editor), settings, teaching.seed, pictures, labels]
    return hashlib.sha256(strict.dumps(made).encode()).hexdigest()


def _made_before(path: Path, digest: str) -> Edit | None:
    try:
        if not path.is_file():
            return None
        with fetched(path) as file:
            edit = load_edit(file)
    except (EditFileError, ImageError, OSError):
        return None
    return edit if edit.training.get(DIGEST) == digest else None
