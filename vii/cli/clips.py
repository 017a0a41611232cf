"""Of `vii apply`: a clip instead of photos."""

import time
from pathlib import Path
from typing import Any

from ..clips import check_output, is_clip, look_at
from ..errors import UsageError
from ..files import Outputs, make_folder
from ..pictures import Pictures
from ..runs.clips import edit_clip
from ..runs.jobs import Plan
from .progress import progress
from .terminal import warn

STEADY = 0.8
OF_PHOTOS = ("kind", "quality", "keep_metadata", "keep_location", "resume", "recursive")


def has_clips(found: Pictures) -> bool:
    """Whether a clip was named."""
    return any(map(is_clip, found.paths))


def clip_output(found: Pictures, output: str, options: dict[str, Any], outputs: Outputs) -> Path:
    """Where the result of the one clip goes; checked before any work is done.

    Args:
        found: what was named.
        output: a file, or a folder, in which it has the clip's name.
        options: of the command; those of photos are taken out.
        outputs: of this run.

    Raises:
        UsageError: more than one clip, an option that clips do not have, a name that no format has.
        ImageError: see `look_at`.
        OutputError: see `Outputs.claim`.
    """
    clip = found.paths[0]
    if len(found.paths) > 1:
        raise UsageError("a clip is edited alone; name one clip, or photos and folders of photos")
    for name in OF_PHOTOS:
        if options.pop(name, None):
            raise UsageError(f"`{name}` is for photos, and {clip} is a clip")
    for note in look_at(clip).notes:
        warn(f"{clip}: {note}")
    out = Path(output)
    if out.is_dir() or not out.suffix:
        make_folder(out, outputs.advice)
        out /= f"{clip.stem}.mp4" if clip.suffix.lower() == ".avi" else clip.name
    check_output(out)
    return outputs.claim(out, of=clip)


def clip_report(clip: Path, result: Path, plan: Plan[Any]) -> dict[str, Any]:
    """Edit a clip, and what to tell of it."""
    started = time.perf_counter()
    with progress("applying", look_at(clip).frames) as advance:
        frames = edit_clip(clip, result, plan, advance=advance)
    return {"paths": [str(result)], "seconds": round(time.perf_counter() - started, 3), "frames": frames, "failed": 0}
