"""What the commands say: text that any terminal can show, errors in one line, JSON.

Nothing that a command prints goes another way, so that nothing from somebody's file, name or server can reach the
terminal as a control sequence, and no letter can stop a command whose work is done.
"""

import contextlib
import json
import sys
import time
from typing import Any

import click

from ..text import printable

# Commands import the heavy libraries after this: loading them counts as start-up.
STARTED = time.perf_counter()


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
    """Print a value to stdout as strict JSON in one line, letters beyond ASCII escaped.

    Raises:
        ValueError: it holds NaN or an infinity.
    """
    click.echo(json.dumps(value, allow_nan=False))


def warn(message: str) -> None:
    """Print a warning in one line on stderr. Where there is no terminal any more, nobody needs it."""
    with contextlib.suppress(OSError):
        say(f"warning: {' '.join(message.split())}", err=True)


def fail(message: str, code: int = 1) -> int:
    """Print an error in one line on stderr and return the exit code."""
    with contextlib.suppress(OSError):
        say(f"vii: {' '.join(message.split())}", err=True)
    return code
