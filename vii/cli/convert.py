"""`vii import` and `vii export`: from the authors' files, to plain arrays, and to textual inversions."""

import dataclasses
from typing import Any

import click

from ..edit_file import load_edit, save_edit
from ..editors import AUTHORS_EDITOR
from ..errors import UsageError
from ..interop.prompt_embeds import export_npz, import_prompt_embeds, read_prompt_embeds
from ..interop.textual_inversion import check_textual_inversion, export_textual_inversion
from ..library import find_edit
from .common import (
    edit_path,
    editor_of,
    editor_options,
    json_option,
    load_editor,
    outputs_of,
    overwrite_option,
    weighed,
    written,
)
from .terminal import say, say_json

FORMATS = ("npz", "diffusers-ti", "a1111", "comfyui")
# Rows are written and compared as the text encoder gives them, which half precision would blur.
EXACT = {"device": "cpu", "dtype": "float32"}


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--caption", metavar="TEXT", help="What learning started from (learned_prompt.txt); none: keep all rows.")
@click.option("-o", "--output", required=True, metavar="EDIT", help="Where to write the edit file (.safetensors).")
@click.option("--title", default="", help="A short name; the file's name if not given.")
@overwrite_option
@editor_options
@json_option
def import_(
    file: str, caption: str | None, output: str, title: str, overwrite: bool, as_json: bool, **options: Any
) -> None:
    """Make an edit file from a prompt_embeds_*.pt of the paper's own code.

    The editor is the one it was learned with, InstructPix2Pix if not named; it is loaded to check that the rows are
    its own. The file is read as weights only: one that holds code is refused.
    """
    outputs = outputs_of(overwrite)
    outputs.reads(file)
    path = edit_path(output, outputs)
    read_prompt_embeds(file)  # a bad file is found before gigabytes of weights are loaded
    editor = load_editor(_completed(options, {**EXACT, "editor": AUTHORS_EDITOR}))
    edit = dataclasses.replace(import_prompt_embeds(editor, file, caption), title=title or path.stem)
    save_edit(edit, path)
    report = written(path) | {"tokens": len(edit.tokens), "init_text": edit.init_text, "editor": edit.editor}
    if as_json:
        say_json(report)
        return
    kept = f"around them the caption '{edit.init_text}'" if edit.init_text else "all that follow the first"
    say(f"{weighed(path)}\n{len(edit.tokens)} rows, {kept}; for '{edit.editor}'")


@click.command()
@click.argument("edit_file", metavar="EDIT")
@click.option("--format", "kind", required=True, type=click.Choice(FORMATS), help="What to write; see above.")
@click.option("-o", "--output", metavar="FILE", help="Where to write; if not given, a name made of EDIT's, here.")
@click.option("--token-name", metavar="NAME", help="diffusers-ti: what stands for it in a prompt. [default: <title>]")
@click.option("--any-model", is_flag=True, help="npz: accept an edit learned with other weights of the same shape.")
@overwrite_option
@editor_options
@json_option
def export(
    edit_file: str,
    kind: str,
    output: str | None,
    token_name: str | None,
    any_model: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write an edit for other programs. EDIT is a file, or the name of one in the library.

    npz holds the learned tokens and the whole text embeddings that a diffusion model is given. The formats of textual
    inversion, diffusers-ti, a1111 and comfyui, hold input embeddings of a text encoder, and are for edits learned with
    'vii learn --space input'; others are refused.
    """
    source = find_edit(edit_file)
    edit = load_edit(source)
    plain = kind == "npz"
    if plain and token_name is not None:
        raise UsageError(f"--token-name is for --format diffusers-ti; npz has no prompt, got '{token_name}'")
    if not plain:
        check_textual_inversion(edit, kind)
    outputs = outputs_of(overwrite)
    outputs.reads(source)
    path = outputs.claim(output or f"{source.stem}{'.npz' if plain else '-embedding.safetensors'}")
    if plain:
        editor = load_editor(_completed(editor_of(edit, options), EXACT))
        export_npz(edit, editor, path, any_model=any_model)
        more = {"editor": editor.name}
    else:
        more = {"prompt": export_textual_inversion(edit, path, kind, token_name)}
    if as_json:
        say_json(written(path) | more)
    else:
        say(weighed(path) if plain else f"{weighed(path)}\nin a prompt: {more['prompt']}")


def _completed(options: dict[str, Any], defaults: dict[str, str]) -> dict[str, Any]:
    """Options with defaults for those not given."""
    return options | {name: options[name] or value for name, value in defaults.items()}
