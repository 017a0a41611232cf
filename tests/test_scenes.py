"""Drawn analogies: what changes is what is said to, D is A to B done to C, and no training scene has an unseen pair."""

import pytest
import torch

from recipes.in_context import scenes
from recipes.in_context.scenes import ATTRIBUTES, KINDS, SHAPE, SIZE, UNSEEN, VALUES

COUNT = 400


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def drawn(kind):
    return kind.draw(COUNT, 2, generator())


def pairs_of(objects):
    return objects[..., SHAPE], objects[..., scenes.COLOR]


def test_only_the_named_attributes_of_the_named_objects_change(kind, drawn):
    assert (drawn.changed.sum(1) == kind.hops).all()
    differs = drawn.before.objects != drawn.after.objects  # (n, s, o, 4)
    expected = torch.zeros(COUNT, 4, 4, dtype=torch.bool)
    expected.scatter_(1, drawn.owner[:, None], drawn.changed[:, None])
    assert torch.equal(differs, expected[:, None].expand_as(differs))
    assert drawn.before.present[..., :2].all()
    for name in ("present", "ground", "shaded"):
        assert torch.equal(getattr(drawn.before, name), getattr(drawn.after, name))
    assert bool((drawn.owner != 0).any()) == kind.two


def test_every_pair_of_an_analogy_shows_the_same_change(drawn):
    for objects in (drawn.before.objects, drawn.after.objects):
        value = objects.gather(2, drawn.owner[:, None, None].expand(-1, 3, -1, -1))[:, :, 0]  # (n, s, 4)
        same = (value == value[:, :1]).all(1)
        assert same[drawn.changed].all()


def test_what_changes_can_be_told_from_all_else(drawn):
    """No other object has what it was told by, or what it becomes."""
    before, after = drawn.before.objects, drawn.after.objects
    others = torch.arange(4).view(1, 1, 4, 1) != drawn.owner[:, None, None]
    for index, values in enumerate(VALUES):
        its = drawn.owner[:, index].view(-1, 1, 1).expand(-1, 3, 1)
        key = SHAPE if index == SIZE else index
        was = before[..., key].gather(2, its)
        clash = ((before[..., key] == was) & others[..., index]).any(2)
        assert not clash[drawn.changed[:, index]].any(), ATTRIBUTES[index]
        assert int(before[..., index].max()) < values
        if index not in (SIZE, SHAPE):
            becomes = after[..., index].gather(2, its)
            taken = ((after[..., index] == becomes) & others[..., index]).any(2)
            assert not taken[drawn.changed[:, index]].any()
    for objects in (before, after):
        places = objects[..., scenes.PLACE].sort(-1).values
        assert (places[..., 1:] != places[..., :-1]).all()
        colors = objects[..., scenes.COLOR].sort(-1).values
        assert (colors[..., 1:] != colors[..., :-1]).all()


def test_the_split_is_disjoint(kind, drawn):
    """Scenes of training have no pair of `UNSEEN`; of extrapolation the object that changes is one, the others none."""
    seen = torch.stack([UNSEEN[pairs_of(scene.objects)] for scene in (drawn.before, drawn.after)])  # (2, n, s, o)
    if kind.unseen:
        assert seen[..., 0].any(0).all()
        assert not seen[..., 1:].any()
    else:
        assert not seen.any()


def test_every_value_and_every_seen_pair_occurs_in_training():
    training = scenes.analogies(scenes.hops(4000, 1, generator()), 1, generator(1)).before
    for index, values in enumerate(VALUES):
        assert len(training.objects[..., index].unique()) == values
    together = torch.zeros_like(UNSEEN)
    together[pairs_of(training.objects)] = True
    assert torch.equal(together, ~UNSEEN)
    assert training.present.sum(-1).unique().tolist() == [2, 3, 4]


def test_a_picture_shows_its_objects_where_they_are():
    objects = torch.tensor([[[0, 2, 1, 4], [3, 2, 0, 8], [5, 0, 2, 0], [1, 1, 3, 2]]])
    present = torch.tensor([[True, True, False, True]])
    one = scenes.Scenes(objects, present, torch.tensor([1]), torch.tensor([False]))
    picture = scenes.draw(one, 96)[0]
    squares = picture.unflatten(1, (3, 32)).unflatten(3, (3, 32)).permute(1, 3, 0, 2, 4).flatten(0, 1)
    ground = scenes.GROUNDS[1].view(3, 1, 1)
    empty = torch.isclose(squares, ground.expand_as(squares)).flatten(1).all(1)
    assert empty.tolist() == [True, True, False, True, False, True, True, True, False]
    for place, color in ((4, 0), (8, 3), (2, 1)):
        torch.testing.assert_close(squares[place][:, 16, 16], scenes.COLORS[color])
    opaque = (squares[4] - ground).abs().sum(0) > 0.1
    side = 2 * 0.88 * scenes.RADII[2] * 32  # a square
    assert float(opaque.sum()) == pytest.approx(side**2, rel=0.1)
    shaded = scenes.draw(scenes.Scenes(objects, present, torch.tensor([1]), torch.tensor([True])), 96)[0]
    torch.testing.assert_close(shaded[:, -1, 0] / picture[:, -1, 0], torch.full((3,), 1 - scenes.SHADE))


def test_shapes_cover_their_areas():
    radius = scenes.RADII[2] * 64
    areas = scenes.sprites(64, torch.device("cpu"))[:, 2].sum((1, 2)) / radius**2
    cross = 4 * 0.34 * 2 - 4 * 0.34**2
    expected = [torch.pi, (2 * 0.88) ** 2, 1.8**2 / 1.9, 2 * 1.1**2, cross, torch.pi * 0.7]
    # The corners of the diamond are cut by its square.
    torch.testing.assert_close(areas, torch.tensor(expected), rtol=0.03, atol=0)


def test_the_pictures_of_analogies_are_those_of_their_scenes():
    drawn = KINDS["color"].draw(3, 2, generator())
    support, query = drawn.pictures(48)
    assert support.shape == (3, 2, 2, 3, 48, 48)
    before, after = scenes.draw(drawn.before, 48), scenes.draw(drawn.after, 48)
    assert torch.equal(support[:, 1, 0], before[:, 1])
    assert torch.equal(support[:, 0, 1], after[:, 0])
    assert torch.equal(query, torch.stack([before[:, 2], after[:, 2]], 1))
    assert 0 <= support.min() < support.max() <= 1
    again = KINDS["color"].draw(3, 2, generator())
    assert torch.equal(again.before.objects, drawn.before.objects)


def test_any_number_of_attributes_changes_as_often_as_any_other():
    changed = scenes.hops(8000, 2, generator())
    assert (changed.sum(1) == 2).all()
    torch.testing.assert_close(changed.float().mean(0), torch.full((4,), 0.5), atol=0.02, rtol=0)
