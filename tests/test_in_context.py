"""The recipe that trains the small in-context models, in miniature: its groups, and Analogist's model."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from small_groups import TINY, groups, photos, places  # noqa: F401 (two fixtures)

import vii
from recipes.embedded_model.autoencoder import PATCH
from recipes.embedded_model.config import load
from recipes.embedded_model.data import to_tensor
from recipes.in_context import __main__ as recipe
from recipes.in_context import inpainting
from recipes.in_context.config import Config, Inpainting
from recipes.in_context.data import make_groups, two_of
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.shared import FILES
from vii.editors.stable_diffusion import read_parts
from vii.errors import EditorError
from vii.methods import load_method
from vii.methods.grid import Grid


@pytest.fixture(autouse=True)
def _small_validation(monkeypatch):
    monkeypatch.setattr(inpainting, "VALIDATION", 4)


@pytest.fixture(scope="module")
def canvases(groups):
    return inpainting.encode(groups, EMBEDDED_MODEL, TINY)


def test_groups_show_one_edit_on_several_photos(groups):
    assert groups.before.shape == groups.after.shape == (12, 3, 32, 32, 3)
    assert len(groups) == len(groups.texts) == 12
    for index in (0, 7):
        whole = to_tensor(groups.photo[index])
        truth = vii.images.resize(groups.edit[index].apply(whole), 32, 32)
        assert (truth - to_tensor(groups.after[index, 0])).abs().mean() < 0.05
        assert len({picture.tobytes() for picture in groups.before[index]}) == 3


def test_an_interrupted_rendering_gives_the_same_groups(photos, groups, tmp_path):
    make_groups(photos, tmp_path, dataclasses.replace(TINY.data, edits=6), seed=0)
    first = (tmp_path / "groups-0000.npz").stat().st_mtime_ns
    again = make_groups(photos, tmp_path, TINY.data, seed=0)
    assert (tmp_path / "groups-0000.npz").stat().st_mtime_ns == first
    np.testing.assert_array_equal(again.after, groups.after)
    assert again.edit == groups.edit


def test_example_and_photo_are_never_the_same():
    drawn = two_of(4, 4000, torch.Generator().manual_seed(0))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert {tuple(row) for row in drawn.tolist()} == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_latents_of_a_grid_are_those_of_its_canvas(groups, canvases):
    """What is trained on is what the method gives the model: a canvas of four cells without a border."""
    vae = read_parts(EMBEDDED_MODEL, "embedded", "model")["vae"]
    clean = inpainting.grids(canvases, torch.tensor([5]), torch.tensor([[2, 0]]))
    before, after = (to_tensor(array[5]) for array in (groups.before, groups.after))
    canvas = Grid(32).draw([vii.Pair(before[2], after[2])], before[0], after[0])
    with torch.no_grad():
        expected = vae.encode(canvas[None] * 2 - 1).latents * vae.config.scaling_factor
        gray = vae.encode(torch.zeros(1, 3, 8, 8)).latents * vae.config.scaling_factor
    torch.testing.assert_close(clean, expected, atol=0.02, rtol=0)
    torch.testing.assert_close(canvases.blank, gray.flatten(), atol=1e-4, rtol=0)


def test_texts_are_what_the_editor_reads(groups, canvases, embedded):
    assert canvases.said.shape == (12, TINY.data.phrasings)
    for said, text in ((0, ""), (int(canvases.said[3, 1]), groups.texts[3][1])):
        expected = embedded.instruct(text).rows
        torch.testing.assert_close(canvases.texts[said].float(), expected, atol=5e-3, rtol=5e-3)


def test_batches_are_drawn_as_configured(canvases):
    settings = Inpainting(batch=2000, no_text=0.3, single=0.2, any_cell=0.25, high_noise=1.5)
    batch = inpainting.draw(canvases, settings, 8, torch.Generator().manual_seed(0))
    side = canvases.before.shape[-1]
    answers = torch.zeros(1, 2 * side, 2 * side)
    answers[:, side:, side:] = 1
    is_answer = (batch.mask == answers).flatten(1).all(1)
    singles = (batch.clean[:, None] == canvases.photo.float()[None, :8]).flatten(2).all(2).any(1)
    assert float(singles.float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float(is_answer[~singles].float().mean()) == pytest.approx(0.75 + 0.25 / 4, abs=0.03)
    silent = batch.said == 0
    assert silent[singles].all()
    assert float(silent[~singles].float().mean()) == pytest.approx(0.3, abs=0.03)
    areas = batch.mask.mean((1, 2, 3))
    assert (areas[~singles] == 0.25).all()
    assert 0.05 < areas[singles].min() < areas[singles].max() <= 0.5625
    assert float((batch.t > 500).float().mean()) == pytest.approx(0.5 ** (1 / 1.5), abs=0.04)


def test_words_go_with_the_grid_that_they_are_of(canvases):
    batch = inpainting.draw(canvases, Inpainting(batch=200, single=0.0), 8, torch.Generator().manual_seed(0))
    side = canvases.before.shape[-1]
    for clean, said in zip(batch.clean, batch.said.tolist(), strict=True):
        of = {
            group
            for group in range(8)
            if (canvases.after[group].float() == clean[:, :side, side:]).flatten(1).all(1).any()
        }
        assert len(of) == 1
        assert said in {0, *canvases.said[of.pop()].tolist()}


def test_boxes_lie_within_the_picture_and_are_filled():
    shares = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
    shares[:2] = torch.tensor([[0.0], [1 - 1e-7]])  # the smallest at the top left, the largest at the bottom right
    boxes = inpainting.random_boxes(shares, 16)
    assert boxes[:2].tolist() == [[0, 0, 4, 4], [5, 5, 16, 16]]
    filled = inpainting.masks(boxes, 16)
    for mask, (top, left, bottom, right) in zip(filled, boxes.tolist(), strict=True):
        expected = torch.zeros(1, 16, 16)
        expected[:, top:bottom, left:right] = 1
        assert torch.equal(mask, expected)
        assert min(top, left) >= 0
        assert max(bottom, right) <= 16
        assert 4 <= bottom - top <= 12
        assert 4 <= right - left <= 12


def test_the_unet_sees_nothing_of_what_it_is_to_fill(canvases):
    batch = inpainting.draw(canvases, Inpainting(batch=6), 8, torch.Generator().manual_seed(1))
    read = inpainting.inputs(batch, torch.zeros(1000), canvases.blank)  # no signal in the noisy latents
    channels = canvases.before.shape[2]
    changed = dataclasses.replace(batch, clean=torch.where(batch.mask > 0, batch.clean + 1, batch.clean))
    assert torch.equal(inpainting.inputs(changed, torch.zeros(1000), canvases.blank), read)
    assert torch.equal(read[:, channels : channels + 1], batch.mask)
    seen = read[:, channels + 1 :]
    torch.testing.assert_close(seen * (1 - batch.mask), batch.clean * (1 - batch.mask))
    torch.testing.assert_close(seen * batch.mask, canvases.blank.view(1, -1, 1, 1) * batch.mask)


def test_the_encoder_is_read_off_exactly():
    vae = read_parts(EMBEDDED_MODEL, "embedded", "model")["vae"]
    picture = torch.rand(2, 3, 2 * PATCH, PATCH)
    with torch.no_grad():
        expected = vae.encode(picture * 2 - 1).latents
    torch.testing.assert_close(inpainting.components_of(vae).encode(picture), expected, atol=1e-3, rtol=0)


def test_a_run_makes_a_model_that_the_method_loads_and_is_not_repeated(photos, tmp_path, capsys):
    recipe.analogist(TINY, places(photos, tmp_path))
    assert "unseen groups" in capsys.readouterr().out
    first = (tmp_path / "analogist/unet/diffusion_pytorch_model.safetensors").read_bytes()
    assert {path.name for path in (tmp_path / "analogist").iterdir()} == {
        *("unet", "scheduler", "model_index.json", "vii.json")
    }  # the embedded editor has the rest
    method = load_method("analogist", model=str(tmp_path / "analogist"), device="cpu")
    assert (method.resolution, method.settings.border, method.settings.num_inference_steps) == (64, 0, 1)
    photo = vii.load_image(photos / "a.png")
    made = method([vii.Pair(photo, 1 - photo)], photo)  # in words that the embedded editor's CLIP finds
    assert made.shape == photo.shape
    recipe.analogist(TINY, places(photos, tmp_path))
    assert (tmp_path / "analogist/unet/diffusion_pytorch_model.safetensors").read_bytes() == first
    assert "steps/s" not in capsys.readouterr().out


def test_another_embedded_editor_is_trained_on_and_not_taken_for_the_first(photos, tmp_path):
    """Of the other nothing is there but what is trained on."""
    for part in inpainting.SHARED:
        shutil.copytree(EMBEDDED_MODEL / part, tmp_path / "other" / part)
    path = tmp_path / "other/text_encoder" / FILES["text_encoder"]
    save_file({name: tensor * 2 for name, tensor in load_file(path).items()}, path)
    recipe.analogist(TINY, places(photos, tmp_path, embedded=tmp_path / "other"))
    with pytest.raises(EditorError, match="trained on text_encoder of another embedded editor"):
        load_method("analogist", model=str(tmp_path / "analogist"), device="cpu")
    with pytest.raises(EditorError, match="was begun on text_encoder of another embedded editor"):
        recipe.analogist(TINY, places(photos, tmp_path))
    own, other = (inpainting.text_states(["make it red"], at, "cpu") for at in (EMBEDDED_MODEL, tmp_path / "other"))
    assert (own - other).abs().max() > 0.1


def test_groups_are_rendered_once_for_several_methods(photos, tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text("[data]\nedits = 6\nshard = 3\nphotos = 2\ncell = 16\n")
    arguments = ["groups", "--photos", str(photos), "--config", str(config), "--groups", str(tmp_path / "g")]
    done = CliRunner().invoke(recipe.main, [*arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["groups-0000.npz", "groups-0001.npz"]
    assert not list((tmp_path / "out").iterdir())


def test_the_configuration_of_the_repository_is_the_default():
    assert load(recipe.HERE / "cpu.toml", Config()) == Config()


def test_the_configuration_for_a_gpu_ends_by_the_clock():
    config = load(recipe.HERE / "gpu.toml", Config())
    assert config.device == "cuda"
    for stage in (config.inpainting, config.codes, config.prompting, config.imagebrush):
        assert 0 < stage.minutes <= 8
