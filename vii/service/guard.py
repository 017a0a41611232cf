"""What stands between the network and the service: the page's guard, with a token in a header and a bounded queue."""

import re
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any

from ..ui.bodies import Receive, Scope, Send
from ..ui.guard import Guard, Refused, answer, same
from .work import Worker

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
