"""The standard edits of the benchmark."""

from collections.abc import Mapping

from .edits import SyntheticEdit, compose, make


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
