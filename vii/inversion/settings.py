"""How to learn: the settings behind every recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..arrangement import FINISHES
from ..captions import INITS, TARGETS
from ..diffusion import BANKED
from ..errors import UsageError, unknown_name
from ..settings import check, setting

TINY = 1e-12  # of what must not be zero


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """How to learn. The defaults are the recipe `default`.

    Attributes:
        recipe: name of the recipe these settings come from; written into the edit file. No option or file sets it.
        init: where the starting text comes from: "text" for `init_text`, or a key of `vii.captions.INITS`: "retrieve",
            "none", "caption", "pez", "lavis", or one that another package offers.
        init_text: the starting text itself, with init "text".
        init_candidates: how many retrieved phrases or captions to try on the probe set; the one with the least loss is
            taken.
        captioner: the model behind "caption" (a BLIP model), "pez" (see `vii.clip.load_clip`) or "lavis"; empty for
            what needs the least.
        pez_tokens: length of the prompt that "pez" searches for.
        pez_steps: updates of that search.
        pez_target: whether the prompt is to describe the picture "after", or to point in the "direction" of the edit.
        tokens: rows to learn; 0 for as many as the starting text has.
        learn_pooled: learn the pooled vector too, of an editor whose networks read one besides the rows.
        max_train_steps: updates.
        batch_size: noisy samples an update.
        learning_rate: of AdamW, at its highest, in units of the size of a row's entries: 1 after CLIP, the standard
            deviation of its table of tokens before it, and of each feature between words after other text encoders.
        lr_scheduler: "constant", or "cosine" down to zero over `max_train_steps`.
        lr_warmup_steps: updates over which the learning rate rises linearly.
        weight_decay: of AdamW; it pulls to zero, and to the starting text where features have scales of their own.
        timesteps: "stratified": every batch has one noise level in each of `batch_size` equal bins. "permutation":
            `max_train_steps * batch_size` equally spaced levels, each visited once in random order (the authors' way).
        timestep_density: of "stratified", p of the levels `t = 1 - u^p`, the bins being those of u: 1 spreads them
            evenly, more puts them where little is seen of the answer and the instruction decides. Probes follow the
            same rule.
        noise: "fresh": drawn anew for every sample. "bank": one fixed noise a timestep, which can be reused when the
            edit is applied (the authors' way). "reuse": a bank, and the edit file says that applying is to reuse it
            (section 4.3 of the paper).
        augment: views of every pair to learn from besides itself, the same for before and after: "none"; "flip", its
            mirror image, wrong for an edit with a left and a right (light from one side, writing); or "crop-flip",
            crops of either too, wrong also for one that is tied to a place or to the borders (a frame, a vignette).
        mse_weight: of the denoising loss.
        clip_weight: of the edit-direction term; not used by an editor without a joint space, and refused by one whose
            joint space is not that of its text encoder.
        clip_cap: cosine above which the direction term gives no gradient.
        guided_loss: whether guidance is applied inside the loss (the authors' way).
        guidance_scale: s_T of a guided loss, and recommended for applying; None for the model's own.
        image_guidance_scale: s_I, likewise.
        probe_size: samples in the fixed set of (t, noise) on which progress is judged and the best step is chosen.
        probe_every: updates between two looks at it.
        patience: looks without an improvement of `min_improvement` after which learning stops; 0 for never.
        min_improvement: relative to the best probe loss so far.
        finish: "auto": what follows the editor, or does without it, is fitted to the pairs once the tokens are learned
            (`vii.finish`); "none": the editor's picture is the result (the authors' way).
    """

    recipe: str = field(default="default", metadata={"assignable": False})
    init: str = "retrieve"
    init_text: str = ""
    init_candidates: int = setting(8, least=1, most=1000)
    captioner: str = ""
    pez_tokens: int = setting(10, least=1, most=1000)
    pez_steps: int = setting(3000, least=1, most=1_000_000)
    pez_target: str = "after"
    tokens: int = setting(20, least=0, most=1024)
    learn_pooled: bool = False
    max_train_steps: int = setting(100, least=1, most=1_000_000)
    batch_size: int = setting(4, least=1, most=4096)
    learning_rate: float = setting(0.1, least=TINY, most=1e6)
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = setting(10, least=0, most=1_000_000)
    weight_decay: float = setting(0.0, least=0, most=1e6)
    timesteps: str = "stratified"
    timestep_density: float = setting(4.0, least=TINY, most=1000)
    noise: str = "fresh"
    augment: str = "none"
    mse_weight: float = setting(1.0, least=0, most=1e6)
    clip_weight: float = setting(0.0, least=-1e6, most=1e6)
    clip_cap: float = setting(0.5, least=-1, most=1)
    guided_loss: bool = False
    guidance_scale: float | None = setting(None, least=-100, most=100)
    image_guidance_scale: float | None = setting(None, least=-100, most=100)
    probe_size: int = setting(8, least=1, most=4096)
    probe_every: int = setting(20, least=1, most=1_000_000)
    patience: int = setting(0, least=0, most=1_000_000)
    min_improvement: float = setting(0.002, least=0, most=1)
    finish: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        check(self)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("init_text", "captioner"):
            if "\0" in getattr(self, name):
                raise UsageError(f"{name} must be a text, got {getattr(self, name)!r}")
        if self.init_text and self.init != "text":
            raise UsageError(f"init_text is the starting text of init 'text', got init '{self.init}' and a text too")
        if self.init != "text" and self.init not in INITS:
            hint = "; a text to start from is init_text, with init 'text'"
            raise UsageError(unknown_name("init", str(self.init), ["text", *INITS]) + hint)

    @staticmethod
    def current(given: Mapping[str, object]) -> dict[str, object]:
        """Settings as files and options may give them -> the names and values of today.

        Old names are accepted; so is a starting text as `init`, where it is no keyword, and `init_text` alone.
        """
        values = {OLD_NAMES.get(name, name): value for name, value in given.items()}
        init, text = values.get("init"), values.get("init_text")
        if text is not None and init is None:
            values["init"] = "text"
        elif isinstance(init, str) and init != "text" and init not in INITS:
            values |= {"init": "text", "init_text": init}
        elif init is not None and init != "text" and text is None:
            values["init_text"] = ""  # in place of the one that a recipe had
        return values


# Names of before -> of today, for recipes and habits that are older.
OLD_NAMES: Mapping[str, str] = {
    "steps": "max_train_steps",
    "learning_rate_schedule": "lr_scheduler",
    "warmup_steps": "lr_warmup_steps",
    "high_noise": "timestep_density",
}
CHOICES = {
    "lr_scheduler": ("cosine", "constant"),
    "pez_target": TARGETS,
    "timesteps": ("stratified", "permutation"),
    "noise": ("fresh", *BANKED),
    "augment": ("none", "flip", "crop-flip"),
    "finish": FINISHES,
}


def learning_rate_at(step: int, settings: InversionSettings) -> float:
    """Learning rate of update `step`, counted from 0: a linear rise, then constant or half a cosine down to zero."""
    rise = min(1.0, (step + 1) / settings.lr_warmup_steps) if settings.lr_warmup_steps else 1.0
    done = step / settings.max_train_steps
    fall = 0.5 + 0.5 * math.cos(math.pi * done) if settings.lr_scheduler == "cosine" else 1.0
    return settings.learning_rate * rise * fall
