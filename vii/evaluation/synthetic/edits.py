"""Edits: made by name, chained, drawn at random, applied to a photo and described in words; those of the benchmark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...errors import UsageError, unknown_name
from . import looks, photographic, styles, weather  # noqa: F401 - to import them is to register their families
from .family import FAMILIES, Family, say
from .pixels import Array, Value


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
        family = FAMILIES[self.name]
        if rng is None:
            return say(family, family.phrasings[0], self.params, two_words)
        template = family.phrasings[rng.integers(len(family.phrasings))]
        return say(family, template, self.params, two_words or rng.random() < 0.4)

    def caption(self, subject: str, rng: np.random.Generator | None = None) -> str:
        """What the result shows, of a photo of `subject` ('a dog'): the plainest description or a random one."""
        text, joined = subject, False
        for index, part in enumerate(self.parts or (self,)):
            family = FAMILIES[part.name]
            # 'a sepia photo of' a sketch of a dog is wrong: what comes later is said after what is there already.
            templates = [template for template in family.captions if not index or template.startswith("{subject}")]
            template = templates[0 if rng is None else rng.integers(len(templates))]
            also = "{subject} with " in template
            if also and joined:
                template = template.replace("{subject} with ", "{subject} and ")
            text, joined = say(family, template, part.params, subject=text), also
        return text


def make(name: str, /, **params: Value) -> SyntheticEdit:
    """One edit of a family: `make("tint", c=198, s=0.45)`. A number left out is the middle of its range.

    Raises UsageError for an unknown family or parameter, a value that the parameter does not take, or a colour, a
    shape, a side or a place left out.
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
        if key not in params and (parameter.words or key == "c"):
            raise UsageError(f"'{name}' needs {key} = {parameter}")
    return SyntheticEdit(name, {key: params.get(key, (p.low + p.high) / 2) for key, p in parameters.items()})


def compose(*edits: SyntheticEdit) -> SyntheticEdit:
    """The edits one after the other, as one edit."""
    parts = tuple(part for edit in edits for part in edit.parts or (edit,))
    if not parts:
        raise UsageError("a composition needs at least one edit")
    return SyntheticEdit("+".join(part.name for part in parts), parts=parts)


# A drawn composition has at most one of each row: two of them hide each other or leave nothing to see.
CLASHES: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "frame letterbox porthole bar",
        "night darker half_dark spotlight neon chalk blueprint vignette",
        "grayscale ink sketch charcoal halftone emboss line_drawing half_gray color_center color_pop",
        "sketch line_drawing high_key brighter snow rain fog",
        "snow rain fog overcast underwater sunbeams night sunset",
        "blur tilt_shift dreamy background_blur",
        "blur dreamy local_contrast sharpen",
        "sunbeams light_leak dodge_burn",
        "grain pixelate",
        "double_exposure color_center porthole",
        "blur sketch line_drawing neon chalk blueprint halftone",
        "pixelate censor blur",
        "rainbow gradient half_tint stripes grid tint duotone",
        "ink posterize contrast",
    )
)
FIRST, SECOND, THIRD = ("color", "light", "style"), ("overlay", "weather", "local"), ("light", "weather", "overlay")


def _draw(
    rng: np.random.Generator, allowed: Callable[[Family], bool], shares: Mapping[str, float] | None = None
) -> SyntheticEdit:
    families = [family for family in FAMILIES.values() if allowed(family)]
    weights = np.array([family.weight * (shares or {}).get(family.name, 1) for family in families])
    family = families[rng.choice(len(families), p=weights / weights.sum())]
    return SyntheticEdit(family.name, {key: parameter.draw(rng) for key, parameter in family.parameters.items()})


def sample(
    rng: np.random.Generator, compositions: float = 0.2, shares: Mapping[str, float] | None = None
) -> SyntheticEdit:
    """A random edit; this share of them are compositions, of two steps or, a quarter of them, of three.

    `shares` are factors of the families' weights, by name; 1 where a family is not named.

    A composition changes the picture itself, then lays something over it or over a part of it; a third step is light,
    weather or something else laid over it.
    """
    if rng.random() >= compositions:
        return _draw(rng, lambda family: True, shares)
    steps = (FIRST, ("overlay", "local"), THIRD) if rng.random() < 0.25 else (FIRST, SECOND)
    drawn: list[SyntheticEdit] = []
    for groups in steps:
        names = {part.name for part in drawn}
        taken = names.union(*(row for row in CLASHES if row & names))
        drawn.append(_draw(rng, lambda family, g=groups, t=taken: family.group in g and family.name not in t, shares))  # type: ignore[misc]
    return compose(*drawn)


def captions(count: int, seed: int = 77) -> list[str]:
    """This many distinct captions of random edits of "a scene", sorted; more of them include those of a smaller count.

    The subject says as little as it can, so that what tells two captions apart is the edit.
    """
    rng, found = np.random.default_rng(seed), set[str]()
    while len(found) < count:
        found.add(sample(rng).caption("a scene", rng))
    return sorted(found)


def phrases(count: int, seed: int = 77) -> list[str]:
    """This many distinct instructions of random edits, sorted; more of them include those of a smaller count."""
    rng, found = np.random.default_rng(seed), set[str]()
    while len(found) < count:
        found.add(sample(rng).instruction(rng))
    return sorted(found)


def _with_words(edits: Mapping[str, SyntheticEdit]) -> dict[str, tuple[SyntheticEdit, str]]:
    """Each edit with the closest words for it, which name a hue between two colours by both."""
    return {name: (edit, edit.instruction(two_words=True)) for name, edit in edits.items()}


# A short instruction says exactly the first ones, and no words say the others.
_PLAIN = ("grayscale", "sepia", "invert", "night", "sketch", "thermal", "fog", "watercolor", "vignette")
DESCRIBABLE = _with_words(
    {name: make(name) for name in _PLAIN}
    | {
        "blue frame": make("frame", c=222, w=0.08),
        "green neon": make("neon", c=120),
        "cyanotype": make("cyanotype"),
        "blueprint": make("blueprint"),
        "cartoon": make("cartoon"),
        "snow": make("snow"),
        "left half gray": make("half_gray", side="left"),
        "red circle top left": make("shape", c=0, shape="circle", pos="top left", r=0.17),
    }
)
INDESCRIBABLE = _with_words(
    {
        "tint hue 198": make("tint", c=198, s=0.45),
        "duotone 85-345 + frame 250": compose(make("duotone", c=85, c2=345), make("frame", c=250, w=0.05)),
        "tint hue 95": make("tint", c=95),
        "duotone 30-260": make("duotone", c=30, c2=260),
        "warm + vignette": compose(make("warm"), make("vignette")),
        "faded + purple-pink frame": compose(make("faded"), make("frame", c=300)),
        "sepia 0.5 + spotlight top left": compose(make("sepia"), make("spotlight", pos="top left")),
        "cool + rainbow light": compose(make("cool"), make("rainbow")),
        "right half hue 148": make("half_tint", side="right", c=148),
        "gradient hue 42 from the top 0.7": make("gradient", side="top", c=42, s=0.7),
        "bar hue 198 at the bottom 0.17": make("bar", side="bottom", c=198, w=0.17),
        "cyanotype + orange-yellow star": compose(
            make("cyanotype"), make("shape", c=42, shape="star", pos="bottom right", r=0.2)
        ),
        "cartoon + left half dark 0.6": compose(make("cartoon"), make("half_dark", side="left", s=0.6)),
        "teal and orange + letterbox + snow 0.4": compose(make("teal_orange"), make("letterbox"), make("snow", s=0.4)),
    }
) | {"channel swap": (make("channel_swap"), "invert the colors")}
