"""`vii import` and `vii export`: the authors' files, look-up tables, plain arrays, and textual inversions."""

from pathlib import Path
from typing import Any

import click

from ..edit import Edit
from ..edit_file import load_edit, save_edit
from ..errors import UsageError
from ..interop.luts import KINDS, check_lut_name, color_map, export_lut, import_lut, is_lut_name
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
from .terminal import tell

FORMATS = (*KINDS, "npz", "diffusers-ti", "a1111", "comfyui")
ENDINGS = {kind: suffixes[0] for kind, suffixes in KINDS.items()} | {"npz": ".npz"}
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
    """Make an edit file from a LUT, or a file of the paper's code.

    A table is a .cube file, or a picture that is a Hald CLUT. It becomes an edit that needs no editor, takes a weight
    and stacks with learned ones. It is kept as it is, 12 bytes a point: 431 kB for 33 points a side, 3.3 MB for 65; one
    of more than 87 is sampled anew with 65.

    The file of the paper's code is a prompt_embeds_*.pt. The editor is the one that the file was learned with,
    InstructPix2Pix if not named; it is loaded to check that the rows are its own. The file is read as weights only: one
    that holds code is refused.
    """
    outputs = outputs_of(overwrite)
    outputs.reads(file)
    path = edit_path(output, outputs)
    edit, report, told = (
        _from_table(file, caption, options) if is_lut_name(file) else _from_authors(file, caption, options)
    )
    save_edit(edit.labelled(title=title or (Path(file) if is_lut_name(file) else path).stem), path)
    tell(as_json, written(path) | report, f"{weighed(path)}\n{told}")


def _from_table(file: str, caption: str | None, options: dict[str, Any]) -> tuple[Edit, dict[str, Any], str]:
    _refuse({"caption": caption, **options}, "is for files of the paper's code; a look-up table needs no editor")
    edit, error = import_lut(file)
    points = edit.training["points"]
    report = {"points": points, "psnr": error and round(error.psnr, 2), "largest": error and round(error.largest, 3)}
    told = f"sampled anew with {points} points a side, {error}" if error else f"{points} points a side, as they were"
    return edit, report, told


def _from_authors(file: str, caption: str | None, options: dict[str, Any]) -> tuple[Edit, dict[str, Any], str]:
    from ..editors import AUTHORS_EDITOR
    from ..interop.prompt_embeds import import_prompt_embeds, read_prompt_embeds

    read_prompt_embeds(file)  # a bad file is found before gigabytes of weights are loaded
    editor = load_editor(_completed(options, {**EXACT, "editor": AUTHORS_EDITOR}))
    edit = import_prompt_embeds(editor, file, caption)
    kept = f"around them the caption '{edit.init_text}'" if edit.init_text else "all that follow the first"
    report = {"tokens": edit.num_tokens, "init_text": edit.init_text, "editor": edit.editor}
    return edit, report, f"{edit.num_tokens} rows, {kept}; for '{edit.editor}'"


@click.command()
@click.argument("edit_file", metavar="EDIT")
@click.option("--format", "kind", required=True, type=click.Choice(FORMATS), help="What to write; see above.")
@click.option("-o", "--output", metavar="FILE", help="Where to write; if not given, a name made of EDIT's, here.")
@click.option("--weight", type=float, metavar="W", help="cube, hald: how much of the edit. [default: 1]")
@click.option("--token-name", metavar="NAME", help="diffusers-ti: what stands for it in a prompt. [default: <title>]")
@click.option("--any-model", is_flag=True, help="npz: accept an edit learned with other weights of the same shape.")
@overwrite_option
@editor_options
@json_option
def export(
    edit_file: str,
    kind: str,
    output: str | None,
    weight: float | None,
    token_name: str | None,
    any_model: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write an edit for other programs. EDIT is a file, or the name of one in the library.

    cube and hald are look-up tables, for edits that are colour maps: a 3D LUT of 33 points a side, and a Hald CLUT of
    level 8 with 16 bits (.png or .tif). How far the table is from the edit itself on the shipped photos is printed.

    npz holds the learned tokens and the whole text embeddings that a diffusion model is given. The formats of textual
    inversion, diffusers-ti, a1111 and comfyui, hold input embeddings of a text encoder, and are for edits learned with
    'vii learn --space input'; others are refused.
    """
    source = find_edit(edit_file)
    edit = load_edit(source)
    if kind != "diffusers-ti":
        _refuse({"token_name": token_name}, "is for `kind=diffusers-ti`")
    if kind not in KINDS:
        _refuse({"weight": weight}, "is for `kind=cube` and `kind=hald`")
    outputs = outputs_of(overwrite)
    outputs.reads(source)
    name = output or f"{source.stem}{ENDINGS.get(kind, '-embedding.safetensors')}"
    if kind in KINDS:
        color_map(edit)  # why it is none is told before anything of the output's name
        check_lut_name(name, kind)
        path = outputs.claim(name)
        error = export_lut(edit, path, kind, weight=1.0 if weight is None else weight)
        more: dict[str, Any] = {"psnr": round(error.psnr, 2), "largest": round(error.largest, 3)}
        told = f"\n{error}"
    elif kind == "npz":
        from ..interop.prompt_embeds import export_npz

        path = outputs.claim(name)
        editor = load_editor(_completed(editor_of(edit, options), EXACT))
        export_npz(edit, editor, path, any_model=any_model)
        more, told = {"editor": editor.name}, ""
    else:
        from ..interop.textual_inversion import check_textual_inversion, export_textual_inversion

        check_textual_inversion(edit, kind)
        path = outputs.claim(name)
        more = {"prompt": export_textual_inversion(edit, path, kind, token_name)}
        told = f"\nin a prompt: {more['prompt']}"
    tell(as_json, written(path) | more, weighed(path) + told)


def _refuse(given: dict[str, Any], sentence: str) -> None:
    """Refuse options that mean nothing for what is asked; `None` is what was not given."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"`{name}` {sentence}, got '{value}'")


def _completed(options: dict[str, Any], defaults: dict[str, str]) -> dict[str, Any]:
    """Options with defaults for those not given."""
    return options | {name: options[name] or value for name, value in defaults.items()}
