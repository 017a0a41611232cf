"""Serving the page: on this machine only, behind the guard, with a folder that is removed at the end."""

import asyncio
import logging
import os
import secrets
import socket
import stat
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from ..editor import Editor
from ..errors import OutputError, UsageError
from ..pictures import MAX_PIXELS
from ..signals import stoppable
from .guard import Guard, address
from .intake import Intake
from .session import session_folder
from .studio import Studio

PORTS = range(7860, 7880)
MAX_FILE = 60_000_000
MIN_TOKEN, TOKEN = 8, "VII_TOKEN"
# The guard knows the routes of this version, and no other.
GRADIO = "6.31"
# Not by name from a package index: what is called so there may be somebody else's.
INSTALL = "pip install '.[ui]' in the folder of vii"
WILDCARDS = ("0.0.0.0", "::")


def check_installed() -> None:
    """Find out before anything is loaded whether the page can be shown.

    Raises:
        UsageError: gradio is missing, or of another version.
    """
    try:
        found = metadata.version("gradio")
    except metadata.PackageNotFoundError:
        raise UsageError(f"the page needs gradio, which is not installed: {INSTALL}") from None
    if found.rpartition(".")[0] != GRADIO:
        raise UsageError(f"the page needs gradio {GRADIO}, found {found}: {INSTALL}")


def make_app(studio: Studio, port: int, host: str = "127.0.0.1", token: str = "") -> Guard:
    """The whole app, guarded, as ASGI.

    Raises:
        UsageError: gradio cannot be imported.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import fastapi
        import gradio as gr
        from PIL import Image

        from .app import SCRIPT, STYLE, build, theme
    except ImportError as error:
        raise UsageError(f"the page needs gradio, which cannot be imported ({error}): {INSTALL}") from None

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
    intake = Intake(studio.folder, studio.jobs.files)
    return Guard(app, folder=studio.folder, port=port, hosts=hosts_of(host), token=token, intake=intake)


def hosts_of(host: str) -> list[str]:
    """By which names a server may be called that is bound to this address; see `Guard`."""
    return ["*", socket.gethostname()] if host in WILDCARDS else [f"[{host}]" if ":" in host else host]


def listen(host: str, port: int | None, ports: range = PORTS) -> socket.socket:
    """A socket on this port, or on the first free one of `ports` where none was asked for.

    Raises:
        OutputError: it is taken, or this machine has no such address.
    """
    for number in ports if port is None else [port]:
        try:
            return socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            problem = error
    tried = f"the ports {ports[0]} to {ports[-1]}" if port is None else f"port {port}"
    raise OutputError(f"{host}: cannot listen on {tried} ({problem.strerror}); choose another with --port")


def token_for(host: str, *, file: Path | None = None, off: bool = False) -> str:
    """The token to ask browsers for: from a file, from the environment (`VII_TOKEN`), or a random one.

    Args:
        host: address that is bound.
        file: holds the token in one line, and is for its owner's eyes only.
        off: ask for none.

    Raises:
        UsageError: `off` where others can reach the page, a file that cannot be used, or a token that is too short or
            holds what an address cannot.
    """
    if off:
        if file or not (host in ("localhost", "::1") or host.startswith("127.")):
            raise UsageError("without a token the page is served to this machine only; leave out --host, or --no-token")
        return ""
    token = _read_token(file) if file else os.environ.get(TOKEN, "") or secrets.token_urlsafe(24)
    if len(token) < MIN_TOKEN or not token.isascii() or not all(mark.isalnum() or mark in "-_.~" for mark in token):
        raise UsageError(
            f"{file or TOKEN}: expected at least {MIN_TOKEN} letters, digits and - _ . ~ as a token, got {len(token)}"
        )
    return token


def _read_token(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            if os.name == "posix" and stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise UsageError(f"{file}: others on this machine may read this token; chmod 600 it")
            return opened.read(4096).decode("utf-8", "replace").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: the token cannot be read ({getattr(error, 'strerror', error)})") from None


def serve(
    editor_name: str,
    load: Callable[[], Editor],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str = "",
    browser: bool = True,
    tell: Callable[[str], None] = print,
) -> None:
    """Show the page until Ctrl-C, SIGTERM or SIGHUP; nothing that it was given or made is left behind.

    Args:
        editor_name: the editor's.
        load: loads it, when a job first needs it.
        host: address to bind.
        port: to bind; None for a free one.
        token: see `token_for`; empty for none.
        browser: whether to open one.
        tell: is told the address.

    Raises:
        UsageError: gradio is missing.
        OutputError: the port is taken.
        KeyboardInterrupt: the end.
    """
    check_installed()
    with stoppable(), listen(host, port) as bound, session_folder() as folder:
        # Whatever a library keeps for a moment lies where it is removed with the rest.
        tempfile.tempdir = str(folder)
        number = bound.getsockname()[1]
        studio = Studio(editor_name, load, folder)
        guard = make_app(studio, number, host, token)
        # The editor loads while the first pictures are looked for.
        threading.Thread(target=_warm, args=(studio,), name="vii-load", daemon=True).start()
        tell(f"{address(host, number, token)}   (Ctrl-C ends it)")
        if browser:
            url = address(host, number, guard.ticket() if token else "")
            threading.Timer(0.5, webbrowser.open, [url]).start()
        try:
            with running(guard, bound) as wait:
                wait()
        finally:
            studio.jobs.close()
            tempfile.tempdir = None


@contextmanager
def running(app: Any, bound: socket.socket) -> Iterator[Callable[[], None]]:
    """Serve an ASGI app on a socket while the block lasts; what it is given waits for the end of the server."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
    logging.getLogger("uvicorn.error").addFilter(_worth_telling)
    server = uvicorn.Server(config)
    # In a thread of its own it leaves signals to this one.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="vii-serve", daemon=True)
    thread.start()

    def wait() -> None:
        while thread.is_alive():
            thread.join(1.0)

    try:
        yield wait
    finally:
        server.should_exit = True
        thread.join(5.0)


def _worth_telling(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log is news: not that pages still open are cut off when it ends."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "timeout graceful shutdown exceeded" not in record.getMessage()


def _warm(studio: Studio) -> None:
    with suppress(Exception):  # the first job says so, where somebody sees it
        studio.editor()
