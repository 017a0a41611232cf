"""Image edits with a known right answer for any photo at any size, and the English that asks for them.

`make` names an edit, `compose` chains several, `sample` draws one; `SyntheticEdit.apply` gives the truth and
`SyntheticEdit.instruction` the words. The embedded editor was trained on these very formulas and words: a constant
changed here changes its task.

Parameters: `s` strength; `c`, `c2` colours; `pos` and `shape` words; `w` width of a frame as a share of each side; `r`
size of a shape as a share of the shorter side; `t` the brightness below which a pixel turns to ink.

Pictures in here are arrays `(h, w, 3)` in [0, 1], brightness and masks `(h, w, 1)`. Lengths in pixels are those of a
picture with a short side of 128; `_scale` carries them over to other sizes.
"""

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage
from torch import Tensor

from .errors import UsageError, unknown_name

# mypy: disable-error-code="no-any-return"
# (numpy's typing says Any for what many of its functions return.)

# The formulas are functions of this module too, but `blur` or `frame` alone says too little: go through `make`.
__all__ = ["FAMILIES", "SAID", "UNSAID", "Family", "Parameter", "SyntheticEdit", "compose", "make", "phrases", "sample"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]
Value = float | str

HUES = {"red": 0, "orange": 28, "yellow": 55, "green": 120, "teal": 175, "blue": 222, "purple": 275, "pink": 325}
NEUTRALS = {"white": 1.0, "black": 0.0, "gray": 0.5}
ROWS, COLUMNS = {"top ": 0.22, "": 0.5, "bottom ": 0.78}, {"left": 0.22, "": 0.5, "right": 0.78}
PLACES = {(row + column).strip() or "center": (x, y) for row, y in ROWS.items() for column, x in COLUMNS.items()}


@dataclass(frozen=True)
class Parameter:
    """A number from `low` to `high`, or one of `words`; `word_share` of the random draws are words."""

    low: float = 0.0
    high: float = 1.0
    words: tuple[str, ...] = ()
    word_share: float = 0.0

    def draw(self, rng: np.random.Generator) -> Value:
        """A random value."""
        if rng.random() < self.word_share:
            return self.words[rng.integers(len(self.words))]
        return float(rng.uniform(self.low, self.high))

    def accepts(self, value: object) -> bool:
        """Whether an edit can be made with this value."""
        if isinstance(value, (int, float)):
            return self.word_share < 1 and self.low <= value <= self.high
        return value in self.words

    def __str__(self) -> str:
        numbers = [f"a number from {self.low:g} to {self.high:g}"] if self.word_share < 1 else []
        return " or ".join([*numbers, *self.words])


@dataclass(frozen=True)
class Family:
    """One kind of edit: its formula, the ways to ask for it, and the parameters that both take."""

    name: str
    group: str  # 'color', 'light' and 'style' change the picture itself; an 'overlay' lies on top of it
    phrasings: tuple[str, ...]  # the plainest first, with the placeholders that `_say` fills
    parameters: Mapping[str, Parameter]
    weight: float  # relative share of `sample`; 0: never drawn
    strength: tuple[float, float]  # what the formula gets as `s` for a strength of 0 and of 1
    formula: Callable[..., Array]  # (h, w, 3) and the parameters -> (h, w, 3 or 1), not yet clipped to [0, 1]


FAMILIES: dict[str, Family] = {}


def _family(
    group: str, *phrasings: str, weight: float = 1, s: tuple[float, float] | None = None, **parameters: Parameter
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Register the decorated formula as the family of its name; `s` gives it a strength."""

    def register(formula: Callable[..., Array]) -> Callable[..., Array]:
        name, known = formula.__name__, parameters if s is None else {**parameters, "s": Parameter(0, 1)}
        FAMILIES[name] = Family(name, group, phrasings, known, weight, s or (0, 1), formula)
        return formula

    return register


PLACE = Parameter(words=tuple(PLACES), word_share=1)
SHAPE = Parameter(words=("circle", "square", "triangle", "star", "heart"), word_share=1)

# What follows reads as a list: first what formulas share, then the families, each its words and its formula.
# fmt: off

def _color(word_share: float = 0.0, words: tuple[str, ...] = tuple(NEUTRALS)) -> Parameter:
    return Parameter(0, 360, words, word_share)

def _channels(red: float, green: float, blue: float) -> Array:
    return np.array((red, green, blue), np.float32)

def _rgb(color: Value, saturation: float = 0.9, value: float = 1.0) -> Array:
    if isinstance(color, str):
        return np.full(3, NEUTRALS[color] * value, np.float32)
    return _channels(*colorsys.hsv_to_rgb(color % 360 / 360, saturation, value))

def _luma(x: Array) -> Array:
    return (x @ _channels(0.299, 0.587, 0.114))[..., None]

def _saturate(x: Array, factor: float) -> Array:
    return _luma(x) + (x - _luma(x)) * factor

def _blend(x: Array, over: Array | float, share: Array | float) -> Array:
    return x * (1 - share) + over * share

def _scale(x: Array) -> float:
    return min(x.shape[:2]) / 128

def _soften(x: Array, sigma: float) -> Array:
    return ndimage.gaussian_filter(x, (sigma * _scale(x), sigma * _scale(x), 0))

def _edges(x: Array, sigma: float) -> Array:
    luma = _soften(_luma(x), sigma)[..., 0]
    return np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1))[..., None]

def _by_pillow(x: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    return np.asarray(change(Image.fromarray((x * 255 + 0.5).astype(np.uint8))), np.float32) / 255

def _median(x: Array, width: float) -> Array:
    odd = max(3, round(width * _scale(x)) // 2 * 2 + 1)
    return _by_pillow(x, lambda picture: picture.filter(ImageFilter.MedianFilter(odd)))

def _centers(x: Array) -> tuple[Array, Array]:
    """Rows `(h, 1, 1)` and columns `(1, w, 1)` of the pixel centres, as shares of the height and the width."""
    height, width = x.shape[:2]
    return (np.arange(height)[:, None, None] + 0.5) / height, (np.arange(width)[None, :, None] + 0.5) / width

def _distance(x: Array, place: str) -> Array:
    (rows, columns), (across, down) = _centers(x), PLACES[place]
    return np.hypot(rows - down, columns - across)

def _to_border(x: Array) -> Array:
    rows, columns = _centers(x)
    return np.minimum(np.minimum(rows, 1 - rows), np.minimum(columns, 1 - columns))

def _third(s: float) -> int:
    return min(2, int(s * 3))

@_family("color", "make it black and white", "turn it into a grayscale photo", "remove the color",
         "convert to monochrome", "make it a black and white picture")
def grayscale(x: Array) -> Array:
    return _luma(x)

@_family("color", "make it sepia", "give it {adv}sepia tones", "make it look like an old brown photograph",
         "turn it into a vintage sepia photo", s=(0.6, 1))
def sepia(x: Array, s: float) -> Array:
    return _blend(x, _luma(x) * _channels(1.1, 0.88, 0.62) + _channels(0.06, 0.03, 0), s)

@_family("color", "invert the colors", "turn it into a photo negative", "make it a negative", "reverse all the colors")
def invert(x: Array) -> Array:
    return 1 - x

@_family("color", "make it {more}warmer", "make the colors {more}warmer", "add {adv}warm light",
         "give it a {adv}warm tone", s=(0.35, 1))
def warm(x: Array, s: float) -> Array:
    return x * (1 + s * _channels(0.35, 0.03, -0.5))

@_family("color", "make it {more}cooler", "make the colors {more}cooler", "add {adv}cold light",
         "give it a {adv}cool tone", s=(0.35, 1))
def cool(x: Array, s: float) -> Array:
    return x * (1 - s * _channels(0.5, 0.05, -0.3)) + s * _channels(0, 0, 0.08)

@_family("light", "make it night", "turn day into night", "make it look like {adv}dark night", "set it at night",
         s=(1.05, 0.6))
def night(x: Array, s: float) -> Array:
    return (_luma(x) * _channels(0.22, 0.32, 0.62) + x * _channels(0.14, 0.18, 0.3)) * s

@_family("light", "make it sunset", "make it look like a {adv}red sunset", "set it at sunset",
         "give it golden hour light", s=(0.5, 1))
def sunset(x: Array, s: float) -> Array:
    glow = _blend(_channels(0.38, 0.14, 0.02), _channels(0.1, 0, 0.14), _centers(x)[0])
    return _blend(x, x * _channels(1, 0.68, 0.5) + glow, s)

@_family("light", "make it {more}brighter", "brighten the image {amt}", "increase the brightness {amt}",
         "add {more}more light", s=(0.25, 1))
def brighter(x: Array, s: float) -> Array:
    return x ** (1 / (1 + 1.3 * s)) + 0.06 * s

@_family("light", "make it {more}darker", "darken the image {amt}", "decrease the brightness {amt}",
         "make it {more}dimmer", s=(0.25, 0.72))
def darker(x: Array, s: float) -> Array:
    return x * (1 - s)

@_family("color", "make it {adv}faded", "wash out the colors {amt}", "lower the contrast {amt}",
         "make it look like a {adv}faded film photo", s=(0.35, 1))
def faded(x: Array, s: float) -> Array:
    return 0.5 + (_saturate(x, 1 - 0.5 * s) - 0.5) * (1 - 0.55 * s) + 0.1 * s

@_family("color", "make the colors {more}more vivid", "increase the saturation {amt}", "make it {adv}colorful",
         "make it {more}more saturated", s=(0.5, 2.2))
def vivid(x: Array, s: float) -> Array:
    return _saturate(x, 1 + s)

@_family("light", "increase the contrast {amt}", "make it {more}more dramatic", "give it {adv}high contrast",
         "make the contrast {more}stronger", s=(0.4, 1.8))
def contrast(x: Array, s: float) -> Array:
    return 0.5 + (x - 0.5) * (1 + s)

@_family("color", "tint it {color}", "give it a {adv}{color} tint", "make everything {adv}{color}",
         "put a {color} filter on it", "make it {color}", weight=2.2, c=_color(), s=(0.3, 1))
def tint(x: Array, c: Value, s: float) -> Array:
    return _blend(x, _rgb(c, 0.85) * (_luma(x) * 0.9 + 0.12), s)

@_family("color", "make it a {color} and {color2} duotone", "turn it into a duotone of {color} and {color2}",
         "use only {color} and {color2}", "recolor it with {color} shadows and {color2} highlights",
         weight=1.8, c=_color(0.1), c2=_color(0.1))
def duotone(x: Array, c: Value, c2: Value) -> Array:
    return _blend(_rgb(c, 0.9, 0.4), _rgb(c2, 0.6), np.clip((_luma(x) - 0.1) / 0.8, 0, 1))

@_family("color", "swap red and blue", "exchange the red and the blue channel", weight=0)
def channel_swap(x: Array) -> Array:
    """Never drawn by `sample`: it measures how well an editor learns what it has not been trained on."""
    return x[..., ::-1] ** 1.3

@_family("style", "turn it into a pencil sketch", "make it a {adv}fine pencil drawing", "draw it with a pencil",
         "make it look like a sketch", weight=1.2, s=(4, 1.6))
def sketch(x: Array, s: float) -> Array:
    dodged = _luma(x) / (1 - _soften(1 - _luma(x), s) + 0.02)
    return np.clip(dodged, 0, 1) ** 1.6 * 0.95 + 0.03

@_family("style", "turn it into {color} neon lines on black", "show glowing {color} edges on a black background",
         "make it a {color} neon drawing", "draw the outlines in {color} neon",
         weight=1.6, c=_color(0.12, words=("white", "gray")), s=(1.6, 3.2))
def neon(x: Array, c: Value, s: float) -> Array:
    glow = np.clip(_edges(x, 1) * s, 0, 1.3)
    return glow * _rgb(c, 0.85) + np.clip(glow - 0.8, 0, 1) * 0.8

@_family("style", "posterize it", "reduce it to a few flat colors", "make it a poster with {adv}few colors",
         "make it a flat color print", s=(4, 2))
def posterize(x: Array, s: float) -> Array:
    steps = round(s) - 1
    return np.round(_soften(x, 0.7) * steps) / steps

@_family("style", "pixelate it", "make it {adv}pixelated", "turn it into {adv}blocky pixel art",
         "make it look like an old video game", weight=1.2, s=(0, 1))
def pixelate(x: Array, s: float) -> Array:
    (height, width), block = x.shape[:2], (4, 8, 16)[_third(s)] * _scale(x)
    blocks = max(1, round(width / block)), max(1, round(height / block))
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    return _by_pillow(x, lambda picture: picture.resize(blocks, box).resize((width, height), nearest))

@_family("style", "emboss it", "make it a gray relief carving", "turn it into an embossed picture",
         "make it look carved in stone", s=(0.8, 1.8))
def emboss(x: Array, s: float) -> Array:
    luma, step = _soften(_luma(x), 0.7), max(1, round(1.5 * _scale(x)))
    return 0.5 + (np.roll(luma, (step, step), (0, 1)) - np.roll(luma, (-step, -step), (0, 1))) * s

@_family("style", "turn it into an oil painting", "paint it in oil", "make it look like a painting",
         "make it a painting with thick brush strokes", s=(5, 9))
def oil(x: Array, s: float) -> Array:
    return _saturate(_median(x, s), 1.5) * 1.05

@_family("style", "turn it into a watercolor", "paint it in watercolor", "make it a soft watercolor painting",
         "make it look like watercolor on paper", s=(0.75, 0.5))
def watercolor(x: Array, s: float) -> Array:
    wash = _saturate(1 - (1 - _median(_soften(x, 1), 5)) * s, 1.5)
    outlined = wash * (1 - 0.35 * np.clip(_edges(x, 1.2) * 1.5, 0, 1))
    return _blend(outlined, 0.97, 1 - np.clip(_to_border(x) / 0.1, 0, 1))

@_family("style", "turn it into black ink on white paper", "make it a black and white stencil",
         "make it a high contrast ink print", "make only pure black and white", t=Parameter(0.38, 0.58))
def ink(x: Array, t: float) -> Array:
    return 1 / (1 + np.exp(-22 * (_soften(_luma(x), 0.8) - t)))

@_family("color", "make it a thermal camera image", "show it as a heat map", "turn it into infrared heat vision",
         "use thermal colors", s=(1, 1.25))
def thermal(x: Array, s: float) -> Array:
    half_a_pixel = 0.5 / _scale(x)  # at every size: it removes noise, which does not grow with the picture
    heat = np.clip(_soften(_luma(x), half_a_pixel) * s, 0, 1)
    palette = (0.05, 0.3, 0.85, 1, 1), (0, 0.05, 0.2, 0.7, 1), (0.3, 0.6, 0.35, 0.1, 0.8)
    return np.concatenate([np.interp(heat, (0, 0.25, 0.5, 0.75, 1), channel) for channel in palette], -1)

@_family("light", "blur it {amt}", "make it {adv}blurry", "make it {more}softer", "put it out of focus", s=(0.9, 4))
def blur(x: Array, s: float) -> Array:
    return _soften(x, s)

@_family("overlay", "add a {adv}dark vignette", "darken the corners {amt}", "add a vignette",
         "make the edges {more}darker", s=(0, 1))
def vignette(x: Array, s: float) -> Array:
    outside = np.clip((_distance(x, "center") / 0.707 - (0.4 - 0.2 * s)) / 0.6, 0, 1)
    return x * (1 - (0.55 + 0.45 * s) * outside**1.2)

@_family("overlay", "add {adv}thick fog", "make it foggy", "make it {adv}misty", "cover it in mist", s=(0.35, 0.8))
def fog(x: Array, s: float) -> Array:
    thickness = np.clip(s * (1.25 - 0.5 * _centers(x)[0]), 0, 1)
    return _blend(_soften(x, 0.8), _channels(0.8, 0.82, 0.84), thickness)

@_family("overlay", "add a rainbow filter", "make it rainbow colored", "put rainbow light over it",
         "cover it in rainbow colors", s=(0.4, 0.9))
def rainbow(x: Array, s: float) -> Array:
    light = np.stack([_rgb(hue, 0.85) for hue in np.linspace(0, 300, x.shape[1])])
    return _blend(x, light * (_luma(x) * 0.8 + 0.2), s)

@_family("overlay", "shine a spotlight {pos}", "add a spotlight {pos}", "light only the part {pos}",
         "put a beam of light {pos}", weight=1.2, pos=PLACE, s=(0.3, 0.18))
def spotlight(x: Array, pos: str, s: float) -> Array:
    return x * (0.22 + 1 / (1 + np.exp((_distance(x, pos) - s) / 0.04)))

@_family("overlay", "add a {wide}{color} frame", "put a {wide}{color} border around it", "frame it in {color}",
         "give it a {wide}{color} border", weight=2.2, c=_color(0.3), w=Parameter(0.03, 0.14))
def frame(x: Array, c: Value, w: float) -> Array:
    return _blend(x, _rgb(c), np.clip((w - _to_border(x)) * min(x.shape[:2]) + 0.5, 0, 1))

@_family("overlay", "add a {size}{color} {shape} {pos}", "put a {size}{color} {shape} {pos}",
         "draw a {size}{color} {shape} {pos}", "place a {size}{color} {shape} {pos}",
         weight=5, c=_color(0.15), shape=SHAPE, pos=PLACE, r=Parameter(0.1, 0.24))
def shape(x: Array, c: Value, shape: str, pos: str, r: float) -> Array:
    height, width = (4 * side for side in x.shape[:2])  # drawn larger, then scaled down: smooth edges
    across, down, size = PLACES[pos][0] * width, PLACES[pos][1] * height, r * min(height, width)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    if shape in ("circle", "square"):
        fill, half = (draw.ellipse, size) if shape == "circle" else (draw.rectangle, 0.88 * size)
        fill((across - half, down - half, across + half, down + half), fill=255)
    else:
        draw.polygon([(across + size * right, down + size * below) for right, below in _corners(shape)], fill=255)
    mask = canvas.resize((width // 4, height // 4), Image.Resampling.BOX)
    return _blend(x, _rgb(c), np.asarray(mask, np.float32)[..., None] / 255)

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

# fmt: on


def _color_words(color: Value, two_words: bool) -> str:
    if isinstance(color, str):
        return color
    hue, stops = color % 360, [*HUES.items(), ("red", 360)]
    (below, low), (above, high) = next(pair for pair in pairwise(stops) if hue <= pair[1][1])
    share = (hue - low) / (high - low)
    if two_words and 0.33 <= share <= 0.67:
        return f"{below} {above}"
    return below if share <= 0.5 else above


def _say(template: str, params: Mapping[str, Any], two_words: bool) -> str:
    level, place = _third(params.get("s", 0.5)), params.get("pos", "")
    width, radius = params.get("w", 0.08), params.get("r", 0.17)
    words = {
        "adv": ("slightly ", "", "very ")[level],
        "more": ("a little ", "", "much ")[level],
        "amt": ("a little", "", "a lot")[level],
        "color": _color_words(params.get("c", 0), two_words),
        "color2": _color_words(params.get("c2", 0), two_words),
        "shape": params.get("shape", ""),
        "pos": f"in the {place}" + (" corner" if " " in place else ""),
        "wide": "thin " if width < 0.06 else "thick " if width > 0.105 else "",
        "size": "small " if radius < 0.14 else "big " if radius > 0.2 else "",
    }
    return " ".join(template.format(**words).replace("a orange", "an orange").split())


@dataclass(frozen=True)
class SyntheticEdit:
    """An edit with its parameters or, where there are `parts`, those edits one after the other."""

    name: str
    params: Mapping[str, Value] = field(default_factory=dict, hash=False)
    parts: tuple["SyntheticEdit", ...] = ()

    def apply(self, image: Tensor) -> Tensor:
        """The right answer for an image `(3, h, w)` in [0, 1]: same size, float32, [0, 1], on the same device."""
        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
            raise UsageError(f"expected a float tensor (3, h, w) in [0, 1], got {tuple(image.shape)} {image.dtype}")
        x = image.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
        for part in self.parts or (self,):
            x = part._render(x)
        return torch.tensor(x, device=image.device).permute(2, 0, 1).contiguous()

    def _render(self, x: Array) -> Array:
        family, given = FAMILIES[self.name], dict(self.params)
        if "s" in given:
            weak, strong = family.strength
            given["s"] = weak + (strong - weak) * float(given["s"])
        return np.broadcast_to(np.clip(family.formula(x, **given), 0, 1), x.shape).astype(np.float32)

    def instruction(self, rng: np.random.Generator | None = None, *, two_words: bool = False) -> str:
        """The plainest way to ask for the edit or, with `rng`, a random one.

        A hue about half-way between two colour words is called by the nearer one, or by both ('teal blue') where
        `two_words` or the draw says so.
        """
        if self.parts:
            return " and ".join(part.instruction(rng, two_words=two_words) for part in self.parts)
        phrasings = FAMILIES[self.name].phrasings
        if rng is None:
            return _say(phrasings[0], self.params, two_words)
        return _say(phrasings[rng.integers(len(phrasings))], self.params, two_words or rng.random() < 0.4)


def make(name: str, /, **params: Value) -> SyntheticEdit:
    """One edit of a family: `make("tint", c=198, s=0.45)`. A number left out is the middle of its range.

    Raises:
        UsageError: no such family or parameter, a value that the parameter does not take, or a colour, a shape or a
            place left out.
    """
    if name not in FAMILIES:
        raise UsageError(unknown_name("edit", name, FAMILIES))
    parameters = FAMILIES[name].parameters
    for key, value in params.items():
        if key not in parameters:
            raise UsageError(unknown_name(f"parameter of '{name}'", key, parameters))
        if not parameters[key].accepts(value):
            raise UsageError(f"'{name}' takes {key} = {parameters[key]}; got {value!r}")
    for key, parameter in parameters.items():
        if key not in params and parameter.words:
            raise UsageError(f"'{name}' needs {key} = {parameter}")
    return SyntheticEdit(name, {key: params.get(key, (p.low + p.high) / 2) for key, p in parameters.items()})


def compose(*edits: SyntheticEdit) -> SyntheticEdit:
    """The edits one after the other, as one edit."""
    parts = tuple(part for edit in edits for part in edit.parts or (edit,))
    if not parts:
        raise UsageError("a composition needs at least one edit")
    return SyntheticEdit("+".join(part.name for part in parts), parts=parts)


def _draw(rng: np.random.Generator, families: list[Family]) -> SyntheticEdit:
    weights = np.array([family.weight for family in families])
    family = families[rng.choice(len(families), p=weights / weights.sum())]
    return SyntheticEdit(family.name, {key: parameter.draw(rng) for key, parameter in family.parameters.items()})


def sample(rng: np.random.Generator, compositions: float = 0.2) -> SyntheticEdit:
    """A random edit; this share of them changes the picture itself and then lays something over it."""
    families = list(FAMILIES.values())
    if rng.random() >= compositions:
        return _draw(rng, families)
    beneath = _draw(rng, [family for family in families if family.group != "overlay"])
    return compose(beneath, _draw(rng, [family for family in families if family.group == "overlay"]))


def phrases(count: int, seed: int = 77) -> list[str]:
    """This many distinct instructions of random edits, sorted; more of them include those of a smaller count."""
    rng, found = np.random.default_rng(seed), set[str]()
    while len(found) < count:
        found.add(sample(rng).instruction(rng))
    return sorted(found)


def _with_words(edits: Mapping[str, SyntheticEdit]) -> dict[str, tuple[SyntheticEdit, str]]:
    """Each edit with the closest words for it, which name a hue between two colours by both."""
    return {name: (edit, edit.instruction(two_words=True)) for name, edit in edits.items()}


# Edits to judge an editor by: a short instruction says exactly the first ones, and no words say the others.
_PLAIN = ("grayscale", "sepia", "invert", "night", "sketch", "thermal", "fog", "watercolor", "vignette")
SAID = _with_words(
    {name: make(name) for name in _PLAIN}
    | {"blue frame": make("frame", c=222, w=0.08), "green neon": make("neon", c=120)}
)
UNSAID = _with_words(
    {
        "tint hue 198": make("tint", c=198, s=0.45),
        "duotone 85-345 + frame 250": compose(make("duotone", c=85, c2=345), make("frame", c=250, w=0.05)),
        "tint hue 95": make("tint", c=95),
        "duotone 30-260": make("duotone", c=30, c2=260),
        "warm + vignette": compose(make("warm"), make("vignette")),
        "faded + purple-pink frame": compose(make("faded"), make("frame", c=300)),
        "sepia 0.5 + spotlight top left": compose(make("sepia"), make("spotlight", pos="top left")),
        "cool + rainbow light": compose(make("cool"), make("rainbow")),
    }
) | {"channel swap": (make("channel_swap"), "invert the colors")}
