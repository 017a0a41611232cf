"""How to learn: the settings behind every recipe."""

import math
from dataclasses import dataclass

from ..captions import PezSettings
from ..diffusion import BANKED
from ..errors import UsageError
from ..settings import check_numbers
from .views import AUGMENTATIONS


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """How to learn. The defaults are the recipe `default`.

    Attributes:
        recipe: name of the recipe these settings come from; written into the edit file.
        init: starting text: words, or a key of `vii.captions.INITS`: "retrieve", "none", "caption", "pez", "lavis".
        init_candidates: how many retrieved phrases or captions to try on the probe set; the one with the least loss is
            taken.
        captioner: the model behind "caption" (a BLIP model), "pez" (see `vii.clip.load_clip`) or "lavis"; empty for
            what needs the least.
        pez_tokens: length of the prompt that "pez" searches for.
        pez_steps: updates of that search.
        pez_target: whether the prompt is to describe the picture "after", or to point in the "direction" of the edit.
        tokens: rows to learn; 0 for as many as the starting text has.
        steps: updates.
        batch_size: noisy samples an update.
        learning_rate: of AdamW, at its highest, in units of the size of a row's entries: 1 after a text encoder, the
            standard deviation of its table of tokens before it.
        learning_rate_schedule: "constant", or "cosine" down to zero over `steps`.
        warmup_steps: updates over which the learning rate rises linearly.
        weight_decay: of AdamW.
        timesteps: "stratified": every batch has one noise level in each of `batch_size` equal bins. "permutation":
            `steps * batch_size` equally spaced levels, each visited once in random order (the authors' way).
        high_noise: of "stratified", p of the levels `t = 1 - u^p`, the bins being those of u: 1 spreads them evenly,
            more puts them where little is seen of the answer and the instruction decides. Probes follow the same rule.
        noise: "fresh": drawn anew for every sample. "bank": one fixed noise a timestep, which can be reused when the
            edit is applied (the authors' way). "reuse": a bank, and the edit file says that applying is to reuse it
            (section 4.3 of the paper).
        augment: views of every pair to learn from besides itself, the same for before and after; a key of
            `vii.inversion.views.AUGMENTATIONS`: "none", "flip" (wrong for an edit with a left and a right), or
            "crop-flip" (wrong for one that is tied to the borders too).
        mse_weight: of the denoising loss.
        clip_weight: of the edit-direction term; not used by an editor without a joint space.
        clip_cap: cosine above which the direction term gives no gradient.
        guided_loss: whether guidance is applied inside the loss (the authors' way).
        guidance_scale: s_T of a guided loss, and recommended for applying; None for the model's own.
        image_guidance_scale: s_I, likewise.
        probe_size: samples in the fixed set of (t, noise) on which progress is judged and the best step is chosen.
        probe_every: updates between two looks at it.
        patience: looks without an improvement of `min_improvement` after which learning stops; 0 for never.
        min_improvement: relative to the best probe loss so far.
    """

    recipe: str = "default"
    init: str = "retrieve"
    init_candidates: int = 8
    captioner: str = ""
    pez_tokens: int = 10
    pez_steps: int = 3000
    pez_target: str = "after"
    tokens: int = 20
    steps: int = 100
    batch_size: int = 4
    learning_rate: float = 0.1
    learning_rate_schedule: str = "cosine"
    warmup_steps: int = 10
    weight_decay: float = 0.0
    timesteps: str = "stratified"
    high_noise: float = 4.0
    noise: str = "fresh"
    augment: str = "none"
    mse_weight: float = 1.0
    clip_weight: float = 0.0
    clip_cap: float = 0.5
    guided_loss: bool = False
    guidance_scale: float | None = None
    image_guidance_scale: float | None = None
    probe_size: int = 8
    probe_every: int = 20
    patience: int = 0
    min_improvement: float = 0.002

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        check_numbers(self)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "probe_size", "probe_every", "init_candidates"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tokens", "warmup_steps", "weight_decay", "patience", "min_improvement"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "high_noise"):
            if not getattr(self, name) > 0 or not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}")
        for name, most in LIMITS.items():
            if getattr(self, name) > most:
                raise UsageError(f"{name} must be at most {most:,}, got {getattr(self, name):,}")
        if not -1 <= self.clip_cap <= 1:
            raise UsageError(f"clip_cap is a cosine in [-1, 1], got {self.clip_cap}")
        _ = self.search  # refuses what cannot be searched for

    @property
    def search(self) -> PezSettings:
        """How "pez" searches for a starting text."""
        return PezSettings(tokens=self.pez_tokens, steps=self.pez_steps, target=self.pez_target)


CHOICES = {
    "learning_rate_schedule": ("cosine", "constant"),
    "timesteps": ("stratified", "permutation"),
    "noise": ("fresh", *BANKED),
    "augment": tuple(AUGMENTATIONS),
}


# More than any machine does in a day: what a recipe of somebody else's may ask for.
LIMITS = {
    "steps": 1_000_000,
    "batch_size": 4096,
    "probe_size": 65_536,
    "init_candidates": 10_000,
    "pez_steps": 1_000_000,
    "pez_tokens": 1000,
}


def learning_rate_at(step: int, settings: InversionSettings) -> float:
    """Learning rate of update `step`, counted from 0: a linear rise, then constant or half a cosine down to zero."""
    rise = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps) if settings.learning_rate_schedule == "cosine" else 1.0
    return settings.learning_rate * rise * fall
