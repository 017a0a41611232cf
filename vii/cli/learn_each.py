"""`vii learn --each`: many edits from one folder, told as they are learned."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..edit_file import SUFFIX
from ..errors import OutputError, UsageError
from ..evaluation.table import Table, number
from ..files import Outputs, make_folder
from ..inversion import little_learned
from ..runs.learning import Learned, Lesson, Teaching, lessons_in
from ..runs.tasks import Learning
from ..storage import is_elsewhere, location
from .engine import Engine
from .progress import progress
from .terminal import STARTED, fail, say, say_json, warn

# Options of one edit.
OF_ONE = ("before", "after", "more", "folders", "preview", "plot", "log_dir")


def learn_each(
    context: click.Context,
    folder: str,
    output: str,
    teaching: Teaching,
    outputs: Outputs,
    *,
    engine: Engine,
    resume: bool,
    as_json: bool,
) -> None:
    """Learn every edit of a folder; one that fails is reported and the rest are learned."""
    of_one = [one for one in context.command.params if one.name in OF_ONE and context.params.get(one.name)]
    if of_one:
        names = [one.opts[0].upper() if isinstance(one, click.Argument) else one.opts[0] for one in of_one]
        raise UsageError(f"--each learns many edits, and {', '.join(names)} is of one; leave it out")
    lessons = lessons_in(location(folder))
    paths = _paths(lessons, location(output), outputs)
    outcomes = engine(Learning(teaching, resume), [*zip(lessons, paths, strict=True)], warn)
    startup = time.perf_counter() - STARTED
    report = _followed(outcomes, len(lessons), as_json)
    report["startup_seconds"] = round(startup, 3)
    if as_json:
        say_json(report)
    if report["failed"]:
        raise OutputError(f"{report['failed']} of {len(lessons)} edits could not be learned")


def _paths(lessons: Sequence[Lesson], out: Path, outputs: Outputs) -> list[Path]:
    """Where each edit goes."""
    if out.suffix.lower() == SUFFIX:
        raise UsageError(f"{out}: --each needs a folder for its edits, not the name of one")
    paths = [out / f"{lesson.name}{SUFFIX}" for lesson in lessons]
    if is_elsewhere(out):
        return paths
    make_folder(out, outputs.advice)
    outputs.reads(*(half for lesson in lessons for pair in lesson.pairs for half in pair if not is_elsewhere(half)))
    return [outputs.claim(path, of=lesson.name) for path, lesson in zip(paths, lessons, strict=True)]


def _followed(outcomes: Iterator[Learned], count: int, as_json: bool) -> dict[str, Any]:
    """What becomes of lessons, told as it happens, and in a table at the end."""
    started = time.perf_counter()
    found: list[Learned] = []
    with progress("learning", count) as advance:
        for outcome in outcomes:
            found.append(outcome)
            if outcome.error:
                fail(f"{outcome.name}: {outcome.error}")
            for doubt in outcome.doubts:
                warn(f"{outcome.name}: {doubt}")
            if as_json:
                say_json(_line(outcome))
            advance(outcome.name)
    learned = [one for one in found if one.edit is not None]
    seconds = time.perf_counter() - started
    if not as_json:
        say(_table(learned).markdown())
        kept = sum(one.kept for one in learned)
        parts = [f"{len(learned) - kept} learned", *([f"{kept} kept"] if kept else [])]
        parts += [f"{count - len(learned)} failed"] if len(learned) < count else []
        say(f"{count} edits: {', '.join(parts)}; {seconds:.1f} s", err=True)
    if little := [one.name for one in learned if one.edit and little_learned(one.edit)]:
        warn(
            f"little was explained of {', '.join(little)}; do the two pictures show one frame? Try --init or more steps"
        )
    return {
        "paths": [str(one.path) for one in learned],
        "seconds": round(seconds, 3),
        "kept": sum(one.kept for one in learned),
        "failed": count - len(learned),
        "skipped": {one.name: str(one.error) for one in found if one.error},
        "little_learned": little,
    }


def _line(outcome: Learned) -> dict[str, Any]:
    """What `--json` tells of one edit."""
    if outcome.edit is None:
        return {"name": outcome.name, "error": str(outcome.error)}
    training = outcome.edit.training
    return {
        "name": outcome.name,
        "path": str(outcome.path),
        "kept": outcome.kept,
        "explained": training["explained"],
        "explained_start": training["explained_start"],
        "little_learned": little_learned(outcome.edit),
        "consists_of": outcome.edit.consists_of,
        "init_text": outcome.edit.init_text,
        "steps": training["steps"],
        "seconds": round(outcome.seconds, 3),
    }


def _table(learned: Sequence[Learned]) -> Table:
    """How well each was learned, the worst first."""
    rows = []
    for one in sorted(learned, key=lambda one: one.edit.training["explained"] if one.edit else 0):
        line = _line(one)
        shares = [number(line[name] * 100, ".0f") for name in ("explained", "explained_start")]
        pace = "kept" if one.kept else number(one.seconds, ".1f")
        rows.append([one.name, *shares, str(line["steps"]), pace, line["consists_of"]])
    header = ["edit", "explained (%)", "of the start (%)", "steps", "seconds", "consists of"]
    return Table("", header, rows)
