"""What may stand in the requests of the page: no file but those that it was given, and no address to fetch."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from ..strict import loads

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_JSON = 4_000_000


class Refused(Exception):  # noqa: N818 (an answer rather than a fault)
    """A request that is not let through: its status and what to say."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def inside(path: str, folder: Path) -> bool:
    """Whether a path names something inside a folder, links followed."""
    try:
        found = Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return False
    return Path(path).is_absolute() and found != folder and found.is_relative_to(folder)


def check_files(body: bytes, folder: Path) -> None:
    """Raise Refused for JSON that names a file outside the folder of uploads and results, or an address as a file.

    gradio looks at paths itself, but fetches addresses that stand in their place. An empty body is fine.
    """
    if not body:
        return
    try:
        found = loads(body)
    except ValueError as error:
        raise Refused(403, f"refused: the body of this request is no JSON of a page ({error})") from None
    _check(found, folder)


def _check(value: Any, folder: Path) -> None:
    if isinstance(value, list):
        for item in value:
            _check(item, folder)
    if isinstance(value, dict):
        path = value.get("path")
        if path is not None and "meta" in value and not (isinstance(path, str) and inside(path, folder)):
            raise Refused(403, "refused: a file that was not given to this page")
        # Files are known by their path; an address beside it would be decoded or fetched instead.
        if path is None and "meta" in value and value.get("url"):
            raise Refused(403, "refused: an address in the place of a file")
        for item in value.values():
            _check(item, folder)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, once more."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()  # the end of the connection
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def unbroken(receive: Receive, length: int) -> Receive:
    """An upload whose end is told to gradio as it expects it: where the browser goes away, it leaves its files."""
    taken = 0

    async def whole() -> Message:
        nonlocal taken
        # Not above: the guard is read, and refuses, where the page's libraries are not installed.
        from starlette.formparsers import MultiPartException

        message = await receive()
        taken += len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            raise MultiPartException("the upload was broken off")
        if taken > length:
            raise MultiPartException("the upload is longer than it said, which is the maximum allowed size")
        return message

    return whole
