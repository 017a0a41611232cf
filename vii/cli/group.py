"""The group of all commands: a command is loaded when it is called, and whatever goes wrong is one line."""

import contextlib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ..errors import ViiError
from ..signals import Stopped, stoppable
from .terminal import fail, in_options, tolerate_encodings

DEBUG = "VII_DEBUG"
# How the help calls the values that may be empty; all others name something.
TEXTS = ("TEXT", "WORDS")


def _refuse_nothing(_: click.Context, option: click.Parameter, value: Any) -> Any:
    """An empty name, as of a shell's variable that is not set, is no option left out."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise click.BadParameter("expected something, got an empty text", param=option)
    return value


class Commands(click.Group):
    """A group whose commands are loaded when they are called, and whose errors are one line and exit code 1.

    Its table maps a name to `module:function` in this package and the first sentence of its help, so that neither help
    nor completion need load what a command needs.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.table = table
        self.commands = {name: click.Command(name, help=sentence) for name, (_, sentence) in table.items()}
        self.called: click.Command | None = None

    def load(self, name: str) -> click.Command:
        """Import a command."""
        module, _, function = self.table[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", __package__), function)
        for option in command.params:
            if isinstance(option, click.Option) and option.metavar and not option.metavar.startswith(TEXTS):
                option.callback = option.callback or _refuse_nothing
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, and not the line that stands for it in the help."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = self.called = self.load(name)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. What is no error ends here: being told to stop, and a library that ends the program."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.exceptions.Exit(fail("stopped", error.code if isinstance(error, Stopped) else 130)) from None
        except SystemExit as error:
            raise click.ClickException(f"a library underneath ended the program, saying: {error.code}") from None

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command; an error is reported in one line. With `VII_DEBUG=1` a fault of the program is raised."""
        tolerate_encodings()
        self.called = None
        self.is_program = not args and "args" not in extra  # and not called by another one, which goes on afterwards
        self.at_once = False  # set by a command whose libraries' threads may still run when Python takes them down
        with stoppable(), _no_warnings():
            try:
                run: Any = super().main
                code = run(*args, standalone_mode=False, **extra)
                sys.stdout.flush()  # here, where a full disk can still be reported
            except BrokenPipeError:
                code = _nobody_reads()
            except Exception as error:
                code = self._report(error)
        if standalone_mode:
            code = code if isinstance(code, int) else 0
            if self.at_once:
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
            sys.exit(code)
        return code

    def _report(self, error: Exception) -> int:
        """Print what went wrong and return the exit code; raise it where it is a fault and those are to be seen."""
        if isinstance(error, click.UsageError) and type(error).__name__ == "NoArgsIsHelpError":
            # Newer versions of click raise the help of a group that was given no command.
            click.echo(error.format_message())
            return 0
        if isinstance(error, click.Abort):  # nobody answers a question
            return fail("stopped")
        sentence = explain(error)
        if sentence is None and os.environ.get(DEBUG, "0") not in ("", "0"):
            raise error
        return fail(in_options(sentence, self.called) if sentence else _fault(error))


def explain(error: Exception) -> str | None:
    """A sentence for what the user or the machine caused; None for a fault of the program."""
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        return error.format_message() + (f" (see '{context.command_path} --help')" if context else "")
    if isinstance(error, ViiError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be loaded
        return (
            "out of memory: try `dtype=float16`, `batch_size=1` or `device=cpu`; 'vii doctor --editor' says what fits"
        )
    if isinstance(error, MemoryError):
        return "out of memory: what was given is too large for this machine"
    if isinstance(error, RecursionError):
        return "what was given is nested too deeply"
    if isinstance(error, OSError):
        names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{names or 'reading or writing failed'}: {error.strerror or error}"
    if isinstance(error, ImportError):
        return f"{error}; 'vii doctor' looks for what is missing or does not fit together"
    return None


def _fault(error: Exception) -> str:
    """One line that somebody who reports it can copy."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" in {frame.name} ({os.path.basename(frame.filename)}:{frame.lineno})" for frame in place)
    told = f"{type(error).__name__}: {str(error)[:300]}"
    return f"a fault of this program: {told}{where}; please report it, with what {DEBUG}=1 shows"


def _nobody_reads() -> int:
    """The reader of a pipe is gone: no error to print, and Python must not find out again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Python's warnings are for those who write programs; `-W` and `PYTHONWARNINGS` show them all the same."""
    with warnings.catch_warnings():
        if not sys.warnoptions and not os.environ.get(DEBUG):
            warnings.simplefilter("ignore")
        yield
