"""`vii ui`: the page in the browser."""

from typing import Any

import click

from ..ui.server import check_installed, serve
from .common import editor_options, load_editor
from .terminal import say

DEFAULT = "embedded"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; the first free one from 7860 on.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address; another one needs the token."
)
@click.option(
    "--token",
    is_flag=False,
    flag_value="",
    envvar="VII_UI_TOKEN",
    metavar="[TEXT]",
    help="Ask every browser for a token once; a random one if none is given.",
)
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@editor_options
def ui(port: int | None, host: str, token: str | None, no_browser: bool, **options: Any) -> None:
    """Learn, apply and keep edits on a page in the browser.

    The page is served to this machine only, and nothing leaves it. One job runs at a time; others wait for it.
    """
    check_installed()
    name = options.get("editor") or DEFAULT
    serve(
        name,
        lambda: load_editor(options),
        host=host,
        port=port,
        token=token,
        browser=not no_browser,
        tell=say,
    )
