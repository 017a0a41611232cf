"""The service's paths: a picture for a photo, what it is asked for in numbers, and whether it lives."""

import asyncio
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import fastapi
import prometheus_client as prometheus
from fastapi import File, Form, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from .. import __version__
from ..arrangement import FINISHES, SIZES
from ..errors import UsageError, ViiError
from ..pictures import output_format
from ..runs.plans import Box
from ..text import printable
from ..ui.bodies import App, Message, Receive, Scope, Send
from ..ui.log import LOG, in_brief
from ..ui.uploads import plain
from .work import Worker, request_of, writing_of

NOTES = "x-vii-notes"
DESCRIPTION = """Edit photos by learned edits and words. A picture is the file that `vii apply` would have written, with
the record of how it was made. Errors are JSON, `{"detail": "one sentence"}`."""
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}, "image/jpeg": {}, "image/webp": {}, "image/tiff": {}},
          "headers": {NOTES: {"description": "JSON: what was converted, is lost or not done, a sentence each",
                              "schema": {"type": "string"}}}},
    401: {"description": "No token, or another"},
    413: {"description": "Too large"},
    422: {"description": "The photo, an edit or an option cannot be used"},
    503: {"description": "Too many requests wait; `Retry-After` says when to come again"},
}  # fmt: skip


class Measures:
    """What Prometheus is told."""

    def __init__(self, worker: Worker) -> None:
        """All of them in a registry of their own."""
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        self.answers = prometheus.Counter(
            "vii_requests", "Photos asked for, by the status of the answer", ["status"], registry=self.registry
        )
        self.waited = prometheus.Histogram(
            "vii_wait_seconds", "From when a photo is there until it is begun", registry=self.registry
        )
        self.edited = prometheus.Histogram("vii_edit_seconds", "Reading, editing and writing", registry=self.registry)
        here = prometheus.Gauge("vii_requests_here", "Waiting or being worked on", registry=self.registry)
        here.set_function(lambda: worker.here)
        limit = prometheus.Gauge("vii_requests_limit", "That may be here at once", registry=self.registry)
        limit.set(worker.limit)

    def text(self) -> bytes:
        """In the format that Prometheus reads."""
        return prometheus.generate_latest(self.registry)


class _Counted:
    """Counts the answers to photos. (Starlette's own kind of middleware waits for the client to go away.)"""

    def __init__(self, app: App, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/apply":
                self.measures.answers.labels(message["status"]).inc()
            await send(message)

        await self.app(scope, receive, counting)


def make_app(worker: Worker, folder: Path) -> fastapi.FastAPI:
    """The app, without its guard.

    Args:
        worker: with the editor.
        folder: for what comes and what is made, until it is sent.
    """
    app = fastapi.FastAPI(title="vii", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None)
    measures = Measures(worker)

    async def refused(_request: fastapi.Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": plain(error, folder)}, 422)

    def health() -> dict[str, Any]:
        """Whether the service lives, with which editor, and how many requests are here."""
        return {"status": "ok", "editor": worker.editor.name, "requests": worker.here, "limit": worker.limit}

    def metrics() -> Response:
        """For Prometheus."""
        return Response(measures.text(), media_type=prometheus.CONTENT_TYPE_LATEST)

    async def apply(
        photo: Annotated[UploadFile, File(description="In any format that vii reads")],
        edits: Annotated[list[str], Form(description="NAME[:WEIGHT] of the library, or #N[:WEIGHT] of `files`")] = [],  # noqa: B006
        files: Annotated[list[UploadFile], File(description="Edit files")] = [],  # noqa: B006
        mask: Annotated[UploadFile | None, File(description="White where to edit")] = None,
        box: Annotated[str, Form(description="X,Y,W,H in pixels of the photo")] = "",
        text: Annotated[str, Form(description="Words to add, or to apply alone")] = "",
        join_text: Annotated[bool, Form()] = False,
        seed: Annotated[int, Form()] = 0,
        reuse_noise: Annotated[bool | None, Form()] = None,
        finish: Annotated[Literal[FINISHES], Form()] = "auto",  # type: ignore[valid-type]
        size: Annotated[Literal[SIZES], Form()] = "photo",  # type: ignore[valid-type]
        any_model: Annotated[bool, Form()] = False,
        settings: Annotated[list[str], Form(description="Settings of the editor, NAME=VALUE each")] = [],  # noqa: B006
        format: Annotated[str, Form(description="Suffix of the picture: .png, .jpg, .webp or .tif")] = ".png",
        quality: Annotated[int | None, Form(ge=1, le=100, description="Of JPEG and WebP")] = None,
        keep_metadata: Annotated[bool, Form()] = False,
        keep_location: Annotated[bool, Form()] = False,
    ) -> Response:
        """Edit one photo."""
        here = Path(tempfile.mkdtemp(dir=folder))
        try:
            options: dict[str, Any] = {"text": text, "join_text": join_text, "seed": seed, "reuse_noise": reuse_noise}
            options |= {"finish": finish, "size": size, "any_model": any_model}
            edit_files = [_kept(file, here, f"edit-{n}") for n, file in enumerate(files)]
            where = str(_kept(mask, here, "mask")) if mask else _box(box)
            if mask and box:
                raise UsageError("give a mask or a box, not both")
            kept, came = _kept(photo, here, "photo"), time.perf_counter()

            def work() -> tuple[bytes, tuple[str, ...]]:
                measures.waited.observe(time.perf_counter() - came)
                with measures.edited.time():
                    writing = writing_of(format, quality, keep_metadata, keep_location)
                    request = request_of(edits, edit_files, where, options, settings)
                    path, notes = worker.picture(kept, format, request, writing)
                    return path.read_bytes(), notes

            content, notes = await asyncio.get_running_loop().run_in_executor(worker.pool, work)
        except ViiError:
            raise
        except Exception as error:
            LOG.error("a photo could not be edited: %s", in_brief(error))
            status, told = (
                (507, "out of memory") if "OutOfMemory" in type(error).__name__ else (500, "an error inside vii")
            )
            return JSONResponse({"detail": f"{told}; the service's log says more"}, status)
        finally:
            shutil.rmtree(here, ignore_errors=True)
        return Response(
            content, media_type=f"image/{output_format('x' + format).lower()}", headers={NOTES: json.dumps(notes)}
        )

    app.add_api_route("/apply", apply, methods=["POST"], response_class=Response, responses=ANSWERS)
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse)
    app.add_exception_handler(ViiError, refused)
    app.add_middleware(_Counted, measures=measures)
    return app


def _kept(upload: UploadFile, folder: Path, place: str) -> Path:
    """A file that came along, by its own name, in a folder of its own."""
    name = printable(Path((upload.filename or "").replace("\\", "/")).name)[-100:].lstrip(".") or place
    path = folder / place / name
    path.parent.mkdir()
    with open(path, "wb") as file:
        shutil.copyfileobj(upload.file, file)
    return path


def _box(text: str) -> Box | None:
    if not text:
        return None
    if not re.fullmatch(r"\d{1,6}(,\d{1,6}){3}", text):
        raise UsageError(f"box: expected X,Y,W,H, four whole numbers of pixels, got {text!r:.40}")
    x, y, w, h = map(int, text.split(","))
    return x, y, w, h
