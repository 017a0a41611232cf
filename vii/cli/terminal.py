"""What the commands say: text that any terminal can show, errors in one line, JSON.

Nothing that a command prints goes another way, so that nothing from somebody's file, name or server can reach the
terminal as a control sequence, and no letter can stop a command whose work is done.
"""

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from ..strict import dumps, finite
from ..text import printable

# Commands import the heavy libraries after this: loading them counts as start-up.
STARTED = time.perf_counter()
# How the library's errors name an argument of its functions, with a value or without: `model`, `any_model=True`.
ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")


def tolerate_encodings() -> None:
    """Have letters that the terminal's encoding lacks written as escapes instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # what a test or a notebook puts in their place lacks it
        if reconfigure:
            reconfigure(errors="backslashreplace")


def say(text: object = "", *, err: bool = False) -> None:
    """Print lines to stdout, or to stderr."""
    click.echo("\n".join(map(printable, str(text).split("\n"))), err=err)


def say_json(value: Any) -> None:
    """Print a value to stdout as strict JSON in one line, letters beyond ASCII escaped, null for NaN and infinities."""
    click.echo(dumps(finite(value), sort_keys=False))


def tell(as_json: bool, value: Any, text: object) -> None:
    """Print a result to stdout: a value as `say_json` does, or lines for people."""
    if as_json:
        say_json(value)
    else:
        say(text)


def warn(message: str) -> None:
    """Print a warning in one line on stderr, where there still is a terminal."""
    _in_one_line("warning", message)


def fail(message: str, code: int = 1) -> int:
    """Print an error in one line on stderr and return the exit code."""
    _in_one_line("vii", message)
    return code


def _in_one_line(who: str, message: str) -> None:
    context = click.get_current_context(silent=True)
    told = in_options(" ".join(message.split()), context.command if context else None)
    with contextlib.suppress(OSError):
        say(f"{who}: {told}", err=True)


def in_options(message: str, command: click.Command | None) -> str:
    """An error of the library, which names arguments of functions in backquotes, with the options of a command.

    What is no option of the command can be set by its `--set`, where it has that, and else stays as it is.
    """
    options = {parameter.name: parameter for parameter in _parameters(command) if isinstance(parameter, click.Option)}

    def spell(match: re.Match[str]) -> str:
        name, value = match[1], (match[2] or "").strip("'\"")
        if option := options.get(name):
            spellings = option.secondary_opts if value == "False" and option.secondary_opts else option.opts
            return " ".join([max(spellings, key=len), *([value] if value and not option.is_flag else [])])
        return f"--set {name}={value}" if value and "assignments" in options else match[0]

    return ARGUMENT.sub(spell, message)


def _parameters(command: click.Command | None) -> Iterator[click.Parameter]:
    if command is not None:
        yield from command.params
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from each.params
