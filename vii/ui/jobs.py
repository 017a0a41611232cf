"""One job at a time: a queue, a worker, and a way to stop that keeps what a job has so far.

A job runs in the worker's thread and not in the request that started it, so that a phone that falls asleep or a
connection that breaks loses nothing. A page asks how its job is doing every second; a job for which nobody has asked
for `ABANDONED` seconds stops by itself, so that a closed page does not hold up the others.
"""

import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from ..errors import UsageError, ViiError

ABANDONED = 300.0
MAX_WAITING = 8
# Results that are remembered; a picture in full size is tens of megabytes.
MAX_KEPT = 12
OUT_OF_MEMORY = "out of memory: start again with --dtype float16 or --device cpu, or use fewer or smaller photos"


class Job:
    """Work that was asked for.

    Attributes:
        id: what its page knows it by; cannot be guessed.
        name: for people.
        state: "waiting", "running", "done", or "failed".
        progress: whatever the work tells about itself while it runs; replaced, never changed.
        result: what came of it; None where it was stopped before it began, or failed.
        problem: why it failed.
    """

    def __init__(self, name: str, work: "Callable[[Job], Any]") -> None:
        self.id, self.name, self._work = secrets.token_urlsafe(16), name, work
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
        try:
            self.result = self._work(self)
            self.state = "done"
        except ViiError as error:
            self.problem, self.state = str(error), "failed"
        except Exception as error:
            memory = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
            if not memory:
                traceback.print_exc(file=sys.stderr)
            told = f"an error inside vii ({type(error).__name__}); the terminal says more"
            self.problem, self.state = OUT_OF_MEMORY if memory else told, "failed"


class Jobs:
    """The queue. All methods can be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._known: dict[str, Job] = {}
        self._closed = False
        self._worker: threading.Thread | None = None

    def submit(self, name: str, work: Callable[[Job], Any]) -> Job:
        """Put work at the end of the queue.

        Raises:
            UsageError: too much is waiting.
        """
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise UsageError(f"{MAX_WAITING} jobs are waiting already; try again when one has ended")
            job = Job(name, work)
            self._waiting.append(job)
            self._known[job.id] = job
            for old in [key for key, one in self._known.items() if one.ended][:-MAX_KEPT]:
                del self._known[old]
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
                self._changed.notify_all()
