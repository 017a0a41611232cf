"""The log of the page: a line for what a request can cause; tracebacks are for what is wrong with vii itself."""

import logging
from pathlib import Path

from ..text import printable

LOG = logging.getLogger("vii.ui")


def in_brief(error: BaseException) -> str:
    """An error that is nobody's to mend, for the log: what it was, and where it arose."""
    place, trace = "", error.__traceback__
    while trace:
        place, trace = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}", trace.tb_next
    return printable(f"{type(error).__name__}: {str(error)[:200]} ({place})")
