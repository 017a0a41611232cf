"""Logs for TensorBoard: what is written, with the package and with a stand-in, and what is said without it."""

import math
import sys
import types
from typing import ClassVar

import pytest
import torch

import vii
from vii.errors import OutputError, UsageError
from vii.inversion import InversionSettings, learning_rate_at
from vii.rendering.event_log import EventLog

SETTINGS = InversionSettings(init="none", tokens=4, max_train_steps=6, probe_size=4, probe_every=3, batch_size=2)


class Writer:
    """A stand-in for SummaryWriter that keeps what it is given."""

    made: ClassVar[list] = []

    def __init__(self, folder):
        self.folder, self.scalars, self.images, self.closed = folder, [], [], False
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, step, value))

    def add_image(self, name, image, step):
        self.images.append((name, step, image))

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    Writer.made = []
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return Writer.made


def test_each_figure_of_a_step_is_logged_where_there_is_one(tmp_path, toy, toy_pair, writers):
    log = EventLog(tmp_path / "runs" / "one")
    assert (tmp_path / "runs" / "one").is_dir()
    assert writers == []
    steps = list(vii.invert_steps(toy, [toy_pair], SETTINGS))
    for step in steps:
        log.see(step)
    log.picture(toy_pair.before, 6)
    log.close()
    (writer,) = writers
    assert writer.folder == str(tmp_path / "runs" / "one")
    assert writer.closed
    logged = {
        name: {step: value for kind, step, value in writer.scalars if kind == name} for name, *_ in writer.scalars
    }
    assert logged["loss"] == {step.step: step.loss for step in steps[1:]}
    assert logged["loss/denoising"] == {step.step: step.mse for step in steps[1:]}
    assert logged["probe"] == {number: steps[number].probe for number in (0, 3, 6)}
    assert logged["explained"] == {number: steps[number].explained for number in (0, 3, 6)}
    assert logged["learning_rate"] == {n: learning_rate_at(n - 1, SETTINGS) for n in range(1, 7)}
    assert "loss/direction" not in logged
    assert all(math.isfinite(value) for values in logged.values() for value in values.values())
    assert [(name, step) for name, step, _ in writer.images] == [("preview", 6)]
    assert torch.equal(writer.images[0][2], toy_pair.before)


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        EventLog(tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_a_place_that_cannot_be_written_to(tmp_path, writers):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"expected a folder.*`log_dir`"):
        EventLog(tmp_path / "file")


def test_tensorboard_reads_what_was_written(tmp_path, toy, toy_pair):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventLog(tmp_path)
    steps = list(vii.invert_steps(toy, [toy_pair], SETTINGS))
    for step in steps:
        log.see(step)
    log.picture(toy_pair.before, 6)
    log.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "loss/denoising", "probe", "explained", "learning_rate"}
    assert [event.step for event in events.Scalars("probe")] == [0, 3, 6]
    assert events.Scalars("loss")[-1].value == pytest.approx(steps[-1].loss, rel=1e-5)
    (image,) = events.Images("preview")
    assert (image.width, image.height) == (32, 32)
