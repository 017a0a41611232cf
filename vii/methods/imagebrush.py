"""ImageBrush (Sun et al. 2023, arXiv 2308.00906): a diffusion model trained to complete grids of pictures.

The grid {E, E', I, blank} is denoised as a whole to {E, E', I, I'}; what the three pictures say together reaches the
UNet's middle blocks as well, through `vii.methods.prompt_encoder`. There are no words and nothing is learned at use.
Its authors published neither code nor weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..clip import TransformersClip, load_clip
from ..diffusion import MAX_SCALE, MAX_STEPS
from ..editors.devices import pick_device, pick_dtype
from ..editors.loading import Manifest, class_of, joint_space, loading, locate, read_index, read_manifest
from ..editors.shared import check_shared
from ..editors.stable_diffusion import LatentDiffusion
from ..errors import EditorError, UsageError
from ..images import Pair
from ..libraries import load_weights, quiet
from ..region import check_box
from ..settings import check, check_seed, override, parse, parse_box, setting
from .full_size import at_full_size
from .grid import Grid
from .inpainting import inpaint
from .prompt_encoder import WHOLE, VisualPromptEncoder, image_tokens

WHAT = "ImageBrush model"
PARTS = ("unet", "vae", "scheduler", "prompt_encoder", "clip")


@dataclass(frozen=True, kw_only=True)
class ImageBrushSettings:
    """How the grid is denoised.

    Attributes:
        num_inference_steps: of the model's own scheduler; the paper does not say how many.
        guidance_scale: how far to go along what the visual prompt says (eq. 3); at 1 that is all that is computed.
        photo_in_blank: whether the photo stands in the answer's cell too, where the paper has a blank; as a model was
            trained.
        box: where in the example to look, as X,Y,W,H in pixels of the pictures before; empty for all of it.
    """

    num_inference_steps: int = setting(50, least=1, most=MAX_STEPS)
    guidance_scale: float = setting(7.5, least=-MAX_SCALE, most=MAX_SCALE)
    photo_in_blank: bool = False
    box: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check(self)
        if self.box:
            parse_box(self.box, "box")


@dataclass(frozen=True, eq=False, kw_only=True)
class BrushParts(LatentDiffusion):
    """The frozen model.

    Attributes:
        prompt_encoder: in float32, as the tower; both run once a photo.
        tower: the CLIP whose image tower makes image tokens.
    """

    prompt_encoder: VisualPromptEncoder
    tower: TransformersClip

    def tokens(self, pictures: Tensor) -> Tensor:
        """Image tokens `(b, n, w)` of pictures `(b, 3, s, s)` in [0, 1]."""
        tower, pool = self.tower, self.prompt_encoder.config.pool
        return image_tokens(tower.model.vision_model, tower.preprocess, pictures.to(self.device), pool)


@dataclass(frozen=True, eq=False)
class ImageBrush:
    """See the module; `load_imagebrush` reads files.

    Attributes:
        parts: the model.
        settings: how.
        resolution: pixels a side of the canvas of one pair.
        size: "photo" for results of the photo's size, see `at_full_size`, or "cell" for what was made.
    """

    parts: BrushParts
    settings: ImageBrushSettings = field(default_factory=ImageBrushSettings)
    resolution: int = 512
    size: str = "photo"

    def grid(self, examples: int) -> Grid:
        """The canvas of so many pairs; the paper shows one, and each more is one row more."""
        return Grid(self.resolution // 2, examples)

    @torch.no_grad()
    def prompt(self, grid: Grid, canvas: Tensor, pairs: Sequence[Pair]) -> Tensor:
        """What the visual prompt says, `(n, width)`: the pictures as they stand on the canvas, and the box."""
        cells = []
        for example in range(grid.examples + 1):
            for after in (False, True):
                top, left, bottom, right = grid.box(example, after)
                cells.append(canvas[:, top:bottom, left:right])
        tokens = self.parts.tokens(torch.stack(cells[:-1]))  # all but the answer
        boxes = torch.tensor([[self._box(pair)] * 2 for pair in pairs], device=tokens.device)
        example = tokens[:-1].unflatten(0, (-1, 2))[None]
        return self.parts.prompt_encoder(example[:, :, 0], example[:, :, 1], tokens[-1:], boxes[None])[0]

    def _box(self, pair: Pair) -> tuple[float, ...]:
        """Left, top, right and bottom as shares of the sides."""
        if not self.settings.box:
            return WHOLE
        x, y, w, h = box = parse_box(self.settings.box, "box")
        height, width = pair.before.shape[-2:]
        check_box(box, height, width)
        return x / width, y / height, (x + w) / width, (y + h) / height

    def canvas(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """The whole canvas `(3, h, w)` in [0, 1], as the model gives it back."""
        settings, parts, grid = self.settings, self.parts, self.grid(len(pairs))
        drawn = grid.draw(pairs, photo)
        said = self.prompt(grid, drawn, pairs)
        return inpaint(
            parts,
            type(parts.scheduler).from_config(parts.scheduler.config),
            grid.with_photo_as_answer(drawn) if settings.photo_in_blank else drawn,
            grid.mask(),
            said,
            torch.zeros_like(said),  # as training drops it
            steps=settings.num_inference_steps,
            strength=1.0,
            guidance_scale=settings.guidance_scale,
            generator=torch.Generator().manual_seed(check_seed(seed)),
            hidden=not settings.photo_in_blank,
        )

    def __call__(self, pairs: Sequence[Pair], photo: Tensor, *, seed: int = 0) -> Tensor:
        """See `Transfer`."""
        if not pairs:
            raise UsageError("expected at least one before/after pair")
        made = self.grid(len(pairs)).cut(self.canvas(pairs, photo, seed=seed)).cpu()
        return at_full_size(photo, made) if self.size == "photo" else made


def read_imagebrush(
    model: str, *, revision: str | None = None, device: str | None = None, dtype: str | None = None
) -> tuple[BrushParts, Manifest]:
    """Read a model: `unet/`, `vae/` and `scheduler/` as diffusers saves them, `prompt_encoder/`, and a CLIP.

    The CLIP is what `clip` in its vii.json names. Parts that it shares with the embedded editor may be missing.

    Args:
        model: folder, or hub id.
        revision, device, dtype: see `vii.editors.stable_diffusion.read_model`.

    Raises:
        EditorError: it cannot be found, is not complete, or its parts do not fit together.
        UsageError: an unknown device or precision.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    folder, _ = locate(model, revision, PARTS)
    manifest = read_manifest(folder)
    check_shared(manifest, model)
    if not (folder / "prompt_encoder/config.json").is_file():
        raise EditorError(f"{model}: no {WHAT}: it has no prompt_encoder/; recipes.in_context trains one")
    clip = joint_space(folder, manifest, None)
    with quiet(), loading(model, WHAT):
        from diffusers import UNet2DConditionModel

        index = read_index(folder)
        scheduler = class_of(index, "scheduler", "SchedulerMixin")
        networks = {
            "unet": load_weights(UNet2DConditionModel, manifest.place(folder, "unet")).to(precision),
            "vae": load_weights(class_of(index, "vae", "ModelMixin"), manifest.place(folder, "vae")).float(),
            "prompt_encoder": load_weights(VisualPromptEncoder, folder / "prompt_encoder").float(),
        }
        steps = scheduler.from_pretrained(manifest.place(folder, "scheduler"), local_files_only=True)
    tower = load_clip(clip, where, f"{WHAT}s name theirs as `clip` in vii.json") if clip else None
    if not isinstance(tower, TransformersClip):
        raise EditorError(f"{model}: vii.json names no CLIP of transformers, whose image tower an {WHAT} needs")
    frozen: dict[str, Any] = {
        name: network.eval().requires_grad_(False).to(where) for name, network in networks.items()
    }
    parts = BrushParts(**frozen, scheduler=steps, tower=tower, device=where, dtype=precision)
    _check_fit(parts, model)
    return parts, manifest


def _check_fit(parts: BrushParts, model: str) -> None:
    """Refuse parts that do not belong together."""
    latents, unet, encoder = parts.vae.config.latent_channels, parts.unet.config, parts.prompt_encoder.config
    tower = parts.tower.model.config.vision_config
    side = tower.image_size // tower.patch_size
    for what, found, expected in (
        ("channels that the UNet takes, for an autoencoder with so many latents", unet.in_channels, 2 * latents + 1),
        ("channels that the UNet gives", unet.out_channels, latents),
        ("width of what the UNet's cross-attention reads", unet.cross_attention_dim, encoder.width),
        ("width of the CLIP's image tokens", tower.hidden_size, encoder.feature_width),
        ("patches a side that are left over where image tokens are averaged", side % encoder.pool, 0),
    ):
        if found != expected:
            raise EditorError(f"{model}: its parts do not belong together: {what}: expected {expected}, got {found}")


def load_imagebrush(
    *,
    model: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    settings: Sequence[str] = (),
    size: str = "photo",
) -> ImageBrush:
    """ImageBrush on a model from files.

    Args:
        model, revision, device, dtype: see `read_imagebrush`.
        settings: `NAME=VALUE` of `ImageBrushSettings`, over those that the model's own `vii.json` names.
        size: see `ImageBrush`.

    Raises:
        EditorError: the model cannot be read.
        UsageError: settings that cannot be.
    """
    parts, manifest = read_imagebrush(model, revision=revision, device=device, dtype=dtype)
    own = manifest.suiting(ImageBrushSettings(), model)
    return ImageBrush(parts, override(own, **parse(own, settings)), manifest.resolution, size)
