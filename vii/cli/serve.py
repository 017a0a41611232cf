"""`vii serve`: an editor that stays loaded; and `vii apply --server`, which asks it."""

from pathlib import Path
from typing import Any

import click

from .common import editor_options, import_lightly, load_editor
from .terminal import say


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; the first free one from 7880 on.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address; another one serves others too."
)
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Take the token from a file.")
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
    from ..service.server import check_installed
    from ..service.server import serve as run
    from ..ui.server import token_for

    check_installed()
    import_lightly(options)
    click.get_current_context().find_root().command.at_once = True  # type: ignore[attr-defined]
    token = token_for(host, file=token_file, off=no_token)
    run(lambda: load_editor(options), host=host, port=port, token=token, limit=queue, tell=say)
