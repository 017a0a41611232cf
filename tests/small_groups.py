"""A small configuration of the in-context recipe, and fixtures of what it trains on."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from recipes.in_context.config import Codes, Config, Data, ImageBrush, Inpainting, Places, Prompting
from recipes.in_context.data import make_groups
from vii.editors.loading import EMBEDDED_MODEL

TINY = Config(
    data=Data(edits=12, shard=6, photos=3, cell=32),
    inpainting=Inpainting(channels=(16, 32), attention=(True, True), heads=2, samples=24, batch=8),
    codes=Codes(channels=(16, 16, 32), codes=20, width=8, samples=8, batch=2, clustered=8),
    prompting=Prompting(
        side=64,
        scenes=12,
        width=16,
        layers=1,
        heads=4,
        decoder_width=16,
        decoder_layers=1,
        samples=16,
        batch=4,
        figures=0.5,
        answers=0.75,
    ),
    imagebrush=ImageBrush(
        channels=(16, 32), prompt_width=16, prompt_layers=1, prompt_heads=2, pool=4, samples=24, batch=8
    ),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("a", "b", "c"):
        rough = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        rough.resize((200, 160), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def groups(photos, tmp_path_factory):
    return make_groups(photos, tmp_path_factory.mktemp("groups"), TINY.data, seed=0)


def places(photos, output, **others):
    return dataclasses.replace(Places(photos, output / "groups", EMBEDDED_MODEL, output), **others)
