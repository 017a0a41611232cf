"""Light, weather and the time of day."""

import numpy as np
from PIL import ImageDraw

from .family import PLACE, SIDE, family
from .pixels import Array, blend, centers, channels, distance, drawn, inward, luma, saturate, soften

# A table: each family its name, its group, its formula, which stands above it where it is long, and its words.
# fmt: off

family("night", "light", lambda x, s: (luma(x) * channels(0.22, 0.32, 0.62) + x * channels(0.14, 0.18, 0.3)) * s,
       "make it night", "turn day into night", "make it look like {adv}dark night", "set it at night", s=(1.05, 0.6),
       captions=("{subject} at night", "{subject} on a {adv}dark night"))

def _sunset(x: Array, s: float) -> Array:
    glow = blend(channels(0.38, 0.14, 0.02), channels(0.1, 0, 0.14), centers(x)[0])
    return blend(x, x * channels(1, 0.68, 0.5) + glow, s)
family("sunset", "light", _sunset, "make it sunset", "make it look like a {adv}red sunset", "set it at sunset",
       "give it golden hour light", s=(0.5, 1),
       captions=("{subject} at sunset", "{subject} in the light of a {adv}red sunset"))

family("brighter", "light", lambda x, s: x ** (1 / (1 + 1.3 * s)) + 0.06 * s,
       "make it {more}brighter", "brighten the image {amt}", "increase the brightness {amt}", "add {more}more light",
       s=(0.25, 1),
       captions=("a {adv}bright photo of {subject}", "{subject} in {adv}bright light"))
family("darker", "light", lambda x, s: x * (1 - s),
       "make it {more}darker", "darken the image {amt}", "decrease the brightness {amt}", "make it {more}dimmer",
       s=(0.25, 0.72),
       captions=("a {adv}dark photo of {subject}", "{subject} in {adv}dim light"))
family("contrast", "light", lambda x, s: 0.5 + (x - 0.5) * (1 + s),
       "increase the contrast {amt}", "make it {more}more dramatic", "give it {adv}high contrast",
       "make the contrast {more}stronger", s=(0.4, 1.8),
       captions=("a {adv}dramatic photo of {subject}", "{subject} with {adv}high contrast"))
family("blur", "light", lambda x, s: soften(x, s),
       "blur it {amt}", "make it {adv}blurry", "make it {more}softer", "put it out of focus", s=(0.9, 4),
       captions=("a {adv}blurry photo of {subject}", "{subject} out of focus"))
family("spotlight", "overlay", lambda x, pos, s: x * (0.22 + 1 / (1 + np.exp((distance(x, pos) - s) / 0.04))),
       "shine a spotlight {pos}", "add a spotlight {pos}", "light only the part {pos}", "put a beam of light {pos}",
       weight=1.2, pos=PLACE, s=(0.3, 0.18),
       captions=("{subject} with a spotlight {pos}", "{subject} lit only {pos}"))

def _fog(x: Array, s: float) -> Array:
    thickness = np.clip(s * (1.25 - 0.5 * centers(x)[0]), 0, 1)
    return blend(soften(x, 0.8), channels(0.8, 0.82, 0.84), thickness)
family("fog", "weather", _fog, "add {adv}thick fog", "make it foggy", "make it {adv}misty", "cover it in mist",
       s=(0.35, 0.8),
       captions=("{subject} in {adv}thick fog", "{subject} on a {adv}misty day"))

def _snow(x: Array, s: float) -> Array:
    rng = np.random.default_rng(7)
    flakes = [(rng.random(), rng.random(), rng.uniform(1.6, 3.4) / 128) for _ in range(150)]

    def draw(canvas: ImageDraw.ImageDraw, height: int, width: int) -> None:
        for across, down, size in flakes[:int(s)]:
            x, y, half = across * width, down * height, size * min(height, width)
            canvas.ellipse((x - half, y - half, x + half, y + half), fill=255)

    return blend(saturate(x, 0.7) * 0.8 + 0.1, 1, 0.95 * soften(drawn(x, draw), 0.5))
family("snow", "weather", _snow, "make it snow {amt}", "add {adv}heavy snow", "add falling snow", "make it a snowy day",
       s=(45, 150),
       captions=("{subject} in {adv}heavy snow", "{subject} on a snowy day", "{subject} with falling snow"))

def _rain(x: Array, s: float) -> Array:
    rng = np.random.default_rng(11)
    drops = [(rng.uniform(-0.1, 1.1), rng.uniform(-0.2, 1), rng.uniform(0.12, 0.26)) for _ in range(90)]

    def draw(canvas: ImageDraw.ImageDraw, height: int, width: int) -> None:
        short = min(height, width)
        for across, down, long in drops[:int(30 + 60 * s)]:
            x, y, fall, half = across * width, down * height, long * short, 0.009 * short
            slant = 0.3 * fall
            canvas.polygon([(x - half, y), (x + half, y), (x + half - slant, y + fall), (x - half - slant, y + fall)],
                           fill=255)

    gray = saturate(x, 0.55 - 0.25 * s) * channels(0.72, 0.76, 0.82) * (1 - 0.2 * s)
    return blend(gray, channels(0.84, 0.88, 0.94), (0.5 + 0.2 * s) * soften(drawn(x, draw), 0.4))
family("rain", "weather", _rain, "make it rain {amt}", "add {adv}heavy rain", "add falling rain", "make it a rainy day",
       s=(0, 1),
       captions=("{subject} in {adv}heavy rain", "{subject} on a rainy day", "{subject} with falling rain"))

def _overcast(x: Array, s: float) -> Array:
    flat = (0.32 + 0.5 * saturate(x, 0.3)) * channels(0.78, 0.9, 1.02)
    clouds = channels(0.62, 0.67, 0.73)
    return blend(x, blend(flat, clouds, 0.5 * (1 - centers(x)[0])), s)
family("overcast", "weather", _overcast, "make it {adv}overcast", "make the light flat and gray",
       "make it a {adv}gray cloudy day", "cover the sky with clouds", s=(0.6, 1),
       captions=("{subject} on a {adv}gray cloudy day", "{subject} in flat gray light"))

def _underwater(x: Array, s: float) -> Array:
    depth = centers(x)[0]
    water = blend(channels(0.22, 0.72, 0.74), channels(0, 0.16, 0.42), depth)
    seen = soften(x, 0.9) * channels(0.3, 0.75, 0.85) * (1 - 0.35 * depth)
    return blend(x, blend(seen, water, 0.4), s)
family("underwater", "weather", _underwater, "put it under water", "make it look {adv}deep under water",
       "make it an underwater photo", "fill it with blue green water", s=(0.6, 1),
       captions=("{subject} under water", "an underwater photo of {subject}", "{subject} {adv}deep under water"))

def _sunbeams(x: Array, side: str, s: float) -> Array:
    depth, aside = inward(x, side), inward(x, "left" if side in ("top", "bottom") else "top")
    rays = 0.5 + 0.5 * np.cos(16 * np.arctan2(aside - 0.5, depth + 0.25))
    light = channels(1, 0.8, 0.4) * s * (1 - 0.9 * depth) * (0.45 + 0.55 * rays)
    return 1 - (1 - 0.92 * x) * (1 - light)
family("sunbeams", "weather", _sunbeams, "add warm sunbeams from the {side}", "let the sun shine in from the {side}",
       "add {adv}bright sun rays from the {side}", "put golden sunlight {on_side}", weight=1.2, side=SIDE, s=(0.55, 1),
       captions=("{subject} with sunbeams from the {side}", "{subject} in {adv}bright sunlight from the {side}"))
