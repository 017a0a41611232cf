"""Analogies A:B::C:D on drawn scenes, with the truth, on any device: what Im-Promptu's agents learn and are asked.

In the spirit of the benchmarks of Dedhia et al. 2023, section 3: one attribute of one object changes (primitive), or
several do (composite, k-hop), the same way in every pair. Everything is drawn in batches of tensors.

A scene has two to four objects on a plain or softly shaded ground, each in a square of its own of a 3 x 3 board. What
changes is told by what it was: the object of this colour, this shape or at this place gets another one. Of sizes there
are too few for that: there it is the object of a shape. No other object of the scene answers to it.

Some pairs of shape and colour, `UNSEEN`, occur in no scene that is drawn for training. Extrapolation of primitive
tasks is to objects that are such a pair before the change or after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE, BOARD, OBJECTS = 48, 3, 4
ATTRIBUTES = ("color", "size", "shape", "place")
COLOR, SIZE, SHAPE, PLACE = range(4)
COLORS = torch.tensor(
    [
        (0.90, 0.15, 0.15),
        (0.95, 0.55, 0.10),
        (0.95, 0.90, 0.20),
        (0.20, 0.70, 0.25),
        (0.25, 0.80, 0.85),
        (0.20, 0.30, 0.90),
        (0.55, 0.20, 0.70),
        (0.98, 0.98, 0.98),
    ]
)
GROUNDS = torch.tensor([(0.20, 0.20, 0.22), (0.72, 0.72, 0.70), (0.80, 0.70, 0.55), (0.40, 0.47, 0.58)])
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
RADII = (0.26, 0.37, 0.48)  # of the square that an object stands in
VALUES = (len(COLORS), len(RADII), len(SHAPES), BOARD**2)
SHADE = 0.2  # what a shaded ground loses from top to bottom
SMOOTH = 4  # samples a pixel each way, for soft outlines
# By shape and colour.
UNSEEN = (torch.arange(VALUES[SHAPE]).view(-1, 1) + torch.arange(VALUES[COLOR])) % VALUES[SHAPE] == 0


@dataclass(frozen=True)
class Scenes:
    """Scenes as numbers, of any leading shape `...`; int64 but for what is said otherwise.

    Attributes:
        objects: `(..., OBJECTS, 4)`: colour, size, shape and place of each, in the order of `ATTRIBUTES`.
        present: `(..., OBJECTS)` of bool: whether it is there.
        ground: `(...)`, row of `GROUNDS`.
        shaded: `(...)` of bool: whether the ground gets darker downwards.
    """

    objects: Tensor
    present: Tensor
    ground: Tensor
    shaded: Tensor


@cache
def tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """`COLORS`, `GROUNDS` and `UNSEEN` on a device."""
    return COLORS.to(device), GROUNDS.to(device), UNSEEN.to(device)


@cache
def sprites(cell: int, device: torch.device) -> Tensor:
    """Opacity of every shape in every size, `(shapes, sizes, cell, cell)` in [0, 1]."""
    steps = (torch.arange(cell * SMOOTH, device=device) + 0.5) / (cell * SMOOTH) - 0.5
    radii = torch.tensor(RADII, device=device).view(-1, 1, 1)
    y, x = steps.view(-1, 1) / radii, steps / radii
    across, least, most = x.square() + y.square(), torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
    inside = [
        across <= 1,
        most <= 0.88,
        (y <= 0.8) & (x.abs() <= (y + 1) / 1.9),
        x.abs() + y.abs() <= 1.1,
        (least <= 0.34) & (most <= 1),
        (across <= 1) & (across >= 0.3),
    ]
    return F.avg_pool2d(torch.stack(inside).float(), SMOOTH)


def draw(scenes: Scenes, side: int = SIDE) -> Tensor:
    """Pictures `(..., 3, side, side)` in [0, 1]; the side is divisible by the board's."""
    lead, device, cell = scenes.ground.shape, scenes.ground.device, side // BOARD
    colors, grounds, _ = tables(device)
    color, size, shape, place = scenes.objects.reshape(-1, OBJECTS, 4).unbind(-1)
    opacity = sprites(cell, device)[shape, size] * scenes.present.reshape(-1, OBJECTS, 1, 1)
    squares = F.one_hot(place, BOARD**2).to(opacity)
    layers = torch.cat([opacity[:, :, None], opacity[:, :, None] * colors[color][..., None, None]], 2)
    board = torch.einsum("nop,nochw->npchw", squares, layers).unflatten(1, (BOARD, BOARD))
    board = board.permute(0, 3, 1, 4, 2, 5).reshape(-1, 4, side, side)
    fall = 1 - SHADE * torch.linspace(0, 1, side, device=device)
    light = torch.where(scenes.shaded.reshape(-1, 1), fall, torch.ones_like(fall))
    ground = grounds[scenes.ground.reshape(-1)][..., None, None] * light[:, None, :, None]
    pictures = ground * (1 - board[:, :1]) + board[:, 1:]
    return pictures.reshape(*lead, 3, side, side)


@dataclass(frozen=True)
class Analogies:
    """Analogies in numbers: `before` and `after` of shape `(n, examples + 1)`, the last scene the one asked about.

    Attributes:
        before: A and C.
        after: B and D.
        changed: `(n, 4)` of bool: which attributes change.
        owner: `(n, 4)`: the object whose attribute it is, 0 or 1.
    """

    before: Scenes
    after: Scenes
    changed: Tensor
    owner: Tensor

    def pictures(self, side: int = SIDE) -> tuple[Tensor, Tensor]:
        """The pairs `(n, examples, 2, 3, side, side)`, and C and D `(n, 2, 3, side, side)`."""
        drawn = torch.stack([draw(self.before, side), draw(self.after, side)], 2)
        return drawn[:, :-1], drawn[:, -1]


def one_of(forbidden: Tensor, generator: torch.Generator) -> Tensor:
    """A random index of the last axis where `forbidden` is false, all alike: `(..., v)` of bool -> `(...)`."""
    drawn = torch.rand(forbidden.shape, generator=generator, device=forbidden.device)
    return (drawn - forbidden.float()).argmax(-1)


def hops(count: int, k: int, generator: torch.Generator) -> Tensor:
    """Which `k` of the four attributes change, `(count, 4)` of bool."""
    order = torch.rand(count, 4, generator=generator, device=generator.device).argsort(1).argsort(1)
    return order < k


def analogies(
    changed: Tensor, examples: int, generator: torch.Generator, *, two: bool = False, unseen: bool = False
) -> Analogies:
    """Random analogies, on the device of the generator, which `changed` lies on too.

    Args:
        changed: `(n, 4)` of bool, at least one a row; see `hops`.
        examples: pairs of each.
        generator: of all that is random.
        two: whether every attribute that changes is that of either of two objects at random; else all are of one.
        unseen: whether the object that changes is a pair of `UNSEEN` before the change or after it, in every scene;
            for a single change. Else no object is.
    """
    device, n, s = generator.device, len(changed), examples + 1
    held = tables(device)[2]

    def random(most: int, *shape: int) -> Tensor:
        return torch.randint(most, shape, generator=generator, device=device)

    owner = random(2, n, 4) if two else torch.zeros(n, 4, dtype=torch.long, device=device)
    owns = changed[:, None] & (owner[:, None] == torch.arange(OBJECTS, device=device).view(1, -1, 1))  # (n, o, 4)
    # Two shapes that tell which object is meant, and the one that either of them becomes.
    keys = torch.rand(n, VALUES[SHAPE], generator=generator, device=device).argsort(1)[:, :3]
    keyed = owns[..., SHAPE] | owns[..., SIZE]
    becomes = keys[:, 2:].expand(-1, OBJECTS)
    key = torch.cat([keys[:, :2], becomes[:, 2:]], 1)  # of the last two objects it is never looked at
    shape_before, shape_after = key, torch.where(owns[..., SHAPE], becomes, key)
    # Colours that suit the shape where both are told.
    its = owner[:, COLOR, None]
    told = keyed.gather(1, its)
    start = one_of(held[shape_before.gather(1, its)[:, 0]] & told, generator)
    taken = F.one_hot(start, VALUES[COLOR]).bool()
    goal = one_of(held[shape_after.gather(1, its)[:, 0]] & told | taken, generator)
    shape = _shapes(keys, key, keyed, owns, (start, goal), s, unseen, generator)
    after = torch.where(owns[:, None, :, SHAPE], becomes[:, None], shape)
    color = _colors(shape, after, owns, (start, goal), unseen, generator)

    size = random(VALUES[SIZE], n, s, OBJECTS)
    size_start = random(VALUES[SIZE], n)
    size_goal = (size_start + 1 + random(VALUES[SIZE] - 1, n)) % VALUES[SIZE]
    place_start = random(VALUES[PLACE], n)
    place_goal = (place_start + 1 + random(VALUES[PLACE] - 1, n)) % VALUES[PLACE]
    kept = F.one_hot(torch.stack([place_start, place_goal], 1), VALUES[PLACE]).sum(1) * changed[:, PLACE, None]
    order = torch.rand(n, s, VALUES[PLACE], generator=generator, device=device) + 2 * kept[:, None]
    place = order.argsort(-1)[..., :OBJECTS]

    before = torch.stack([color, size, shape, place], -1)
    starts = torch.stack([start, size_start, before.new_zeros(n), place_start], 1)[:, None, None]
    goals = torch.stack([goal, size_goal, keys[:, 2], place_goal], 1)[:, None, None]
    mine = owns[:, None]
    told_now = mine & (torch.arange(4, device=device) != SHAPE)  # the shapes are there already
    before = torch.where(told_now, starts, before)
    count = 2 + random(OBJECTS - 1, n, s, 1)
    scenes = Scenes(
        before,
        torch.arange(OBJECTS, device=device) < count,
        random(len(GROUNDS), n, s),
        random(2, n, s).bool(),
    )
    return Analogies(scenes, replace(scenes, objects=torch.where(mine, goals, before)), changed, owner)


def _shapes(
    keys: Tensor,
    key: Tensor,
    keyed: Tensor,
    owns: Tensor,
    colors: tuple[Tensor, Tensor],
    scenes: int,
    unseen: bool,
    generator: torch.Generator,
) -> Tensor:
    """`(n, scenes, OBJECTS)`: shapes before the change; others than those that tell an object stay clear of them."""
    held = tables(keys.device)[2]
    told = torch.cat([keyed[:, :2], owns[..., SHAPE].any(1, keepdim=True)], 1)
    apart = (F.one_hot(keys, VALUES[SHAPE]) * told[..., None]).sum(1).bool()[:, None]  # (n, 1, shapes)
    never = held.T[colors[0]] | held.T[colors[1]]
    never = (~never if unseen else never)[:, None] & owns[..., COLOR, None]
    drawn = one_of((apart | never)[:, None].expand(-1, scenes, -1, -1), generator)
    return torch.where(keyed[:, None], key[:, None], drawn)


def _colors(
    before: Tensor,
    after: Tensor,
    owns: Tensor,
    told: tuple[Tensor, Tensor],
    unseen: bool,
    generator: torch.Generator,
) -> Tensor:
    """`(n, scenes, OBJECTS)`: colours before the change, no two alike; with its shape none is `UNSEEN` unless asked."""
    held, colors = tables(before.device)[2], VALUES[COLOR]
    changes = owns[..., COLOR].any(1)
    used = (F.one_hot(torch.stack(told, 1), colors).sum(1) * changes[:, None])[:, None].bool()
    found = []
    for index in range(OBJECTS):
        pairs = held[before[..., index]] | held[after[..., index]]
        if unseen:
            pairs = torch.where(owns[:, index].any(1)[:, None, None], ~pairs, pairs)
        drawn = one_of(pairs | used, generator)
        found.append(torch.where(owns[:, index, None, COLOR], told[0][:, None], drawn))
        used = used | F.one_hot(found[-1], colors).bool()
    return torch.stack(found, -1)


@dataclass(frozen=True)
class Kind:
    """A row of the table: how many attributes change, which where it is one, of one object or two, and `unseen`."""

    hops: int
    attribute: int | None = None
    two: bool = False
    unseen: bool = False

    def draw(self, count: int, examples: int, generator: torch.Generator) -> Analogies:
        """So many analogies of this kind."""
        if self.attribute is None:
            changed = hops(count, self.hops, generator)
        else:
            one = torch.arange(4, device=generator.device) == self.attribute
            changed = one.expand(count, 4)
        return analogies(changed, examples, generator, two=self.two, unseen=self.unseen)


KINDS: Mapping[str, Kind] = (
    {name: Kind(1, index) for index, name in enumerate(ATTRIBUTES)}
    | {f"{name}, unseen objects": Kind(1, index, unseen=True) for index, name in enumerate(ATTRIBUTES)}
    | {f"composite of {k}, one object": Kind(k) for k in (2, 3, 4)}
    | {f"composite of {k}, two objects": Kind(k, two=True) for k in (2, 3, 4)}
)
