"""Finding a model's files and reading them; what every editor with weights needs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from .. import strict
from ..errors import EditorError, UsageError, unknown_name
from ..libraries import may_download, quiet
from ..settings import Settings, override
from ..text import first_line, printable

EMBEDDED_MODEL = Path(__file__).parent / "embedded"
MANIFEST = "vii.json"
MAX_RESOLUTION = 8192
DEFAULT_CLIP = "openai/clip-vit-large-patch14"
# What model_index.json may name besides classes of the two libraries: a part that is not loaded.
UNUSED_PARTS = {"safety_checker": "stable_diffusion"}
# What the loading libraries raise of files that are not what they should be.
FAILURES = (OSError, KeyError, AttributeError, TypeError, ValueError, RuntimeError)
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"(?!.*\.(safetensors|ckpt|pth?|bin)$)\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", re.ASCII)
DEFAULT_PHRASES = Path(__file__).parent.parent / "captions" / "instructions.txt"


def locate(model: str, revision: str | None, parts: Sequence[str]) -> tuple[Path, str]:
    """Folder or hub id -> a local folder in diffusers' layout and, for an id, the commit.

    Args:
        model: folder, or hub id.
        revision: branch, tag or commit on the hub.
        parts: folders of the model that are needed, or files in such.

    Raises:
        EditorError: neither a folder nor an id that can be reached.
    """
    if Path(model).is_file():
        raise EditorError(
            f"{model}: a model in one file; expected a folder in diffusers' layout, which diffusers makes of it: "
            "SomePipeline.from_single_file(FILE).save_pretrained(FOLDER), with the pipeline of its architecture"
        )
    if Path(model).is_dir():
        if not (Path(model) / "model_index.json").exists():
            raise EditorError(f"{model}: no model_index.json; expected a folder in diffusers' layout")
        return Path(model), ""
    wanted = ["model_index.json", MANIFEST, "*.txt", *(part if "/" in part else f"{part}/*" for part in parts)]
    return fetch(model, revision, wanted, "model", "`model`, or use the editor 'embedded', which needs no download")


def fetch(repository: str, revision: str | None, wanted: Sequence[str], what: str, advice: str) -> tuple[Path, str]:
    """A folder as it is; of a hub repository the folder in the cache, downloaded where needed, and its commit.

    Args:
        repository: folder, or hub id.
        revision: branch, tag or commit; None for the main branch.
        wanted: patterns of files; half-precision duplicates and pickles are left out whatever they say.
        what: "model" or the like, for the error.
        advice: what follows "give the folder of a local copy with" in the error.

    Raises:
        EditorError: it cannot be reached.
    """
    from huggingface_hub import snapshot_download

    if Path(repository).is_dir():
        return Path(repository), ""
    if not HUB_ID.fullmatch(repository):
        raise EditorError(f"{printable(repository)}: no such folder, and no name of a {what} on the Hub either")
    try:
        with quiet():
            folder = snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(wanted),
                local_files_only=not may_download(),
                ignore_patterns=["*.py", "*.bin", "*.ckpt", "*.msgpack", "*.fp16.*", "*.non_ema.*", "*.onnx*"],
            )
    except Exception as error:  # a Hub, or a proxy before it, can answer with anything
        told = f"cannot fetch the {what} '{repository}' ({first_line(error)})"
        raise EditorError(f"{told}; give the folder of a local copy with {advice}") from None
    if not COMMIT.fullmatch(commit := Path(folder).name):
        raise EditorError(
            f"cannot fetch the {what} '{repository}': the Hub names '{printable(commit[:40])}' as its commit"
        )
    return Path(folder), commit


@dataclass(frozen=True)
class Manifest:
    """What a model's folder says beyond diffusers' configuration files, in an optional `vii.json`.

    The defaults are right for Stable Diffusion 1.x.

    Attributes:
        name: of the model, written into edit files; empty for that of the folder or the hub id.
        resolution: pixels a side of the pictures it was trained on.
        square: whether it was trained on squares only and has learned where in them things are: photos of another shape
            are squeezed into one, and not scaled to its area. For InstructPix2Pix and ControlNet; the canvases of
            methods that are shown an example are squares always.
        settings: sampling settings that suit it, by name.
        clip: joint space: a folder within the model's, or what `vii.clip.load_clip` takes; None for none.
        phrases: file within the model's folder with one instruction a line that the model knows; empty for a list of
            common ones.
        shares: parts that the model was trained on and has in common with the embedded editor, by digest; what its
            folder lacks is then taken from there. See `vii.editors.shared`.
    """

    name: str = ""
    resolution: int = 512
    square: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    clip: str | None = DEFAULT_CLIP
    phrases: str = ""
    shares: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for name in ("name", "phrases", *(["clip"] if self.clip is not None else [])):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} must be a text, got {getattr(self, name)!r}")
        if type(self.resolution) is not int or not 8 <= self.resolution <= MAX_RESOLUTION:
            raise UsageError(f"resolution must be a whole number from 8 to {MAX_RESOLUTION}, got {self.resolution!r}")
        if not isinstance(self.square, bool):
            raise UsageError(f"square must be true or false, got {self.square!r}")
        if not isinstance(self.settings, Mapping):
            raise UsageError(f"settings must be an object, got {self.settings!r}")
        if not isinstance(self.shares, Mapping) or not all(isinstance(one, str) for one in self.shares.values()):
            raise UsageError(f"shares must be an object of texts, got {self.shares!r}")
        for name in ("phrases", "clip"):
            path = PurePath(getattr(self, name) or "")
            if ".." in path.parts or path.is_absolute() or path.drive:
                raise UsageError(f"{name} must lie in the model's folder, got {getattr(self, name)!r}")

    def home(self, folder: Path, name: str) -> Path:
        """In which folder a part or a file lies: the model's or, where that lacks what it may share, the editor's."""
        return folder if not self.shares or (folder / name).exists() else EMBEDDED_MODEL

    def place(self, folder: Path, name: str) -> Path:
        """Where it lies there."""
        return self.home(folder, name) / name

    def suiting(self, recommended: Settings, model: str) -> Settings:
        """The settings that suit a model: those of its architecture, and what its folder says over them.

        Raises:
            EditorError: the folder says what cannot be.
        """
        try:
            return override(recommended, **self.settings)
        except UsageError as error:
            raise EditorError(f"{model}: {MANIFEST}: {error}") from None


def read_manifest(folder: Path, default: Manifest | None = None) -> Manifest:
    """A model's `vii.json` over the defaults of its architecture; none given, those of Stable Diffusion 1.x.

    Raises:
        EditorError: the file is not valid.
    """
    path = folder / MANIFEST
    if not path.exists():
        return default or Manifest()
    try:
        content = read_config(path)
        for name in content:
            if name not in Manifest.__dataclass_fields__:
                raise UsageError(unknown_name("entry", name, Manifest.__dataclass_fields__))
        manifest = replace(default or Manifest(), **content)
    except UsageError as error:
        raise EditorError(f"{path}: not a valid {MANIFEST} ({first_line(error)})") from None
    for named in {manifest.phrases, manifest.clip or ""} - {"", DEFAULT_CLIP}:
        inside(manifest.home(folder, named), named, path)
    return manifest


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model's folder.

    Raises:
        EditorError: it cannot be read, or is not one.
    """
    try:
        content = strict.loads(path.read_bytes())
    except OSError as error:
        raise EditorError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise EditorError(f"{path}: not valid JSON ({printable(str(error)[:200])})") from None
    if not isinstance(content, dict):
        raise EditorError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def inside(folder: Path, name: str, named_by: Path) -> Path:
    """What a model's file names, which must lie in the model's own folder.

    Raises:
        EditorError: it does not, or is not there.
    """
    path = folder / name
    # A snapshot in the Hub's cache consists of links to the blobs beside it.
    homes = [folder.resolve()] + ([folder.resolve().parents[1] / "blobs"] if folder.parent.name == "snapshots" else [])
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise EditorError(f"{named_by}: it names '{printable(name[:80])}', which is not in its folder") from None
    if ".." in Path(name).parts or not any(real.is_relative_to(home) for home in homes):
        raise EditorError(
            f"{named_by}: it names '{printable(name[:80])}', which leads out of its folder; a model's own file names "
            "what lies beside it"
        )
    return path


def read_index(folder: Path) -> dict[str, Any]:
    """A model_index.json that names nobody's code: no class of another library, and no pipeline of its own.

    Raises:
        EditorError: it cannot be read.
        ValueError: it names some.
    """
    index = read_config(folder / "model_index.json")
    if not isinstance(index.get("_class_name", ""), str):
        raise ValueError("its pipeline is code of its own, which is not run")
    for part, named in index.items():
        if not isinstance(named, list):
            continue
        library = named[0] if named else None
        if library not in (None, "diffusers", "transformers", UNUSED_PARTS.get(part)):
            raise ValueError(
                f"{printable(part[:40])} is of {printable(str(library)[:40])!r}; only classes of diffusers and "
                "transformers are loaded"
            )
    return index


def class_of(index: dict[str, Any], part: str, base: str) -> Any:
    """The diffusers class that a model_index.json names for a part.

    Args:
        index: the content of model_index.json.
        part: "vae" or "scheduler".
        base: what the class must derive from.

    Raises:
        ValueError: it names none, or a class of another kind.
    """
    import diffusers

    named = index.get(part)
    name = named[1] if isinstance(named, list) and len(named) == 2 else None
    kind = getattr(diffusers, name, None) if isinstance(name, str) and name.isidentifier() else None
    if not isinstance(kind, type) or base not in {ancestor.__name__ for ancestor in kind.__mro__}:
        raise ValueError(f"its {part} is {printable(str(name)[:60])!r}, which diffusers does not have")
    return kind


def read_phrases(folder: Path, manifest: Manifest) -> Sequence[str]:
    """Instructions that a model knows, or common ones.

    Raises:
        EditorError: its file cannot be read.
    """
    path = manifest.place(folder, manifest.phrases) if manifest.phrases else DEFAULT_PHRASES
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise EditorError(f"{folder / MANIFEST}: its phrases cannot be read ({first_line(error)})") from None


def joint_space(folder: Path, manifest: Manifest, clip: str | None) -> str | None:
    """What `vii.clip.load_clip` is to load for a model: what was asked for, or its own; None for none ("none")."""
    if clip is not None:
        return None if clip == "none" else clip
    own = manifest.clip
    place = manifest.place(folder, own) if own else None
    return str(place) if place and place.is_dir() else own


def local_name(model: str) -> str:
    """A hub id as it is; of a folder its name only, for where somebody keeps it is nobody's business."""
    return Path(model).absolute().name if Path(model).is_dir() else model


@contextmanager
def loading(model: str, what: str) -> Iterator[None]:
    """Turn whatever the loading libraries raise into one sentence about the model."""
    try:
        yield
    except FAILURES as error:
        raise EditorError(f"{model}: not a complete {what} ({first_line(error)})") from None
