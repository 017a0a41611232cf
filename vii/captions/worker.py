"""A process of its own that answers over its pipes: one JSON object a line, requests in, answers out.

For libraries that cannot share an environment with this one. Nothing is unpickled, and nothing but lines of JSON is
believed: what the worker prints otherwise, its death and its silence are errors that say so.
"""

import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import CaptionerError
from ..strict import dumps, loads

# An answer is a caption; a line that is longer is not one.
MAX_LINE = 65_536
# The first answer comes after the libraries and the weights were loaded, and perhaps downloaded.
START_SECONDS, ANSWER_SECONDS, STOP_SECONDS = 1800.0, 300.0, 5.0


def _isolated(variables: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Python imports neither what the caller's does nor what lies beside the program."""
    return {name: value for name, value in variables.items() if not name.startswith("PYTHON")} | {"PYTHONSAFEPATH": "1"}


class Worker:
    """One running worker; use it as a context manager.

    Its first line must be `{"ready": true}`, or `{"error": "..."}` where it cannot begin. A request is an object with
    an `id`; its answer has the same `id` and whatever was asked for, or an `error`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        folder: Path | None = None,
        start_seconds: float = START_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Start it and wait until it is ready.

        Args:
            command: program and arguments.
            name: what errors call it.
            folder: where it runs; here if not given.
            start_seconds: how long it may take to be ready.
            answer_seconds: how long it may take to answer.

        Raises:
            CaptionerError: it cannot be started, or does not say that it is ready.
        """
        self.name, self.answer_seconds, self.asked = name, answer_seconds, 0
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115 - as long-lived as the process
        try:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.messages,
                cwd=folder,
                env=_isolated(os.environ),
            )
        except OSError as error:
            self.messages.close()
            raise CaptionerError(f"the worker of '{name}' cannot be started ({error.strerror}: {command[0]})") from None
        # A pipe cannot be read with a time limit on every system; a queue can.
        self.lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            if self._answer(start_seconds).get("ready") is not True:
                raise CaptionerError(f"the worker of '{name}' did not say that it is ready")
        except BaseException:
            self.process.kill()
            self.close()
            raise

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            CaptionerError: the worker died, took too long, answered something else, or reports an error.
        """
        self.asked += 1
        line = dumps({**request, "id": self.asked}) + "\n"
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except OSError:
            raise self._died() from None
        answer = self._answer(self.answer_seconds)
        if answer.get("id") != self.asked:
            raise self._nonsense(f"an answer to request {answer.get('id')!r} instead of {self.asked}")
        return answer

    def close(self) -> None:
        """End the process, kindly first."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(STOP_SECONDS if self.process.poll() is None else None)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.messages.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.process.kill()  # it may be in the middle of something that nobody waits for
        self.close()

    def _read(self) -> None:
        """Lines of the worker into the queue, an empty one at its end."""
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            while line := pipe.readline(MAX_LINE):
                self.lines.put(line)
        self.lines.put(b"")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            raise CaptionerError(f"the worker of '{self.name}' did not answer within {seconds:g} seconds") from None
        if not line:
            raise self._died()
        try:
            answer = loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._nonsense(repr(line[:60].decode(errors="replace")))
        if "error" in answer:
            raise CaptionerError(f"the worker of '{self.name}' reports: {str(answer['error'])[:600]}")
        return answer

    def _died(self) -> CaptionerError:
        try:
            code: object = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = "none: it closed its pipes"
        self.messages.seek(max(0, self.messages.seek(0, 2) - 4000))
        said = self.messages.read().decode(errors="replace").strip().splitlines()
        reason = said[-1][:300] if said else "it said nothing"
        return CaptionerError(f"the worker of '{self.name}' died (exit code {code}; {reason})")

    def _nonsense(self, what: str) -> CaptionerError:
        return CaptionerError(f"the worker of '{self.name}' spoke nonsense: expected a line of JSON, got {what}")
