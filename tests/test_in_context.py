"""The recipe that trains the small in-context models, in miniature: what is drawn, interrupted and resumed."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from published import MaskedAutoencoder, Vqgan
from safetensors.torch import load_file, save_file

import vii
from recipes.embedded_model.autoencoder import PATCH
from recipes.embedded_model.config import load
from recipes.embedded_model.data import to_tensor
from recipes.in_context import __main__ as recipe
from recipes.in_context import codes, convert, imagebrush, inpainting, prompting
from recipes.in_context.config import Codes, Config, Data, ImageBrush, Inpainting, Places, Prompting
from recipes.in_context.data import make_groups, two_of
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.shared import FILES
from vii.editors.stable_diffusion import read_parts
from vii.errors import EditorError
from vii.methods import load_method
from vii.methods.grid import Grid
from vii.methods.prompt_encoder import WHOLE, VisualPromptEncoder

TINY = Config(
    data=Data(edits=12, shard=6, photos=3, cell=32),
    inpainting=Inpainting(channels=(16, 32), attention=(True, True), heads=2, samples=24, batch=8),
    codes=Codes(channels=(16, 16, 32), codes=20, width=8, samples=8, batch=2, clustered=8),
    prompting=Prompting(
        side=64, scenes=12, width=16, layers=1, heads=4, decoder_width=16, decoder_layers=1, samples=16, batch=4
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


@pytest.fixture(autouse=True)
def _small_validation(monkeypatch):
    monkeypatch.setattr(inpainting, "VALIDATION", 4)
    monkeypatch.setattr(prompting, "VALIDATION", 4)
    monkeypatch.setattr(imagebrush, "VALIDATION", 4)


@pytest.fixture(scope="module")
def groups(photos, tmp_path_factory):
    return make_groups(photos, tmp_path_factory.mktemp("groups"), TINY.data, seed=0)


@pytest.fixture(scope="module")
def canvases(groups):
    return inpainting.encode(groups, EMBEDDED_MODEL, TINY)


@pytest.fixture(scope="module")
def cells(groups):
    return prompting.make_canvases(groups, TINY)


def places(photos, output, **others):
    return dataclasses.replace(Places(photos, output / "groups", EMBEDDED_MODEL, output), **others)


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
        assert 0 < stage.minutes <= 5


# Visual prompting


def test_canvases_are_those_that_the_method_draws(groups, cells):
    chosen, photos = torch.tensor([3, 5]), torch.tensor([[1, 2], [0, 1]])
    drawn = prompting.canvases(cells.photos, chosen, photos)
    for canvas, group, (example, photo) in zip(drawn, chosen.tolist(), photos.tolist(), strict=True):
        before, after = (to_tensor(array[group]) for array in (groups.before, groups.after))
        pair = vii.Pair(before[example], after[example])
        expected = Grid.within(64, gap=2).draw([pair], before[photo], after[photo])
        torch.testing.assert_close(canvas, expected, atol=0.51 / 255, rtol=0)


def test_photos_and_figures_are_trained_on_and_the_last_of_each_are_not(cells):
    def known(kind, groups):
        pairs = torch.tensor([[e, p] for e in range(3) for p in range(3) if e != p])
        drawn = prompting.canvases(kind, torch.tensor(groups).repeat_interleave(6), pairs.repeat(len(groups), 1))
        return {one.numpy().tobytes() for one in drawn}

    whole = dataclasses.replace(cells, share=0.25).draw(400, torch.Generator().manual_seed(0))
    photos, figures = ({one.numpy().tobytes() for one in part} for part in whole.split([300, 100]))
    assert photos == known(cells.photos, range(8))
    assert figures <= known(cells.figures, range(8))
    assert len(figures) > 24
    for name, kind in (("photos", cells.photos), ("figures", cells.figures)):
        assert {one.numpy().tobytes() for one in cells.unseen()[name]} <= known(kind, range(8, 12))


def test_figures_show_each_task_in_turn(cells):
    black_and_white = ((cells.figures.after < 5) | (cells.figures.after > 250)).float().mean((1, 2, 3, 4))
    colors = (cells.figures.before.int() - cells.figures.before.int().roll(1, 2)).abs().amax((1, 2, 3, 4))
    for index in range(12):
        assert (black_and_white[index] > 0.9) == (index % 3 < 2)  # segmentation, detection
        assert (colors[index] == 0) == (index % 3 == 2)  # grey pictures to be colourised


def test_random_crops_are_squares_of_the_canvas_scaled_up():
    """Of pictures whose colours say where a pixel is: red from the left, green from the top, blue the same all over."""
    at = (torch.arange(32) + 0.5) / 32
    picture = torch.stack([at.expand(32, 32), at[:, None].expand(32, 32), torch.full((32, 32), 0.3)])
    crops = prompting.random_crops(picture.expand(400, -1, -1, -1), 0.2, torch.Generator().manual_seed(0))
    inner = crops[:, :, 4:-4, 4:-4]  # cubic interpolation bends at the edges of the canvas
    steps = inner.shape[-1] - 1
    across = (inner[:, 0, :, -1] - inner[:, 0, :, 0]).mean(1) * 32 / steps
    share = (inner[:, 1, -1] - inner[:, 1, 0]).mean(1) * 32 / steps
    assert (across.abs() - share).abs().max() < 0.02
    line = torch.arange(steps + 1) / 32
    for channel, slope, axis in ((0, across, 2), (1, share, 1)):
        expected = inner[:, channel].mean((1, 2))[:, None] + slope[:, None] * (line - line.mean())
        assert (inner[:, channel] - expected.unsqueeze(3 - axis)).abs().max() < 0.01
    areas = share.square()
    assert 0.18 < areas.min() < 0.25
    assert 0.95 < areas.max() < 1.02
    assert float(areas.mean()) == pytest.approx(0.6, abs=0.03)
    assert float((across < 0).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert (inner[:, 2] - 0.3).abs().max() < 1e-5
    middle = crops[:, :2, 15:17, 15:17].mean((2, 3))
    assert ((middle - 0.5).abs() <= (1 - share[:, None]) / 2 + 1e-2).all()
    assert middle.std(0).min() > 0.05


def test_a_window_is_a_part_of_a_crop():
    """At the same scale: a window of a quarter of the side of the whole has a sixteenth of what there is to see."""
    at = (torch.arange(32) + 0.5) / 32
    picture = torch.stack([at.expand(32, 32), at[:, None].expand(32, 32), torch.full((32, 32), 0.3)])
    windows = prompting.random_crops(picture.expand(300, -1, -1, -1), 1.0, torch.Generator().manual_seed(0), 0.25)
    assert windows.shape == (300, 3, 8, 8)
    inner = windows[..., 3:5, 3:5]
    torch.testing.assert_close(inner[:, 1, 1, 0] - inner[:, 1, 0, 0], torch.full((300,), 1 / 32), atol=1e-4, rtol=0)
    middle = inner[:, :2].mean((2, 3))
    assert middle.min() < 0.16  # all of the picture is seen, and nothing beside it
    assert middle.max() > 0.84
    assert middle.min() > 0.12
    assert middle.max() < 0.88


def test_a_whole_crop_is_the_picture():
    picture = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    crops = prompting.random_crops(picture, 1.0, torch.Generator().manual_seed(0))
    same = (crops - picture).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (crops - picture.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (same ^ mirrored).all()
    assert 16 < int(same.sum()) < 48


def test_clusters_are_found():
    """Points around five places: their means are the centres, whatever was drawn."""
    generator = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10], [50, 50]])
    which = torch.cat([torch.arange(5), torch.randint(4, (200,), generator=generator)])  # the last one once
    points = places[which] + 0.1 * torch.randn(len(which), 2, generator=generator)
    found = codes.clusters(points, 5, generator)
    expected = torch.stack([points[which == index].mean(0) for index in range(5)])
    order = torch.cdist(expected, found).argmin(1)
    assert len(order.unique()) == 5
    torch.testing.assert_close(found[order], expected)
    more = codes.clusters(points[:3], 5, generator)  # fewer points than clusters
    assert torch.isfinite(more).all()


def test_patches_are_in_the_order_of_codes():
    pictures = torch.rand(2, 3, 16, 16)
    patches = codes.patches_of(pictures, 4)
    assert patches.shape == (2, 16, 48)
    assert torch.equal(patches[1, 6], pictures[1, :, 4:8, 8:12].flatten())


def test_codes_are_those_of_the_nearest_cluster_in_pixels():
    """Patches of four flat colours and a little noise have four codes, whatever coordinates they are found in."""
    generator = torch.Generator().manual_seed(0)
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.8, 0.8, 0.7]])
    which = torch.randint(4, (5, 6, 6), generator=generator)
    flat = colors[which].permute(0, 3, 1, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    pictures = flat + 0.02 * torch.randn(flat.shape, generator=generator)
    told = codes.Clusters.of(pictures, 4, 8, 4, generator)
    found = told.codes(pictures)
    pairs = {(int(code), int(color)) for code, color in zip(found.flatten(), which.flatten(), strict=True)}
    assert len(pairs) == 4
    assert told.basis.shape == (48, 8)
    # Distances between coordinates are those between pixels, but for one factor.
    whole = codes.Clusters.of(pictures, 4, 48, 4, generator)
    patches = codes.patches_of(pictures, 4)[0]
    ratio = torch.cdist(whole.coordinates(pictures)[0], whole.coordinates(pictures)[0]) / torch.cdist(patches, patches)
    ratio = ratio[~torch.eye(36, dtype=torch.bool)]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)


def test_codes_stay_those_that_were_trained_on(tmp_path):
    """Of an interrupted run, whatever the configuration says by then."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(6, 3, 16, 16, generator=generator)
    first = codes.Clusters.kept(
        tmp_path / "clusters.safetensors", lambda: codes.Clusters.of(pictures, 4, 8, 5, generator)
    )
    again = codes.Clusters.kept(tmp_path / "clusters.safetensors", lambda: pytest.fail("made anew"))
    assert again.patch == first.patch == 4
    assert torch.equal(again.codes(pictures), first.codes(pictures))


def test_parts_of_canvases_keep_to_whole_patches_or_are_scaled_up(cells):
    draw = prompting.parts_of(dataclasses.replace(cells, share=0.5), TINY)
    for seed in range(4):
        parts = draw(8, torch.Generator().manual_seed(seed))
        assert parts.shape == (8, 3, 32, 32)
        whole = cells.draw(8, torch.Generator().manual_seed(seed))
        places = [(top, left) for top in range(0, 33, 4) for left in range(0, 33, 4)]
        assert any(torch.equal(parts[:4], whole[::2, :, t : t + 32, left : left + 32]) for t, left in places)


def test_an_untrained_model_knows_where_patches_are_on_the_canvas_and_in_their_cells():
    mae = prompting.build(64, 8, 20, TINY.prompting)
    for table in (mae.vit.embeddings.position_embeddings, mae.decoder.decoder_pos_embed):
        assert not table[0, 0].any()
        places = table[0, 1:].view(8, 8, -1)
        distances = torch.cdist(places.flatten(0, 1), places.flatten(0, 1)) + 1e3 * torch.eye(64)
        assert distances.min() > 0.1  # no two are the same
        answer, photo = places[4:, 4:].flatten(0, 1), places[4:, :4].flatten(0, 1)
        assert torch.equal(torch.cdist(answer, photo).argmin(1), torch.arange(16))
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = torch.arange(64.0)[None]
    with torch.no_grad():
        moved = mae(pictures.roll(8, 3), noise=noise)[0].view(8, 8, -1).roll(-1, 1).flatten(0, 1)
        assert (moved - mae(pictures, noise=noise)[0][0]).abs().max() > 1e-3


def test_a_run_makes_a_prompting_model_that_the_method_loads(photos, tmp_path, capsys):
    recipe.visual_prompting(TINY, places(photos, tmp_path))
    told = capsys.readouterr().out
    assert "codes" in told
    assert "unseen answers" in told
    method = load_method("visual-prompting", model=str(tmp_path / "visual-prompting"), device="cpu")
    assert (method.parts.side, method.parts.patch) == (64, 4)
    photo = vii.load_image(photos / "b.png")
    assert method([vii.Pair(photo, 1 - photo)], photo).shape == photo.shape
    recipe.visual_prompting(TINY, places(photos, tmp_path))
    assert "steps/s" not in capsys.readouterr().out


def test_the_authors_checkpoints_are_converted(tmp_path):
    torch.manual_seed(0)
    mae, vqgan = tmp_path / "mae.pth", tmp_path / "vqgan.ckpt"
    torch.save({"model": MaskedAutoencoder().state_dict()}, mae)
    torch.save({"state_dict": Vqgan().state_dict()}, vqgan)
    arguments = [str(mae), str(vqgan), "-o", str(tmp_path / "model"), "--heads", "4", "--decoder-heads", "4"]
    done = CliRunner().invoke(convert.main, arguments)
    assert done.exit_code == 0, done.output
    assert load_method("visual-prompting", model=str(tmp_path / "model"), device="cpu").parts.side == 64
    failed = CliRunner().invoke(convert.main, [str(vqgan), str(mae), "-o", str(tmp_path / "other")])
    assert failed.exit_code == 1
    assert "no checkpoint of visual prompting's masked autoencoder" in failed.stderr


# ImageBrush


@pytest.fixture(scope="module")
def prompted(groups):
    return imagebrush.encode(groups, EMBEDDED_MODEL, TINY)


@pytest.fixture(scope="module")
def painted(photos, tmp_path_factory):
    """A run to its end, and the method on what came of it."""
    output = tmp_path_factory.mktemp("imagebrush")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagebrush, "VALIDATION", 4)
        recipe.image_brush(TINY, places(photos, output))
    return output, load_method("imagebrush", model=str(output / "imagebrush"), device="cpu", dtype="float32")


def batch_of(data, chosen, example, photo, **others):
    clean, tokens = imagebrush.gather(data, *map(torch.tensor, (chosen, example, photo)))
    given = {
        "box": torch.tensor(WHOLE).expand(len(clean), -1),
        "prompted": torch.ones(len(clean), dtype=torch.bool),
        "t": torch.full((len(clean),), 999),
        "noise": torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)),
    }
    return imagebrush.Batch(clean, tokens, **given | others)


def answers(side):
    mask = torch.zeros(1, 2 * side, 2 * side)
    mask[:, side:, side:] = 1
    return mask


def test_groups_are_trained_on_as_they_are_and_mirrored(groups, prompted):
    assert len(prompted) == 2 * len(groups)
    for index, mirrored in ((5, False), (17, True)):
        pictures = [to_tensor(array[5]) for array in (groups.before, groups.after)]
        before, after = (picture.flip(-1) if mirrored else picture for picture in pictures)
        clean, _ = imagebrush.gather(prompted, *map(torch.tensor, ([index], [2], [0])))
        canvas = Grid(32).draw([vii.Pair(before[2], after[2])], before[0], after[0])
        vae = read_parts(EMBEDDED_MODEL, "embedded", "model")["vae"]
        with torch.no_grad():
            expected = vae.encode(canvas[None] * 2 - 1).latents * vae.config.scaling_factor
        torch.testing.assert_close(clean, expected, atol=0.02, rtol=0)


def test_boxes_hold_what_changes_and_no_more(groups, prompted):
    before, after = (to_tensor(array) for array in (groups.before, groups.after))
    for found, mirrored in ((prompted.boxes[:12], False), (prompted.boxes[12:], True)):
        for (left, top, right, bottom), old, new in zip(
            (found.flatten(0, 1) * 32).round().long().tolist(), before.flatten(0, 1), after.flatten(0, 1), strict=True
        ):
            moved = ((new - old).abs() > 0.05).any(0)
            moved = moved.flip(-1) if mirrored else moved
            ys, xs = moved.nonzero(as_tuple=True)
            if len(xs):
                assert (left, top, right, bottom) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            else:
                assert (left, top, right, bottom) == (0, 0, 32, 32)
    one = torch.zeros(2, 3, 8, 8)
    other = one.clone()
    other[0, 1, 2:5, 6] = 1
    assert imagebrush.changed_boxes(one, other).tolist() == [[0.75, 0.25, 0.875, 0.625], list(WHOLE)]


def test_prompts_and_boxes_are_dropped_as_configured(prompted):
    settings = ImageBrush(batch=3000, no_prompt=0.2, no_box=0.3, high_noise=1.5)
    marked = dataclasses.replace(prompted, boxes=torch.full_like(prompted.boxes, 0.5))
    known = torch.tensor([1, 3, 20])
    batch = imagebrush.draw(marked, settings, known, torch.Generator().manual_seed(0))
    assert float(batch.prompted.float().mean()) == pytest.approx(0.8, abs=0.03)
    whole = (batch.box == torch.tensor(WHOLE)).all(1)
    assert ((batch.box == 0.5).all(1) ^ whole).all()
    assert float(whole.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float((batch.t > 500).float().mean()) == pytest.approx(0.5 ** (1 / 1.5), abs=0.04)
    side = prompted.before.shape[-1]
    cells = batch.clean.unflatten(3, (2, side)).unflatten(2, (2, side))  # (b, c, row, s, column, s)
    for row, column, latents in ((0, 0, prompted.before), (0, 1, prompted.after), (1, 0, prompted.before)):
        shown, of = cells[:200, :, row, :, column], latents[known].float().flatten(0, 1)
        nearest = torch.cdist(shown.flatten(1), of.flatten(1))
        assert nearest.amin(1).max() < 0.1  # rounding
    assert (cells[:, :, 0, :, 0] != cells[:, :, 1, :, 0]).flatten(1).any(1).all()  # never the same photo twice


def test_the_painter_sees_the_grid_without_its_answer_and_the_prompt_where_it_is_given(painted, prompted):
    parts = painted[1].parts
    painter, mask = imagebrush.Painter(parts.unet, parts.prompt_encoder), answers(4)
    nothing = torch.zeros(1000)  # no signal in the noisy latents

    @torch.no_grad()
    def made(batch):
        return painter(batch, nothing, mask)

    batch = batch_of(prompted, [1, 2], [0, 1], [1, 2], prompted=torch.tensor([True, False]))
    plain = made(batch)
    answered = dataclasses.replace(batch, clean=batch.clean + mask)
    assert torch.equal(made(answered), plain)
    assert not torch.equal(made(dataclasses.replace(batch, clean=batch.clean + 1 - mask)), plain)
    told = made(dataclasses.replace(batch, tokens=tuple(one + torch.randn_like(one) for one in batch.tokens)))
    assert not torch.equal(told[0], plain[0])
    assert torch.equal(told[1], plain[1])


def test_one_step_of_the_method_is_what_was_trained(painted, groups, prompted):
    """The noise-free end of a schedule whose last step is noise alone: v = -x_0 (Lin et al. 2023)."""
    method = dataclasses.replace(painted[1], size="cell")
    parts = method.parts
    before, after = (to_tensor(array[3]) for array in (groups.before, groups.after))
    canvas = method.canvas([vii.Pair(before[0], after[0])], before[2], seed=0)
    batch = batch_of(prompted, [3], [0], [2])
    alpha_bar = imagebrush.scheduler().alphas_cumprod
    painter = imagebrush.Painter(parts.unet, parts.prompt_encoder)
    with torch.no_grad():
        expected = parts.decode(-painter(batch, alpha_bar, answers(4)))[0]
    torch.testing.assert_close(canvas, expected, atol=0.02, rtol=0)  # groups are kept in half precision
    assert canvas.std() > 0.01


def test_a_run_makes_an_imagebrush_that_is_small_and_not_made_again(painted, photos, capsys):
    output, method = painted
    assert {path.name for path in (output / "imagebrush").iterdir()} == {
        *("unet", "prompt_encoder", "scheduler", "model_index.json", "vii.json")
    }  # the embedded editor has the rest
    assert (method.resolution, method.settings.num_inference_steps, method.settings.guidance_scale) == (64, 1, 1.0)
    photo = vii.load_image(photos / "a.png")
    assert method([vii.Pair(photo, 1 - photo)], photo).shape == photo.shape
    file = output / "imagebrush/prompt_encoder/diffusion_pytorch_model.safetensors"
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    first = file.read_bytes()
    recipe.image_brush(TINY, places(photos, output))
    told = capsys.readouterr().out
    assert file.read_bytes() == first
    assert "ImageBrush:" in told
    assert "unseen groups" not in told


def test_training_says_what_the_prompt_is_worth(prompted, tmp_path, capsys):
    imagebrush.train_imagebrush(prompted, TINY, tmp_path)
    told = capsys.readouterr().out
    assert re.search(
        r"the prompt [\d.]+, its box [\d.]+, no prompt [\d.]+, a wrong prompt [\d.]+, no edit [\d.]+", told
    )
    side = prompted.before.shape[-1]
    clean, _ = imagebrush.gather(prompted, *map(torch.tensor, ([8, 9, 10, 11], [0] * 4, [1] * 4)))
    still = (clean[..., side:, :side] - clean[..., side:, side:]).square().mean()
    assert f"no edit {float(still):.4f}" in told


def test_the_small_model_has_at_most_five_million_weights():
    settings = ImageBrush()
    with torch.device("meta"):
        unet = imagebrush.build(32, settings)
        encoder = VisualPromptEncoder(
            256, settings.prompt_width, settings.prompt_layers, settings.prompt_heads, expansion=2
        )
    assert sum(p.numel() for net in (unet, encoder) for p in net.parameters()) < 5e6


def test_the_unet_of_the_papers_size_has_the_weights_of_its_parts():
    """Stable Diffusion's widths, self-attention at every level, cross-attention in the middle (section 4.1)."""
    widths, time, text = (320, 640, 1280, 1280), 1280, 768
    settings = ImageBrush(channels=widths, layers=2, head_width=40, prompt_width=text)
    with torch.device("meta"):
        unet = imagebrush.build(4, settings)

    def resnet(read, width):
        shortcut = read * width + width if read != width else 0
        convolutions = 9 * read * width + 9 * width * width + 2 * width
        return convolutions + 2 * read + 2 * width + time * width + width + shortcut

    def attention(width):
        return 2 * width + 4 * (width * width + width)

    def block(width):
        own, across = 3 * width * width, width * width + 2 * text * width
        feed_forward = width * 8 * width + 8 * width + 4 * width * width + width
        return own + across + 2 * (width * width + width) + feed_forward + 6 * width

    expected = 9 * 9 * 320 + 320 + 9 * 320 * 4 + 4 + 2 * 320  # into the UNet, and out of it
    expected += 320 * time + time + time * time + time
    left = [320]
    for level, width in enumerate(widths):
        for read in (left[-1], width):
            expected += resnet(read, width) + attention(width)
            left.append(width)
        if level < 3:
            expected += 9 * width * width + width
            left.append(width)
    middle = 1280
    expected += 2 * resnet(middle, middle) + 2 * middle + 2 * (middle * middle + middle)
    expected += settings.prompt_blocks * block(middle)
    current = middle
    for level, width in enumerate(reversed(widths)):
        for _ in range(3):
            expected += resnet(current + left.pop(), width) + attention(width)
            current = width
        if level < 3:
            expected += 9 * width * width + width
    assert not left
    assert sum(parameter.numel() for parameter in unet.parameters()) == expected
    reading = {name.split(".")[0] for name, module in unet.named_modules() if name.endswith("attn2")}
    assert reading == {"mid_block"}
    with torch.device("meta"):
        made = unet(torch.empty(1, 9, 64, 64), torch.tensor(1), torch.empty(1, 5, text)).sample
    assert made.shape == (1, 4, 64, 64)
