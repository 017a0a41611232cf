"""Groups of photos under one edit: what every small in-context model learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recipes.embedded_model.data import described, in_workers, open_photo, photo_paths, random_crop, read_edits, render
from vii.evaluation.synthetic import SyntheticEdit, sample
from vii.files import make_folder, replacing

from .config import Data


@dataclass(frozen=True)
class Groups:
    """Pictures before and after, several of each edit.

    Attributes:
        before: `(edits, photos, cell, cell, 3)` uint8.
        after: likewise, the same photos under the edit of their group.
        photo: `(edits, 2 cell, 2 cell, 3)` uint8: the first photo of each group, unedited, as large as a canvas.
        edit: what was done in each group.
        texts: for each group, some ways of asking for it.
    """

    before: np.ndarray
    after: np.ndarray
    photo: np.ndarray
    edit: list[SyntheticEdit]
    texts: list[list[str]]

    def __len__(self) -> int:
        return len(self.before)


def make_groups(photos: Path, folder: Path, config: Data, seed: int) -> Groups:
    """Render the groups that `folder` does not hold yet, shard by shard, then read them all.

    A shard depends on the photos, the seed and its own number alone, as those of the embedded model's pairs.
    """
    make_folder(folder)
    shards = range(config.edits // config.shard)
    todo = [index for index in shards if not _shard(folder, index).exists()]
    paths = photo_paths(photos)
    in_workers(partial(_make, paths=paths, folder=folder, config=config, seed=seed), todo, config.workers)
    parts: dict[str, list[np.ndarray]] = {"before": [], "after": [], "photo": []}
    edits: list[SyntheticEdit] = []
    for index in shards:
        with np.load(_shard(folder, index)) as content:
            for name, arrays in parts.items():
                arrays.append(content[name])
            edits += read_edits(str(content["edits"]))
    rng = np.random.default_rng((seed, len(edits)))
    texts = [[edit.instruction(rng) for _ in range(config.phrasings)] for edit in edits]
    return Groups(**{name: np.concatenate(arrays) for name, arrays in parts.items()}, edit=edits, texts=texts)


def _shard(folder: Path, index: int) -> Path:
    return folder / f"groups-{index:04d}.npz"


def _make(index: int, paths: Sequence[Path], folder: Path, config: Data, seed: int) -> None:
    rng = np.random.default_rng((seed, index))
    before, after, whole, edits = [], [], [], []
    for _ in range(config.shard):
        edits.append(sample(rng, config.compositions))
        crops = [random_crop(open_photo(paths[i]), rng) for i in rng.integers(0, len(paths), config.photos)]
        whole.append(_scaled(crops[0], 2 * config.cell))
        before.append([_scaled(crop, config.cell) for crop in crops])
        after.append([_scaled(render(edits[-1], crop), config.cell) for crop in crops])
    with replacing(_shard(folder, index)) as path, path.open("wb") as file:
        np.savez(
            file,
            before=np.array(before),
            after=np.array(after),
            photo=np.stack(whole),
            edits=np.array(described(edits)),
        )


def _scaled(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def two_of(count: int, rows: int, generator: torch.Generator) -> Tensor:
    """`(rows, 2)`: two different photos of a group of `count`, the first for the example, the second to be edited."""
    return torch.rand(rows, count, generator=generator).argsort(1)[:, :2]
