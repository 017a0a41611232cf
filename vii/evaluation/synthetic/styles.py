"""Pictures made by other means than a camera."""

import numpy as np

from .family import Parameter, color, family
from .pixels import (
    Array,
    Value,
    blend,
    channels,
    edges,
    lengths,
    luma,
    median,
    mosaic,
    outlines,
    rgb,
    saturate,
    scale,
    soften,
    third,
    to_border,
)

# The formulas are reached through the registry: `blur` or `frame` alone says too little.
__all__: list[str] = []

# A list: each family its words and its formula.
# fmt: off

@family("style", "turn it into a pencil sketch", "make it a {adv}fine pencil drawing", "draw it with a pencil",
        "make it look like a sketch", weight=1.2, s=(4, 1.6),
        captions=("a pencil sketch of {subject}", "a {adv}fine pencil drawing of {subject}",
                  "{subject} drawn with a pencil"))
def sketch(x: Array, s: float) -> Array:
    dodged = luma(x) / (1 - soften(1 - luma(x), s) + 0.02)
    return np.clip(dodged, 0, 1) ** 1.6 * 0.95 + 0.03

@family("style", "turn it into {color} neon lines on black", "show glowing {color} edges on a black background",
        "make it a {color} neon drawing", "draw the outlines in {color} neon",
        weight=1.6, c=color(0.12, words=("white", "gray")), s=(1.6, 3.2),
        captions=("a {color} neon drawing of {subject}", "{subject} in {color} neon lines on black"))
def neon(x: Array, c: Value, s: float) -> Array:
    glow = np.clip(edges(x, 1) * s, 0, 1.3)
    return glow * rgb(c, 0.85) + np.clip(glow - 0.8, 0, 1) * 0.8

@family("style", "posterize it", "reduce it to a few flat colors", "make it a poster with {adv}few colors",
        "make it a flat color print", s=(4, 2),
        captions=("a flat color poster of {subject}", "{subject} in a few flat colors"))
def posterize(x: Array, s: float) -> Array:
    steps = round(s) - 1
    return np.round(soften(x, 0.7) * steps) / steps

@family("style", "pixelate it", "make it {adv}pixelated", "turn it into {adv}blocky pixel art",
        "make it look like an old video game", weight=1.2, s=(0, 1),
        captions=("{adv}blocky pixel art of {subject}", "a {adv}pixelated picture of {subject}",
                  "{subject} in an old video game"))
def pixelate(x: Array, s: float) -> Array:
    return mosaic(x, (4, 8, 16)[third(s)])

@family("style", "emboss it", "make it a gray relief carving", "turn it into an embossed picture",
        "make it look carved in stone", s=(0.8, 1.8),
        captions=("a gray relief carving of {subject}", "{subject} carved in stone"))
def emboss(x: Array, s: float) -> Array:
    gray, step = soften(luma(x), 0.7), max(1, round(1.5 * scale(x)))
    return 0.5 + (np.roll(gray, (step, step), (0, 1)) - np.roll(gray, (-step, -step), (0, 1))) * s

@family("style", "turn it into an oil painting", "paint it in oil", "make it look like a painting",
        "make it a painting with thick brush strokes", s=(5, 9),
        captions=("an oil painting of {subject}", "{subject} painted in oil"))
def oil(x: Array, s: float) -> Array:
    return saturate(median(x, s), 1.5) * 1.05

@family("style", "turn it into a watercolor", "paint it in watercolor", "make it a soft watercolor painting",
        "make it look like watercolor on paper", s=(0.75, 0.5),
        captions=("a watercolor of {subject}", "a soft watercolor painting of {subject}",
                  "{subject} painted in watercolor"))
def watercolor(x: Array, s: float) -> Array:
    wash = saturate(1 - (1 - median(soften(x, 1), 5)) * s, 1.5)
    outlined = wash * (1 - 0.35 * np.clip(edges(x, 1.2) * 1.5, 0, 1))
    return blend(outlined, 0.97, 1 - np.clip(to_border(x) / 0.1, 0, 1))

@family("style", "turn it into black ink on white paper", "make it a black and white stencil",
        "make it a high contrast ink print", "make only pure black and white", t=Parameter(0.38, 0.58),
        captions=("a black and white stencil of {subject}", "an ink print of {subject}",
                  "{subject} in black ink on white paper"))
def ink(x: Array, t: float) -> Array:
    return 1 / (1 + np.exp(-22 * (soften(luma(x), 0.8) - t)))

@family("style", "turn it into a cartoon", "make it look like a comic book drawing", "draw it in comic style",
        "make it a cartoon with bold outlines", weight=1.2,
        captions=("a cartoon of {subject}", "a comic book drawing of {subject}", "{subject} as a cartoon"))
def cartoon(x: Array) -> Array:
    flat = saturate(median(soften(x, 0.7), 5), 1.6)
    flat = flat + np.round(luma(flat) * 4) / 4 - luma(flat)
    return flat * (1 - outlines(x, 1, 1.2, 0.5))

@family("style", "turn it into a charcoal drawing", "draw it with charcoal", "make it a dark smudged charcoal sketch",
        "make it look drawn with black coal on paper",
        captions=("a charcoal drawing of {subject}", "{subject} drawn with charcoal"))
def charcoal(x: Array) -> Array:
    down, across = lengths(x)
    strokes = 0.5 + 0.5 * np.cos((down + across) * 2 * np.pi / 9)
    shade = np.clip(1.3 - 1.9 * soften(luma(x), 1.4), 0, 1) * (0.65 + 0.35 * strokes)
    return 0.87 - 0.8 * np.clip(shade + 0.8 * outlines(x, 1.4, 1, 0.2), 0, 1)

@family("style", "turn it into a blueprint", "make it a blueprint with white lines on blue",
        "draw it as white lines on blue paper", "make it a technical drawing on blue",
        captions=("a blueprint of {subject}", "a technical drawing of {subject} in white on blue",
                  "{subject} as a blueprint"))
def blueprint(x: Array) -> Array:
    paper = channels(0.05, 0.2, 0.55) * (0.8 + 0.35 * soften(luma(x), 2))
    return blend(paper, channels(0.93, 0.97, 1), outlines(x, 1, 1.1, 0.3))

@family("style", "turn it into a line drawing", "draw only the outlines in black on white",
        "make it a coloring book page", "make it thin black lines on white",
        captions=("a line drawing of {subject}", "a coloring book page of {subject}",
                  "{subject} in black outlines on white"))
def line_drawing(x: Array) -> Array:
    return 1 - 0.95 * outlines(x, 1, 1.1, 0.35)

@family("style", "draw it with {color} chalk on a blackboard", "turn it into a {color} chalk drawing",
        "make it a {color} chalk sketch on a dark green board", "draw {color} chalk lines on a school blackboard",
        weight=1.6, c=color(0.3, words=("white",)),
        captions=("a {color} chalk drawing of {subject}", "{subject} in {color} chalk on a blackboard"))
def chalk(x: Array, c: Value) -> Array:
    board = channels(0.09, 0.2, 0.15) * (1 + 0.3 * soften(luma(x), 2))
    smear = 0.3 * np.clip(1.6 * soften(luma(x), 2.5) - 0.8, 0, 1)
    return blend(board, rgb(c, 0.5), np.clip(outlines(x, 1.4, 1.2, 0.3) * 0.9 + smear, 0, 1))

@family("style", "turn it into a halftone print", "make it newspaper dots", "make it look like a printed newspaper",
        "draw it with black dots",
        captions=("a halftone print of {subject}", "a newspaper picture of {subject}", "{subject} in black dots"))
def halftone(x: Array) -> Array:
    down, across = (np.cos(length * 2 * np.pi / 6) for length in lengths(x))
    screen = 0.5 + 0.25 * (down + across)
    return 1 / (1 + np.exp(-9 * (1.15 * soften(luma(x), 1) - 0.08 - (0.1 + 0.8 * screen))))

@family("style", "turn it into pop art", "make it a pop art print with bright flat colors",
        "make it look like a sixties pop art poster", "color it like a pop art silkscreen",
        captions=("a pop art print of {subject}", "a pop art poster of {subject}",
                  "{subject} in bright flat pop art colors"))
def pop_art(x: Array) -> Array:
    level, print_ = soften(luma(x), 1.2), channels(0.16, 0.08, 0.5)
    for above, ink_ in ((0.25, (0.95, 0.12, 0.5)), (0.45, (1, 0.8, 0.08)), (0.68, (0.55, 0.95, 0.95))):
        print_ = blend(print_, channels(*ink_), 1 / (1 + np.exp(-50 * (level - above))))
    return print_

@family("style", "give it a {adv}dreamy glow", "make it {adv}dreamy", "add a {adv}soft glow to everything",
        "make it glow like in a dream", s=(0.45, 0.95),
        captions=("a {adv}dreamy photo of {subject}", "{subject} in a {adv}soft dreamy glow"))
def dreamy(x: Array, s: float) -> Array:
    return 1 - (1 - soften(x, 1)) * (1 - s * soften(x, 5))
