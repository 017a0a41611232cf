"""Names for what was made before: a hash of all that it depends on, the code that made it among that."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..editor import Editor
from ..strict import dumps

PACKAGE = Path(__file__).parent.parent
# What only shows results, or is of use to people; every other module may change a picture or a figure.
SHOWING = ("cli", "ui", "rendering", "interop", "demo", "doctor.py", "library.py", "record.py", "__init__.py")
SHOWING_SCORES = ("statistics.py", "table.py", "report.py", "page.py", "speed.py", "metric_table.py", "__init__.py")
# Of these the numbers depend on the version.
PACKAGES = ("torch", "diffusers", "transformers")


def key(content: Mapping[str, Any]) -> str:
    """Hex digest of values that JSON can hold."""
    return hashlib.sha256(dumps(content).encode()).hexdigest()


def conditions_of(editor: Editor, conditions: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """What every result of an editor depends on: its weights, settings and code, the device and precision it uses.

    `conditions` are what cannot be seen from the editor, such as which CLIP was asked for.
    """
    return {
        "code": code_sha256(editor),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "space": dataclasses.asdict(editor.space),
        "resolution": editor.resolution,
        "settings": dataclasses.asdict(editor.settings),
        "device": str(editor.device),
        "dtype": str(getattr(editor, "dtype", None)),
        "conditions": dict(conditions or {}),
    }


def code_sha256(*things: object) -> str:
    """Hex digest of the modules of this package that results depend on, and of those that define the things given."""
    return hashlib.sha256("".join([_own_code(), *map(_source_of, things)]).encode()).hexdigest()


@functools.cache
def _own_code() -> str:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        if parts[0] in SHOWING or (parts[0] == Path(__file__).parent.name and parts[1] in SHOWING_SCORES):
            continue
        digest.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _source_of(thing: object) -> str:
    """Of the file that defines a function, or the class of an object; nothing where that is not to be had."""
    try:
        return inspect.getsource(inspect.getmodule(thing if callable(thing) else type(thing)))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""
