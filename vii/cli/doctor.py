"""`vii doctor`: what is here and what is missing."""

from typing import Any

import click

from ..doctor import examine
from ..errors import EditorError
from .common import editor_options, json_option
from .plan import say_plan
from .terminal import say, say_json


@click.command()
@editor_options
@json_option
def doctor(as_json: bool, **options: Any) -> None:
    """Say what is installed, what it can run on and what is missing.

    Downloads nothing. Loads the embedded editor and takes a step with it: exit code 0 where that works, 1 where not.
    With --editor or --model it says instead what an edit takes of this machine's memory with that model, by its
    configuration, which alone is fetched where it is not here; nothing is loaded.
    """
    if options["editor"] or options["model"]:
        say_plan(options, as_json)
        return
    found: dict[str, Any] = {}
    for section, findings in examine():
        found[section] = findings
        if not as_json:
            say("\n".join([section, *(f"  {line}" for line in PRINTERS[section](findings)), ""]))
    if as_json:
        say_json(found)
    if not found["embedded"]["runs"]:
        raise EditorError(f"the embedded editor does not run: {found['embedded']['problem']}")


def _versions(found: dict[str, Any]) -> list[str]:
    return [f"{name:<16} {version or 'not installed'}" for name, version in found.items()]


def _problems(found: dict[str, Any]) -> list[str]:
    return found["found"] or ["none found among the installed packages"]


def _machine(found: dict[str, Any]) -> list[str]:
    limit = f"; this container may use {_size(found['memory_limit'])}" if found["memory_limit"] else ""
    return [
        f"{found['cores'] or 'unknown number of'} CPU cores",
        f"{_size(found['memory'])} memory, {_size(found['memory_free'])} free{limit}",
    ]


def _cache(found: dict[str, Any]) -> list[str]:
    if "problem" in found:
        return [found["problem"]]
    lines = [
        f"{found['folder']}: {_size(found['bytes'])} in {len(found['models'])} models",
        f"{_size(found['disk_free'])} left on its disk",
    ]
    return [*lines, "HF_HUB_OFFLINE is set: nothing will be fetched"] if found["offline"] else lines


def _devices(found: dict[str, Any]) -> list[str]:
    lines = [f"cuda: {one['name']}, {_size(one['memory'])}, {_size(one['memory_free'])} free" for one in found["cuda"]]
    lines += [f"mps: {_size(found['mps']['memory'])}"] if found["mps"] else []
    lines += [f"used unless --device says otherwise: {found['used']}"] if found["used"] else []
    return lines + ([found["problem"]] if found["problem"] else [])


def _editors(found: dict[str, Any]) -> list[str]:
    lines = [] if found else ["cannot be listed while torch does not work"]
    for name, one in found.items():
        state = {True: "ready", False: "not all there", None: "unknown"}[one["ready"]]
        lines.append(f"{name}: {state}; needs {one['needs']}")
        lines += [f"  missing: {text}" for text in one["missing"]]
        lines += [f"  weights: {_size(one['weights'])} on disk"] if one["weights"] else []
        learning = one["learning"]
        told = f"{learning['took']}, {_size(learning['memory'])}; {learning['basis']}" if learning else None
        lines.append(f"  learning an edit on this device: {told or 'time and memory unknown, not measured yet'}")
    return lines


def _embedded(found: dict[str, Any]) -> list[str]:
    return [f"runs: loaded and took a step in {found['seconds']} s" if found["runs"] else "does not run"]


PRINTERS = {
    "versions": _versions,
    "problems": _problems,
    "machine": _machine,
    "cache": _cache,
    "devices": _devices,
    "editors": _editors,
    "embedded": _embedded,
}


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
