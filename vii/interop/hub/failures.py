"""What can go wrong between here and the Hub, each in one sentence that says what to do."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import HubError, ViiError
from ...text import first_line

PROXY = "a SOCKS proxy (HTTPS_PROXY, ALL_PROXY) needs a package that is not there: pip install 'httpx[socks]'"
LOG_IN = "log in with 'hf auth login', or set HF_TOKEN"


@contextmanager
def one_line(repo: str, what: str) -> Iterator[None]:
    """Turn whatever huggingface_hub and the network raise into one HubError, and have them print nothing besides.

    The sentence is about `repo`; `what` is being done: "upload" or "download".
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
    except ViiError:
        raise
    except ImportError as error:
        raise HubError(f"{repo}: {what} failed ({first_line(error)}); {PROXY}") from None
    except (OSError, ValueError, RuntimeError, errors.HfHubHTTPError.__bases__[0]) as error:
        raise HubError(f"{repo}: {what} failed, for the Hub cannot be reached or read ({first_line(error)})") from None
    except Exception as error:  # the library takes the Hub at its word, and trips over an answer of another shape
        told = f"{type(error).__name__}: {first_line(error)}"
        raise HubError(f"{repo}: {what} failed, for the Hub's answer is not what it should be ({told})") from None
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
    return f"the Hub answers with an error, {status} ({first_line(error)}); try again later"
