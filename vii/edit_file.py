"""The file of an `Edit`: safetensors, kilobytes, format version 2, which reads version 1 too (see docs/formats.md).

Loading trusts nothing: size before reading, names, dtypes, shapes, finite values, norms, every field of the header.
Nothing here needs torch: an edit that is a colour transform alone is read and applied without it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import strict
from .edit import Edit as Edit
from .edit import stored
from .edit_format import FORMAT_VERSION, array_of, check_fields, check_names, parse, upgraded
from .errors import EditFileError, OutputError
from .files import replacing
from .finish.tiles import Array
from .paths import read_small
from .text import printable

MAX_BYTES = 8_000_000
SUFFIX = ".safetensors"


def is_edit_name(path: str | Path) -> bool:
    """Whether a file is named as edit files are, in capitals or not."""
    return Path(path).suffix.lower() == SUFFIX


def save_edit(edit: Edit, path: str | Path) -> None:
    """Write an edit file, whole or not at all. The same edit gives the same bytes.

    Raises:
        EditFileError: the edit holds what `load_edit` would refuse.
        OutputError: the name does not end in `.safetensors`, or it cannot be written.
    """
    path = Path(path)
    if not is_edit_name(path):
        raise OutputError(f"{path}: edit files are named *{SUFFIX}")
    data = to_bytes(edit)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
        if temporary.read_bytes() != data:
            raise OutputError(f"{path}: what was written does not read back as it was; is the disk sound?")


def to_bytes(edit: Edit) -> bytes:
    """The bytes of an edit file, checked by reading them as `load_edit` does; EditFileError where that fails."""
    try:
        data = tensor_bytes(stored(edit), _metadata(edit))
        if len(data) > MAX_BYTES:
            raise EditFileError(f"{len(data):,} bytes is too large for an edit file (at most {MAX_BYTES:,})")
        from_bytes(data)
    except (EditFileError, ValueError, TypeError) as error:
        raise EditFileError(f"this edit cannot be saved: {error}") from None
    return data


def file_sha256(edit: Edit) -> str:
    """Hex digest of the file that `save_edit` writes: of the tensors, and of all that the header says."""
    return hashlib.sha256(tensor_bytes(stored(edit), _metadata(edit))).hexdigest()


def tensor_bytes(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file: `u64 header size | JSON header, sorted, padded to 8 | float32 tensors by name`.

    Little-endian. Written out rather than through the safetensors library, whose metadata comes in an order that
    differs from run to run; the result is read back with that library.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    data = b""
    for name, array in sorted(tensors.items()):
        values = np.asarray(array, "<f4").tobytes()
        offsets = [len(data), len(data) + len(values)]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        data += values
    text = json.dumps(header, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _metadata(edit: Edit) -> dict[str, str]:
    learned = {
        "vii.space": edit.space.kind,
        "vii.encoder": edit.space.encoder,
        "vii.length": str(edit.space.length),
        "vii.editor": edit.editor,
        "vii.base_model": edit.space.model,
        "vii.base_model_revision": edit.space.revision,
        "vii.base_model_fingerprint": edit.space.fingerprint,
        "vii.init_text": edit.init_text,
        "vii.start": str(edit.start),
        "vii.settings": strict.dumps(dict(edit.settings)),
        "modelspec.resolution": f"{edit.resolution}x{edit.resolution}",
    }
    metadata = {
        "vii.format_version": str(FORMAT_VERSION),
        **(learned if edit.num_tokens else {}),
        "vii.finish": strict.dumps(edit.finish.fields()) if edit.finish else "",
        "vii.training": strict.dumps(strict.finite(edit.training)),
        "vii.pairs": strict.dumps(list(edit.pairs)),
        "vii.tags": strict.dumps(list(edit.tags)),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{edit.editor or 'vii'}/visual-instruction",
        "modelspec.implementation": "vii",
        "modelspec.title": edit.title,
        "modelspec.hash_sha256": "0x" + edit.sha256(),
        "modelspec.description": edit.description,
        "modelspec.author": edit.author,
        "modelspec.license": edit.license,
        "modelspec.tags": ", ".join(edit.tags),
        "modelspec.thumbnail": edit.thumbnail,
    }
    return {key: value for key, value in metadata.items() if value}


def load_edit(path: str | Path) -> Edit:
    """Read an edit file.

    Raises:
        EditFileError: it is missing, too large, damaged, of a newer version, or anything in it is not as specified.
    """
    data = read_small(path, EditFileError, MAX_BYTES, "edit file")
    try:
        return from_bytes(data)
    except EditFileError as error:
        raise EditFileError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> Edit:
    """The edit in the bytes of an edit file; errors as in `load_edit`."""
    from safetensors import SafetensorError, deserialize

    # A header of 640 bytes, and of some other lengths, begins like a pickle; its JSON then tells them apart.
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and data[8:9] != b"{":
        raise EditFileError("this is a pickle (.pt, .bin), which can run code when opened; edit files are safetensors")
    try:
        tensors = dict(deserialize(data))
        size = int.from_bytes(data[:8], "little")
        metadata = strict.loads(data[8 : 8 + size]).get("__metadata__") or {}  # the library takes null for none
    except (SafetensorError, ValueError) as error:
        raise EditFileError(f"damaged, or not a safetensors file ({printable(str(error)[:200])})") from None
    if "vii.format_version" not in metadata:
        raise EditFileError("a safetensors file, but not an edit file: the header has no vii.format_version")
    version, metadata = upgraded(metadata)
    check_names(tensors, version)
    arrays = {name: array_of(name, tensor) for name, tensor in tensors.items()}
    check_fields(metadata)
    stated = metadata.get("modelspec.hash_sha256", "").removeprefix("0x").lower()
    if stated and stated != hashlib.sha256(data[8 + size :]).hexdigest():
        raise EditFileError("damaged: its tensors are not those that its header has the hash of")
    return parse(arrays, metadata, version)


def describe_edit(edit: Edit) -> dict[str, Any]:
    """What `vii show` shows: plain values that JSON can hold, the most telling first."""
    described: dict[str, Any] = {
        "title": edit.title,
        "description": edit.description,
        "consists_of": edit.consists_of,
        "author": edit.author,
        "license": edit.license,
        "tags": list(edit.tags),
        "editor": edit.editor,
        "base_model": edit.space.model,
        "base_model_fingerprint": edit.space.fingerprint,
        "space": f"{edit.space.kind} of {edit.space.encoder}, {edit.space.length} x {edit.space.width}"
        if edit.num_tokens
        else "",
        "tokens": edit.num_tokens,
        "token_norm": None,
        "init_text": edit.init_text,
        "resolution": edit.resolution,
        "settings": dict(edit.settings),
        "finish": edit.finish.fields() if edit.finish else None,
        "training": dict(edit.training),
        "pairs": list(edit.pairs),
        "format_version": edit.format_version,
    }
    if edit.num_tokens:
        norms = np.linalg.norm(edit.arrays()["tokens"].astype(np.float64), axis=1)
        described["token_norm"] = round(float(norms.mean()), 3)
    return described
