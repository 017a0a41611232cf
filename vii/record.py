"""What a result says about how it was made: the texts that `vii apply` puts into its pictures, and reading them back.

`parameters` is one line as other tools write and show it; `vii` is JSON, specified in docs/formats.md. Neither holds a
path, the photo's name or a date: the same command gives the same bytes wherever it runs.
"""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, strict
from .edit import Edit
from .edit_file import file_sha256
from .errors import ImageError
from .pictures import read_text
from .settings import labels
from .space import NO_SPACE

if TYPE_CHECKING:
    from .editor import Editor

SCHEMA = 3
MAX_TEXT = 64_000
# Of these the numbers depend on the version.
EDITORS_PACKAGES = ("torch", "diffusers")


def record(
    editor: "Editor | None",
    edits: Sequence[tuple[str, float, Edit]],
    settings: Any,
    *,
    text: str = "",
    join_text: bool = False,
    seed: int = 0,
    reuse_noise: bool = False,
    region: str | Sequence[int] | None = None,
    finish: str = "auto",
    size: tuple[int, int],
    editors_size: bool = False,
) -> dict[str, Any]:
    """How one picture was made, as plain values that JSON can hold; what is not said here is as in `vii.Application`.

    Args:
        editor: that made it; None where colour transforms did.
        edits: name, weight and edit, in their order; the name is for people, the hashes of the tensors and of the
            whole file tell which it was.
        settings: the editor's settings that it was sampled with; None without one.
        region: "mask", or the box `x, y, w, h` in pixels of the photo, or None for the whole picture.
        size: width and height of the result.
        editors_size: whether it is the size at which the editor worked that was asked for.
    """
    packages = EDITORS_PACKAGES if editor else ("numpy",)
    versions = {"vii": __version__, **{name: importlib.metadata.version(name) for name in packages}}
    space = editor.space if editor else NO_SPACE
    return {
        "schema": SCHEMA,
        "versions": versions,
        "editor": editor.name if editor else "",
        "base_model": space.model,
        "base_model_revision": space.revision,
        "base_model_fingerprint": space.fingerprint,
        "resolution": editor.resolution if editor else 0,
        # Some have no precision to choose.
        "precision": f"{getattr(editor, 'dtype', '')}".removeprefix("torch.") if editor else "",
        "edits": [
            {
                "name": name,
                "weight": weight,
                "sha256": edit.sha256(),
                "file_sha256": file_sha256(edit),
                "consists_of": edit.consists_of,
            }
            for name, weight, edit in edits
        ],
        "text": text,
        "join_text": join_text,
        "settings": dataclasses.asdict(settings) if settings else {},
        "seed": seed,
        "reuse_noise": reuse_noise,
        "region": region if region is None or isinstance(region, str) else list(region),
        "finish": finish,
        "size": list(size),
        "editors_size": editors_size,
    }


def chunks(made: Mapping[str, Any], settings: Any) -> dict[str, str]:
    """A record as the two texts of a picture, for `vii.save_image(..., text=...)`; the settings have the labels."""
    names = ", ".join(f"{edit['name']}:{edit['weight']:g}" for edit in made["edits"])
    parameters = {
        **({label: made["settings"].get(name) for name, label in labels(settings).items()} if settings else {}),
        "Seed": made["seed"] if made["editor"] else None,
        "Size": "{}x{}".format(*made["size"]),
        "Model": made["base_model"] or None,
        "Edits": names or None,
        "Version": f"vii {made['versions']['vii']}",
    }
    line = ", ".join(f"{key}: {_quoted(value)}" for key, value in parameters.items() if value is not None)
    text = made["text"]
    told = f"{text}\n{line}" if text else line
    # A file name that is no UTF-8 has letters that no text can be written with.
    told = told.encode("utf-8", "replace").decode()
    return {"parameters": told, "vii": strict.dumps(dict(made), sort_keys=False)}


def _quoted(value: Any) -> str:
    """Values with a comma, a colon or a line end stand in quotes, as the readers of this line expect."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text


def read_record(path: str | Path) -> dict[str, Any]:
    """What a picture says about how it was made; of one that another tool made, its `parameters` alone.

    The values are somebody else's: show them, and trust them no further. Raises ImageError for no picture, or one that
    says nothing that can be read.
    """
    path, found = Path(path), read_text(path)
    for key in ("vii", "parameters"):
        if len(found.get(key, "")) > MAX_TEXT:
            raise ImageError(f"{path}: its {key} have {len(found[key]):,} characters, at most {MAX_TEXT:,} are read")
    if "vii" not in found:
        if "parameters" in found:
            return {"parameters": found["parameters"]}
        raise ImageError(f"{path}: it does not say how it was made; expected a picture written by 'vii apply'")
    try:
        made = strict.loads(found["vii"])
    except ValueError:
        raise ImageError(f"{path}: its record of how it was made is not valid JSON") from None
    if not isinstance(made, dict) or not isinstance(made.get("schema"), int):
        raise ImageError(f"{path}: its record of how it was made has no schema number")
    if made["schema"] > SCHEMA:
        raise ImageError(
            f"{path}: its record of how it was made has schema {made['schema']}, this vii reads {SCHEMA}; update vii"
        )
    return made
