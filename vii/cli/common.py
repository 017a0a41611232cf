"""What the commands share: the options that choose an editor, where results go, how they are told."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import light_imports
from ..edit_file import is_edit_name
from ..errors import EditorError, ModelNotNamed, OutputError
from ..files import Outputs

if TYPE_CHECKING:
    from ..edit import Edit
    from ..editor import Editor

Command = TypeVar("Command", bound=Callable[..., Any])
# Of `editor_options`, and where there is one, what a command adds to them: the arguments of `load_editor`.
EDITOR_OPTIONS = (
    "editor", "model", "controlnet", "revision", "resolution", "quantize", "checkpointing", "device", "dtype", "clip",
    "offload",
)  # fmt: skip


def editor_options(command: Command) -> Command:
    """The options that choose an editor and where it runs."""
    for option in (
        click.option("--clip", metavar="ID|FOLDER|none", help="CLIP model of the editor; open_clip:ARCH/WEIGHTS too."),
        click.option(
            "--dtype", metavar="TYPE", help="float32, bfloat16 or float16; the fastest safe one if not given."
        ),
        click.option("--device", metavar="NAME", help="cuda, mps or cpu; the best there is if not given."),
        click.option(
            "--checkpointing/--no-checkpointing",
            default=None,
            help="Learn with less memory and more time, or not, with an editor that can.",
        ),
        click.option(
            "--quantize",
            metavar="KIND|FILE",
            help="nf4, int8, int8wo, float8wo, or a GGUF file: weights in fewer bits.",
        ),
        click.option("--resolution", type=click.IntRange(64), metavar="PIXELS", help="A side, of editors of any size."),
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
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that vii did not make; what is read never is."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def import_lightly(options: Mapping[str, Any]) -> None:
    """Import no more than the editor needs, in a process that ends with this command."""
    program = getattr(click.get_current_context().find_root().command, "is_program", False)
    if program and not options["quantize"]:  # whose packages the light way leaves out
        light_imports.begin()


def load_editor(options: dict[str, Any]) -> "Editor":
    """The editor that the options name, or the embedded one."""
    from .. import editors  # which loads torch, for commands that need no editor

    options = dict(options)
    return editors.load_editor(options.pop("editor", None) or editors.DEFAULT_EDITOR, **options)


def editor_of(edit: "Edit | None", options: dict[str, Any]) -> dict[str, Any]:
    """Editor options, completed from an edit as `vii.editors.trust` allows it."""
    from ..editors.trust import options_for

    try:
        return options_for(edit, options)
    except ModelNotNamed as error:
        raise EditorError(f"{error.reason} with --model {error.model}") from None


def outputs_of(overwrite: bool, consent: str = "--overwrite", place: str = "-o") -> Outputs:
    """What a command writes, with errors that speak of its options: `consent` sets `overwrite`, `place` the path."""
    return Outputs(overwrite=overwrite, advice=f"choose another place with {place}", consent=consent)


def edit_path(output: str, outputs: Outputs) -> Path:
    """Where to write an edit file, found out early.

    Raises OutputError: the name does not end in `.safetensors`, may not be replaced, or nothing can be written there.
    """
    if not is_edit_name(output):
        raise OutputError(f"{output}: edit files are named *.safetensors")
    return outputs.claim(output)


def written(path: Path) -> dict[str, Any]:
    """What `--json` tells of a file that was written."""
    return {"path": str(path), "bytes": path.stat().st_size}


def weighed(path: Path) -> str:
    """What the terminal is told of a file that was written."""
    return f"{path}   {path.stat().st_size / 1000:.0f} kB"
