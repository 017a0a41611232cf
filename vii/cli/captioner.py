"""`vii captioner`: the ways to find a starting text, and the environments that some of them need."""

import json

import click

from .common import json_option, progress


@click.group()
def captioner() -> None:
    """Ways to find a starting text (vii learn --init), and the environments of those that need one."""


@captioner.command("list")
@json_option
def list_(as_json: bool) -> None:
    """What --init can be, and what has to be set up for it."""
    from ..captions import INITS
    from ..captions.environment import ENVIRONMENTS, environment_folder, is_ready

    rows = []
    for name, description in INITS.items():
        row = {"name": name, "description": description, "state": "needs no setup", "folder": ""}
        if name in ENVIRONMENTS:
            row["state"] = "ready" if is_ready(name) else "not set up"
            row["folder"] = str(environment_folder(name))
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        state = f"{row['state']}: {row['folder']}" if row["folder"] else row["state"]
        click.echo(f"{row['name']:>10}  {row['description']} ({state})")


@captioner.command()
@click.argument("name")
@click.option("--python", metavar="FILE", help="Interpreter of the version that is needed; looked for if not given.")
def setup(name: str, python: str | None) -> None:
    """Make the environment of a captioner (lavis: Python 3.11 and about 7 GB), in the user's cache folder.

    What is missing is downloaded with pip. An attempt that was stopped or that failed is gone on with.
    """
    from ..captions.environment import set_up

    with progress(f"setting up {name}", None) as advance:
        folder = set_up(name, python, lambda line: advance(line[:80]))
    click.echo(folder)


@captioner.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the environment of a captioner."""
    from ..captions.environment import remove as remove_environment

    click.echo(f"removed {remove_environment(name)}")
