"""Of `vii apply`: a clip instead of photos."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..clips import check_output, is_clip, look_at
from ..errors import UsageError
from ..files import Outputs, make_folder
from ..pictures import Pictures
from ..runs.clips import edit_clip
from ..runs.plans import Request
from .engine import in_this_process
from .progress import progress
from .terminal import STARTED, warn

STEADY = 0.8
OF_PHOTOS = ("kind", "quality", "keep_metadata", "keep_location", "resume", "recursive")


def has_clips(found: Pictures) -> bool:
    """Whether a clip was named."""
    return any(map(is_clip, found.paths))


def clip_edited(
    found: Pictures,
    output: str,
    outputs: Outputs,
    options: Mapping[str, Any],
    ask: Callable[[], Request],
    warned: Callable[[str], None],
) -> dict[str, Any]:
    """Edit the one clip that was named.

    Args:
        found: what was named.
        output: a file, or a folder, in which the result has the clip's name.
        outputs: of this run.
        options: of the command.
        ask: what is asked for; called once all that the clip does not have has been refused.
        warned: called with each sentence to warn of.

    Returns:
        what to tell of it.

    Raises:
        UsageError: more than one clip, an option that clips do not have, a name that no format has.
        ViiError: see `look_at`, `Outputs.claim`, `Request.plan` and `edit_clip`.
    """
    clip, steady = found.paths[0], options["steady"]
    result = _output(found, output, outputs, options)
    plan, sentences = replace(ask(), steady=STEADY if steady is None else steady).plan()
    for sentence in sentences:
        warned(sentence)
    started = time.perf_counter()
    with progress("applying", look_at(clip).frames) as advance:
        frames = edit_clip(clip, result, plan, advance=advance)
    return {
        "paths": [str(result)],
        "seconds": round(time.perf_counter() - started, 3),
        "frames": frames,
        "failed": 0,
        "startup_seconds": round(started - STARTED, 3),
    }


def _output(found: Pictures, output: str, outputs: Outputs, options: Mapping[str, Any]) -> Path:
    """Where the result goes; checked before any work is done."""
    clip = found.paths[0]
    if len(found.paths) > 1:
        raise UsageError("a clip is edited alone; name one clip, or photos and folders of photos")
    if options["server"] or options["engine"] is not in_this_process:
        raise UsageError("a clip is edited here, frame after frame; leave out --server and --engine")
    if named := [name for name in OF_PHOTOS if options[name]]:
        raise UsageError(f"`{named[0]}` is for photos, and {clip} is a clip")
    for note in look_at(clip).notes:
        warn(f"{clip}: {note}")
    out = Path(output)
    if out.is_dir() or not out.suffix:
        make_folder(out, outputs.advice)
        out /= f"{clip.stem}.mp4" if clip.suffix.lower() == ".avi" else clip.name
    check_output(out)
    return outputs.claim(out, of=clip)
