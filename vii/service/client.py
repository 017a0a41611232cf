"""Asking a service: photos sent and pictures kept, with nothing loaded but what reads an edit file."""

import http.client
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ..errors import ImageError, OutputError, UsageError, ViiError
from ..files import replacing
from ..runs.jobs import Job, Outcome, Writing

TOKEN = "VII_TOKEN"
# Seconds that an answer may take, and for which a service that is busy is asked again.
PATIENCE = 600.0


@dataclass(frozen=True)
class Service:
    """Where a service is.

    Attributes:
        host: name or address.
        port: likewise.
        token: what it wants to see; empty for none.
    """

    host: str
    port: int
    token: str

    @classmethod
    def at(cls, url: str) -> "Service":
        """From an address as `vii serve` prints it; where that holds no token, from `VII_TOKEN`.

        Raises:
            UsageError: it is none.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host = None
        if not host or parts.scheme != "http":
            raise UsageError(f"{url:.80}: expected the address of a service, http://localhost:7880")
        token = parse_qs(parts.query).get("token", [os.environ.get(TOKEN, "")])[0]
        return cls(host, port, token)

    def check(self) -> None:
        """Find out whether it is there.

        Raises:
            OutputError: it is not.
        """
        self._ask("GET", "/health", {}, b"")

    def post(self, fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, Path]]) -> tuple[bytes, list[str]]:
        """The picture that the service makes, and its notes; a busy one is asked again.

        Args:
            fields: name and value of what is said, see `/openapi.json`.
            files: name and path of what is sent along.

        Raises:
            ImageError: a file cannot be read.
            ViiError: the service cannot be reached, or refuses; in its own words.
        """
        kind, body = _form(fields, files)
        headers = {"content-type": kind} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        until = time.monotonic() + PATIENCE
        while True:
            status, told, content = self._ask("POST", "/apply", headers, body)
            if status != 503 or time.monotonic() > until:
                break
            time.sleep(_seconds(told.get("retry-after", "")))
        if status != 200:
            raise UsageError(
                f"the service says: {_detail(content)}" if status == 422 else f"{self}: {_detail(content)}"
            )
        return content, [str(note) for note in json.loads(told.get("x-vii-notes", "[]"))]

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it had all
                connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise OutputError(f"{self}: no service answers ({error}); start one with 'vii serve'") from None
        finally:
            connection.close()

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def served(
    service: Service,
    jobs: Sequence[Job],
    edits: Sequence[tuple[Path, float]],
    fields: Sequence[tuple[str, str]],
    mask: Path | None,
    writing: Writing,
) -> Iterator[Outcome]:
    """Have photos edited by a service, one after the other.

    Args:
        service: where it is.
        jobs: photos, and where results go.
        edits: edit files and their weights, which are sent along.
        fields: what else is said.
        mask: a file, or None.
        writing: how results are written.

    Yields:
        what became of each, in their order.
    """
    said = [*fields, *(("edits", f"#{number}:{weight!r}") for number, (_, weight) in enumerate(edits))]
    said += [("keep_metadata", str(writing.keep_metadata)), ("keep_location", str(writing.keep_location))]
    sent = [("files", path) for path, _ in edits] + ([("mask", mask)] if mask else [])
    for job in jobs:
        own = [("format", job.result.suffix), *([("quality", str(writing.record(job.result)["quality"]))]
               if "quality" in writing.record(job.result) else [])]  # fmt: skip
        try:
            picture, notes = service.post([*said, *own], [("photo", job.photo), *sent])
            with replacing(job.result) as temporary:
                temporary.write_bytes(picture)
        except ViiError as error:
            yield Outcome(job, error)
            continue
        yield Outcome(job, notes=tuple(notes))


def _form(fields: Sequence[tuple[str, str]], files: Sequence[tuple[str, Path]]) -> tuple[str, bytes]:
    """Content type and body of `multipart/form-data` (RFC 7578)."""
    mark, parts = secrets.token_hex(16), []
    for name, value in fields:
        parts.append(f'--{mark}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n'.encode() + value.encode())
    for name, path in files:
        shown = "".join(f"%{ord(c):02X}" if c in '"\r\n' else c for c in path.name).encode("utf-8", "replace")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from None
        head = f'--{mark}\r\ncontent-disposition: form-data; name="{name}"; filename="'.encode() + shown
        parts.append(head + b'"\r\ncontent-type: application/octet-stream\r\n\r\n' + content)
    return f"multipart/form-data; boundary={mark}", b"\r\n".join([*parts, f"--{mark}--\r\n".encode()])


def _detail(content: bytes) -> str:
    """What an error says, in one line."""
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        found = text
    if isinstance(found, list):  # of FastAPI's own checks
        found = "; ".join(f"{one.get('loc', ['?'])[-1]}: {one.get('msg')}" for one in found if isinstance(one, dict))
    return " ".join(str(found).split())[:500]


def _seconds(told: str) -> float:
    return min(10.0, float(told)) if told.isdecimal() else 1.0
