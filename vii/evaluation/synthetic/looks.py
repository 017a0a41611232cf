"""Colour and tone, of a part of the picture and of all of it."""

import numpy as np

from .family import PLACE, SIDE, Parameter, color, family
from .pixels import (
    PLACES,
    Array,
    blend,
    centers,
    channels,
    luma,
    mosaic,
    palette,
    radius,
    rgb,
    saturate,
    scale,
    soften,
    within,
)

# A table: each family its name, its group, its formula, which stands above it where it is long, and its words.
# fmt: off

family("half_gray", "local", lambda x, side: blend(x, luma(x), within(x, side, 0.5)),
       "make the {side} half black and white", "turn the {side} half gray", "remove the color of the {side} half",
       "desaturate only the {side} half", weight=1.2, side=SIDE,
       captions=("{subject} with the {side} half in black and white", "{subject} with a gray {side} half"))
family("half_dark", "local", lambda x, side, s: x * (1 - s * within(x, side, 0.5)),
       "make the {side} half {more}darker", "darken the {side} half {amt}", "put the {side} half in {adv}dark shadow",
       "cast a {adv}dark shadow over the {side} half", weight=1.2, side=SIDE, s=(0.5, 0.9),
       captions=("{subject} with the {side} half in {adv}dark shadow", "{subject} with a {adv}dark {side} half"))
family("half_tint", "local", lambda x, side, c: blend(x, rgb(c, 0.85) * (luma(x) * 0.9 + 0.12), within(x, side, 0.5)),
       "tint the {side} half {color}", "make the {side} half {color}", "put a {color} filter on the {side} half",
       "color only the {side} half {color}", weight=1.8, side=SIDE, c=color(),
       captions=("{subject} with the {side} half tinted {color}", "{subject} with a {color} {side} half"))

def _tilt_shift(x: Array, s: float) -> Array:
    off = np.abs(centers(x)[0] - 0.5)
    return saturate(blend(x, soften(x, s), np.clip((off - 0.1) / 0.15, 0, 1)), 1.5)
family("tilt_shift", "local", _tilt_shift, "blur the top and the bottom {amt}",
       "give it a {adv}strong tilt shift effect", "make it look like a miniature model",
       "keep only the middle band sharp", s=(3, 7),
       captions=("a tilt shift photo of {subject}", "{subject} as a miniature model",
                 "{subject} with the top and the bottom blurred"))

def _color_center(x: Array, r: float) -> Array:
    inside = np.clip((r - radius(x)) / 0.06 + 0.5, 0, 1)
    return blend(0.8 * luma(x), saturate(x, 1.3), inside)
family("color_center", "local", _color_center, "keep color only in the middle",
       "make everything gray outside a {size}circle in the middle",
       "leave only a {size}round part in the center in color", "remove the color around the center",
       r=Parameter(0.2, 0.4),
       captions=("{subject} with color only in the middle",
                 "{subject} in gray with a {size}colored circle in the center"))

def _censor(x: Array, pos: str) -> Array:
    (rows, columns), (height, width), (across, down) = centers(x), x.shape[:2], PLACES[pos]
    away = np.maximum(np.abs(rows - down) * height, np.abs(columns - across) * width)
    return blend(x, mosaic(x, 16), np.clip(0.22 * min(height, width) - away + 0.5, 0, 1))
family("censor", "local", _censor, "pixelate the part {pos}", "censor the part {pos}",
       "hide what is {pos} behind big pixels", "put a censor mosaic {pos}", pos=PLACE,
       captions=("{subject} with a censored part {pos}", "{subject} with big pixels {pos}"))

family("grayscale", "color", luma,
       "make it black and white", "turn it into a grayscale photo", "remove the color", "convert to monochrome",
       "make it a black and white picture",
       captions=("a black and white photo of {subject}", "{subject} in black and white"))
family("sepia", "color", lambda x, s: blend(x, luma(x) * channels(1.1, 0.88, 0.62) + channels(0.06, 0.03, 0), s),
       "make it sepia", "give it {adv}sepia tones", "make it look like an old brown photograph",
       "turn it into a vintage sepia photo", s=(0.6, 1),
       captions=("a sepia photo of {subject}", "an old brown photograph of {subject}", "{subject} in sepia tones"))
family("invert", "color", lambda x: 1 - x,
       "invert the colors", "turn it into a photo negative", "make it a negative", "reverse all the colors",
       captions=("a photo negative of {subject}", "{subject} with inverted colors"))
family("warm", "color", lambda x, s: x * (1 + s * channels(0.35, 0.03, -0.5)),
       "make it {more}warmer", "make the colors {more}warmer", "add {adv}warm light", "give it a {adv}warm tone",
       s=(0.35, 1),
       captions=("{subject} in {adv}warm light", "a photo of {subject} with {adv}warm colors"))
family("cool", "color", lambda x, s: x * (1 - s * channels(0.5, 0.05, -0.3)) + s * channels(0, 0, 0.08),
       "make it {more}cooler", "make the colors {more}cooler", "add {adv}cold light", "give it a {adv}cool tone",
       s=(0.35, 1),
       captions=("{subject} in {adv}cold light", "a photo of {subject} with {adv}cool colors"))
family("faded", "color", lambda x, s: 0.5 + (saturate(x, 1 - 0.5 * s) - 0.5) * (1 - 0.55 * s) + 0.1 * s,
       "make it {adv}faded", "wash out the colors {amt}", "lower the contrast {amt}",
       "make it look like a {adv}faded film photo", s=(0.35, 1),
       captions=("a {adv}faded photo of {subject}", "{subject} with {adv}faded colors"))
family("vivid", "color", lambda x, s: saturate(x, 1 + s),
       "make the colors {more}more vivid", "increase the saturation {amt}", "make it {adv}colorful",
       "make it {more}more saturated", s=(0.5, 2.2),
       captions=("a {adv}colorful photo of {subject}", "{subject} with {adv}vivid colors"))
family("tint", "color", lambda x, c, s: blend(x, rgb(c, 0.85) * (luma(x) * 0.9 + 0.12), s),
       "tint it {color}", "give it a {adv}{color} tint", "make everything {adv}{color}", "put a {color} filter on it",
       "make it {color}", weight=2.2, c=color(), s=(0.3, 1),
       captions=("{subject} tinted {color}", "a {adv}{color} photo of {subject}", "{subject} in {color} light"))
family("duotone", "color", lambda x, c, c2: blend(rgb(c, 0.9, 0.4), rgb(c2, 0.6), np.clip((luma(x) - 0.1) / 0.8, 0, 1)),
       "make it a {color} and {color2} duotone", "turn it into a duotone of {color} and {color2}",
       "use only {color} and {color2}", "recolor it with {color} shadows and {color2} highlights", weight=1.8,
       c=color(0.1), c2=color(0.1),
       captions=("a {color} and {color2} duotone of {subject}", "{subject} in {color} and {color2}"))
# Never drawn by `sample`: it measures how well an editor learns what it has not been trained on.
family("channel_swap", "color", lambda x: x[..., ::-1] ** 1.3,
       "swap red and blue", "exchange the red and the blue channel", weight=0,
       captions=("{subject} with red and blue swapped", "a photo of {subject} in wrong colors"))

def _thermal(x: Array, s: float) -> Array:
    half_a_pixel = 0.5 / scale(x)  # at every size: it removes noise, which does not grow with the picture
    heat = np.clip(soften(luma(x), half_a_pixel) * s, 0, 1)
    return palette(heat, (0.05, 0, 0.3), (0.3, 0.05, 0.6), (0.85, 0.2, 0.35), (1, 0.7, 0.1), (1, 1, 0.8))
family("thermal", "color", _thermal, "make it a thermal camera image", "show it as a heat map",
       "turn it into infrared heat vision", "use thermal colors", s=(1, 1.25),
       captions=("a thermal camera image of {subject}", "a heat map of {subject}", "{subject} in thermal colors"))

def _cyanotype(x: Array) -> Array:
    return palette(np.clip(1.1 * luma(x), 0, 1), (0.02, 0.1, 0.32), (0.26, 0.48, 0.72), (0.94, 0.98, 1))
family("cyanotype", "color", _cyanotype, "turn it into a cyanotype", "make it a blue cyanotype print",
       "print it in Prussian blue", "make it an old blue photo print",
       captions=("a cyanotype of {subject}", "a blue cyanotype print of {subject}", "{subject} as a cyanotype"))

def _teal_orange(x: Array, s: float) -> Array:
    return x + s * blend(channels(-0.24, 0.03, 0.13), channels(0.2, 0.03, -0.26), luma(x))
family("teal_orange", "color", _teal_orange, "give it {adv}teal and orange movie colors",
       "make the shadows teal and the highlights orange", "color grade it like a movie",
       "give it a {adv}cinematic teal and orange look", s=(0.8, 1.6),
       captions=("a movie still of {subject} in teal and orange", "{subject} in {adv}cinematic teal and orange"))

def _color_pop(x: Array, c: float) -> Array:
    u, v = _opponents(x)
    goal_u, goal_v = _opponents(rgb(c, 1)[None, None])
    away = np.abs(np.angle((u + 1j * v + 1e-9) * np.conj(goal_u + 1j * goal_v), deg=True))
    kept = np.clip((50 - away) / 25, 0, 1)  # the whole colour up to 25 degrees away, none of it from 50
    return luma(x) + (x - luma(x)) * 1.4 * kept
family("color_pop", "color", _color_pop, "keep only the {color} parts in color",
       "make everything gray except what is {color}", "leave only {color} in color", "remove all colors but {color}",
       weight=1.6, c=color(words=()),
       captions=("{subject} in black and white with only {color} left in color",
                 "a black and white photo of {subject} where only the {color} parts have color"))

def _opponents(x: Array) -> tuple[Array, Array]:
    """The hue as a direction: it has no jump, unlike that of HSV."""
    red, green, blue = x[..., :1], x[..., 1:2], x[..., 2:]
    return red - (green + blue) / 2, np.sqrt(0.75) * (green - blue)

family("solarize", "color", lambda x, s: blend(x, 1 - np.abs(2 * x - 1), s),
       "solarize it", "solarize the photo {amt}", "reverse the bright tones {amt}",
       "give it the look of overexposed darkroom film", s=(0.6, 1),
       captions=("a solarized photo of {subject}", "{subject} solarized, with reversed bright tones"))

def _infrared(x: Array) -> Array:
    red, green, blue = x[..., :1], x[..., 1:2], x[..., 2:]
    plants = np.clip(5 * (green - (red + blue) / 2), 0, 1)
    tone = palette(np.clip(0.9 * red + 0.65 * green - 0.5 * blue, 0, 1),
                   (0.04, 0.1, 0.2), (0.55, 0.42, 0.55), (1, 0.9, 0.92))
    return blend(tone, channels(1, 0.72, 0.84) * (0.55 + 0.6 * luma(x)), plants)
family("infrared", "color", _infrared, "make it an infrared photograph", "turn it into a false color infrared photo",
       "make it look like infrared film", "make the plants white and pink and the sky dark like on infrared film",
       captions=("an infrared photograph of {subject}", "{subject} on false color infrared film"))

def _high_key(x: Array, s: float) -> Array:
    lifted = 1 - (1 - x) ** (1 + 1.7 * s)
    return blend(saturate(lifted, 1 - 0.35 * s), 1, 0.22 * s)
family("high_key", "color", _high_key, "make it {adv}airy and bright", "give it a {adv}bright look with washed whites",
       "make it a {adv}high key photo", "make it light and airy", s=(0.4, 1),
       captions=("a {adv}bright and airy photo of {subject}", "{subject} in {adv}washed bright whites"))
