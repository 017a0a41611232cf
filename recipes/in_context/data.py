"""Groups of photos under one edit: what every small in-context model learns from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recipes.embedded_model.data import Shard, make_shards, open_photo, photo_paths, random_crop, render
from vii.editors.shared import shared_digests
from vii.errors import EditorError
from vii.evaluation.synthetic import SyntheticEdit, sample
from vii.files import write
from vii.space import same_weights

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
    """Render the groups that `folder` does not hold yet, then read them all; see `make_shards`."""
    make = partial(_make, paths=photo_paths(photos), config=config, seed=seed)
    arrays, edits, texts = make_shards(folder, "groups", config.edits // config.shard, make, config, seed)
    return Groups(**arrays, edit=edits, texts=texts)


def _make(index: int, paths: Sequence[Path], config: Data, seed: int) -> Shard:
    rng = np.random.default_rng((seed, index))
    before, after, whole, edits = [], [], [], []
    for _ in range(config.shard):
        edits.append(sample(rng, config.compositions))
        crops = [random_crop(open_photo(paths[i]), rng) for i in rng.integers(0, len(paths), config.photos)]
        whole.append(_scaled(crops[0], 2 * config.cell))
        before.append([_scaled(crop, config.cell) for crop in crops])
        after.append([_scaled(render(edits[-1], crop), config.cell) for crop in crops])
    return {"before": np.array(before), "after": np.array(after), "photo": np.stack(whole)}, edits


def _scaled(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def trained_on(path: Path, embedded: Path, parts: Sequence[str]) -> dict[str, str]:
    """Digests of the parts of an embedded editor that a run is trained on, which are kept in `path`.

    Raises:
        EditorError: the run was begun on others.
    """
    digests = shared_digests(embedded, parts)
    if not path.exists():
        write(path, json.dumps(digests, indent=2) + "\n")
    before = json.loads(path.read_text())
    if others := [part for part in parts if not same_weights(digests[part], before[part])]:
        raise EditorError(
            f"{embedded}: {path.parent} was begun on {' and '.join(others)} of another embedded editor; go on with it, "
            "or train from the start in another folder"
        )
    return digests


def shown(pictures: np.ndarray, device: str) -> Tensor:
    """`(..., h, w, 3)` uint8 -> `(..., 3, h, w)` float in [0, 1], turned into numbers on the device."""
    return torch.from_numpy(pictures).to(device).movedim(-1, -3).float() / 255


def two_of(count: int, rows: int, generator: torch.Generator) -> Tensor:
    """`(rows, 2)`: two different photos of a group of `count`, the first for the example, the second to be edited."""
    return torch.rand(rows, count, generator=generator, device=generator.device).argsort(1)[:, :2]
