"""Photos and pairs: everything is drawn and rendered before training, so that training never waits for it."""

import json
import multiprocessing
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vii.errors import ImageError
from vii.evaluation.synthetic import SyntheticEdit, compose, make, sample
from vii.files import replacing

from .config import Data

SIZE = 128
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def photo_paths(folder: Path) -> list[Path]:
    """Pictures of a folder, by name.

    Raises:
        ImageError: there are none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise ImageError(f"{folder}: no pictures ({', '.join(sorted(SUFFIXES))}) here to train on")
    return paths


@cache
def open_photo(path: Path, short_side: int = 256) -> Image.Image:
    """A photo with its short side at `short_side` or less."""
    with Image.open(path) as file:
        file.draft("RGB", (short_side, short_side))
        photo = file.convert("RGB")
    scale = short_side / min(photo.size)
    if scale >= 1:
        return photo
    return photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)


def center_crop(photo: Image.Image, size: int = SIZE) -> np.ndarray:
    """The middle square, `(size, size, 3)` uint8."""
    short = min(photo.size)
    left, top = (photo.width - short) // 2, (photo.height - short) // 2
    box = (left, top, left + short, top + short)
    return np.asarray(photo.resize((size, size), Image.Resampling.LANCZOS, box=box))


def random_crop(photo: Image.Image, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """A square of between half and all of the short side, mirrored every other time; `(size, size, 3)` uint8."""
    short = min(photo.size)
    side = min(short, max(min(size, short), int(short * rng.uniform(0.5, 1))))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    smooth = Image.Resampling.BICUBIC if side < 1.5 * size else Image.Resampling.LANCZOS
    crop = photo.resize((size, size), smooth, box=(left, top, left + side, top + side))
    return np.asarray(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)


def to_tensor(pictures: np.ndarray) -> Tensor:
    """`(..., h, w, 3)` uint8 -> `(..., 3, h, w)` float in [0, 1]."""
    return torch.from_numpy(np.array(pictures)).movedim(-1, -3).float() / 255


def render(edit: SyntheticEdit, picture: np.ndarray) -> np.ndarray:
    """The right answer for a picture; both `(h, w, 3)` uint8."""
    return (edit.apply(to_tensor(picture)).movedim(0, -1).numpy() * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Pairs:
    """Before and after pictures with what the edits are called.

    Attributes:
        before: `(crops, 128, 128, 3)` uint8.
        after: `(crops * edits, 128, 128, 3)` uint8; pair `i` starts from `before[i // edits]`.
        edits: pairs a crop.
        edit: what was done in each pair.
        texts: for each pair, some ways of asking for it.
        subjects: for each crop, what the photo shows.
    """

    before: np.ndarray
    after: np.ndarray
    edits: int
    edit: list[SyntheticEdit]
    texts: list[list[str]]
    subjects: list[str]

    def __len__(self) -> int:
        return len(self.after)


def make_pairs(photos: Path, folder: Path, config: Data, seed: int) -> Pairs:
    """Render the pairs that `folder` does not hold yet, shard by shard, then read them all.

    A shard depends on the photos, the seed and its own number alone: the same with any number of workers, and after an
    interruption only the missing ones are made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = range(config.crops // config.shard)
    paths = photo_paths(photos)
    todo = [index for index in shards if not _shard(folder, index).exists()]
    in_workers(partial(_make_shard, paths=paths, folder=folder, config=config, seed=seed), todo, config.workers)
    subjects = [_subject(paths[i % len(paths)]) for i in range(len(shards) * config.shard)]
    return _read([_shard(folder, index) for index in shards], subjects, config, seed)


def in_workers(work: Callable[[int], None], shards: Sequence[int], workers: int) -> None:
    """Make shards by number, in so many processes."""
    if not shards:
        return
    # Not forked: a child of a process that has used several threads of torch can hang.
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        for done, _ in enumerate(pool.imap_unordered(work, shards), 1):
            print(f"pairs: {done} of {len(shards)} shards", flush=True)


def described(edits: Sequence[SyntheticEdit]) -> str:
    """Edits as JSON; `read_edits` takes them back."""
    return json.dumps([[(part.name, part.params) for part in edit.parts or (edit,)] for edit in edits])


def read_edits(text: str) -> list[SyntheticEdit]:
    """The inverse of `described`."""
    return [compose(*(make(name, **params) for name, params in parts)) for parts in json.loads(text)]


def _subject(path: Path) -> str:
    """What ImageNet's file names say a photo shows: `n02084071_dog.jpg` -> a dog."""
    if not (named := re.fullmatch(r"n\d+_(.+)", path.stem)):
        return "a scene"
    return "a " + named[1].replace("_", " ").lower()


def _shard(folder: Path, index: int) -> Path:
    return folder / f"pairs-{index:04d}.npz"


def _make_shard(index: int, paths: list[Path], folder: Path, config: Data, seed: int) -> None:
    rng = np.random.default_rng((seed, index))
    before, after, edits = [], [], []
    for i in range(index * config.shard, (index + 1) * config.shard):
        before.append(random_crop(open_photo(paths[i % len(paths)]), rng))
        edits += [sample(rng, config.compositions) for _ in range(config.edits)]
        after += [render(edit, before[-1]) for edit in edits[-config.edits :]]
    with replacing(_shard(folder, index)) as path, path.open("wb") as file:
        np.savez(file, before=np.stack(before), after=np.stack(after), edits=np.array(described(edits)))


def _read(shards: list[Path], subjects: list[str], config: Data, seed: int) -> Pairs:
    before, after, made = [], [], []
    for shard in shards:
        with np.load(shard) as content:
            before.append(content["before"])
            after.append(content["after"])
            made += read_edits(str(content["edits"]))
    rng = np.random.default_rng((seed, len(made)))
    texts = [[edit.instruction(rng) for _ in range(config.phrasings)] for edit in made]
    return Pairs(np.concatenate(before), np.concatenate(after), config.edits, made, texts, subjects)
