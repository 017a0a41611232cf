"""The speed benchmark: what it counts, and that it times the loop that users run."""

import dataclasses

import pytest
import torch
from click.testing import CliRunner
from conftest import picture, tiny_pipeline

import vii
from vii.cli import main
from vii.editors.ip2p import Ip2pEditor, Ip2pSettings
from vii.editors.stable_diffusion import assemble
from vii.evaluation import speed


@pytest.fixture(scope="module")
def small() -> Ip2pEditor:
    pipeline = tiny_pipeline()
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    assembled = assemble({name: getattr(pipeline, name) for name in parts})
    return Ip2pEditor(assembled, name="ip2p", settings=Ip2pSettings(), resolution=64)


def test_three_loops_are_timed_on_the_same_model(small, monkeypatch):
    calls = []
    forward = small.parts.unet.forward
    monkeypatch.setattr(small.parts.unet, "forward", lambda x, *a, **k: calls.append(len(x)) or forward(x, *a, **k))
    recipe = dataclasses.replace(vii.load_recipe("default"), batch_size=4, probe_every=100)
    bare, ours, authors = speed.learning_paces(small, recipe, updates=3)
    assert (bare.batch_size, bare.branches) == (4, 1)
    assert (ours.batch_size, ours.branches) == (4, 1)
    assert (authors.batch_size, authors.branches) == (1, 3)
    for pace in (bare, ours, authors):
        assert pace.samples_per_second == pytest.approx(pace.batch_size / pace.seconds)
        assert 0 < pace.peak_gigabytes < 64
    assert calls[:5] == [4] * 5  # the bare UNet: two updates to warm up, three that are timed


def test_the_bare_unet_gets_a_gradient_for_the_instruction_alone(small):
    speed._bare(small, 2, 1)
    assert all(parameter.grad is None for parameter in small.parts.unet.parameters())


def test_the_table_compares_by_sample():
    paces = [speed.Pace("a", 8, 1, 0.5, 1.0), speed.Pace("b", 1, 3, 0.25)]
    assert speed.table(paces, "learning").rows[1] == ["b", "1", "3", "0.250", "4.00", "0.25", "-"]


def test_every_way_does_the_same_passes_of_the_networks(embedded, monkeypatch):
    seen, forward = [], embedded.parts.unet.forward

    def counted(x, *rest, **named):
        seen.append(tuple(x.shape))
        return forward(x, *rest, **named)

    monkeypatch.setattr(embedded.parts.unet, "forward", counted)
    found = speed.editing_paces(embedded, [picture(seed, 64, 96) for seed in range(3)], batch=2, rounds=1)
    assert found[0].name == "bare UNet and autoencoder"
    shape = seen[0][1:]
    round_ = [(2, *shape), (2, *shape), (2, *shape), (1, *shape), (1, *shape)]
    assert seen == round_ * 2
    assert all(one.seconds > 0 and (one.batch_size, one.branches) == (2, 1) for one in found)


@pytest.mark.parametrize("pixels", [0, 100, -64])
def test_sizes_that_the_unet_cannot_halve_are_refused(pixels):
    with pytest.raises(vii.ViiError, match="multiple of 64"):
        speed.random_stable_diffusion(pixels)


def test_the_random_model_has_the_size_of_the_real_one():
    with torch.device("meta"):
        import diffusers

        unet = diffusers.UNet2DConditionModel(sample_size=64, in_channels=8, cross_attention_dim=768)
    # 859.53 M parameters: the 859.52 M of Stable Diffusion 1.5 and four more input channels.
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964 + 4 * 320 * 9


def test_speed_of_an_editor_that_has_no_unet_is_refused():
    result = CliRunner().invoke(main, ["bench", "--speed", "editor", "--editor", "toy"])
    assert result.exit_code == 1
    assert "not 'toy'" in result.output
