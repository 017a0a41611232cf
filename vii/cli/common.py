"""What the commands share: one-line errors, the options that choose an editor, a progress line."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import EditorError, ModelNotNamed, OutputError, ViiError

if TYPE_CHECKING:
    from ..edit_file import Edit
    from ..editor import Editor

# Commands import the heavy libraries themselves, after this: loading them counts as start-up.
STARTED = time.perf_counter()
Command = TypeVar("Command", bound=Callable[..., Any])


class OneLineErrors(click.Group):
    """A group whose errors are one line and exit code 1."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command; what a user can cause is reported in one line."""
        run: Any = super().main
        try:
            code = run(*args, standalone_mode=False, **extra)
        except click.ClickException as error:
            # Newer versions of click raise the help of a group that was given no command.
            if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                click.echo(error.format_message())
                sys.exit(0)
            context = error.ctx if isinstance(error, click.UsageError) else None
            hint = f" (see '{context.command_path} --help')" if context else ""
            code = fail(error.format_message() + hint)
        except ViiError as error:
            code = fail(str(error))
        except (KeyboardInterrupt, click.Abort):
            code = fail("stopped", 130)
        except BrokenPipeError:
            code = 1
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError":
                raise
            code = fail("out of memory: try --dtype float16, a smaller --set batch_size=..., or --device cpu")
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def fail(message: str, code: int = 1) -> int:
    """Print an error in one line on stderr and return the exit code."""
    click.echo(f"vii: {' '.join(message.split())}", err=True)
    return code


def editor_options(command: Command) -> Command:
    """The options that choose an editor and where it runs."""
    for option in (
        click.option("--clip", metavar="ID|FOLDER|none", help="CLIP model of the editor; open_clip:ARCH/WEIGHTS too."),
        click.option(
            "--dtype", metavar="TYPE", help="float32, bfloat16 or float16; the fastest safe one if not given."
        ),
        click.option("--device", metavar="NAME", help="cuda, mps or cpu; the best there is if not given."),
        click.option("--revision", metavar="REV", help="Branch, tag or commit of a model on a hub."),
        click.option("--controlnet", metavar="ID|FOLDER", help="ControlNet to use instead of the editor's own."),
        click.option("--model", metavar="ID|FOLDER", help="Weights to use instead of the editor's own."),
        click.option("--editor", metavar="NAME", help="An editor; see 'vii editors'."),
    ):
        command = option(command)
    return command


space_option = click.option(
    "--space",
    metavar="output|input",
    help="Learn what the text encoder gives (the default), or what it reads, for 'vii export' to other programs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def load_editor(options: dict[str, Any]) -> "Editor":
    """The editor that the options name, or the embedded one."""
    from .. import editors

    options = dict(options)
    return editors.load_editor(options.pop("editor", None) or editors.DEFAULT_EDITOR, **options)


def editor_of(edit: "Edit | None", options: dict[str, Any]) -> dict[str, Any]:
    """Editor options, completed from an edit as `vii.editors.trust` allows it."""
    from ..editors.trust import options_for

    try:
        return options_for(edit, options)
    except ModelNotNamed as error:
        raise EditorError(f"{error.reason} with --model {error.model}") from None


def edit_path(output: str) -> Path:
    """Where to write an edit file, found out early.

    Raises:
        OutputError: the name does not end in `.safetensors`, or nothing can be written there.
    """
    from ..files import check_writable

    path = Path(output)
    if path.suffix.lower() != ".safetensors":
        raise OutputError(f"{output}: edit files are named *.safetensors")
    check_writable(path)
    return path


def printable(text: str) -> str:
    """A text from somebody's file without what a terminal would obey: escape sequences, line ends."""
    return "".join(character if character.isprintable() else " " for character in text)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A progress line on stderr where that is a terminal; calling what it gives advances it by one, with a note.

    Without a total it only shows that something goes on.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda note="": bar.update(task, advance=1, note=note)
