"""The figure for flicker."""

import numpy as np
import pytest

from recipes.flicker import STILL, flicker


def frames(*levels):
    return [np.full((2, 4, 3), level, np.uint8) for level in levels]


def test_it_is_what_the_result_changes_beyond_the_source():
    assert flicker(frames(10, 10, 10), frames(50, 56, 50)) == 6
    assert flicker(frames(10, 12, 10), frames(50, 56, 50)) == 4
    assert flicker(frames(10, 12), frames(10, 12)) == 0
    assert flicker(frames(250, 250), frames(0, 255)) == 255


def test_only_where_the_source_did_not_change():
    source, result = frames(10, 10), frames(50, 50)
    source[1][:, :2, 0] += STILL + 1
    result[1][:, :2] += 90
    result[1][:, 2:] += 8
    assert flicker(source, result) == 8
    with pytest.raises(ValueError, match="stay"):
        flicker(frames(0, 99), frames(0, 99))
    with pytest.raises(ValueError, match="two frames"):
        flicker(frames(0), frames(0))
