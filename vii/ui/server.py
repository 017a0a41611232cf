"""Serving the page: on this machine only, behind the guard, with a folder that is emptied at the end."""

import asyncio
import logging
import os
import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..editor import Editor
from ..errors import OutputError, UsageError
from ..pictures import MAX_PIXELS
from .guard import Guard, address
from .studio import Studio

PORTS = range(7860, 7880)
MAX_FILE = 60_000_000
MIN_TOKEN = 8
# Not by name from a package index: what is called so there may be somebody else's.
INSTALL = "pip install '.[ui]' in the folder of vii"
WILDCARDS = ("0.0.0.0", "::")


def check_installed() -> None:
    """Find out before anything is loaded whether the page can be shown.

    Raises:
        UsageError: gradio is missing, or too old.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise UsageError(f"the page needs gradio, which cannot be imported ({error}): {INSTALL}") from None
    if int(gradio.__version__.partition(".")[0]) != 6:
        raise UsageError(f"the page needs gradio 6, found {gradio.__version__}: {INSTALL}")


def make_app(studio: Studio, port: int, host: str = "127.0.0.1", token: str = "") -> Guard:
    """The whole app, guarded, as ASGI."""
    import fastapi
    import gradio as gr
    from PIL import Image

    from .app import SCRIPT, STYLE, build, theme

    # Where gradio keeps uploads; and for what it decodes itself (the brush), the limit that ours have: Pillow warns
    # at its own limit and refuses at twice that.
    os.environ["GRADIO_TEMP_DIR"] = str(studio.folder)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None),
        build(studio),
        path="",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MAX_FILE,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=STYLE,
        js=SCRIPT,
    )
    hosts = ["*", socket.gethostname()] if host in WILDCARDS else [f"[{host}]" if ":" in host else host]
    return Guard(app, folder=studio.folder, port=port, hosts=hosts, token=token)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket on this port, or on the first free one of `PORTS` where none was asked for.

    Raises:
        OutputError: it is taken, or this machine has no such address.
    """
    for number in PORTS if port is None else [port]:
        try:
            return socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            problem = error
    tried = f"the ports {PORTS[0]} to {PORTS[-1]}" if port is None else f"port {port}"
    raise OutputError(f"{host}: cannot listen on {tried} ({problem.strerror}); choose another with --port")


def checked_token(token: str | None, host: str) -> str:
    """The token to ask for: the one given, a random one where it is empty or others can reach the page, else none.

    Raises:
        UsageError: it is too short, or holds what an address cannot.
    """
    if token is None:
        return "" if host in ("localhost", "::1") or host.startswith("127.") else secrets.token_urlsafe(16)
    token = token or secrets.token_urlsafe(16)
    if len(token) < MIN_TOKEN or not token.isascii() or not all(mark.isalnum() or mark in "-_.~" for mark in token):
        raise UsageError(
            f"a token has at least {MIN_TOKEN} characters, letters, digits and - _ . ~; leave it empty for a random one"
        )
    return token


def serve(
    editor_name: str,
    load: Callable[[], Editor],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    browser: bool = True,
    tell: Callable[[str], None] = print,
) -> None:
    """Show the page until Ctrl-C.

    Args:
        editor_name: the editor's.
        load: loads it, when a job first needs it.
        host: address to bind.
        port: to bind; None for a free one.
        token: see `checked_token`.
        browser: whether to open one.
        tell: is told the address.

    Raises:
        UsageError: gradio is missing, or a token that cannot be.
        OutputError: the port is taken.
    """
    check_installed()
    token = checked_token(token, host)
    with (
        tempfile.TemporaryDirectory(prefix="vii-ui-", ignore_cleanup_errors=True) as folder,
        listen(host, port) as bound,
    ):
        import uvicorn

        number = bound.getsockname()[1]
        studio = Studio(editor_name, load, Path(folder))
        app: Any = make_app(studio, number, host, token)
        url = address(host, number, token)
        # The editor loads while the first pictures are looked for.
        threading.Thread(target=_warm, args=(studio,), name="vii-load", daemon=True).start()
        tell(f"{url}   (Ctrl-C ends it)")
        if browser:
            threading.Timer(0.5, webbrowser.open, [url]).start()
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
        logging.getLogger("uvicorn.error").addFilter(_worth_telling)
        try:
            uvicorn.Server(config).run(sockets=[bound])
        finally:
            studio.jobs.close()


def _worth_telling(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log is news: not that pages still open are cut off when it ends."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "timeout graceful shutdown exceeded" not in record.getMessage()


def _warm(studio: Studio) -> None:
    try:
        studio.editor()
    except Exception:  # the first job says so, where somebody sees it
        return
