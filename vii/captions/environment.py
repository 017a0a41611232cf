"""Environments of captioners that cannot share one with this package: made, checked, removed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import CaptionerError, UsageError, unknown_name
from ..files import make_folder

READY, LOG = "vii-ready.json", "install.log"
ADVICE = "set XDG_CACHE_HOME to a folder that can be written to"


@dataclass(frozen=True)
class Environment:
    """What a captioner needs of an interpreter of its own.

    Attributes:
        python: version of the interpreter.
        requirements: what pip installs.
        module: what must be importable afterwards.
        size: on disk, in words.
    """

    python: tuple[int, int]
    requirements: tuple[str, ...]
    module: str
    size: str


ENVIRONMENTS = {
    "lavis": Environment(
        (3, 11),
        # LAVIS 1.0.2 itself pins transformers < 4.27 and timm 0.4.12; what was released after it is held back to
        # where it still works. From torch 2.6 on checkpoints are read without executing what they hold.
        (
            "salesforce-lavis==1.0.2",
            "torch>=2.6",
            "numpy<2",
            "pandas<2.3",
            "scipy<1.14",
            "scikit-image<0.25",
            "spacy<3.8.3",
            "thinc<8.3",
            "blis<1.0",
        ),
        "lavis.models",
        "about 7 GB",
    )
}


def cache_folder() -> Path:
    """Where this package keeps what can be made again, by the habit of the system."""
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG specification has relative paths ignored.
        cache = cache if cache.is_absolute() else Path.home() / ".cache"
    return cache / "vii"


def environment_folder(name: str) -> Path:
    """Where the environment of a captioner is, or would be.

    Raises:
        UsageError: no captioner of this name has one.
    """
    if name not in ENVIRONMENTS:
        raise UsageError(unknown_name("captioner with an environment", name, ENVIRONMENTS))
    return cache_folder() / "captioners" / name


def is_ready(name: str) -> bool:
    """Whether the environment was set up to its end, with what is required now."""
    folder = environment_folder(name)
    try:
        done = json.loads((folder / READY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return done == {"requirements": list(ENVIRONMENTS[name].requirements)} and _python(folder).exists()


def ready_python(name: str) -> Path:
    """The interpreter of an environment that is ready.

    Raises:
        CaptionerError: it is not.
    """
    if not is_ready(name):
        raise CaptionerError(
            f"the captioner '{name}' is not set up; run 'vii captioner setup {name}', or start from words, "
            "'caption', 'retrieve' or 'none'"
        )
    return _python(environment_folder(name))


def set_up(name: str, python: str | None = None, watch: Callable[[str], None] | None = None) -> Path:
    """Make the environment of a captioner, or go on where an earlier attempt ended; returns its folder.

    Args:
        name: a key of `ENVIRONMENTS`.
        python: an interpreter of the version that is needed; looked for if not given.
        watch: called with every line that the installers print.

    Raises:
        UsageError: an unknown name.
        CaptionerError: no such interpreter, or a step that fails.
    """
    folder, wanted = environment_folder(name), ENVIRONMENTS[name]
    if is_ready(name):
        return folder
    interpreter = find_python(wanted.python, python)
    make_folder(folder, ADVICE)
    (folder / READY).unlink(missing_ok=True)
    own, log = str(_python(folder)), folder / LOG
    if not _works([own, "-I", "-m", "pip", "--version"]):
        again = "on Debian and Ubuntu the package python3-venv is needed"
        _run([interpreter, "-I", "-m", "venv", "--clear", str(folder)], log, again, watch)
    pip = [own, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--prefer-binary"]
    again = f"run 'vii captioner setup {name}' again to go on from there"
    _run([*pip, *wanted.requirements], log, again, watch)
    again = f"start afresh with 'vii captioner remove {name}'"
    _run([own, "-I", "-c", f"import {wanted.module}"], log, again, watch)
    (folder / READY).write_text(json.dumps({"requirements": list(wanted.requirements)}), encoding="utf-8")
    return folder


def remove(name: str) -> Path:
    """Remove the environment of a captioner, ready or not; returns the folder that it was.

    Raises:
        UsageError: an unknown name, or there is nothing to remove.
        CaptionerError: it cannot be removed.
    """
    folder = environment_folder(name)
    if not folder.exists():
        raise UsageError(f"the captioner '{name}' is not set up: there is no {folder}")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise CaptionerError(f"{folder}: cannot be removed ({error.strerror}); remove it by hand") from None
    return folder


def find_python(version: tuple[int, int], given: str | None = None) -> str:
    """An interpreter of just this version: the given one, the one that runs this, or one on the PATH.

    Raises:
        CaptionerError: there is none.
    """
    name = f"python{version[0]}.{version[1]}"
    if given is not None:
        if _version(given) != version:
            raise CaptionerError(f"{given}: not an interpreter of Python {version[0]}.{version[1]}, which is needed")
        return given
    if sys.version_info[:2] == version:
        return sys.executable
    places = os.environ.get("PATH", "").split(os.pathsep)
    # Version managers put commands on the PATH that only say that they are not active: each one is tried.
    found = [path for place in places if (path := shutil.which(name, path=place))]
    for candidate in [*found, *filter(None, [shutil.which("python3"), shutil.which("python")])]:
        if _version(candidate) == version:
            return candidate
    raise CaptionerError(
        f"no Python {version[0]}.{version[1]} found, which this captioner needs; install it, or name its interpreter "
        f"with --python /path/to/{name}"
    )


def _version(interpreter: str) -> tuple[int, int] | None:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([interpreter, "-I", "-c", code], capture_output=True, text=True, timeout=60)
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor


def _works(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: Sequence[str], log: Path, advice: str, watch: Callable[[str], None] | None) -> None:
    """Run a step of the installation; its output goes to `watch` and, after the others', to the log."""
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            try:
                for raw in process.stdout:
                    line = raw.decode(errors="replace").strip()
                    file.write(line + "\n")
                    lines.append(line)
                    if watch and line:
                        watch(line)
            except BaseException:
                process.kill()  # stopped: nobody waits for the rest
                raise
    if process.returncode:
        errors = [line for line in lines if "error" in line.lower()] or [line for line in lines if line] or ["silently"]
        raise CaptionerError(
            f"setting up failed ({errors[-1][:300]}); all that was said is in {log}; when the cause is gone, {advice}"
        )
