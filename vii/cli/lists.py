"""`vii editors`, `vii methods`, `vii recipes`, `vii captioner list`: what can be named."""

import click

from ..captions import INITS
from ..captions.lavis import uv_state
from ..editors import EDITORS
from ..inversion.recipes import read_recipe, recipe_names
from ..methods import METHODS, model_of
from .common import json_option
from .terminal import tell


@click.command()
@json_option
def editors(as_json: bool) -> None:
    """List the editors that can be named."""
    table = {name: {"description": entry.description, "needs": entry.needs} for name, entry in EDITORS.items()}
    lines = (f"{name:<10} {row['description']}\n{'':<10} needs: {row['needs']}" for name, row in table.items())
    tell(as_json, table, "\n".join(lines))


@click.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the recipes that can be named."""
    described = {name: read_recipe(name).description for name in recipe_names()}
    tell(as_json, described, "\n".join(f"{name:<10} {description}" for name, description in described.items()))


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List the methods of editing by example.

    Other packages may add theirs.
    """
    fields = ("description", "needs", "takes", "pairs", "learns")
    table = {name: {field: getattr(row, field) for field in fields} for name, row in METHODS.items()}
    lines = []
    for name, row in METHODS.items():
        needs = {"pairs": row.pairs, "words (--text)": "text" in row.needs, "an editor": "editor" in row.needs}
        needs["weights (--model)"] = "model" in row.needs and not model_of(name)
        told = ", ".join(need for need, needed in needs.items() if needed) or "nothing"
        told += "; a small model ships, --model names others" if "model" in row.needs and model_of(name) else ""
        lines.append(f"{name:<16} {row.description}\n{'':<16} needs: {told}")
    tell(as_json, table, "\n".join(lines))


@click.group()
def captioner() -> None:
    """Ways to find a starting text (vii learn --init)."""


@captioner.command("list")
@json_option
def captioners(as_json: bool) -> None:
    """List what --init can be, and what has to be there for it."""
    rows = [
        {"name": name, "description": description, "state": uv_state() if name == "lavis" else "needs no setup"}
        for name, description in INITS.items()
    ]
    tell(as_json, rows, "\n".join(f"{row['name']:>10}  {row['description']} ({row['state']})" for row in rows))
