"""What stands between the network and the page: an ASGI middleware that refuses whatever the page itself never sends.

A server on this machine is within reach of every page that its owner has open elsewhere: by a plain request (which
carries a foreign `Origin`), by a name that is made to point here (DNS rebinding, which carries a foreign `Host`), or
by showing our page in a frame. Nothing here needs gradio, so that it can be read and tested alone.
"""

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from .bodies import MAX_JSON, App, Message, Receive, Refused, Scope, Send, check_files, inside, replayed, unbroken
from .intake import Intake
from .log import LOG, in_brief

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
API = "/gradio_api/"
# Seconds for which a ticket is good: until a browser has started.
TICKET = 120.0
# All that the page asks for; what else gradio offers (fetching other addresses, API, reloading, recording) is not here.
# Of the one minor version that pyproject.toml names: a test holds every route that it has against this.
PATHS = re.compile(
    r"/(theme\.css|config/?|robots\.txt|favicon\.ico|manifest\.json|pwa_icon(/.*)?|(assets|static|svelte)/.+)?"
    r"|/gradio_api/(upload|upload_progress|run/predict/?|heartbeat/\w+|cancel|reset/?|startup-events"
    r"|component_server/?|app_id/?|login_check/?|token/?|user/?|theme\.css|file=.+)"
)
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Wraps an app; lets through what comes from the page, and from whoever has the token where there is one."""

    def __init__(
        self, app: App, *, folder: Path, port: int, hosts: Iterable[str] = (), token: str = "",
        intake: Intake | None = None,
    ) -> None:  # fmt: skip
        """Nothing is opened yet.

        Args:
            app: the page.
            folder: where uploads and results lie; the only files that the page may name.
            port: on which it is served.
            hosts: names or addresses by which it may be called besides those of this machine; "*" for any address
                that is a number, which no foreign name can be made to look like.
            token: what a browser must show once, as `/?token=...`; empty for none.
            intake: gives room for uploads.
        """
        self.app, self.folder, self.port, self.token = app, folder.resolve(), port, token
        self.intake = intake or Intake(self.folder)
        self._tickets: dict[str, float] = {}
        self.any_address = "*" in hosts
        self.hosts = {*LOCAL_NAMES, *(host.lower() for host in hosts)}
        # Cookies are shared by all ports of a machine.
        self.cookie = f"vii_ui_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        ours = _Answer(send)
        try:
            self._check_sender(scope, headers)
            if self.shows_token(scope):
                await answer(send, 303, "", {"location": "/", "set-cookie": self._cookie()})
                return
            self.check_token(scope, headers)
            self.check_path(scope["path"])
            if _is_form(headers):
                length = self._length(headers)
                with self.intake.room(length):
                    await self.app(scope, unbroken(receive, length), ours)
            else:
                await self.app(scope, await self._checked_body(headers, receive), ours)
        except Refused as refused:
            await answer(send, refused.status, str(refused))
        except Exception as error:  # in what serves the page, by a request that the page does not send
            LOG.error("%s %s: %s", scope["method"], scope["path"][:100], in_brief(error))
            if not ours.started:
                await answer(send, 500, "this request could not be handled")

    def ticket(self) -> str:
        """A token that works once and soon, for a command line: those can be read by everybody on the machine."""
        made = secrets.token_urlsafe(24)
        self._tickets[made] = time.monotonic() + TICKET
        return made

    def _check_sender(self, scope: Scope, headers: MutableMapping[str, str]) -> None:
        """That it was called by a name of its own, and by no page but its own."""
        if sum(key.lower() == b"host" for key, _ in scope["headers"]) != 1 or not self._is_own(headers["host"]):
            named = headers.get("host", "")[:100]
            raise Refused(403, f"refused: called as '{named}', expected {LOCAL_NAMES[0]}:{self.port}")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{headers['host'].lower()}":
            raise Refused(403, f"refused: a request from the page {origin[:100]}, only this server's own page may ask")
        # Browsers say where a request comes from, also where there is no Origin; following a link to the page is fine.
        site = headers.get("sec-fetch-site", "none")
        opened = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if site not in ("none", "same-origin") and not opened:
            raise Refused(403, "refused: a request from another page, only this server's own page may ask")

    def _is_own(self, host: str) -> bool:
        match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", host.lower())
        if not match or int(match[2] or 80) != self.port:
            return False
        if match[1] in self.hosts:
            return True
        return self.any_address and _is_address(match[1].strip("[]"))

    def shows_token(self, scope: Scope) -> bool:
        """Whether the address of the page holds the token, or a ticket, which then is spent."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not self.token or scope["path"] != "/" or scope["method"] != "GET":
            return False
        return self._tickets.pop(given, 0.0) > time.monotonic() or same(given, self.token)

    def check_token(self, scope: Scope, headers: MutableMapping[str, str]) -> None:
        """Raise `Refused` where a cookie should hold the token and does not."""
        if not self.token:
            return
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        if not any(name == self.cookie and same(unquote(value), self.token) for name, _, value in pairs):
            raise Refused(401, "this page needs its token: open the address that 'vii ui' has printed, with ?token=...")

    def _cookie(self) -> str:
        value = "".join(c if c.isalnum() and c.isascii() else f"%{ord(c):02X}" for c in self.token)
        return f"{self.cookie}={value}; HttpOnly; SameSite=Strict; Path=/"

    def check_path(self, path: str) -> None:
        """Raise `Refused` for what the page does not ask for."""
        if not PATHS.fullmatch(path):
            raise Refused(404, "no such page")
        if path.startswith(API + "file=") and not inside(path.removeprefix(API + "file="), self.folder):
            raise Refused(403, "refused: only pictures and files that this page made or was given are handed out")

    def _length(self, headers: MutableMapping[str, str]) -> int:
        length = headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 15:
            raise Refused(411, f"refused: an upload of '{length[:20]}' bytes; browsers say how long it is")
        return int(length)

    async def _checked_body(self, headers: MutableMapping[str, str], receive: Receive) -> Receive:
        """A body of limited size that is read whole, and names no file that the page was not given."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_JSON:
                raise Refused(413, f"refused: a request of more than {MAX_JSON:,} bytes")
        check_files(body, self.folder)
        return replayed(body, receive)


class _Answer:
    """What the page answers, with our headers on it."""

    def __init__(self, send: Send) -> None:
        self._send, self.started = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            own = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
            message["headers"] = [pair for pair in message["headers"] if pair[0].decode().lower() not in HEADERS] + own
        await self._send(message)


def _is_form(headers: MutableMapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


async def answer(send: Send, status: int, text: str, headers: MutableMapping[str, str] | None = None) -> None:
    """Answer with a line of text."""
    told = {"content-type": "text/plain; charset=utf-8", **HEADERS, **(headers or {})}
    raw = [(key.encode(), value.encode("latin-1")) for key, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": text.encode()})


def same(given: str, token: str) -> bool:
    """Whether this is the token, found out in a time that says nothing of it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address(host: str, port: int, token: str = "") -> str:
    """What to open in a browser."""
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return urlsplit(f"http://{shown}:{port}/" + (f"?token={token}" if token else "")).geturl()
