"""Serving: on this machine only as a rule, behind the guard, with a folder that is removed at the end."""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

from ..editor import Editor
from ..errors import UsageError
from ..signals import stoppable
from ..ui.bodies import Receive, Refused, Scope, Send
from ..ui.guard import Guard, address, answer, same
from ..ui.server import INSTALL, hosts_of, listen, running
from ..ui.session import session_folder
from .work import Worker

PORTS = range(7880, 7900)
LIMIT = 64
PATHS = re.compile(r"/(apply|health|metrics|openapi\.json)")
BEARER = "bearer "


class ServiceGuard(Guard):
    """Lets through who has the token, and no more at once than the worker has places for."""

    def __init__(
        self, app: Any, worker: Worker, *, folder: Path, port: int, hosts: Iterable[str] = (), token: str = ""
    ) -> None:
        """As of the page; see there."""
        super().__init__(app, folder=folder, port=port, hosts=hosts, token=token)
        self.worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification. A request for which there is no place is refused before its body is read."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
        elif not self.worker.enter():
            told = f"busy: {self.worker.limit} requests are waiting already; try again in a moment"
            await answer(send, 503, told, {"retry-after": "1", "connection": "close"})
        else:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self.worker.leave()

    def shows_token(self, scope: Scope) -> bool:
        """No address holds it."""
        return False

    def check_token(self, scope: Scope, headers: MutableMapping[str, str]) -> None:
        """That the token comes as `Authorization: Bearer TOKEN`; whether the service lives may be asked without."""
        given = headers.get("authorization", "")
        bears = given.lower().startswith(BEARER) and same(given[len(BEARER) :].strip(), self.token)
        if self.token and scope["path"] != "/health" and not bears:
            raise Refused(401, "the token is missing that 'vii serve' has printed: Authorization: Bearer TOKEN")

    def check_path(self, path: str) -> None:
        """That it is one of the service's."""
        if not PATHS.fullmatch(path):
            raise Refused(404, "no such path; /openapi.json says which there are")


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

    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    with stoppable(), listen(host, port, PORTS) as bound, session_folder() as folder:
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
