"""`vii ui`, the page in the browser; `vii serve`, an editor that stays loaded, and which `vii apply --server` asks."""

from pathlib import Path
from typing import Any

import click

from .common import editor_options, import_lightly, load_editor
from .terminal import say

host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address; another one serves others too."
)
token_file_option = click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Take the token from a file."
)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; the first free one from 7860 on.")
@host_option
@token_file_option
@click.option("--no-token", is_flag=True, help="Serve everybody on this machine.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@editor_options
def ui(port: int | None, host: str, token_file: Path | None, no_token: bool, no_browser: bool, **options: Any) -> None:
    """Learn, apply and keep edits on a page in the browser.

    The page is served to this machine only, and nothing leaves it. One job runs at a time; others wait for it. Whoever
    opens it needs the token that is part of the address that is printed: a new one each time, or what the variable
    VII_TOKEN or a file holds.
    """
    from ..editors import DEFAULT_EDITOR
    from ..ui import server

    server.check_installed()
    _leave_threads_behind()
    name, token = options.get("editor") or DEFAULT_EDITOR, server.token_for(host, file=token_file, off=no_token)
    load, browser = lambda: load_editor(options), not no_browser
    server.serve(name, load, host=host, port=port, token=token, browser=browser, tell=say)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; the first free one from 7880 on.")
@host_option
@token_file_option
@click.option("--no-token", is_flag=True, help="Answer everybody on this machine.")
@click.option("--queue", type=click.IntRange(1, 10_000), default=64, show_default=True, metavar="N",
              help="Requests that may be here at once.")  # fmt: skip
@editor_options
def serve(port: int | None, host: str, token_file: Path | None, no_token: bool, queue: int, **options: Any) -> None:
    """Keep an editor loaded and edit the photos that come over HTTP.

    It listens to this machine only and wants the token that is part of the address that is printed: a new one each
    time, or what the variable VII_TOKEN or a file holds. 'vii apply --server ADDRESS' sends photos there, and starts
    at once. /openapi.json says how other programs do, /health that it lives, /metrics how much it has to do.
    """
    from ..service import server
    from ..ui.server import token_for

    server.check_installed()
    import_lightly(options)
    _leave_threads_behind()
    token = token_for(host, file=token_file, off=no_token)
    server.serve(lambda: load_editor(options), host=host, port=port, token=token, limit=queue, tell=say)


def _leave_threads_behind() -> None:
    """End at once, for what was served with leaves threads, which can end the process in a complaint of C++."""
    click.get_current_context().find_root().command.at_once = True  # type: ignore[attr-defined]
