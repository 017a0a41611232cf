"""The strip: which steps it shows, what stands in it, and that it can be watched."""

import pytest
import torch

import vii
from vii.inversion import InversionSettings
from vii.rendering.preview import SNAPSHOTS, Preview, snapshot_steps
from vii.rendering.sheets import contact_sheet


def test_few_steps_are_shown_evenly_from_the_first():
    assert snapshot_steps(100) == [0, 25, 50, 75]
    assert snapshot_steps(1000, 5) == [0, 200, 400, 600, 800]
    for steps in range(1, 40):
        shown = snapshot_steps(steps)
        assert shown[0] == 0
        assert len(shown) == len(set(shown)) <= SNAPSHOTS
        assert shown[-1] < steps


def test_the_strip_grows_while_learning_and_ends_with_the_best(tmp_path, toy, toy_pair):
    settings = InversionSettings(init="none", tokens=4, max_train_steps=8, probe_size=4, probe_every=1, batch_size=2)
    shown, widths, path, results = [], [], tmp_path / "e.png", {}
    preview = Preview(
        toy, toy_pair, path, settings.max_train_steps, seed=1, show=lambda sheet, step: shown.append((sheet, step))
    )
    for step in vii.invert_steps(toy, [toy_pair], settings):
        preview.see(step)
        if step.step in (0, 2, 4, 6):
            results[step.step] = vii.apply(toy, step.best(), toy_pair.before, seed=1)
            widths.append(vii.load_image(path).shape[2])
    edit = step.best()
    preview.finish(edit, step)
    assert widths == sorted(set(widths))
    assert [number for _, number in shown] == [0, 2, 4, 6, 8]
    names = ["step 0: no words", "step 2", "step 4", "step 6"]
    row = [("before", toy_pair.before), ("after", toy_pair.after)]
    row += list(zip(names, results.values(), strict=True))
    row += [(f"best: step {edit.training['best_step']}", vii.apply(toy, edit, toy_pair.before, seed=1))]
    expected = contact_sheet([row])
    assert torch.equal(shown[-1][0], expected)
    assert (vii.load_image(path) - expected).abs().max() <= 0.5 / 255 + 1e-6
    assert [file.name for file in tmp_path.iterdir()] == ["e.png"]


def test_the_pictures_come_nearer_to_the_example(tmp_path, toy, toy_pair):
    settings = InversionSettings(
        init="none", tokens=4, max_train_steps=60, probe_size=4, probe_every=5, learning_rate=0.05
    )
    preview = Preview(toy, toy_pair, tmp_path / "e.png", settings.max_train_steps)
    for step in vii.invert_steps(toy, [toy_pair], settings):
        preview.see(step)
    preview.finish(step.best(), step)
    distance = [(image - toy_pair.after).abs().mean().item() for _, image in preview.row[2:]]
    assert distance == pytest.approx(sorted(distance, reverse=True), abs=1e-3)
    assert distance[-1] < distance[0] / 2
