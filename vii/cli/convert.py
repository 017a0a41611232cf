"""`vii import` and `vii export`: from the authors' files, and to plain arrays."""

import json
from pathlib import Path
from typing import Any

import click

from .common import AUTHORS_EDITOR, edit_path, editor_of, editor_options, json_option, load_editor

FORMATS = ("npz", "diffusers-ti", "a1111", "comfyui")
# Rows are written and compared as the text encoder gives them, which half precision would blur.
EXACT = {"device": "cpu", "dtype": "float32"}


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--caption", metavar="TEXT", help="What learning started from (learned_prompt.txt); none: keep all rows.")
@click.option("-o", "--output", required=True, metavar="EDIT", help="Where to write the edit file (.safetensors).")
@click.option("--title", default="", help="A short name; the file's name if not given.")
@editor_options
@json_option
def import_(file: str, caption: str | None, output: str, title: str, as_json: bool, **options: Any) -> None:
    """Make an edit file from a prompt_embeds_*.pt of the paper's own code.

    The editor is the one it was learned with, InstructPix2Pix if not named; it is loaded to check that the rows are
    its own. The file is read as weights only: one that holds code is refused.
    """
    import dataclasses

    from ..edit_file import save_edit
    from ..interop import import_prompt_embeds, read_prompt_embeds

    path = edit_path(output)
    read_prompt_embeds(file)  # a bad file is found before gigabytes of weights are loaded
    editor = load_editor(_completed(options, {**EXACT, "editor": AUTHORS_EDITOR}))
    edit = dataclasses.replace(import_prompt_embeds(editor, file, caption), title=title or path.stem)
    save_edit(edit, path)
    report = {
        "path": str(path),
        "bytes": path.stat().st_size,
        "tokens": len(edit.tokens),
        "init_text": edit.init_text,
        "editor": edit.editor,
    }
    if as_json:
        click.echo(json.dumps(report))
        return
    kept = f"around them the caption '{edit.init_text}'" if edit.init_text else "all that follow the first"
    click.echo(f"{path}   {path.stat().st_size / 1000:.0f} kB\n{len(edit.tokens)} rows, {kept}; for '{edit.editor}'")


@click.command()
@click.argument("edit_file", metavar="EDIT")
@click.option("--format", "kind", required=True, type=click.Choice(FORMATS), help="npz: plain arrays, for any program.")
@click.option("-o", "--output", metavar="FILE", help="Where to write; EDIT's name with .npz, here, if not given.")
@click.option("--any-model", is_flag=True, help="Accept an edit learned with other weights of the same shape.")
@editor_options
@json_option
def export(edit_file: str, kind: str, output: str | None, any_model: bool, as_json: bool, **options: Any) -> None:
    """Write an edit for other programs. EDIT is a file, or the name of one in the library.

    npz holds the learned tokens and the whole text embeddings that a diffusion model is given. The formats of textual
    inversion hold input embeddings of a text encoder; edits are learned in its output, so these are refused.
    """
    from ..edit_file import load_edit
    from ..files import check_writable
    from ..interop import export_npz, refuse_textual_inversion
    from ..library import find_edit

    source = find_edit(edit_file)
    edit = load_edit(source)
    if kind != "npz":
        refuse_textual_inversion(edit, kind)
    path = Path(output or f"{source.stem}.npz")
    check_writable(path)
    editor = load_editor(_completed(editor_of(edit, options), EXACT))
    export_npz(edit, editor, path, any_model=any_model)
    report = {"path": str(path), "bytes": path.stat().st_size, "editor": editor.name}
    click.echo(json.dumps(report) if as_json else f"{path}   {path.stat().st_size / 1000:.0f} kB")


def _completed(options: dict[str, Any], defaults: dict[str, str]) -> dict[str, Any]:
    """Options with defaults for those not given."""
    return options | {name: options[name] or value for name, value in defaults.items()}
