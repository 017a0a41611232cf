"""An `Edit`, the product of this package, and its file: safetensors, kilobytes, format version 1 (see FORMATS.md).

Loading trusts nothing: size before reading, names, dtypes, shapes, finite values, norms, every field of the header.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .editor import SPACES, Space
from .errors import EditFileError, EditorMismatch, OutputError
from .files import replacing
from .instruction import Instruction

FORMAT_VERSION = 1
MAX_BYTES = 8_000_000
MAX_TOKENS = 1024
MAX_NORM = 1e4
MAX_TEXT = 64_000
SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class Edit:
    """A learned edit.

    Attributes:
        tokens: `(k, d)` float32, the learned rows.
        space: the instruction space they were learned in.
        editor: name of the editor.
        init_text: the starting text; needed to rebuild the rows around the tokens, for CLIP is causal and the rows
            after them depend on it. Input embeddings do not; there it only tells what learning started from.
        start: position of the first learned row.
        resolution: pixels a side at which it was learned.
        settings: recommended sampling settings of the editor, by name.
        training: how it was learned and how well: recipe, seed, noise, steps, samples, losses, explained.
        pairs: SHA-256 of each pair (see `Pair.sha256`); the pictures themselves are not stored.
        title: a short name.
        description: what it does, in a sentence.
        author: who made it.
        license: how it may be used.
        tags: words to find it by.
        thumbnail: a `data:image/jpeg;base64,...` picture, only where it was asked for.
    """

    tokens: Tensor
    space: Space
    editor: str
    init_text: str
    start: int
    resolution: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    pairs: Sequence[str] = ()
    title: str = ""
    description: str = ""
    author: str = ""
    license: str = ""
    tags: Sequence[str] = ()
    thumbnail: str = ""

    def instruction(self, start: Instruction) -> Instruction:
        """The full conditioning: the rows of the starting text with the learned ones in their place.

        In the space of input embeddings only what precedes the learned rows is of that text; see `with_span`.

        Args:
            start: the editor's instruction for `init_text`.
        """
        span = (self.start, self.start + len(self.tokens))
        return start.with_span(*span).with_tokens(self.tokens.to(start.rows))

    def check_space(self, space: Space, *, any_model: bool = False) -> None:
        """Refuse an editor in whose space the tokens mean nothing.

        Args:
            space: of the editor at hand.
            any_model: accept other weights of the same shape, such as a fine-tune of the base model.

        Raises:
            EditorMismatch: the space differs.
        """
        for name in ("kind", "encoder", "width", "length"):
            wanted, got = getattr(self.space, name), getattr(space, name)
            if wanted != got:
                raise EditorMismatch(
                    f"this edit was learned for {self._origin()}, with {name} {wanted}; the editor at hand "
                    f"({space.model}) has {name} {got}. Load the editor it was learned with{self._space_option(name)}"
                )
        if self.space.fingerprint != space.fingerprint and not any_model:
            raise EditorMismatch(
                f"this edit was learned for {self._origin()} with weights {self.space.fingerprint[:12]}, the editor at "
                f"hand ({space.model}) has weights {space.fingerprint[:12]}. Load the editor it was learned with, or "
                "accept any weights of this shape with `any_model=True`, at the price of a weaker edit"
            )

    def sha256(self) -> str:
        """Hex digest of the tokens, as in the header's `modelspec.hash_sha256`."""
        return hashlib.sha256(_data(self.tokens)).hexdigest()

    def _space_option(self, name: str) -> str:
        """How to load an editor with this kind of space, where it is the kind that differs."""
        option = next((option for option, kind in SPACES.items() if kind == self.space.kind), None)
        return f': load_editor(..., space="{option}")' if name == "kind" and option else ""

    def _origin(self) -> str:
        return f"the editor '{self.editor}' ({self.space.model})"


def save_edit(edit: Edit, path: str | Path) -> None:
    """Write an edit file, whole or not at all. The same edit gives the same bytes.

    Raises:
        OutputError: the name does not end in `.safetensors`, or it cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise OutputError(f"{path}: edit files are named *{SUFFIX}")
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(edit))


def to_bytes(edit: Edit) -> bytes:
    """The bytes of an edit file: `u64 header size | JSON header, sorted, padded to 8 | float32 tokens`, little-endian.

    Written out rather than through the safetensors library, whose metadata comes in an order that differs from run to
    run; the result is read back with that library.
    """
    return tensor_bytes("tokens", edit.tokens, _metadata(edit))


def tensor_bytes(name: str, tensor: Tensor, metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file with one tensor, written in float32; see `to_bytes`."""
    data = _data(tensor)
    header = {
        "__metadata__": dict(metadata),
        name: {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [0, len(data)]},
    }
    text = json.dumps(header, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _data(tokens: Tensor) -> bytes:
    return tokens.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()


def _metadata(edit: Edit) -> dict[str, str]:
    metadata = {
        "vii.format_version": str(FORMAT_VERSION),
        "vii.space": edit.space.kind,
        "vii.encoder": edit.space.encoder,
        "vii.length": str(edit.space.length),
        "vii.editor": edit.editor,
        "vii.base_model": edit.space.model,
        "vii.base_model_revision": edit.space.revision,
        "vii.base_model_fingerprint": edit.space.fingerprint,
        "vii.init_text": edit.init_text,
        "vii.start": str(edit.start),
        "vii.settings": _dump(dict(edit.settings)),
        "vii.training": _dump(dict(edit.training)),
        "vii.pairs": _dump(list(edit.pairs)),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{edit.editor}/visual-instruction",
        "modelspec.implementation": "vii",
        "modelspec.title": edit.title,
        "modelspec.resolution": f"{edit.resolution}x{edit.resolution}",
        "modelspec.hash_sha256": "0x" + edit.sha256(),
        "modelspec.description": edit.description,
        "modelspec.author": edit.author,
        "modelspec.license": edit.license,
        "modelspec.tags": ", ".join(edit.tags),
        "modelspec.thumbnail": edit.thumbnail,
    }
    return {key: value for key, value in metadata.items() if value}


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def load_edit(path: str | Path) -> Edit:
    """Read an edit file.

    Raises:
        EditFileError: it is missing, too large, damaged, of a newer version, or anything in it is not as specified.
    """
    path = Path(path)
    if not path.is_file():
        raise EditFileError(f"{path}: no such edit file")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise EditFileError(f"{size:,} bytes is too large for an edit file (at most {MAX_BYTES:,})")
        return from_bytes(path.read_bytes())
    except OSError as error:
        raise EditFileError(f"{path}: cannot be read ({error.strerror})") from None
    except EditFileError as error:
        raise EditFileError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> Edit:
    """The edit in the bytes of an edit file; errors as in `load_edit`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    # A header of 640 bytes, and of some other lengths, begins like a pickle; its JSON then tells them apart.
    if data[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and data[8:9] != b"{":
        raise EditFileError("this is a pickle (.pt, .bin), which can run code when opened; edit files are safetensors")
    try:
        tensors = load(data)
        header_size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + header_size]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise EditFileError(f"damaged, or not a safetensors file ({error})") from None
    if "vii.format_version" not in metadata:
        raise EditFileError("a safetensors file, but not an edit file: the header has no vii.format_version")
    return _parse(tensors, _upgrade(metadata))


def _upgrade(metadata: dict[str, str]) -> dict[str, str]:
    """Bring the header of an older version up to date; there is none older than 1 yet."""
    version = metadata["vii.format_version"]
    if not version.isdecimal() or int(version) < 1:
        raise EditFileError(f"format version {version[:20]!r} is not a number from 1 on")
    if int(version) > FORMAT_VERSION:
        raise EditFileError(f"format version {version} is newer than this vii reads ({FORMAT_VERSION}); update vii")
    return metadata


def _parse(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Edit:
    if set(tensors) != {"tokens"}:
        raise EditFileError(f"expected one tensor named 'tokens', found {sorted(tensors)[:5]}")
    tokens = tensors["tokens"]
    if tokens.dtype != torch.float32 or tokens.ndim != 2 or not 1 <= len(tokens) <= MAX_TOKENS or not tokens.shape[1]:
        raise EditFileError(f"tokens must be float32 (k, d), found {tokens.dtype} {tuple(tokens.shape)}")
    if not torch.isfinite(tokens).all():
        raise EditFileError("tokens hold values that are not finite")
    if tokens.norm(dim=1).max() > MAX_NORM:
        raise EditFileError(f"tokens are longer than {MAX_NORM:g}, which no text encoder gives")
    for key, value in metadata.items():
        if len(value) > MAX_TEXT:
            raise EditFileError(f"header field {key[:40]} has {len(value):,} characters, at most {MAX_TEXT:,} are read")
    length, start = _integer(metadata, "vii.length"), _integer(metadata, "vii.start")
    if start + len(tokens) > length:
        raise EditFileError(f"{len(tokens)} tokens from row {start} on do not fit into {length} rows")
    return Edit(
        tokens=tokens,
        space=Space(
            _text(metadata, "vii.space"),
            _text(metadata, "vii.encoder"),
            tokens.shape[1],
            length,
            _text(metadata, "vii.base_model"),
            _text(metadata, "vii.base_model_fingerprint"),
            metadata.get("vii.base_model_revision", ""),
        ),
        editor=_text(metadata, "vii.editor"),
        init_text=metadata.get("vii.init_text", ""),
        start=start,
        resolution=_resolution(_text(metadata, "modelspec.resolution")),
        settings=_json(metadata, "vii.settings", dict),
        training=_json(metadata, "vii.training", dict),
        pairs=tuple(map(str, _json(metadata, "vii.pairs", list))),
        title=metadata.get("modelspec.title", ""),
        description=metadata.get("modelspec.description", ""),
        author=metadata.get("modelspec.author", ""),
        license=metadata.get("modelspec.license", ""),
        tags=tuple(tag.strip() for tag in metadata.get("modelspec.tags", "").split(",") if tag.strip()),
        thumbnail=metadata.get("modelspec.thumbnail", ""),
    )


def _text(metadata: Mapping[str, str], key: str) -> str:
    if not metadata.get(key):
        raise EditFileError(f"the header has no {key}")
    return metadata[key]


def _integer(metadata: Mapping[str, str], key: str) -> int:
    value = _text(metadata, key)
    if not (value.isdecimal() and len(value) < 8):
        raise EditFileError(f"header field {key} must be a whole number, found {value[:20]!r}")
    return int(value)


def _resolution(value: str) -> int:
    width, _, height = value.partition("x")
    if not (width.isdecimal() and width == height and 0 < len(width) < 6):
        raise EditFileError(f"modelspec.resolution must be like 512x512, found {value[:20]!r}")
    return int(width)


def _json(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    try:
        value = json.loads(metadata.get(key, "{}" if kind is dict else "[]"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise EditFileError(f"header field {key} is not valid JSON") from None
    if not isinstance(value, kind):
        raise EditFileError(f"header field {key} must be a JSON {kind.__name__}")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def describe_edit(edit: Edit) -> dict[str, Any]:
    """What `vii show` shows: plain values that JSON can hold, the most telling first."""
    training = dict(edit.training)
    return {
        "title": edit.title,
        "description": edit.description,
        "author": edit.author,
        "license": edit.license,
        "tags": list(edit.tags),
        "editor": edit.editor,
        "base_model": edit.space.model,
        "base_model_fingerprint": edit.space.fingerprint,
        "space": f"{edit.space.kind} of {edit.space.encoder}, {edit.space.length} x {edit.space.width}",
        "tokens": len(edit.tokens),
        "token_norm": round(math.fsum(edit.tokens.norm(dim=1).tolist()) / len(edit.tokens), 3),
        "init_text": edit.init_text,
        "resolution": edit.resolution,
        "settings": dict(edit.settings),
        "training": training,
        "pairs": list(edit.pairs),
        "format_version": FORMAT_VERSION,
    }
