"""Serving: on this machine only as a rule, behind the guard, with a folder that is removed at the end."""

import os
import tempfile
from collections.abc import Callable

from ..editor import Editor
from ..errors import UsageError
from ..ui.guard import address
from ..ui.server import INSTALL, ended_as_by_ctrl_c, hosts_of, listen, running
from ..ui.session import session_folder

PORTS = range(7880, 7900)
LIMIT = 64


def check_installed() -> None:
    """Find out before anything is loaded whether the service can run.

    Raises:
        UsageError: a package is missing.
    """
    try:
        import fastapi  # noqa: F401
        import multipart  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the service needs {error.name}: {INSTALL.replace('[ui]', '[serve]')}") from None


def serve(
    load: Callable[[], Editor],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str = "",
    limit: int = LIMIT,
    tell: Callable[[str], None] = print,
) -> None:
    """Load the editor and answer until Ctrl-C, SIGTERM or SIGHUP; nothing that came or was made is left behind.

    Args:
        load: loads the editor.
        host: address to bind.
        port: to bind; None for a free one.
        token: what requests must bear; empty for none.
        limit: requests that may be here at once; to others it says 503.
        tell: is told the address once it answers.

    Raises:
        UsageError: a package is missing.
        OutputError: the port is taken.
        KeyboardInterrupt: the end.
    """
    check_installed()
    from .app import make_app
    from .guard import ServiceGuard
    from .work import Worker

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    with ended_as_by_ctrl_c(), listen(host, port, PORTS) as bound, session_folder() as folder:
        tempfile.tempdir = str(folder)
        worker, number = Worker(load(), limit), bound.getsockname()[1]
        guard = ServiceGuard(
            make_app(worker, folder), worker, folder=folder, port=number, hosts=hosts_of(host), token=token
        )
        try:
            with running(guard, bound) as wait:
                tell(f"{address(host, number, token)}   (Ctrl-C ends it)")
                wait()
        finally:
            worker.pool.shutdown(cancel_futures=True)
            tempfile.tempdir = None
