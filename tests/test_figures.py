"""Visual prompting's tasks on drawn scenes: truths and measures."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from recipes.in_context import figures
from vii.methods import load_method


def test_scenes_have_one_object_that_stands_out():
    for seed in range(8):
        scene = figures.draw(rng := np.random.default_rng(seed), figures.draw_colors(rng))
        share = float(scene.object.float().mean())
        assert 0.01 < share < 0.2
        inside = scene.picture[:, scene.object].median(1).values
        around = scene.picture[:, ~scene.object].mean(1)
        assert (inside - around).abs().max() > 0.2


def test_truths_are_what_the_tasks_ask_for():
    scene = figures.draw(rng := np.random.default_rng(1), figures.draw_colors(rng))
    assert torch.equal(figures.segmentation(scene).after[0] > 0.5, scene.object)
    box = figures.detection(scene).after[0] > 0.5
    rows, columns = scene.object.nonzero().T
    expected = torch.zeros_like(scene.object)
    expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert torch.equal(box, expected)
    pair = figures.colorization(scene)
    assert torch.equal(pair.before[0], pair.before[2])
    assert torch.equal(pair.after, scene.picture)


def test_only_where_colors_are_asked_for_does_the_example_have_them():
    for name, task in figures.TASKS.items():
        first, second = task.related(np.random.default_rng(3), 2)
        shown = first.after if name.startswith("colorization") else first.before
        others = second.after if name.startswith("colorization") else second.before
        assert not torch.equal(first.before, second.before)
        # The extremes of each channel are those of a ground's two colours and the object's.
        ends = [torch.cat([one.amin((1, 2)), one.amax((1, 2))]) for one in (shown, others)]
        assert ((ends[0] - ends[1]).abs().amax() < 0.25) == name.startswith("colorization")


def test_easy_scenes_stand_out_too_and_most_are_light_on_dark():
    rng, lighter = np.random.default_rng(0), 0
    for _ in range(60):
        colors = figures.draw_colors(rng, easy=True)
        ends = torch.stack([*colors.ground, sum(colors.ground) / 2])
        assert (ends - colors.object).abs().amax((1, 2, 3)).min() >= 0.1
        lighter += bool((colors.object > ends).all())
    assert 30 < lighter < 60


def test_measures_are_their_formulas():
    truth = torch.zeros(3, 10, 10)
    truth[:, 2:6, 2:6] = 1
    shifted = truth.roll(2, 2)
    assert figures.segmented(truth, truth) == 1
    assert figures.segmented(shifted, truth) == pytest.approx(8 / 24)
    speck = truth.clone()
    speck[:, 9, 9] = 1  # another white part, which a box of all white would contain
    assert figures.detected(speck, truth) == 1
    assert figures.detected(shifted, truth) == pytest.approx(8 / 24)
    assert figures.detected(torch.zeros(3, 10, 10), truth) == 0
    error = torch.zeros(3, 10, 10)
    error[0] = 0.229  # a standard deviation of red
    assert figures.colorized(truth + error, truth) == pytest.approx(1 / 3)


def test_the_right_answer_is_perfect_and_no_answer_is_not():
    truths = {}
    for name, task in figures.TASKS.items():
        rng = np.random.default_rng(0)
        for _ in range(3):
            _, pair = task.related(rng, 2)
            truths[pair.before.numpy().tobytes(), name] = pair.after
    order = iter([name for name in figures.TASKS for _ in range(3)])
    best = figures.measure(lambda pairs, photo, seed: truths[photo.numpy().tobytes(), next(order)], 3)
    assert list(best.values()) == [1, 1, 0]
    none = figures.measure(load_method("no-edit"), 12)
    assert none["segmentation: mean IoU"] < 0.6
    assert none["colorization: MSE"] > 0.05


def test_the_small_model_that_ships_does_the_tasks():
    made = figures.measure(load_method("visual-prompting", device="cpu"), 12)
    none = figures.measure(load_method("no-edit"), 12)
    for name in ("segmentation: mean IoU", "detection: mean IoU"):
        assert made[name] > none[name] + 0.1
    assert made["colorization: MSE"] < 0.7 * none["colorization: MSE"]


def test_the_command():
    done = CliRunner().invoke(figures.main, ["no-edit", "pixel-delta", "--count", "2"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].startswith("pixel-delta: segmentation: mean IoU 0.")
    failed = CliRunner().invoke(figures.main, ["visual-prompting=/no/such", "--count", "1"])
    assert failed.exit_code == 1
    assert "expected a folder with mae/ and vq/" in failed.stderr
