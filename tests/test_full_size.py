"""Small answers carried over to the photo's own pixels."""

import torch
from conftest import picture

from vii.images import resize
from vii.methods.full_size import at_full_size


def test_a_colour_change_reaches_every_pixel_and_outlines_stay():
    photo = (
        picture(1, 96, 144) + 0.2 * (torch.rand(3, 96, 144, generator=torch.Generator().manual_seed(0)) - 0.5)
    ).clamp(0, 1)
    change = torch.tensor([0.7, 0.9, 0.5])[:, None, None]
    found = at_full_size(photo, resize(photo, 32, 32) * change)
    assert found.shape == photo.shape
    assert (found - photo * change).abs().mean() < 0.01
    scaled_up = resize(resize(photo, 32, 32) * change, 96, 144)
    assert (scaled_up - photo * change).abs().mean() > 0.02  # what there would be without


def test_nothing_changes_where_nothing_was_changed():
    photo = picture(2, 64, 48)
    assert (at_full_size(photo, resize(photo, 32, 32)) - photo).abs().max() < 0.02
