"""One job at a time: a queue, a worker, and a way to stop that keeps what a job has so far.

A job runs in the worker's thread and not in the request that started it, so that a phone that falls asleep or a
connection that breaks loses nothing. A page asks how its job is doing every second; a job for which nobody has asked
for `ABANDONED` seconds stops by itself, so that a closed page does not hold up the others.
"""

import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import UsageError, ViiError
from .intake import size_of

ABANDONED = 300.0
MAX_WAITING = 8
# Jobs that are remembered, and bytes that their results may take on the disk, but for those of the last one: a picture
# of 24 megapixels is some 40 megabytes.
MAX_KEPT, MAX_RESULTS = 12, 4_000_000_000
OUT_OF_MEMORY = "out of memory: start again with --dtype float16 or --device cpu, or use fewer or smaller photos"


class Job:
    """Work that was asked for.

    Attributes:
        id: what its page knows it by; cannot be guessed.
        state: "waiting", "running", "done", or "failed".
        progress: whatever the work tells about itself while it runs; replaced, never changed.
        result: what came of it; None where it was stopped before it began, or failed.
        files: uploads that it reads.
        folder: of what it makes, which is removed when the job is forgotten; None where it makes no files.
    """

    def __init__(self, name: str, work: "Callable[[Job], Any]", files: Iterable[Path] = ()) -> None:
        self.id, self.name, self.files = secrets.token_urlsafe(16), name, frozenset(files)
        self._work: Callable[[Job], Any] | None = work
        self.folder: Path | None = None
        self.state, self.problem = "waiting", ""
        self.progress: Any = None
        self.result: Any = None
        self._stop = threading.Event()
        self._asked = time.monotonic()

    def seen(self) -> None:
        """Somebody has asked for it."""
        self._asked = time.monotonic()

    def stop(self) -> None:
        """Ask it to end at its next step with what it has."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it is to end; the work looks at it between its steps."""
        return self._stop.is_set() or time.monotonic() - self._asked > ABANDONED

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed")

    def run(self) -> None:
        """Do the work, in the worker's thread; what goes wrong is kept and does not end the worker."""
        if self.stopping:
            self.state = "done"
            return
        self.state = "running"
        work, self._work = self._work, None  # with whatever it holds on to
        assert work is not None
        try:
            self.result = work(self)
            self.state = "done"
        except ViiError as error:
            self.problem, self.state = str(error), "failed"
        except Exception as error:
            memory = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
            if not memory:
                traceback.print_exc(file=sys.stderr)
            told = f"an error inside vii ({type(error).__name__}); the terminal says more"
            self.problem, self.state = OUT_OF_MEMORY if memory else told, "failed"

    def forget(self) -> None:
        """Remove what it made."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class Jobs:
    """The queue. All methods can be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._known: dict[str, Job] = {}
        self._closed = False
        self._worker: threading.Thread | None = None

    def submit(self, name: str, work: Callable[[Job], Any], files: Iterable[Path] = ()) -> Job:
        """Put work, which reads these uploads, at the end of the queue.

        Raises:
            UsageError: too much is waiting.
        """
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise UsageError(f"{MAX_WAITING} jobs are waiting already; try again when one has ended")
            job = Job(name, work, files)
            self._waiting.append(job)
            self._known[job.id] = job
            self._forget()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="vii-jobs", daemon=True)
                self._worker.start()
            self._changed.notify_all()
            return job

    def find(self, key: str | None) -> Job | None:
        """The job of this id, which somebody hereby asks for; None where it is forgotten."""
        with self._changed:
            job = self._known.get(key or "")
        if job:
            job.seen()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs end before this one begins."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def files(self) -> set[Path]:
        """Uploads that jobs have yet to read."""
        with self._changed:
            return {path for job in self._known.values() if not job.ended for path in job.files}

    def stop(self, job: Job) -> None:
        """Stop a job: one that waits leaves the queue at once, one that runs ends at its next step."""
        with self._changed:
            job.stop()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "done"
            self._changed.notify_all()

    def close(self, wait: float = 10.0) -> None:
        """Stop everything, and wait so many seconds for what runs."""
        with self._changed:
            self._closed = True
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                job.stop()
            self._waiting.clear()
            self._changed.notify_all()
            worker = self._worker
        if worker:
            worker.join(wait)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                self._running = job = self._waiting.pop(0)
            job.run()
            with self._changed:
                self._running = None
                self._forget()
                self._changed.notify_all()

    def _forget(self) -> None:
        """Drop the oldest jobs that have ended, beyond so many and so many bytes; the last one stays."""
        taken = 0
        for count, job in enumerate(reversed([job for job in self._known.values() if job.ended])):
            taken += size_of(job.folder) if job.folder else 0
            if count and (count >= MAX_KEPT or taken > MAX_RESULTS):
                del self._known[job.id]
                job.forget()
