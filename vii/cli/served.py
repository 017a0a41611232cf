"""Of `vii apply`: a service that edits instead of this process, which then loads neither an editor nor torch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..runs.jobs import Job, Outcome, Writing
from ..sampling_options import SAMPLING_OPTIONS
from ..service.client import Service, served
from .arguments import NamedEdit
from .common import EDITOR_OPTIONS

# What is said as it is, and what a service decides by itself.
SAID = ("text", "join_text", "seed", "reuse_noise", "finish", "size", "any_model")
OF_THE_SERVICE = (*EDITOR_OPTIONS, "batch", "resume")


def outcomes_of(
    server: str,
    jobs: Sequence[Job],
    edits: Sequence[NamedEdit],
    where: str | tuple[int, int, int, int] | None,
    options: Mapping[str, Any],
    writing: Writing,
) -> Iterator[Outcome]:
    """What becomes of photos that a service edits.

    Args:
        server: its address.
        jobs: photos, and where their results go.
        edits: with their files and weights.
        where: the path of a mask, a box, or None.
        options: of the command.
        writing: how results are written.

    Raises:
        UsageError: an option that only the service could have.
        OutputError: no service is there.
    """
    if own := [name for name in OF_THE_SERVICE if options.get(name) not in (None, False, ())]:
        raise UsageError(f"`{own[0]}` is for an editor of one's own; with --server leave it out")
    fields = [(name, str(options[name])) for name in SAID if options[name] is not None]
    given = {option.setting: options[option.setting] for option in SAMPLING_OPTIONS}
    fields += [("settings", f"{name}={value}") for name, value in given.items() if value is not None]
    fields += [("settings", assignment) for assignment in options["assignments"]]
    if isinstance(where, tuple):
        fields.append(("box", ",".join(map(str, where))))
    service = Service.at(server)
    service.check()
    mask = Path(where) if isinstance(where, str) else None
    return served(service, jobs, [(path, weight) for path, _, weight in edits], fields, mask, writing)
