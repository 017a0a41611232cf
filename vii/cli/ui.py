"""`vii ui`: the page in the browser."""

from pathlib import Path
from typing import Any

import click

from ..editors import DEFAULT_EDITOR
from ..ui.server import check_installed, serve, token_for
from .common import editor_options, load_editor
from .terminal import say


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; the first free one from 7860 on.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address; another one serves others too."
)
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Take the token from a file.")
@click.option("--no-token", is_flag=True, help="Serve everybody on this machine.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@editor_options
def ui(port: int | None, host: str, token_file: Path | None, no_token: bool, no_browser: bool, **options: Any) -> None:
    """Learn, apply and keep edits on a page in the browser.

    The page is served to this machine only, and nothing leaves it. One job runs at a time; others wait for it. Whoever
    opens it needs the token that is part of the address that is printed: a new one each time, or what the variable
    VII_TOKEN or a file holds.
    """
    check_installed()
    # What the page was served with leaves threads behind, which can end the process in a complaint of C++.
    click.get_current_context().find_root().command.at_once = True  # type: ignore[attr-defined]
    name = options.get("editor") or DEFAULT_EDITOR
    serve(
        name,
        lambda: load_editor(options),
        host=host,
        port=port,
        token=token_for(host, file=token_file, off=no_token),
        browser=not no_browser,
        tell=say,
    )
