"""Analogist as a method: what the model is given, how words are found, models in files, the command."""

import dataclasses
import json

import pytest
import torch
from conftest import EXACT, picture, saved
from test_inpainting import pipeline, stable_diffusion
from test_methods import transfer

import vii
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import EditorError, UsageError
from vii.methods import analogist as module
from vii.methods import load_method
from vii.methods.analogist import Analogist, AnalogistSettings, load_analogist
from vii.methods.attention import transformer_blocks

PAIR, PHOTO = vii.Pair(picture(1), 1 - picture(1)), picture(2, 60, 40)
FEW = AnalogistSettings(num_inference_steps=4, first_block=0, last_block=3, border=2)


@pytest.fixture(scope="module")
def stock():
    return pipeline()


@pytest.fixture(scope="module")
def method(stock):
    return Analogist(stable_diffusion(stock), FEW, 64, text="make it red", size="cell")


def test_the_defaults_are_the_authors():
    expected = {
        "num_inference_steps": 50,
        "strength": 0.98,
        "guidance_scale": 15.0,
        "clone_scale": 1.3,
        "first_block": 3,
        "last_block": 10,
        "border": 2,
    }
    found = dataclasses.asdict(AnalogistSettings())
    assert {name: found[name] for name in expected} == expected
    assert AnalogistSettings().suffix == ", best quality, extremely detailed"
    with pytest.raises(UsageError, match=r"strength must be from 0\.01 to 1"):
        AnalogistSettings(strength=1.5)


def test_the_model_sees_the_grid_with_the_photo_pasted_and_the_answer_masked(method, monkeypatch):
    seen = {}

    def watching(parts, scheduler, canvas, mask, rows, unconditional, **options):
        seen.update(options, canvas=canvas, mask=mask, rows=rows, unconditional=unconditional, scheduler=scheduler)
        seen["cloned"] = [type(b.attn1.processor).__name__ for b in transformer_blocks(parts.unet)]
        return canvas

    monkeypatch.setattr(module, "inpaint", watching)
    result = method([PAIR], PHOTO, seed=7)
    grid = method.grid(1)
    assert (grid.cell, grid.shape) == (29, (64, 64))
    assert torch.equal(seen["canvas"], grid.with_photo_as_answer(grid.draw([PAIR], PHOTO)))
    assert torch.equal(seen["mask"], grid.mask())
    assert torch.equal(seen["rows"], method.parts.instruct("make it red, best quality, extremely detailed").rows)
    assert torch.equal(seen["unconditional"], method.parts.instruct(FEW.negative_prompt).rows)
    assert (seen["steps"], seen["strength"], seen["guidance_scale"]) == (4, 0.98, 15.0)
    assert seen["generator"].initial_seed() == 7
    assert set(seen["cloned"]) == {"CloningProcessor"}
    assert not seen["scheduler"].config.clip_sample
    assert torch.equal(result, grid.cut(seen["canvas"]))


def test_without_cloning_and_masking_it_is_the_stock_pipeline(stock, method):
    plain = dataclasses.replace(method, settings=dataclasses.replace(FEW, cloning=False, masking=False))
    grid = plain.grid(1)
    canvas = (grid.with_photo_as_answer(grid.draw([PAIR], PHOTO)) * 255).round() / 255
    expected = stock(
        prompt="make it red" + FEW.suffix,
        negative_prompt=FEW.negative_prompt,
        image=vii.images.to_pil(canvas),
        mask_image=vii.images.to_pil(grid.mask().expand(3, -1, -1)),
        height=64,
        width=64,
        strength=0.98,
        num_inference_steps=4,
        guidance_scale=15.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images[0]
    # The pipeline sees eight bits of the canvas.
    assert (plain.canvas([PAIR], PHOTO) - expected).abs().max() < 0.02
    assert (method.canvas([PAIR], PHOTO) - expected).abs().max() > 0.05


def test_results_repeat_and_have_the_size_asked_for(method):
    made = method([PAIR], PHOTO, seed=1)
    assert made.shape == (3, 29, 29)
    assert torch.equal(method([PAIR], PHOTO, seed=1), made)
    assert not torch.equal(method([PAIR], PHOTO, seed=2), made)
    whole = dataclasses.replace(method, size="photo")([PAIR], PHOTO, seed=1)
    assert whole.shape == PHOTO.shape
    two = method([PAIR, vii.Pair(picture(3), picture(4))], PHOTO)
    assert method.grid(2).shape == (96, 64)
    assert two.shape == (3, 28, 28)
    with pytest.raises(UsageError, match="at least one"):
        method([], PHOTO)


def test_words_are_given_asked_for_or_retrieved(method, embedded, monkeypatch):
    assert method.words([PAIR], PHOTO) == "make it red"

    class Vlm:
        def ask(self, shown):
            self.shown = shown
            return "a red house"

    vlm = Vlm()
    assert dataclasses.replace(method, text=None, vlm=vlm).words([PAIR], PHOTO) == "a red house"
    grid = method.grid(1)
    assert torch.equal(vlm.shown, module.marked(grid, grid.draw([PAIR], PHOTO)))
    # With a joint space: the nearest phrase; without one it does not go on in silence.
    with pytest.raises(UsageError, match=r"no joint image-text space\); say it as `text`"):
        dataclasses.replace(method, text=None).words([PAIR], PHOTO)
    assert dataclasses.replace(method, text="").words([PAIR], PHOTO) == ""
    photo = picture(5, 128, 128)
    grey = photo.mean(0, keepdim=True).expand(3, -1, -1)
    knowing = dataclasses.replace(method.parts, clip=str(EMBEDDED_MODEL / "clip"))
    found = dataclasses.replace(method, parts=knowing, text=None, phrases=embedded.phrases)
    assert "gr" in found.words([vii.Pair(photo, grey)], PHOTO) or "black" in found.words([vii.Pair(photo, grey)], PHOTO)
    missing = dataclasses.replace(method.parts, clip="/no/such/clip")
    silent = dataclasses.replace(method, parts=missing, text=None, phrases=embedded.phrases)
    with pytest.raises(UsageError, match=r"nothing says what the edit does .*say it as `text`"):
        silent.words([PAIR], PHOTO)


@pytest.fixture(scope="module")
def folder(stock, tmp_path_factory):
    """An inpainting model in files, which says what suits it."""
    path = tmp_path_factory.mktemp("model") / "tiny-inpainting"
    stock.save_pretrained(path)
    settings = {"num_inference_steps": 2, "first_block": 0, "last_block": 3}
    (path / "vii.json").write_text(json.dumps({"resolution": 64, "settings": settings, "clip": None}))
    return path


def test_a_model_is_loaded_from_a_folder(folder, method):
    loaded = load_method("analogist", model=str(folder), text="make it red", settings=["strength=0.9"], **EXACT)
    assert loaded.settings == AnalogistSettings(num_inference_steps=2, first_block=0, last_block=3, strength=0.9)
    few = dataclasses.replace(method, settings=loaded.settings)
    torch.testing.assert_close(
        dataclasses.replace(loaded, size="cell")([PAIR], PHOTO), few([PAIR], PHOTO), atol=1e-4, rtol=0
    )


@pytest.mark.usefixtures("shipped")
def test_what_cannot_be_loaded(folder, tmp_path):
    with pytest.raises(UsageError, match="'analogist' needs model"):
        load_method("analogist")
    with pytest.raises(EditorError, match="takes 64 channels, an inpainting model of an autoencoder with 32 takes 65"):
        load_analogist(model=str(EMBEDDED_MODEL), **EXACT)
    with pytest.raises(UsageError, match="did you mean 'strength'"):
        load_analogist(model=str(folder), settings=["strenght=1"], **EXACT)
    with pytest.raises(UsageError, match="border: 1 leaves no two equal cells of 64 pixels"):
        load_analogist(model=str(folder), text="", settings=["border=1"], **EXACT)([PAIR], PHOTO)
    small = tmp_path / "small"
    small.symlink_to(folder)
    with pytest.raises(UsageError, match="leaves 7 pixels a side"):
        dataclasses.replace(load_analogist(model=str(small), text="", **EXACT), resolution=20)([PAIR], PHOTO)


@pytest.mark.usefixtures("shipped")
def test_the_command(folder, tmp_path):
    paths = saved(tmp_path, before=PAIR.before, after=PAIR.after, photo=PHOTO)
    common = [*paths, "-o", tmp_path / "out.png", "--method", "analogist"]
    transfer(*common, "--model", folder, "--text", "red", "--set", "guidance_scale=2")
    assert vii.load_image(tmp_path / "out.png").shape == PHOTO.shape
    for extra, message in (
        ([], "needs weights; name a folder or a hub id with --model"),
        (["--model", folder, "--set", "steps=1"], "unknown setting 'steps'"),
        (["--model", folder, "--recipe", "default"], "--recipe: the method 'analogist' does not take it"),
        (["--model", folder, "--vlm", tmp_path], "cannot load the vision-language model"),
    ):
        assert message in transfer(*common, "--overwrite", *extra, code=1)


@pytest.mark.usefixtures("shipped")
def test_the_benchmark_names_a_model(folder, monkeypatch):
    from vii.evaluation import methods

    row = methods.methods_for(methods=[f"analogist={folder}"])[-1]
    assert (row.name, row.method, row.options) == ("analogist", "analogist", {"model": str(folder)})
    first = row.learning()
    (folder / "vii.json").touch()
    assert row.learning() != first  # scores of weights that have changed since are not used again
    learned = row.prepare(None, "make it red", [PAIR], 0)
    assert learned.transfer is row.prepare(None, "", [PAIR], 1).transfer  # read once
    assert learned.transfer.text is None  # it finds its words itself
    for text, message in (
        ("analogist", "it needs weights; say analogist=MODEL"),
        ("pixel-delta=x", "loads no weights of its own"),
    ):
        with pytest.raises(UsageError, match=message):
            methods.methods_for(methods=[text])
