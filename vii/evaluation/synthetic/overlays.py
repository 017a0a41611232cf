"""Borders, drawn objects, and what else lies over the whole picture."""

import numpy as np
from PIL import ImageDraw

from .family import PLACE, SHAPE, SIDE, Parameter, color, family
from .pixels import (
    PLACES,
    Array,
    Value,
    blend,
    centers,
    distance,
    drawn,
    inward,
    lengths,
    luma,
    radius,
    rgb,
    scale,
    to_border,
    within,
)

# The formulas are reached through the registry: `blur` or `frame` alone says too little.
__all__: list[str] = []

# A list: each family its words and its formula.
# fmt: off

@family("overlay", "add a {adv}dark vignette", "darken the corners {amt}", "add a vignette",
        "make the edges {more}darker", s=(0, 1),
        captions=("{subject} with a {adv}dark vignette", "{subject} with {adv}dark corners"))
def vignette(x: Array, s: float) -> Array:
    outside = np.clip((distance(x, "center") / 0.707 - (0.4 - 0.2 * s)) / 0.6, 0, 1)
    return x * (1 - (0.55 + 0.45 * s) * outside**1.2)

@family("overlay", "add a rainbow filter", "make it rainbow colored", "put rainbow light over it",
        "cover it in rainbow colors", s=(0.4, 0.9),
        captions=("{subject} in rainbow light", "{subject} covered in rainbow colors"))
def rainbow(x: Array, s: float) -> Array:
    light = np.stack([rgb(hue, 0.85) for hue in np.linspace(0, 300, x.shape[1])])
    return blend(x, light * (luma(x) * 0.8 + 0.2), s)

@family("overlay", "add a {wide}{color} frame", "put a {wide}{color} border around it", "frame it in {color}",
        "give it a {wide}{color} border", weight=2.2, c=color(0.3), w=Parameter(0.03, 0.14),
        captions=("{subject} with a {wide}{color} frame", "{subject} with a {wide}{color} border"))
def frame(x: Array, c: Value, w: float) -> Array:
    return blend(x, rgb(c), np.clip((w - to_border(x)) * min(x.shape[:2]) + 0.5, 0, 1))

@family("overlay", "add a {size}{color} {shape} {pos}", "put a {size}{color} {shape} {pos}",
        "draw a {size}{color} {shape} {pos}", "place a {size}{color} {shape} {pos}",
        weight=8, c=color(0.15), shape=SHAPE, pos=PLACE, r=Parameter(0.1, 0.24),
        captions=("{subject} with a {size}{color} {shape} {pos}", "{subject} and a {size}{color} {shape} {pos}"))
def shape(x: Array, c: Value, shape: str, pos: str, r: float) -> Array:
    def draw(canvas: ImageDraw.ImageDraw, height: int, width: int) -> None:
        across, down, size = PLACES[pos][0] * width, PLACES[pos][1] * height, r * min(height, width)
        if shape in ("circle", "square"):
            fill, half = (canvas.ellipse, size) if shape == "circle" else (canvas.rectangle, 0.88 * size)
            fill((across - half, down - half, across + half, down + half), fill=255)
        else:
            canvas.polygon([(across + size * right, down + size * below) for right, below in _corners(shape)], fill=255)

    return blend(x, rgb(c), drawn(x, draw))

def _corners(shape: str) -> list[tuple[float, float]]:
    """Corners (to the right, below) of a shape of size 1 around the origin."""
    if shape == "triangle":
        return [(0, -1.1), (1.05, 0.8), (-1.05, 0.8)]
    if shape == "star":
        spokes = [(1.15 * (0.45 if i % 2 else 1), i * np.pi / 5) for i in range(10)]
        return [(length * np.sin(turn), -length * np.cos(turn)) for length, turn in spokes]
    t = np.linspace(0, 2 * np.pi, 60)  # a heart
    above = (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 15.5
    return list(zip(1.05 * np.sin(t) ** 3, -above, strict=True))

@family("overlay", "add {wide}black bars at the top and the bottom", "letterbox it with {wide}black bars",
        "give it {wide}black movie bars", "make it widescreen with {wide}black bars", w=Parameter(0.08, 0.22),
        captions=("{subject} with {wide}black bars at the top and the bottom", "{subject} with {wide}black movie bars"))
def letterbox(x: Array, w: float) -> Array:
    return x * (1 - within(x, "top", w)) * (1 - within(x, "bottom", w))

@family("overlay", "show it through a {size}round window in {color}", "put it in a {size}circle on {color}",
        "make everything outside a {size}circle {color}", "crop it to a {size}circle on a {color} background",
        weight=1.6, c=color(0.3), r=Parameter(0.26, 0.46),
        captions=("{subject} in a {size}circle on {color}", "{subject} through a {size}round window in {color}"))
def porthole(x: Array, c: Value, r: float) -> Array:
    return blend(x, rgb(c), np.clip((radius(x) - r) * min(x.shape[:2]) + 0.5, 0, 1))

@family("overlay", "add a {wide}{color} bar {on_side}", "put a {wide}{color} bar along the {side} edge",
        "cover the {side} edge with a {wide}{color} bar", "paint a {wide}{color} band {on_side}",
        weight=1.6, c=color(0.2), side=SIDE, w=Parameter(0.1, 0.28),
        captions=("{subject} with a {wide}{color} bar {on_side}", "{subject} with a {wide}{color} band {on_side}"))
def bar(x: Array, c: Value, side: str, w: float) -> Array:
    return blend(x, rgb(c), within(x, side, w))

@family("overlay", "let {color} fade in from the {side}", "add a {adv}strong {color} gradient from the {side}",
        "make the {side} fade to {color}", "put a {color} gradient {on_side}",
        weight=1.6, c=color(0.2), side=SIDE, s=(0.6, 1),
        captions=("{subject} with a {color} gradient from the {side}",
                  "{subject} with {color} fading in from the {side}"))
def gradient(x: Array, c: Value, side: str, s: float) -> Array:
    return blend(x, rgb(c), s * np.clip(1.1 - 1.4 * inward(x, side), 0, 1))

@family("overlay", "put a {color} grid over it", "add thin {color} grid lines", "draw a {color} grid on top",
        "cover it with a {color} grid", weight=1.6, c=color(0.3),
        captions=("{subject} with a {color} grid over it", "{subject} behind thin {color} grid lines"))
def grid(x: Array, c: Value) -> Array:
    """A line at every eighth of the height and of the width, 2.5 pixels thick."""
    off = [np.abs((8 * share + 0.5) % 1 - 0.5) / 8 * size for share, size in zip(centers(x), x.shape, strict=False)]
    return blend(x, rgb(c), np.clip(1.25 * scale(x) + 0.5 - np.minimum(*off), 0, 1))

@family("overlay", "add {color} diagonal stripes", "put see-through {color} stripes over it",
        "cover it with broad {color} stripes", "draw diagonal {color} stripes across it", weight=1.6, c=color(0.3),
        captions=("{subject} with {color} diagonal stripes", "{subject} behind broad {color} stripes"))
def stripes(x: Array, c: Value) -> Array:
    down, across = lengths(x)
    wave = np.cos((down + across) * 2 * np.pi / (32 * np.sqrt(2)))
    return blend(x, rgb(c), 0.7 * np.clip(0.5 + 5 * wave, 0, 1))
