"""The curve of a run is well-formed SVG and shows what the steps say."""

import dataclasses
import math
import xml.etree.ElementTree as ET

import pytest

import vii
from vii.inversion import InversionSettings
from vii.rendering.curve import PANEL, TOP, _ticks, learning_curve

SVG = "{http://www.w3.org/2000/svg}"


def curves(text):
    """The points of the two polylines: of the losses and of the probes."""
    lines = ET.fromstring(text).findall(f"{SVG}polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


@pytest.fixture
def steps(toy, toy_pair):
    settings = InversionSettings(init="none", tokens=4, max_train_steps=20, probe_size=4, probe_every=5, batch_size=2)
    return list(vii.invert_steps(toy, [toy_pair], settings))


def test_points_are_the_losses_and_the_probes(steps):
    losses, probes = curves(learning_curve(steps, "t"))
    assert len(losses) == 20  # the first step has no loss
    assert len(probes) == 5
    assert [x for x, _ in losses] == sorted({x for x, _ in losses})
    highest = max(steps[1:], key=lambda step: step.loss).step
    assert losses[highest - 1][1] == min(y for _, y in losses) == pytest.approx(TOP)  # y grows downwards
    assert max(y for _, y in losses) == pytest.approx(TOP + PANEL)
    assert probes[0][1] < probes[-1][1]
    assert probes[-1][0] == losses[-1][0]


def test_it_can_be_drawn_from_the_first_step_on_and_from_nothing(steps):
    for count in range(4):
        losses, _ = curves(learning_curve(steps[:count], "t"))
        assert len(losses) == max(0, count - 1)


def test_equal_losses_losses_that_are_not_finite_and_hostile_titles(steps):
    flat = [dataclasses.replace(step, loss=-2.0, probe=None) for step in steps]
    flat[3] = dataclasses.replace(flat[3], loss=math.inf)
    text = learning_curve(flat, "<script> & co")
    assert len({y for _, y in curves(text)[0]}) == 1
    assert len(curves(text)[0]) == 20
    assert "<script>" not in text
    assert "inf" not in text
    assert "nan" not in text


@pytest.mark.parametrize(("low", "high"), [(0, 100), (0, 1), (-0.3, 0.7), (1e-9, 3e-9), (0.0123, 0.0125), (0, 20)])
def test_axis_values_are_round_and_inside(low, high):
    ticks = _ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high * (1 + 1e-9) + 1e-12 for tick in ticks)
    unit = ticks[1] - ticks[0]
    assert f"{unit:e}"[0] in "125" or f"{unit:.3e}"[0] in "125"
