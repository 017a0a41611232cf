"""Photos and pairs: everything is drawn and rendered before training, so that training never waits for it."""

import json
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vii.errors import ImageError
from vii.evaluation.synthetic import SyntheticEdit, compose, make, sample
from vii.files import make_folder, replacing

from .config import Data

SIZE = 128
# For each family the PSNR in dB of what the finish does without an editor; `reach.py` writes it.
REACH = Path(__file__).parent / "reach.json"
# A family that the finish does at so many dB, or more, keeps this share of its weight, and all of it at so few or less.
DONE, LEFT, SHARE = 45.0, 25.0, 0.35
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@cache
def shares() -> dict[str, float]:
    """For each family the factor of its weight in training."""
    span = {name: (db - LEFT) / (DONE - LEFT) for name, db in json.loads(REACH.read_text()).items()}
    return {name: 1 - (1 - SHARE) * min(1.0, max(0.0, done)) for name, done in span.items()}


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
    """Render the pairs that `folder` does not hold yet, then read them all; see `make_shards`."""
    paths, count = photo_paths(photos), config.crops // config.shard
    make = partial(_make_shard, paths=paths, config=config, seed=seed)
    arrays, edits, texts = make_shards(folder, "pairs", count, make, config, seed)
    subjects = [_subject(paths[i % len(paths)]) for i in range(count * config.shard)]
    return Pairs(**arrays, edits=config.edits, edit=edits, texts=texts, subjects=subjects)


# Arrays by name, and the edits of a shard.
Shard = tuple[dict[str, np.ndarray], list[SyntheticEdit]]


def make_shards(
    folder: Path, name: str, count: int, make: Callable[[int], Shard], config: Any, seed: int
) -> tuple[dict[str, np.ndarray], list[SyntheticEdit], list[list[str]]]:
    """Make the shards that `folder` does not hold yet, in `config.workers` processes, then read them all.

    What `make` gives depends on the number of the shard alone: the same with any number of workers, and after an
    interruption only the missing ones are made.

    Returns:
        the arrays put together, the edits, and `config.phrasings` ways of asking for each.
    """
    make_folder(folder)
    shards = [folder / f"{name}-{index:04d}.npz" for index in range(count)]
    if todo := [(index, path) for index, path in enumerate(shards) if not path.exists()]:
        # Not forked: a child of a process that has used several threads of torch can hang.
        with multiprocessing.get_context("spawn").Pool(config.workers, torch.set_num_threads, (1,)) as pool:
            for done, _ in enumerate(pool.imap_unordered(partial(_write, make), todo), 1):
                print(f"pairs: {done} of {len(todo)} shards", flush=True)
    parts: dict[str, list[np.ndarray]] = {}
    edits: list[SyntheticEdit] = []
    for path in shards:
        with np.load(path) as content:
            for key in set(content.files) - {"edits"}:
                parts.setdefault(key, []).append(content[key])
            edits += [_composed(steps) for steps in json.loads(str(content["edits"]))]
    rng = np.random.default_rng((seed, len(edits)))
    texts = [[edit.instruction(rng) for _ in range(config.phrasings)] for edit in edits]
    return {key: np.concatenate(arrays) for key, arrays in parts.items()}, edits, texts


def _write(make: Callable[[int], Shard], todo: tuple[int, Path]) -> None:
    index, path = todo
    arrays, edits = make(index)
    described = json.dumps([[(part.name, part.params) for part in edit.parts or (edit,)] for edit in edits])
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays, edits=np.array(described))


def _composed(steps: list[Any]) -> SyntheticEdit:
    return compose(*(make(name, **params) for name, params in steps))


def _subject(path: Path) -> str:
    """What ImageNet's file names say a photo shows: `n02084071_dog.jpg` -> a dog."""
    if not (named := re.fullmatch(r"n\d+_(.+)", path.stem)):
        return "a scene"
    return "a " + named[1].replace("_", " ").lower()


def _make_shard(index: int, paths: list[Path], config: Data, seed: int) -> Shard:
    rng = np.random.default_rng((seed, index))
    before, after, edits = [], [], []
    for i in range(index * config.shard, (index + 1) * config.shard):
        before.append(random_crop(open_photo(paths[i % len(paths)]), rng))
        edits += [sample(rng, config.compositions, shares()) for _ in range(config.edits)]
        after += [render(edit, before[-1]) for edit in edits[-config.edits :]]
    return {"before": np.stack(before), "after": np.stack(after)}, edits
