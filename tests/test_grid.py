"""The canvas of in-context methods: geometry of the papers, masks, what stands where."""

import pytest
import torch
from conftest import picture

import vii
from vii.errors import UsageError
from vii.methods.grid import Grid, over_flips

A, A_AFTER, B = (torch.full((3, 20, 30), value) for value in (0.2, 0.4, 0.6))
PAIR = vii.Pair(A, A_AFTER)
ANALOGIST = Grid.within(512, margin=2, gap=2)  # Gu et al.: cells of 253 pixels at 2 and 257
PROMPTING = Grid.within(224, gap=2)  # Bar et al.: cells of 111 pixels at 0 and 113


def test_the_geometry_of_the_papers():
    assert ANALOGIST.cell == 253
    assert [ANALOGIST.box(e, after)[:2] for e in (0, 1) for after in (False, True)] == [
        (2, 2),
        (2, 257),
        (257, 2),
        (257, 257),
    ]
    assert ANALOGIST.answer == (256, 256, 512, 512)
    assert ANALOGIST.region(1, False) == (256, 0, 512, 256)
    assert PROMPTING.cell == 111
    assert PROMPTING.box(1, True) == (113, 113, 224, 224)
    assert PROMPTING.answer == (112, 112, 224, 224)
    assert Grid.within(512).cell == 256  # ImageBrush
    three_rows = Grid.within(224, 2, gap=1)
    assert (three_rows.cell, three_rows.shape, three_rows.cells) == (74, (224, 224), (3, 2))


def test_regions_cover_the_canvas_once():
    for grid in (ANALOGIST, PROMPTING, Grid(16, 2, margin=3, gap=1), Grid(16, 3, gap=5, swapped=True)):
        covered = torch.zeros(grid.shape)
        for example in range(grid.examples + 1):
            for after in (False, True):
                top, left, bottom, right = grid.region(example, after)
                covered[top:bottom, left:right] += 1
        assert (covered == 1).all()


def test_pictures_stand_where_they_belong():
    canvas = ANALOGIST.draw([PAIR], B)
    assert canvas.shape == (3, 512, 512)
    for top, left, value in ((2, 2, 0.2), (2, 257, 0.4), (257, 2, 0.6), (257, 257, 1.0)):
        cell = canvas[:, top : top + 253, left : left + 253]
        torch.testing.assert_close(cell, torch.full_like(cell, value))
    border = torch.ones(512, dtype=torch.bool)
    border[2:255] = border[257:510] = False
    assert (canvas[:, border] == 1).all()
    assert (canvas[:, :, border] == 1).all()
    assert (Grid(253, margin=2, gap=2, background=0).draw([PAIR], B)[:, border] == 0).all()


def test_the_photo_is_pasted_over_the_answer_and_nothing_else_changes():
    canvas = ANALOGIST.draw([PAIR], B)
    pasted = ANALOGIST.with_photo_as_answer(canvas)
    assert torch.equal(pasted[:, 256:, 256:], canvas[:, 256:, :256])
    changed = (pasted != canvas).any(0)
    assert not changed[:256].any()
    assert not changed[:, :256].any()


def test_the_mask_is_the_answer_and_the_answer_is_cut_out():
    mask = ANALOGIST.mask()
    assert mask.shape == (1, 512, 512)
    assert mask.sum() == 256 * 256
    assert (mask[:, 256:, 256:] == 1).all()
    answer = picture(1, 253, 253)
    canvas = ANALOGIST.draw([PAIR], B, answer)
    assert torch.equal(ANALOGIST.cut(canvas), answer)
    assert torch.equal(PROMPTING.cut(picture(2, 224, 224)), picture(2, 224, 224)[:, 113:, 113:])


def test_a_swapped_grid_has_the_photos_before_side_by_side():
    plain, swapped = (Grid(16, 2, gap=2, swapped=swapped) for swapped in (False, True))
    pairs = [PAIR, vii.Pair(picture(3), picture(4))]
    assert swapped.shape == plain.shape[::-1]
    turned = plain.draw([vii.Pair(p.before.mT, p.after.mT) for p in pairs], B.mT).mT
    torch.testing.assert_close(swapped.draw(pairs, B), turned, atol=1e-5, rtol=0)
    assert torch.equal(swapped.mask(), plain.mask().mT)


def test_flips_are_undone_and_their_mean_taken():
    photo, pair = picture(5), vii.Pair(picture(6), picture(7))

    def answer(pairs, image):
        return (image + torch.linspace(0, 1, 64)) / 2 + pairs[0].after - pairs[0].before

    ramp = torch.linspace(0, 1, 64)
    expected = photo / 2 + pair.after - pair.before + (2 * ramp + ramp.flip(0)) / 6
    torch.testing.assert_close(over_flips(answer, [pair], photo), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid.within(30, 4), "leaves 6 pixels a side"),
        (lambda: Grid(64, 0), "at least one pair, got 0"),
        (lambda: Grid(64, gap=-1), "no negative lengths"),
        (lambda: Grid(64, 2).draw([PAIR], B), "shows 2, got 1"),
    ],
)
def test_grids_that_cannot_be(make, message):
    with pytest.raises(UsageError, match=message):
        make()
