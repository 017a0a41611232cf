"""Borders, drawn objects and what else lies over the picture; and pictures made by other means than a camera."""

import numpy as np
from PIL import ImageDraw

from .family import PLACE, SHAPE, SIDE, Parameter, color, family
from .pixels import (
    PLACES,
    Array,
    Value,
    blend,
    centers,
    channels,
    distance,
    drawn,
    edges,
    inward,
    lengths,
    luma,
    median,
    mosaic,
    outlines,
    radius,
    rgb,
    saturate,
    scale,
    soften,
    third,
    to_border,
    within,
)

# A table: each family its name, its group, its formula, which stands above it where it is long, and its words.
# fmt: off

def _vignette(x: Array, s: float) -> Array:
    outside = np.clip((distance(x, "center") / 0.707 - (0.4 - 0.2 * s)) / 0.6, 0, 1)
    return x * (1 - (0.55 + 0.45 * s) * outside**1.2)
family("vignette", "overlay", _vignette, "add a {adv}dark vignette", "darken the corners {amt}", "add a vignette",
       "make the edges {more}darker", s=(0, 1),
       captions=("{subject} with a {adv}dark vignette", "{subject} with {adv}dark corners"))

def _rainbow(x: Array, s: float) -> Array:
    light = np.stack([rgb(hue, 0.85) for hue in np.linspace(0, 300, x.shape[1])])
    return blend(x, light * (luma(x) * 0.8 + 0.2), s)
family("rainbow", "overlay", _rainbow, "add a rainbow filter", "make it rainbow colored", "put rainbow light over it",
       "cover it in rainbow colors", s=(0.4, 0.9),
       captions=("{subject} in rainbow light", "{subject} covered in rainbow colors"))

family("frame", "overlay", lambda x, c, w: blend(x, rgb(c), np.clip((w - to_border(x)) * min(x.shape[:2]) + 0.5, 0, 1)),
       "add a {wide}{color} frame", "put a {wide}{color} border around it", "frame it in {color}",
       "give it a {wide}{color} border", weight=2.2, c=color(0.3), w=Parameter(0.03, 0.14),
       captions=("{subject} with a {wide}{color} frame", "{subject} with a {wide}{color} border"))

def _shape(x: Array, c: Value, shape: str, pos: str, r: float) -> Array:
    def draw(canvas: ImageDraw.ImageDraw, height: int, width: int) -> None:
        across, down, size = PLACES[pos][0] * width, PLACES[pos][1] * height, r * min(height, width)
        if shape in ("circle", "square"):
            fill, half = (canvas.ellipse, size) if shape == "circle" else (canvas.rectangle, 0.88 * size)
            fill((across - half, down - half, across + half, down + half), fill=255)
        else:
            canvas.polygon([(across + size * right, down + size * below) for right, below in _corners(shape)], fill=255)

    return blend(x, rgb(c), drawn(x, draw))
family("shape", "overlay", _shape, "add a {size}{color} {shape} {pos}", "put a {size}{color} {shape} {pos}",
       "draw a {size}{color} {shape} {pos}", "place a {size}{color} {shape} {pos}", weight=8, c=color(0.15),
       shape=SHAPE, pos=PLACE, r=Parameter(0.1, 0.24),
       captions=("{subject} with a {size}{color} {shape} {pos}", "{subject} and a {size}{color} {shape} {pos}"))

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

family("letterbox", "overlay", lambda x, w: x * (1 - within(x, "top", w)) * (1 - within(x, "bottom", w)),
       "add {wide}black bars at the top and the bottom", "letterbox it with {wide}black bars",
       "give it {wide}black movie bars", "make it widescreen with {wide}black bars", w=Parameter(0.08, 0.22),
       captions=("{subject} with {wide}black bars at the top and the bottom", "{subject} with {wide}black movie bars"))
family("porthole", "overlay", lambda x, c, r: blend(x, rgb(c), np.clip((radius(x) - r) * min(x.shape[:2]) + 0.5, 0, 1)),
       "show it through a {size}round window in {color}", "put it in a {size}circle on {color}",
       "make everything outside a {size}circle {color}", "crop it to a {size}circle on a {color} background",
       weight=1.6, c=color(0.3), r=Parameter(0.26, 0.46),
       captions=("{subject} in a {size}circle on {color}", "{subject} through a {size}round window in {color}"))
family("bar", "overlay", lambda x, c, side, w: blend(x, rgb(c), within(x, side, w)),
       "add a {wide}{color} bar {on_side}", "put a {wide}{color} bar along the {side} edge",
       "cover the {side} edge with a {wide}{color} bar", "paint a {wide}{color} band {on_side}", weight=1.6,
       c=color(0.2), side=SIDE, w=Parameter(0.1, 0.28),
       captions=("{subject} with a {wide}{color} bar {on_side}", "{subject} with a {wide}{color} band {on_side}"))
family("gradient", "overlay", lambda x, c, side, s: blend(x, rgb(c), s * np.clip(1.1 - 1.4 * inward(x, side), 0, 1)),
       "let {color} fade in from the {side}", "add a {adv}strong {color} gradient from the {side}",
       "make the {side} fade to {color}", "put a {color} gradient {on_side}", weight=1.6, c=color(0.2), side=SIDE,
       s=(0.6, 1),
       captions=("{subject} with a {color} gradient from the {side}",
                 "{subject} with {color} fading in from the {side}"))

def _grid(x: Array, c: Value) -> Array:
    """A line at every eighth of the height and of the width, 2.5 pixels thick."""
    off = [np.abs((8 * share + 0.5) % 1 - 0.5) / 8 * size for share, size in zip(centers(x), x.shape, strict=False)]
    return blend(x, rgb(c), np.clip(1.25 * scale(x) + 0.5 - np.minimum(*off), 0, 1))
family("grid", "overlay", _grid, "put a {color} grid over it", "add thin {color} grid lines",
       "draw a {color} grid on top", "cover it with a {color} grid", weight=1.6, c=color(0.3),
       captions=("{subject} with a {color} grid over it", "{subject} behind thin {color} grid lines"))

def _stripes(x: Array, c: Value) -> Array:
    down, across = lengths(x)
    wave = np.cos((down + across) * 2 * np.pi / (32 * np.sqrt(2)))
    return blend(x, rgb(c), 0.7 * np.clip(0.5 + 5 * wave, 0, 1))
family("stripes", "overlay", _stripes, "add {color} diagonal stripes", "put see-through {color} stripes over it",
       "cover it with broad {color} stripes", "draw diagonal {color} stripes across it", weight=1.6, c=color(0.3),
       captions=("{subject} with {color} diagonal stripes", "{subject} behind broad {color} stripes"))

def _sketch(x: Array, s: float) -> Array:
    dodged = luma(x) / (1 - soften(1 - luma(x), s) + 0.02)
    return np.clip(dodged, 0, 1) ** 1.6 * 0.95 + 0.03
family("sketch", "style", _sketch, "turn it into a pencil sketch", "make it a {adv}fine pencil drawing",
       "draw it with a pencil", "make it look like a sketch", weight=1.2, s=(4, 1.6),
       captions=("a pencil sketch of {subject}", "a {adv}fine pencil drawing of {subject}",
                 "{subject} drawn with a pencil"))

def _neon(x: Array, c: Value, s: float) -> Array:
    glow = np.clip(edges(x, 1) * s, 0, 1.3)
    return glow * rgb(c, 0.85) + np.clip(glow - 0.8, 0, 1) * 0.8
family("neon", "style", _neon, "turn it into {color} neon lines on black",
       "show glowing {color} edges on a black background", "make it a {color} neon drawing",
       "draw the outlines in {color} neon", weight=1.6, c=color(0.12, words=("white", "gray")), s=(1.6, 3.2),
       captions=("a {color} neon drawing of {subject}", "{subject} in {color} neon lines on black"))

def _posterize(x: Array, s: float) -> Array:
    steps = round(s) - 1
    return np.round(soften(x, 0.7) * steps) / steps
family("posterize", "style", _posterize, "posterize it", "reduce it to a few flat colors",
       "make it a poster with {adv}few colors", "make it a flat color print", s=(4, 2),
       captions=("a flat color poster of {subject}", "{subject} in a few flat colors"))

family("pixelate", "style", lambda x, s: mosaic(x, (4, 8, 16)[third(s)]),
       "pixelate it", "make it {adv}pixelated", "turn it into {adv}blocky pixel art",
       "make it look like an old video game", weight=1.2, s=(0, 1),
       captions=("{adv}blocky pixel art of {subject}", "a {adv}pixelated picture of {subject}",
                 "{subject} in an old video game"))

def _emboss(x: Array, s: float) -> Array:
    gray, step = soften(luma(x), 0.7), max(1, round(1.5 * scale(x)))
    return 0.5 + (np.roll(gray, (step, step), (0, 1)) - np.roll(gray, (-step, -step), (0, 1))) * s
family("emboss", "style", _emboss, "emboss it", "make it a gray relief carving", "turn it into an embossed picture",
       "make it look carved in stone", s=(0.8, 1.8),
       captions=("a gray relief carving of {subject}", "{subject} carved in stone"))

family("oil", "style", lambda x, s: saturate(median(x, s), 1.5) * 1.05,
       "turn it into an oil painting", "paint it in oil", "make it look like a painting",
       "make it a painting with thick brush strokes", s=(5, 9),
       captions=("an oil painting of {subject}", "{subject} painted in oil"))

def _watercolor(x: Array, s: float) -> Array:
    wash = saturate(1 - (1 - median(soften(x, 1), 5)) * s, 1.5)
    outlined = wash * (1 - 0.35 * np.clip(edges(x, 1.2) * 1.5, 0, 1))
    return blend(outlined, 0.97, 1 - np.clip(to_border(x) / 0.1, 0, 1))
family("watercolor", "style", _watercolor, "turn it into a watercolor", "paint it in watercolor",
       "make it a soft watercolor painting", "make it look like watercolor on paper", s=(0.75, 0.5),
       captions=("a watercolor of {subject}", "a soft watercolor painting of {subject}",
                 "{subject} painted in watercolor"))

family("ink", "style", lambda x, t: 1 / (1 + np.exp(-22 * (soften(luma(x), 0.8) - t))),
       "turn it into black ink on white paper", "make it a black and white stencil",
       "make it a high contrast ink print", "make only pure black and white", t=Parameter(0.38, 0.58),
       captions=("a black and white stencil of {subject}", "an ink print of {subject}",
                 "{subject} in black ink on white paper"))

def _cartoon(x: Array) -> Array:
    flat = saturate(median(soften(x, 0.7), 5), 1.6)
    flat = flat + np.round(luma(flat) * 4) / 4 - luma(flat)
    return flat * (1 - outlines(x, 1, 1.2, 0.5))
family("cartoon", "style", _cartoon, "turn it into a cartoon", "make it look like a comic book drawing",
       "draw it in comic style", "make it a cartoon with bold outlines", weight=1.2,
       captions=("a cartoon of {subject}", "a comic book drawing of {subject}", "{subject} as a cartoon"))

def _charcoal(x: Array) -> Array:
    down, across = lengths(x)
    strokes = 0.5 + 0.5 * np.cos((down + across) * 2 * np.pi / 9)
    shade = np.clip(1.3 - 1.9 * soften(luma(x), 1.4), 0, 1) * (0.65 + 0.35 * strokes)
    return 0.87 - 0.8 * np.clip(shade + 0.8 * outlines(x, 1.4, 1, 0.2), 0, 1)
family("charcoal", "style", _charcoal, "turn it into a charcoal drawing", "draw it with charcoal",
       "make it a dark smudged charcoal sketch", "make it look drawn with black coal on paper",
       captions=("a charcoal drawing of {subject}", "{subject} drawn with charcoal"))

def _blueprint(x: Array) -> Array:
    paper = channels(0.05, 0.2, 0.55) * (0.8 + 0.35 * soften(luma(x), 2))
    return blend(paper, channels(0.93, 0.97, 1), outlines(x, 1, 1.1, 0.3))
family("blueprint", "style", _blueprint, "turn it into a blueprint", "make it a blueprint with white lines on blue",
       "draw it as white lines on blue paper", "make it a technical drawing on blue",
       captions=("a blueprint of {subject}", "a technical drawing of {subject} in white on blue",
                 "{subject} as a blueprint"))

family("line_drawing", "style", lambda x: 1 - 0.95 * outlines(x, 1, 1.1, 0.35),
       "turn it into a line drawing", "draw only the outlines in black on white", "make it a coloring book page",
       "make it thin black lines on white",
       captions=("a line drawing of {subject}", "a coloring book page of {subject}",
                 "{subject} in black outlines on white"))

def _chalk(x: Array, c: Value) -> Array:
    board = channels(0.09, 0.2, 0.15) * (1 + 0.3 * soften(luma(x), 2))
    smear = 0.3 * np.clip(1.6 * soften(luma(x), 2.5) - 0.8, 0, 1)
    return blend(board, rgb(c, 0.5), np.clip(outlines(x, 1.4, 1.2, 0.3) * 0.9 + smear, 0, 1))
family("chalk", "style", _chalk, "draw it with {color} chalk on a blackboard", "turn it into a {color} chalk drawing",
       "make it a {color} chalk sketch on a dark green board", "draw {color} chalk lines on a school blackboard",
       weight=1.6, c=color(0.3, words=("white",)),
       captions=("a {color} chalk drawing of {subject}", "{subject} in {color} chalk on a blackboard"))

def _halftone(x: Array) -> Array:
    down, across = (np.cos(length * 2 * np.pi / 6) for length in lengths(x))
    screen = 0.5 + 0.25 * (down + across)
    return 1 / (1 + np.exp(-9 * (1.15 * soften(luma(x), 1) - 0.08 - (0.1 + 0.8 * screen))))
family("halftone", "style", _halftone, "turn it into a halftone print", "make it newspaper dots",
       "make it look like a printed newspaper", "draw it with black dots",
       captions=("a halftone print of {subject}", "a newspaper picture of {subject}", "{subject} in black dots"))

def _pop_art(x: Array) -> Array:
    level, print_ = soften(luma(x), 1.2), channels(0.16, 0.08, 0.5)
    for above, ink_ in ((0.25, (0.95, 0.12, 0.5)), (0.45, (1, 0.8, 0.08)), (0.68, (0.55, 0.95, 0.95))):
        print_ = blend(print_, channels(*ink_), 1 / (1 + np.exp(-50 * (level - above))))
    return print_
family("pop_art", "style", _pop_art, "turn it into pop art", "make it a pop art print with bright flat colors",
       "make it look like a sixties pop art poster", "color it like a pop art silkscreen",
       captions=("a pop art print of {subject}", "a pop art poster of {subject}",
                 "{subject} in bright flat pop art colors"))

family("dreamy", "style", lambda x, s: 1 - (1 - soften(x, 1)) * (1 - s * soften(x, 5)),
       "give it a {adv}dreamy glow", "make it {adv}dreamy", "add a {adv}soft glow to everything",
       "make it glow like in a dream", s=(0.45, 0.95),
       captions=("a {adv}dreamy photo of {subject}", "{subject} in a {adv}soft dreamy glow"))
