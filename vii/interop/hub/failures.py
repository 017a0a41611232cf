"""What can go wrong between here and the Hub, each in one sentence that says what to do."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import HubError

LOG_IN = "log in with 'hf auth login', or set HF_TOKEN"


@contextmanager
def one_line(repo: str, what: str) -> Iterator[None]:
    """Turn whatever huggingface_hub and the network raise into one sentence, and have them print nothing besides.

    Args:
        repo: what the sentence is about.
        what: is being done: "upload" or "download".

    Raises:
        HubError: for any of them.
    """
    from huggingface_hub import errors, utils

    had_bars, level = not utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except errors.GatedRepoError:
        raise HubError(f"{repo}: access must be asked for on its page on the Hub; then {LOG_IN}") from None
    except errors.RepositoryNotFoundError:
        raise HubError(f"{repo}: no such repository; check the spelling, or, if it is private, {LOG_IN}") from None
    except errors.RevisionNotFoundError:
        raise HubError(f"{repo}: the repository has no such branch, tag or commit") from None
    except errors.HfHubHTTPError as error:
        raise HubError(f"{repo}: {_refusal(error, what)}") from None
    # The last is the base class of what the HTTP library underneath raises, which changed with the versions.
    except (OSError, ValueError, RuntimeError, errors.HfHubHTTPError.__bases__[0]) as error:
        raise HubError(f"{repo}: {what} failed, for the Hub cannot be reached or read ({_reason(error)})") from None
    finally:
        utils.logging.set_verbosity(level)
        if had_bars:
            utils.enable_progress_bars()


def _refusal(error: Any, what: str) -> str:
    status = getattr(error.response, "status_code", None)
    if status in (401, 403):
        return f"the Hub refuses the {what}: the token is not valid, or may not do this; {LOG_IN}"
    if status in (409, 412):
        return f"somebody else changed it during the {what}; try again"
    return f"the Hub answers with an error, {status} ({_reason(error)}); try again later"


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
