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
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import takewhile
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
        self.work = work
        self.folder: Path | None = None
        self.state, self.problem = "waiting", ""
        self.progress: Any = None
        self.result: Any = None
        self._stop = threading.Event()
        self.asked = time.monotonic()

    def stop(self) -> None:
        """Ask it to end at its next step with what it has."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it is to end; the work looks at it between its steps."""
        return self._stop.is_set() or time.monotonic() - self.asked > ABANDONED

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed")

    def run(self) -> None:
        """Do the work, in the worker's thread; what goes wrong is kept and does not end the worker."""
        try:
            self.result = self.work(self)
            self.state = "done"
        except Exception as error:
            self.problem, self.state = problem_of(error), "failed"
        finally:
            del self.work  # with whatever it holds on to

    def forget(self) -> None:
        """Remove what it made."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def problem_of(error: Exception) -> str:
    """What a page says of an error that is being handled; the terminal says more of one that is nobody's but vii's."""
    if isinstance(error, ViiError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    traceback.print_exc(file=sys.stderr)
    return f"an error inside vii ({type(error).__name__}); the terminal says more"


class Jobs:
    """The queue. All methods can be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Job] = {}  # in the order in which they were asked for
        self._worker = ThreadPoolExecutor(1, "vii-jobs")
        self._last: Future[None] | None = None

    def submit(self, name: str, work: Callable[[Job], Any], files: Iterable[Path] = ()) -> Job:
        """Put work, which reads these uploads, at the end of the queue.

        Raises UsageError where too much is waiting.
        """
        with self._lock:
            if sum(job.state == "waiting" for job in self._known.values()) >= MAX_WAITING:
                raise UsageError(f"{MAX_WAITING} jobs are waiting already; try again when one has ended")
            job = Job(name, work, files)
            self._known[job.id] = job
            self._forget()
            self._last = self._worker.submit(self._run, job)
        return job

    def find(self, key: str | None) -> Job | None:
        """The job of this id, which somebody hereby asks for; None where it is forgotten."""
        with self._lock:
            job = self._known.get(key or "")
        if job:
            job.asked = time.monotonic()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs end before this one begins."""
        with self._lock:
            before = takewhile(lambda other: other is not job, self._known.values())
            return sum(not other.ended for other in before) if job.state == "waiting" else 0

    def files(self) -> set[Path]:
        """Uploads that jobs have yet to read."""
        with self._lock:
            return {path for job in self._known.values() if not job.ended for path in job.files}

    def stop(self, job: Job) -> None:
        """Stop a job: one that waits leaves the queue at once, one that runs ends at its next step."""
        with self._lock:
            job.stop()
            if job.state == "waiting":
                job.state = "done"

    def close(self, seconds: float = 10.0) -> None:
        """Stop everything, and wait so many seconds for what runs."""
        with self._lock:
            for job in self._known.values():
                job.stop()
        self._worker.shutdown(wait=False)
        if self._last:
            wait([self._last], seconds)

    def _run(self, job: Job) -> None:
        with self._lock:
            job.state = "done" if job.ended or job.stopping else "running"
        if job.state == "running":
            job.run()
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        """Drop the oldest jobs that have ended, beyond so many and so many bytes; the last one stays."""
        taken = 0
        for count, job in enumerate(reversed([job for job in self._known.values() if job.ended])):
            taken += size_of(job.folder) if job.folder else 0
            if count and (count >= MAX_KEPT or taken > MAX_RESULTS):
                del self._known[job.id]
                job.forget()
