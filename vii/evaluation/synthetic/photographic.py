"""What photographers do to a picture besides its colours: light by hand, sharpness, and what film leaves on it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .family import SIDE, Parameter, color, family
from .pixels import Array, Value, blend, drawn, inward, luma, radius, rgb, soften

# A table: each family its name, its group, its formula, which stands above it where it is long, and its words.
# fmt: off

family("local_contrast", "light", lambda x, s: x + s * (luma(x) - soften(luma(x), 3)),
       "increase the local contrast {amt}", "add {adv}strong clarity", "make the structures {more}clearer",
       "bring out the structure {amt}", s=(0.6, 1.6),
       captions=("{subject} with {adv}strong local contrast", "a {adv}clear and crisp photo of {subject}"))
family("sharpen", "light", lambda x, s: x + s * (x - soften(x, 0.8)),
       "sharpen it {amt}", "make it {more}sharper", "sharpen the details {amt}", "make the edges {adv}crisp",
       s=(0.7, 2),
       captions=("a {adv}sharp photo of {subject}", "{subject} in {adv}sharp detail"))
family("dodge_burn", "overlay", lambda x, side, s: x * 2 ** (s * (1 - 2 * inward(x, side))),
       "dodge the {side} and burn the other side", "make it {more}lighter {on_side} and darker towards the other side",
       "expose the {side} {more}brighter and let it fall off", "light it {adv}hard from the {side}", side=SIDE,
       s=(0.6, 1.3),
       captions=("{subject} lit {adv}hard from the {side}", "{subject} with a bright {side} and a dark other side"))

def _background_blur(x: Array, r: float, s: float) -> Array:
    return blend(x, soften(x, s), np.clip((radius(x) - r) / 0.15, 0, 1))
family("background_blur", "local", _background_blur, "blur the background {amt}",
       "blur all that is outside a {size}circle in the middle", "keep only a {size}circle in the middle sharp",
       "give it a {adv}shallow depth of field", r=Parameter(0.15, 0.35), s=(1.5, 5),
       captions=("{subject} with a {adv}blurred background", "{subject} in a {adv}shallow depth of field"))

def _grain(x: Array, s: float) -> Array:
    rough = np.random.default_rng(5).normal(0, 1, (64, 96)).astype(np.float32)
    short, long = sorted(x.shape[:2])
    shown = Image.fromarray(rough[:, : round(64 * min(1.5, long / short))])
    fine = np.asarray(shown.resize((long, short), Image.Resampling.BICUBIC))[..., None]
    noise = fine if x.shape[0] == short else fine.swapaxes(0, 1)
    return x + s * noise * np.sqrt(np.clip(luma(x) * (1 - luma(x)), 0.02, 1))
family("grain", "overlay", _grain, "add {more}film grain", "make it {adv}grainy", "add {adv}coarse film grain",
       "make it look like {adv}grainy film", s=(0.1, 0.3),
       captions=("{subject} on {adv}grainy film", "a {adv}grainy photo of {subject}"))

def _light_leak(x: Array, c: Value, side: str, s: float) -> Array:
    aside = inward(x, "left" if side in ("top", "bottom") else "top")
    glow = s * np.exp(-((inward(x, side) / 0.3) ** 2) - ((aside - 0.4) / 0.5) ** 2)
    return 1 - (1 - x) * (1 - glow * rgb(c, 0.85))
family("light_leak", "overlay", _light_leak, "add a {adv}strong {color} light leak {on_side}",
       "let {color} light leak in from the {side}", "make {color} light flare in {on_side}",
       "add a {color} film burn {on_side}", weight=1.6, c=color(), side=SIDE, s=(0.6, 1),
       captions=("{subject} with a {color} light leak {on_side}",
                 "{subject} on film with {color} light from the {side}"))

def _date_stamp(x: Array, pos: str, s: float) -> Array:
    def draw(canvas: ImageDraw.ImageDraw, height: int, width: int) -> None:
        size = s * min(height, width)
        at = (size / 2 if "left" in pos else width - size / 2, size / 2 if "top" in pos else height - size / 2)
        anchor = ("l" if "left" in pos else "r") + ("a" if "top" in pos else "s")
        canvas.text(at, "94  7 12", 255, ImageFont.load_default(size), anchor=anchor)

    return blend(x, rgb(33), drawn(x, draw))
family("date_stamp", "overlay", _date_stamp, "add a date stamp {pos}", "stamp the date {pos}",
       "print an orange camera date {pos}", "date it like a film camera {pos}", weight=1.6,
       pos=Parameter(words=("bottom right", "bottom left", "top right", "top left"), word_share=1), s=(0.09, 0.16),
       captions=("{subject} with a date stamp {pos}", "{subject} with an orange date {pos}"))

family("double_exposure", "style", lambda x, s: 1 - (1 - x) * (1 - s * x[:, ::-1]),
       "make it a double exposure", "expose it twice, mirrored", "lay its mirror image over it {amt}",
       "blend it with its own mirror image", s=(0.5, 0.9),
       captions=("a double exposure of {subject}", "{subject} exposed twice, mirrored"))
