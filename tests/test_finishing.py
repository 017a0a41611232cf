"""The end of learning: the finish that an edit's own pairs call for."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import picture

import vii
from vii.cli.learn import save_finished
from vii.finish import Finish
from vii.inversion.finishing import MOST_PAIRS, with_finish


def smooth(seed, height, width):
    """A photo of few colours and soft shapes, so that the toy editor's small picture shows most of it."""
    coarse = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(seed))
    return vii.images.resize(0.2 + 0.6 * coarse, height, width)


@pytest.fixture
def bands(toy, toy_edit):
    """A pair that the toy editor explains: an offset in each band of rows, at a photo's size."""
    before = smooth(1, 96, 128)
    offset = vii.apply(toy, toy_edit, torch.full((3, 32, 32), 0.5), finish="none") - 0.5
    return vii.Pair(before, (before + vii.images.resize(offset, 96, 128)).clamp(0, 1))


def psnr(one, other):
    return -10 * float(torch.log10((one - other).square().mean()))


@pytest.mark.parametrize("size", [(101, 67), (90, 160)])
def test_an_exact_colour_edit_needs_no_editor(toy, toy_edit, size):
    before = picture(1, *size)
    pair = vii.Pair(before, (0.1 + 0.7 * before.flip(0)).clamp(0, 1))
    edit = with_finish(toy, [pair], toy_edit)
    assert not edit.needs_editor
    assert torch.equal(edit.tokens, toy_edit.tokens)
    photo = picture(2, *size)
    assert psnr(vii.apply(None, edit, photo), 0.1 + 0.7 * photo.flip(0)) > 50
    # The tokens are there still, for who wants the editor.
    assert torch.equal(vii.apply(toy, edit, photo, finish="none"), vii.apply(toy, toy_edit, photo))


def test_what_was_chosen_on_the_pair_is_what_weight_one_gives(toy, toy_edit, bands, tmp_path):
    edit = with_finish(toy, [bands], toy_edit)
    results = {weight: vii.apply(toy, [(edit, weight)], bands.before) for weight in (0, 0.5, 1)}
    plain = vii.apply(toy, toy_edit, bands.before)
    assert psnr(results[1], bands.after) > psnr(plain, bands.after) - 0.1
    assert torch.equal(results[0], bands.before)
    torch.testing.assert_close(results[0.5], (results[0] + results[1]) / 2, atol=1e-5, rtol=0)
    best = max(value for name, value in edit.finish.errors.items() if name in ("editor", "color"))
    assert psnr(results[1], bands.after) > best - 3  # errors are those of parts left out
    vii.save_edit(edit, tmp_path / "e.safetensors")
    loaded = vii.load_edit(tmp_path / "e.safetensors")
    assert loaded.finish.fields() == edit.finish.fields()
    assert set(loaded.finish.errors) >= {"editor", "color", "color by place", "detail"}
    assert torch.equal(vii.apply(toy, loaded, bands.before), results[1])


def test_a_few_pairs_are_enough(toy, toy_edit, bands, monkeypatch):
    applied = []
    encode = toy.encode
    monkeypatch.setattr(toy, "encode", lambda image: applied.append(image) or encode(image))
    monkeypatch.setattr("vii.inversion.finishing.fit_finish", lambda examples: Finish("editor"))
    with_finish(toy, [bands] * (MOST_PAIRS + 4), toy_edit)
    assert len(applied) == MOST_PAIRS


SETTINGS = vii.InversionSettings(init="none", tokens=6, max_train_steps=3, batch_size=2, probe_size=2, probe_every=2)


def test_learning_ends_with_a_finish_unless_the_recipe_says_none(toy, bands):
    steps = list(vii.invert_steps(toy, [bands], SETTINGS))
    assert steps[-1].best().finish is None
    finished = vii.invert(toy, [bands], SETTINGS)
    assert finished.finish.errors
    assert np.array_equal(finished.tokens, steps[-1].best().tokens)
    assert vii.invert(toy, [bands], dataclasses.replace(SETTINGS, finish="none")).finish is None
    assert (vii.load_recipe("visii").finish, vii.load_recipe("default").finish) == ("none", "auto")
    with pytest.raises(vii.UsageError, match="finish must be one of auto, none"):
        vii.InversionSettings(finish="always")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no room"), None])
def test_what_ends_the_search_for_a_finish_costs_no_more_than_that(toy_edit, tmp_path, error):
    """`vii learn` and `vii demo` save what was learned first."""
    path, finish = tmp_path / "e.safetensors", Finish("detail")

    class Last:
        def finished(self):
            assert vii.load_edit(path).finish is None
            if error:
                raise error
            return dataclasses.replace(toy_edit, finish=finish)

    edit, ended = save_finished(dataclasses.replace(toy_edit, title="mine"), Last(), path)
    loaded = vii.load_edit(path)
    assert (ended, loaded.title) == (error, "mine")
    assert (loaded.finish is None) == (edit.finish is None) == bool(error)
