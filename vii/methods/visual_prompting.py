"""Visual prompting by inpainting (Bar et al. 2022, arXiv 2209.00647): a masked autoencoder fills the fourth cell.

One pass, no sampling and no words. What tasks it does depends on the figures that it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..editors.devices import pick_device
from ..editors.loading import read_manifest
from ..errors import UsageError
from ..images import Pair, resize
from ..settings import check, override, parse, setting
from .full_size import at_full_size
from .grid import FLIPS, Grid, over_flips
from .masked_codes import PromptingParts, decode_vectors, masking, read_prompting


@dataclass(frozen=True, kw_only=True)
class PromptingSettings:
    """How the canvas is put together.

    Attributes:
        background: of the lines between cells: 1 is white, as in the authors' evaluation, 0 black, as in their demo.
        swapped: pairs in columns instead of rows.
        mean_codes: decode the mean of the codes by their probabilities; false for the likeliest code, as the authors
            do. Of a model that is unsure, as small ones are, the mean errs less and is softer.
        apart: each of several pairs on a canvas of its own, and the mean of their answers; false for all on one canvas,
            as the authors do. A model that was trained on one pair makes nothing of a canvas with two.
        flips: the mean of the answers to mirrored canvases; for edits that do not depend on the place.
        detail: whether an answer of the photo's size has the photo's own outlines, as masks of its objects have too;
            false for boxes and whatever else has its own, which is then scaled up as it is.
    """

    background: float = setting(1.0, least=0, most=1)
    swapped: bool = False
    mean_codes: bool = False
    apart: bool = False
    flips: bool = False
    detail: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check(self)


@dataclass(frozen=True, eq=False)
class VisualPrompting:
    """See the module; `load_visual_prompting` reads files.

    Attributes:
        parts: the model.
        settings: how.
        size: "photo" for results of the photo's size, by `at_full_size` where `settings.detail` says so, or "cell" for
            what was made.
    """

    parts: PromptingParts
    settings: PromptingSettings = PromptingSettings()
    size: str = "photo"

    def grid(self, examples: int) -> Grid:
        """Of 224 pixels: cells of 111 two pixels apart or, with two pairs, of 74 one pixel apart."""
        background, swapped = self.settings.background, self.settings.swapped
        gap = 2 if examples == 1 else 1
        return Grid.within(self.parts.side, examples, gap=gap, background=background, swapped=swapped)

    def hidden(self, grid: Grid) -> Tensor:
        """`(h, w)` of bool: the patches that are masked, which are those with a part of the answer."""
        return F.max_pool2d(grid.mask()[None], self.parts.patch)[0, 0] > 0

    @torch.no_grad()
    def canvas(self, pairs: Sequence[Pair], photo: Tensor) -> Tensor:
        """The whole canvas `(3, s, s)` in [0, 1], with the masked patches made and the others as they were."""
        grid = self.grid(len(pairs))
        drawn = grid.draw(pairs, photo.cpu())[None].to(self.parts.device)
        hidden = self.hidden(grid).to(drawn.device)
        with masking(self.parts.mae, int(hidden.sum())):
            logits, _ = self.parts.mae(drawn, noise=hidden.flatten()[None].float())
        codes = self.parts.vq.quantize.embedding.weight
        # Codes of what was seen are the model's too.
        vectors = logits.softmax(-1) @ codes if self.settings.mean_codes else codes[logits.argmax(-1)]
        made = decode_vectors(self.parts.vq, vectors)
        made = F.interpolate(made, drawn.shape[-2:], mode="bilinear")
        pixels = hidden.repeat_interleave(self.parts.patch, 0).repeat_interleave(self.parts.patch, 1)
        return torch.where(pixels, made, drawn)[0].cpu()

    def cell(self, pairs: Sequence[Pair], photo: Tensor) -> Tensor:
        """The answer cut out of the canvas, `(3, cell, cell)` in [0, 1]."""
        return self.grid(len(pairs)).cut(self.canvas(pairs, photo))

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`; the seed changes nothing."""
        if not pairs:
            raise UsageError("expected at least one before/after pair")
        flips = FLIPS if self.settings.flips else FLIPS[:1]
        shown = [[pair] for pair in pairs] if self.settings.apart else [pairs]
        made = torch.stack([over_flips(self.cell, some, photo, flips) for some in shown]).mean(0)
        if self.size == "cell":
            return made
        return at_full_size(photo, made) if self.settings.detail else resize(made, *photo.shape[1:])


def load_visual_prompting(
    *, model: str, device: str | None = None, settings: Sequence[str] = (), size: str = "photo"
) -> VisualPrompting:
    """Visual prompting on a model from files.

    Args:
        model: folder, see `read_prompting`.
        device: "cuda", "mps" or "cpu"; by default the first of these there is.
        settings: `NAME=VALUE` of `PromptingSettings`, over those that an optional `vii.json` in the folder names.
        size: see `VisualPrompting`.

    Raises:
        EditorError: the model cannot be read.
        UsageError: an unknown device, or settings that cannot be.
    """
    parts = read_prompting(model, pick_device(device))
    own = read_manifest(Path(model)).suiting(PromptingSettings(), model)
    return VisualPrompting(parts, override(own, **parse(own, settings)), size)
