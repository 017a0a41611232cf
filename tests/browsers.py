"""Where tests in a browser find one; without it they fail, unless whoever runs them says that there is to be none."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

SKIPPED = "VII_NO_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
PLACES = (
    "/usr/bin/chromium",
    "/usr/lib/chromium/chromium",
    "/snap/bin/chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
INSTALL = f"apt-get install chromium, or name one with CHROMIUM=PATH; {SKIPPED}=1 skips these tests on purpose"


def chromium() -> str | None:
    """A Chromium of this machine: the one that `CHROMIUM` names, or the first at the usual places."""
    found = [os.environ.get("CHROMIUM"), *map(shutil.which, NAMES), *PLACES]
    return next((path for path in found if path and Path(path).exists()), None)


def need_page() -> None:
    """Fail, or skip where that was asked for, when the page or a browser is missing."""
    missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
    problem = f"missing: {', '.join(missing)} (pip install '.[test]')" if missing else ""
    if not problem and not chromium():
        problem = f"no Chromium was found: {INSTALL}"
    if os.environ.get(SKIPPED):
        pytest.skip(f"{SKIPPED} is set")
    if problem:
        pytest.fail(problem, pytrace=False)
