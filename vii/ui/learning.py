"""What the page *Learn* does: check what was dropped, learn, save."""

import dataclasses
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..application import apply
from ..edit_file import Edit, save_edit
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair
from ..inversion import InversionSettings, Step, invert_steps, little_learned
from ..inversion.recipes import load_recipe, recipe_names
from ..library import Entry, add_edits, safe_name
from ..rendering.preview import caption, snapshot_steps
from ..rendering.sheets import data_url, inside, thumbnail_of
from ..settings import override
from ..text import percent, printable
from .jobs import Job
from .studio import Studio

FIELD = "the field Name"
MAX_FIELD, MAX_LABEL = 2000, 200
MAX_STEPS, MAX_TOKENS = 100_000, 1024
PICTURE, QUALITY = 160, 85

Picture = tuple[str, str]  # label, data URL


@dataclass(frozen=True)
class Progress:
    """How far learning is.

    Attributes:
        loss: of the last update; NaN before the first.
        explained: of the best so far.
        seconds: since the first step was seen.
        left: seconds that the rest will take at this pace; None before two updates and at the end.
    """

    step: int
    steps: int
    loss: float
    explained: float
    seconds: float
    left: float | None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of it: the best edit on the probe set, and whether somebody ended it early.

    The thumbnail is of the pair, for the file of an edit whose owner wants it there.
    """

    edit: Edit
    thumbnail: str
    progress: Progress
    stopped: bool


@dataclass
class _Watch:
    """Pace and pictures of one run."""

    editor: Editor
    pair: Pair
    seed: int
    wanted: list[int]
    pictures: list[Picture] = field(default_factory=list)
    started: float = 0.0
    drawing: float = 0.0

    def see(self, step: Step) -> Progress:
        """Take a picture where it is time for one, and say how far it is."""
        now = time.perf_counter()
        self.started = self.started or now
        if step.step in self.wanted:
            edit = step.best()
            self.draw(caption(edit, step.step), edit)
        seconds = now - self.started
        pace = (seconds - self.drawing) / step.step if step.step > 1 else None
        left = None if pace is None else pace * (step.steps - step.step)
        return Progress(step.step, step.steps, step.loss, step.explained, seconds, left, tuple(self.pictures))

    def draw(self, label: str, edit: Edit) -> None:
        """Add a picture: the edit on the photo that it is learned from."""
        started = time.perf_counter()
        result = apply(self.editor, edit, self.pair.before, seed=self.seed)
        self.pictures.append((label, shown(result)))
        self.drawing += time.perf_counter() - started


def settings_for(
    recipe: str, *, words: str = "", tokens: float | None = None, steps: float | None = None
) -> InversionSettings:
    """A recipe with what was filled in on the page; what was left empty is the recipe's.

    Raises RecipeError for an unknown recipe, UsageError for a value that cannot be.
    """
    # A recipe's name may be a path elsewhere; a page names only those that are always there.
    if recipe not in recipe_names():
        raise UsageError(f"unknown recipe '{recipe[:60]}'; expected one of {', '.join(recipe_names())}")
    words = one_line(words, "the words")
    return override(
        load_recipe(recipe),
        init_text=words or None,
        tokens=whole(tokens, "tokens", 0, MAX_TOKENS),
        max_train_steps=whole(steps, "steps", 1, MAX_STEPS),
    )


def whole(value: float | None, name: str, least: int, most: int) -> int | None:
    """A number that was typed, as a whole one; None where the field is empty. Raises UsageError for any other."""
    if value is None:
        return None
    if not isinstance(value, int | float) or not least <= value <= most or value != int(value):  # also refuses NaN
        raise UsageError(f"{name}: expected a whole number from {least} to {most:,}, got {value!s:.40}")
    return int(value)


def one_line(text: str | None, name: str, most: int = MAX_LABEL) -> str:
    """A text that was typed, in one line, without control characters; UsageError where it is too long."""
    text = " ".join(printable(text or "").split())
    if len(text) > most:
        raise UsageError(f"{name}: {len(text):,} characters, at most {most:,} are taken; shorten it")
    return text


def learn(
    job: Job, studio: Studio, pair: Pair, settings: InversionSettings, *, seed: int = 0, pictures: bool = True
) -> Learned:
    """Learn an edit, telling `job.progress`, until it is done or the job is stopped; the best so far is kept."""
    editor = studio.editor()
    watch = _Watch(editor, pair, seed, snapshot_steps(settings.max_train_steps) if pictures else [])
    if pictures:
        watch.pictures += [("before", shown(pair.before)), ("after", shown(pair.after))]
    last, stopped = None, False
    for last in invert_steps(editor, [pair], settings, seed=seed):
        job.progress = watch.see(last)
        if job.stopping and last.step < last.steps:
            stopped = True
            break
    assert last is not None  # the loop yields its starting point before anything else
    edit = last.finished()
    if pictures:
        watch.draw(caption(edit), edit)
    final = dataclasses.replace(job.progress, pictures=tuple(watch.pictures), left=None)
    return Learned(edit, thumbnail_of(pair), final, stopped)


def shown(image: Tensor) -> str:
    """A small picture for the page, as a data URL."""
    return data_url(inside(image, PICTURE), QUALITY)


def verdict(learned: Learned) -> str:
    """How well it went, in a sentence or two."""
    training, progress = learned.edit.training, learned.progress
    ended = (
        f"Stopped after {progress.step} of {progress.steps} steps; the best so far is kept."
        if learned.stopped
        else (f"Learned in {progress.steps} steps, {duration(progress.seconds)}.")
    )
    start = learned.edit.init_text or "no words"
    explained, words = (percent(training[key]) or "nothing" for key in ("explained", "explained_start"))
    told = (
        f"{ended} It explains {explained} of what the editor gets wrong without an instruction; the starting words "
        f"({start}) alone explain {words}. What is kept: {learned.edit.consists_of}."
    )
    if little_learned(learned.edit):
        told += " That is little: do both pictures show one frame? Say in words what the edit is, or allow more steps."
    return told


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(7.6), duration(95), duration(7300)
    ('8 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def save(
    learned: Learned,
    name: str,
    *,
    description: str = "",
    tags: str = "",
    author: str = "",
    license: str = "",
    picture: bool = False,
) -> Entry:
    """Keep an edit in the library, where nothing is overwritten, with what was filled in.

    Tags have commas between them; with `picture` a small one of the pair is stored in the file.

    Raises:
        UsageError: no name, one that is taken or not safe, or a text that is too long.
        OutputError: the library cannot be written to.
    """
    if not (name or "").strip():
        raise UsageError("a name is missing: say what the edit is to be called")
    name = safe_name(one_line(name, "the name"), FIELD)
    edit = dataclasses.replace(
        learned.edit,
        title=name,
        description=one_line(description, "the description", MAX_FIELD),
        author=one_line(author, "the author"),
        license=one_line(license, "the licence"),
        tags=tuple(dict.fromkeys(tag.strip() for tag in one_line(tags, "the tags").split(",") if tag.strip())),
        thumbnail=learned.thumbnail if picture else "",
    )
    with tempfile.TemporaryDirectory(prefix="vii-save-") as folder:
        path = Path(folder) / f"{name}.safetensors"
        save_edit(edit, path)
        try:
            return add_edits([path], name, option=FIELD)[0]
        except UsageError as error:
            raise UsageError(str(error).removeprefix(f"{path}: ")) from None
