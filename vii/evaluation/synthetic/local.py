"""Edits of a part of the picture."""

import numpy as np

from .family import PLACE, SIDE, Parameter, color, family
from .pixels import PLACES, Array, Value, blend, centers, luma, mosaic, radius, rgb, saturate, soften, within

# The formulas are reached through the registry: `blur` or `frame` alone says too little.
__all__: list[str] = []

# A list: each family its words and its formula.
# fmt: off

@family("local", "make the {side} half black and white", "turn the {side} half gray",
        "remove the color of the {side} half", "desaturate only the {side} half", weight=1.2, side=SIDE,
        captions=("{subject} with the {side} half in black and white", "{subject} with a gray {side} half"))
def half_gray(x: Array, side: str) -> Array:
    return blend(x, luma(x), within(x, side, 0.5))

@family("local", "make the {side} half {more}darker", "darken the {side} half {amt}",
        "put the {side} half in {adv}dark shadow", "cast a {adv}dark shadow over the {side} half",
        weight=1.2, side=SIDE, s=(0.5, 0.9),
        captions=("{subject} with the {side} half in {adv}dark shadow", "{subject} with a {adv}dark {side} half"))
def half_dark(x: Array, side: str, s: float) -> Array:
    return x * (1 - s * within(x, side, 0.5))

@family("local", "tint the {side} half {color}", "make the {side} half {color}",
        "put a {color} filter on the {side} half", "color only the {side} half {color}",
        weight=1.8, side=SIDE, c=color(),
        captions=("{subject} with the {side} half tinted {color}", "{subject} with a {color} {side} half"))
def half_tint(x: Array, side: str, c: Value) -> Array:
    return blend(x, rgb(c, 0.85) * (luma(x) * 0.9 + 0.12), within(x, side, 0.5))

@family("local", "blur the top and the bottom {amt}", "give it a {adv}strong tilt shift effect",
        "make it look like a miniature model", "keep only the middle band sharp", s=(3, 7),
        captions=("a tilt shift photo of {subject}", "{subject} as a miniature model",
                  "{subject} with the top and the bottom blurred"))
def tilt_shift(x: Array, s: float) -> Array:
    off = np.abs(centers(x)[0] - 0.5)
    return saturate(blend(x, soften(x, s), np.clip((off - 0.1) / 0.15, 0, 1)), 1.5)

@family("local", "keep color only in the middle", "make everything gray outside a {size}circle in the middle",
        "leave only a {size}round part in the center in color", "remove the color around the center",
        r=Parameter(0.2, 0.4),
        captions=("{subject} with color only in the middle",
                  "{subject} in gray with a {size}colored circle in the center"))
def color_center(x: Array, r: float) -> Array:
    inside = np.clip((r - radius(x)) / 0.06 + 0.5, 0, 1)
    return blend(0.8 * luma(x), saturate(x, 1.3), inside)

@family("local", "pixelate the part {pos}", "censor the part {pos}", "hide what is {pos} behind big pixels",
        "put a censor mosaic {pos}", pos=PLACE,
        captions=("{subject} with a censored part {pos}", "{subject} with big pixels {pos}"))
def censor(x: Array, pos: str) -> Array:
    (rows, columns), (height, width), (across, down) = centers(x), x.shape[:2], PLACES[pos]
    away = np.maximum(np.abs(rows - down) * height, np.abs(columns - across) * width)
    return blend(x, mosaic(x, 16), np.clip(0.22 * min(height, width) - away + 0.5, 0, 1))
