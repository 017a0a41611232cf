"""Analogist (Gu et al. 2024, arXiv 2405.10316): a stock inpainting model fills the fourth cell of a grid.

Nothing is learned. The example, A and A', stands above the photo B; the model fills B' from the words, and its
attention is made to imitate the example (`vii.methods.attention`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..captions import starting_texts
from ..diffusion import MAX_SCALE, MAX_STEPS
from ..editor import JointSpace
from ..editors.stable_diffusion import StableDiffusion, read_model
from ..errors import EditorError, UsageError
from ..images import Pair
from ..settings import check, check_seed, override, parse, setting
from .attention import imitating
from .describing import VisionLanguageModel, marked
from .full_size import at_full_size
from .grid import Grid
from .inpainting import check_inpainting, inpaint

NEGATIVE = "Messy,Disordered,Chaotic,Cluttered,Haphazard,Unkempt,Scattered,Disheveled,Tangled,Random"


@dataclass(frozen=True, kw_only=True)
class AnalogistSettings:
    """How Analogist works; the defaults are the authors', for Stable Diffusion's inpainting model.

    Attributes:
        num_inference_steps: of DDIM.
        strength: how much noise B', which starts as a copy of B, is given; their tasks of restoration take 0.7.
        guidance_scale: how far to go along the words.
        cloning: self-attention cloning.
        clone_scale: s, of the logits cloned: smaller for a copy of B, larger for one of A'.
        masking: cross-attention masking.
        first_block: of the transformer blocks changed, counted as they run.
        last_block: likewise.
        border: white pixels around and between cells.
        swapped: B beside A instead of A', for where A and B are aligned and A and A' are not.
        suffix: after the words.
        negative_prompt: what to keep away from.
    """

    num_inference_steps: int = setting(50, least=1, most=MAX_STEPS)
    strength: float = setting(0.98, least=0.01, most=1)
    guidance_scale: float = setting(15.0, least=-MAX_SCALE, most=MAX_SCALE)
    cloning: bool = True
    clone_scale: float = setting(1.3, least=0, most=MAX_SCALE)
    masking: bool = True
    first_block: int = setting(3, least=0)
    last_block: int = setting(10, least=0)
    border: int = setting(2, least=0, most=64)
    swapped: bool = False
    suffix: str = ", best quality, extremely detailed"
    negative_prompt: str = NEGATIVE

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check(self)


@dataclass(frozen=True, eq=False)
class Analogist:
    """See the module; `load_analogist` reads files.

    Attributes:
        parts: an inpainting model.
        settings: how.
        resolution: pixels a side of the canvas of one pair.
        text: words for B'; None for words found in another way: `vlm`, or the phrases that the model's joint
            image-text space puts nearest to the pair.
        vlm: says what B' shows.
        phrases: instructions to choose among.
        size: "photo" for results of the photo's size, see `at_full_size`, or "cell" for what was made.
    """

    parts: StableDiffusion
    settings: AnalogistSettings = field(default_factory=AnalogistSettings)
    resolution: int = 512
    text: str | None = None
    vlm: VisionLanguageModel | None = None
    phrases: Sequence[str] = ()
    size: str = "photo"
    name: str = "analogist"

    def __post_init__(self) -> None:
        """Refuse what is no inpainting model."""
        check_inpainting(self.parts)

    @property
    def joint(self) -> JointSpace | None:
        """The model's joint image-text space."""
        return self.parts.joint

    def grid(self, examples: int) -> Grid:
        """The canvas of so many pairs, whose parts are as large as those of one pair."""
        border, swapped = self.settings.border, self.settings.swapped
        if (self.resolution - 3 * border) % 2:
            raise UsageError(
                f"border: {border} leaves no two equal cells of {self.resolution} pixels; give an even one"
            )
        if examples == 1:
            return Grid.within(self.resolution, margin=border, gap=border, swapped=swapped)
        # In the middle of their parts: with the authors' borders three rows cannot be divided alike.
        return Grid(self.resolution // 2 - 2 * border, examples, margin=border, gap=2 * border, swapped=swapped)

    def words(self, pairs: Sequence[Pair], photo: Tensor) -> str:
        """What B' shows.

        Raises:
            UsageError: nothing is there that could say it.
            CaptionerError: the vision-language model fails.
        """
        if self.text is not None:
            return self.text
        if self.vlm is not None:
            grid = self.grid(len(pairs))
            return self.vlm.ask(marked(grid, grid.draw(pairs, photo)))
        try:
            reason = "" if self.joint and self.phrases else "the model has no joint image-text space"
        except EditorError as error:
            reason = str(error)
        if reason:
            raise UsageError(f"nothing says what the edit does ({reason}); say it as `text`, '' for no words, or `vlm`")
        finder: Any = self
        return starting_texts(finder, pairs, "retrieve", 1)[0]

    def canvas(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """The whole canvas `(3, h, w)` in [0, 1], as the model gives it back."""
        import diffusers

        settings, parts, grid = self.settings, self.parts, self.grid(len(pairs))
        words = self.words(pairs, photo)
        # diffusers' default is to clip, which is for models of pixels; latents are larger than 1.
        scheduler = diffusers.DDIMScheduler.from_config(parts.scheduler.config, clip_sample=False)
        blocks = range(settings.first_block, settings.last_block + 1)
        scale = settings.clone_scale if settings.cloning else None
        with imitating(parts.unet, grid, blocks, clone_scale=scale, masking=settings.masking):
            return inpaint(
                parts,
                scheduler,
                grid.with_photo_as_answer(grid.draw(pairs, photo)),
                grid.mask(),
                parts.instruct(words + settings.suffix).rows,
                parts.instruct(settings.negative_prompt).rows,
                steps=settings.num_inference_steps,
                strength=settings.strength,
                guidance_scale=settings.guidance_scale,
                generator=torch.Generator().manual_seed(check_seed(seed)),
            )

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`."""
        if not pairs:
            raise UsageError("expected at least one before/after pair")
        made = self.grid(len(pairs)).cut(self.canvas(pairs, photo, seed=seed)).cpu()
        return at_full_size(photo, made) if self.size == "photo" else made


def load_analogist(
    *,
    model: str,
    text: str | None = None,
    vlm: str | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    settings: Sequence[str] = (),
    size: str = "photo",
) -> Analogist:
    """Analogist on an inpainting model from files.

    Args:
        model: folder in diffusers' layout, or hub id, such as stable-diffusion-v1-5/stable-diffusion-inpainting.
        text: see `Analogist`.
        vlm: hub id or folder, see `VisionLanguageModel`.
        revision, device, dtype: see `vii.editors.stable_diffusion.read_model`.
        settings: `NAME=VALUE` of `AnalogistSettings`, over those that the model's own `vii.json` names.
        size: see `Analogist`.

    Raises:
        EditorError: the model cannot be read, or is none for inpainting.
        CaptionerError: the vision-language model cannot be loaded.
        UsageError: settings that cannot be.
    """
    parts, manifest, phrases = read_model(model, "inpainting model", revision=revision, device=device, dtype=dtype)
    check_inpainting(parts)  # before its settings, which another kind of model has others of
    own = manifest.suiting(AnalogistSettings(), model)
    asked = VisionLanguageModel(vlm, parts.device, parts.dtype) if vlm else None
    return Analogist(parts, override(own, **parse(own, settings)), manifest.resolution, text, asked, phrases, size)
