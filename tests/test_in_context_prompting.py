"""The recipe that trains visual prompting's small model, in miniature."""

import dataclasses

import pytest
import torch
from click.testing import CliRunner
from published import MaskedAutoencoder, Vqgan
from small_groups import TINY, groups, photos, places  # noqa: F401 (two fixtures)

import vii
from recipes.embedded_model.data import to_tensor
from recipes.in_context import __main__ as recipe
from recipes.in_context import codes, convert, prompting
from vii.errors import RecipeError
from vii.methods import load_method
from vii.methods.grid import Grid


@pytest.fixture(autouse=True)
def _small_validation(monkeypatch):
    monkeypatch.setattr(prompting, "VALIDATION", 4)


@pytest.fixture(scope="module")
def cells(groups):
    return prompting.make_canvases(groups, TINY)


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


def test_a_run_is_not_gone_on_with_other_codes(cells, tmp_path):
    draw, unseen = prompting.parts_of(cells, TINY), cells.unseen()
    codes.train_codes(draw, unseen, TINY, tmp_path)
    other = dataclasses.replace(TINY, codes=dataclasses.replace(TINY.codes, codes=24))
    with pytest.raises(RecipeError, match=r"begun with 20 codes of 8 .* asks for 24 of 8 .* another folder"):
        codes.train_codes(draw, unseen, other, tmp_path)


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
