"""What the header and the tensors of an edit file must be, in every version of the format (see docs/formats.md)."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import strict
from .edit import MAX_PAIRS, MAX_TEXT, Edit, check_labels
from .errors import EditFileError, UsageError
from .finish import Finish
from .finish.tiles import Array
from .space import Space
from .text import printable

FORMAT_VERSION = 2
MAX_TOKENS = 1024
MAX_POOLED = 16_384
# Of a row. CLIP's are shorter than 100; layers of large text encoders that are not normalised have larger features.
MAX_NORM = 1e6
MAX_FINISH, MAX_AXES = 16, 4
FINISH = re.compile(r"finish\.[a-z][a-z0-9_]{0,31}")
# Lists that may be longer than a text: a hash of a pair takes 68 characters, and a letter of a tag up to 12.
LONG = {"vii.pairs": MAX_PAIRS * 68 + 2, "vii.tags": 2 * MAX_TEXT}
# Names of things, which are shown and looked up, in one line.
NAMES = ("space", "encoder", "editor", "base_model", "base_model_revision", "base_model_fingerprint")


def upgraded(metadata: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The version of a header, and the header as the newest version would have it."""
    text = metadata["vii.format_version"]
    if not (text.isascii() and text.isdecimal() and len(text) < 8) or int(text) < 1:
        raise EditFileError(f"format version {printable(text[:20])!r} is not a number from 1 on")
    if int(text) > FORMAT_VERSION:
        raise EditFileError(f"format version {text} is newer than this vii reads ({FORMAT_VERSION}); update vii")
    for version in range(int(text), FORMAT_VERSION):
        metadata = UPGRADES[version](metadata)
    return int(text), metadata


def upgrade_version_1(metadata: Mapping[str, str]) -> dict[str, str]:
    """Version 1 to 2: tags, which were one text with commas, are a list; labels that nobody checked are cleaned."""
    tags = [tag.strip() for tag in metadata.get("modelspec.tags", "").split(",") if tag.strip()]
    labels = {
        key: "\n".join(map(printable, text.splitlines()))
        for key, text in metadata.items()
        if key in ("modelspec.title", "modelspec.description", "modelspec.author", "modelspec.license")
    }
    return {**metadata, **labels, "vii.format_version": "2", "vii.tags": json.dumps([printable(tag) for tag in tags])}


# What brings a header of an older version to the next one.
UPGRADES: Mapping[int, Callable[[Mapping[str, str]], dict[str, str]]] = {1: upgrade_version_1}


def check_names(tensors: Mapping[str, Any], version: int) -> None:
    """Refuse tensors that a file of this version does not have, and files without any that it must have."""
    finish = {name for name in tensors if FINISH.fullmatch(name)}
    if version == 1:
        if set(tensors) != {"tokens"}:
            raise EditFileError(f"expected one tensor named 'tokens', found {_names(tensors)}")
    elif not ("tokens" in tensors or finish) or set(tensors) - finish - {"tokens", "pooled"}:
        raise EditFileError(f"expected tensors 'tokens', 'pooled' and 'finish.*', found {_names(tensors)}")
    elif "pooled" in tensors and "tokens" not in tensors:
        raise EditFileError("a tensor named 'pooled' belongs to tokens, and there are none")
    if len(finish) > MAX_FINISH:
        raise EditFileError(f"{len(finish)} tensors of a finish, at most {MAX_FINISH} are read")


def _names(tensors: Mapping[str, Any]) -> list[str]:
    return [printable(name[:40]) for name in sorted(tensors)[:5]]


def array_of(name: str, tensor: Mapping[str, Any]) -> Array:
    """One tensor, checked, as an array of its own."""
    shape, dtype = tuple(tensor["shape"]), tensor["dtype"]
    fits = {"tokens": len(shape) == 2 and 1 <= shape[0] <= MAX_TOKENS, "pooled": len(shape) == 1}
    expected = {"tokens": f"(k, d), k at most {MAX_TOKENS}", "pooled": f"(p,), p at most {MAX_POOLED}"}
    if dtype != "F32" or not math.prod(shape) or not fits.get(name, len(shape) <= MAX_AXES):
        raise EditFileError(
            f"{name} must be float32 {expected.get(name, f'of at most {MAX_AXES} axes')}, found {dtype} {shape}"
        )
    array = np.frombuffer(tensor["data"], "<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(array).all():
        raise EditFileError(f"{name} hold values that are not finite")
    if name in fits and np.linalg.norm(array.astype(np.float64), axis=-1).max() > MAX_NORM:
        raise EditFileError(f"{name} are longer than {MAX_NORM:g}, which no text encoder gives")
    return array


def check_fields(metadata: Mapping[str, str]) -> None:
    """Refuse fields that are too long, and names that are more than a name."""
    for key, value in metadata.items():
        if len(value) > (most := LONG.get(key, MAX_TEXT)):
            raise EditFileError(
                f"header field {printable(key[:40])} has {len(value):,} characters, at most {most:,} are read"
            )
    for key in (f"vii.{name}" for name in NAMES):
        if printable(value := metadata.get(key, "")) != value:
            raise EditFileError(f"header field {key} holds control characters")


def parse(arrays: Mapping[str, Array], metadata: Mapping[str, str], version: int) -> Edit:
    """The edit in checked tensors and an upgraded header."""
    labels: dict[str, Any] = {
        name: metadata.get(f"modelspec.{name}", "")
        for name in ("title", "description", "author", "license", "thumbnail")
    }
    labels |= {"tags": _texts(metadata, "vii.tags"), "pairs": _texts(metadata, "vii.pairs")}
    if version > 1:
        try:
            check_labels(**labels)
        except UsageError as error:
            raise EditFileError(str(error)) from None
    finish = {name.removeprefix("finish."): array for name, array in arrays.items() if name.startswith("finish.")}
    edit = Edit(
        **(_learned(arrays, metadata) if "tokens" in arrays else {}),
        **labels,
        training=_json(metadata, "vii.training", dict),
        finish=_finish(finish, metadata) if version > 1 else None,
        format_version=version,
    )
    if edit.needs_editor and not edit.num_tokens:
        raise EditFileError("its finish needs what an editor makes of its tokens, and there are none")
    return edit


def _finish(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> Finish | None:
    """The finish in its tensors and its field, which may stand alone."""
    fields = _json(metadata, "vii.finish", dict)
    if not fields and not tensors:
        return None
    try:
        return Finish.from_parts(fields, tensors)
    except ValueError as error:
        raise EditFileError(f"its finish is not as specified: {printable(str(error)[:200])}") from None


def _learned(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What belongs to tokens."""
    k, width = arrays["tokens"].shape
    length, start = _integer(metadata, "vii.length"), _integer(metadata, "vii.start")
    if start + k > length:
        raise EditFileError(f"{k} tokens from row {start} on do not fit into {length} rows")
    return {
        "tokens": arrays["tokens"],
        "pooled": arrays.get("pooled", ()),
        "space": Space(
            _text(metadata, "vii.space"),
            _text(metadata, "vii.encoder"),
            width,
            length,
            _text(metadata, "vii.base_model"),
            _text(metadata, "vii.base_model_fingerprint"),
            metadata.get("vii.base_model_revision", ""),
        ),
        "editor": _text(metadata, "vii.editor"),
        "init_text": metadata.get("vii.init_text", ""),
        "start": start,
        "resolution": _resolution(_text(metadata, "modelspec.resolution")),
        "settings": _json(metadata, "vii.settings", dict),
    }


def _text(metadata: Mapping[str, str], key: str) -> str:
    if not metadata.get(key):
        raise EditFileError(f"the header has no {key}")
    return metadata[key]


def _integer(metadata: Mapping[str, str], key: str) -> int:
    value = _text(metadata, key)
    if not (value.isascii() and value.isdecimal() and len(value) < 8):
        raise EditFileError(f"header field {key} must be a whole number, found {printable(value[:20])!r}")
    return int(value)


def _resolution(value: str) -> int:
    width, _, height = value.partition("x")
    if not (width.isascii() and width.isdecimal() and width == height and 0 < len(width) < 6):
        raise EditFileError(f"modelspec.resolution must be like 512x512, found {printable(value[:20])!r}")
    return int(width)


def _json(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    try:
        value = strict.loads(metadata.get(key, "{}" if kind is dict else "[]"))
    except ValueError as error:
        raise EditFileError(f"header field {key} is not valid JSON ({printable(str(error)[:100])})") from None
    if not isinstance(value, kind):
        raise EditFileError(f"header field {key} must be a JSON {kind.__name__}")
    return value


def _texts(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    values = _json(metadata, key, list)
    if not all(isinstance(value, str) for value in values):
        raise EditFileError(f"header field {key} must be a JSON list of texts")
    return tuple(values)
