"""Being told to stop: Ctrl-C, `kill` and `docker stop` (SIGTERM), a terminal that is closed (SIGHUP)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; Ctrl-C is a plain `KeyboardInterrupt`, which may end less than the whole command.

    `code` is what a shell reports of a process that the signal ended, 128 and its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for the first of `SIGNALS` that arrives; a second one ends the process at once.

    Used again inside, where the first one ended only what came before, it is armed anew. A signal that is ignored
    (`nohup`, a shell's background jobs) or that somebody else handles is left alone, and so is everything where this
    is not the main thread. Handlers are restored afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) in usual}

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
