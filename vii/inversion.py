"""Visual instruction inversion (arXiv 2307.14331): learn a few instruction rows from before/after pairs.

`invert_steps` is the loop, a generator that leaves progress, previews and stopping to its caller; `invert` drains it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .captions import INITS, PezSettings, shorten, starting_texts
from .diffusion import Noise
from .edit_file import Edit
from .editor import Editor
from .errors import UsageError
from .images import Pair
from .instruction import Instruction
from .losses import direction_term, edit_direction

# The probe set's seed: far from seeds that people choose, so that no run trains on its own probes.
PROBE_SEED = 0x7669_6900


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
        learning_rate: of AdamW, at its highest.
        learning_rate_schedule: "constant", or "cosine" down to zero over `steps`.
        warmup_steps: updates over which the learning rate rises linearly.
        weight_decay: of AdamW.
        timesteps: "stratified": every batch has one noise level in each of `batch_size` equal bins. "permutation":
            `steps * batch_size` equally spaced levels, each visited once in random order (the authors' way).
        noise: "fresh": drawn anew for every sample. "bank": one fixed noise a timestep, which can be reused when the
            edit is applied (the authors' way).
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
    batch_size: int = 8
    learning_rate: float = 0.1
    learning_rate_schedule: str = "cosine"
    warmup_steps: int = 10
    weight_decay: float = 0.0
    timesteps: str = "stratified"
    noise: str = "fresh"
    mse_weight: float = 1.0
    clip_weight: float = 0.0
    clip_cap: float = 0.5
    guided_loss: bool = False
    guidance_scale: float | None = None
    image_guidance_scale: float | None = None
    probe_size: int = 16
    probe_every: int = 20
    patience: int = 0
    min_improvement: float = 0.002

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "probe_size", "probe_every", "init_candidates"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tokens", "warmup_steps", "weight_decay", "patience", "min_improvement"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise UsageError(f"learning_rate must be positive, got {self.learning_rate}")
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
    "noise": ("fresh", "bank"),
}


@dataclass(frozen=True)
class Step:
    """What one update did.

    Attributes:
        step: number of updates so far; 0 is the starting text before any.
        steps: how many there will be at most.
        loss: the weighted sum that was minimised (step 0: NaN).
        mse: its denoising part.
        clip: cosine to the edit direction after the cap, or None where the term is not used.
        probe: loss on the fixed probe set after this update, where it was looked at.
        explained: `1 - L(best so far) / L(no instruction)` on the probe set; 0 is no better than no instruction.
        samples: images through the UNet so far, all branches, probes and the choice of a start counted.
        best: builds the `Edit` that is best on the probe set so far.
    """

    step: int
    steps: int
    loss: float
    mse: float
    clip: float | None
    probe: float | None
    explained: float
    samples: int
    best: Callable[[], Edit]


def invert(editor: Editor, pairs: Sequence[Pair], settings: InversionSettings | None = None, *, seed: int = 0) -> Edit:
    """Learn an edit; Ctrl-C ends it early with the best tokens so far.

    Args:
        editor: a frozen editor.
        pairs: one or more examples of one edit.
        settings: how to learn, as from `load_recipe`; by default the recipe `default`.
        seed: makes the run repeatable: the same seed gives the same edit file on the same machine.

    Raises:
        UsageError: no pair, or settings that this editor cannot follow.
    """
    best: Step | None = None
    try:
        for step in invert_steps(editor, pairs, settings, seed=seed):
            best = step
    except KeyboardInterrupt:
        if best is None:
            raise
    assert best is not None  # the loop yields its starting point before anything else
    return best.best()


def invert_steps(
    editor: Editor,
    pairs: Sequence[Pair],
    settings: InversionSettings | None = None,
    *,
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
) -> Iterator[Step]:
    """The loop behind `invert`: yields a `Step` for the starting text and after every update.

    Stop whenever you like: `step.best()` is the edit so far. Arguments and errors as `invert`; besides, `watch` is
    called with a note now and then while a starting text is looked for, before the first step. Ctrl-C meanwhile ends
    the search of "pez" early, and learning goes on from its best prompt.
    """
    settings = settings or InversionSettings()
    if not pairs:
        raise UsageError("expected at least one before/after pair")
    if not 0 <= seed < 2**63:
        raise UsageError(f"the seed must be a whole number from 0 to 2**63 - 1, got {seed}")
    # Not a generator itself: arguments are checked when it is called, not when the first step is asked for.
    return _Run(editor, pairs, settings, seed, watch).steps()


class _Run:
    """One inversion: what is computed once, what is learned, and the books."""

    def __init__(
        self,
        editor: Editor,
        pairs: Sequence[Pair],
        settings: InversionSettings,
        seed: int,
        watch: Callable[[str], None] | None = None,
    ) -> None:
        self.editor, self.pairs, self.settings, self.seed = editor, pairs, settings, seed
        self.examples = [(editor.encode(pair.before), editor.encode(pair.after)) for pair in pairs]
        self.guidance = _guidance(editor, settings)
        self.branches = editor.num_branches([1.0], self.guidance) if settings.guided_loss else 1
        self.samples = 0
        self.probes = self._draw_probes()
        self.null_loss = self.probe(editor.instruct(""))
        self.init_caption = ""
        self.init_text, self.start = self._choose_start(watch)
        self.direction = self._clip_direction() if settings.clip_weight else None

    def steps(self) -> Iterator[Step]:
        settings = self.settings
        tokens = self.start.tokens.clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([tokens], lr=settings.learning_rate, weight_decay=settings.weight_decay)
        draws = self._draws()
        self.start_loss = self.best_loss = self.probe(self.start)
        self.best_tokens, self.best_step, stale = tokens.detach().clone(), 0, 0
        yield self._report(0, math.nan, math.nan, None, self.best_loss)

        for step in range(1, settings.steps + 1):
            optimizer.param_groups[0]["lr"] = learning_rate_at(step - 1, settings)
            instruction = self.start.with_tokens(tokens)
            mse = self._denoising_loss(instruction, *next(draws))
            loss, clip = settings.mse_weight * mse, None
            if self.direction is not None and self.editor.joint is not None:
                clip = direction_term(self.editor.joint.project(instruction.rows), self.direction, settings.clip_cap)
                loss = loss - settings.clip_weight * clip.to(loss.device)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            probe = None
            if step % settings.probe_every == 0 or step == settings.steps:
                probe = self.probe(self.start.with_tokens(tokens.detach()))
                stale = 0 if probe < self.best_loss * (1 - settings.min_improvement) else stale + 1
                if probe < self.best_loss:
                    self.best_loss, self.best_step, self.best_tokens = probe, step, tokens.detach().clone()
            yield self._report(step, loss.item(), mse.item(), None if clip is None else clip.item(), probe)
            if settings.patience and stale >= settings.patience:
                return

    def probe(self, instruction: Instruction) -> float:
        """Mean loss on the fixed set of (t, noise), without gradient, under the guidance that is learned with."""
        with torch.no_grad():
            losses = [self._loss(pair, instruction, t, noise) for pair, t, noise in self.probes]
        return torch.cat(losses).mean().item()

    def _denoising_loss(self, instruction: Instruction, t: Tensor, which: Tensor, noises: Noise) -> Tensor:
        """Mean denoising loss of one batch, whose samples may belong to several pairs."""
        losses = []
        for pair in which.unique().tolist():
            chosen = t[which == pair]
            losses.append(self._loss(pair, instruction, chosen, self._noise(pair, chosen, noises)))
        return torch.cat(losses).mean()

    def _loss(self, pair: int, instruction: Instruction, t: Tensor, noise: Tensor) -> Tensor:
        self.samples += self.branches * len(t)
        before, after = self.examples[pair]
        return self.editor.loss(
            before, after, instruction, t, noise, self.guidance if self.settings.guided_loss else None
        )

    def _noise(self, pair: int, t: Tensor, noises: Noise) -> Tensor:
        shape = self.examples[pair][1].noise_shape
        return torch.stack([noises.draw(shape, int(level * self.editor.num_timesteps)) for level in t.tolist()])

    def _draws(self) -> Iterator[tuple[Tensor, Tensor, Noise]]:
        """Noise levels `(b,)` in [0, 1), the pair of each `(b,)`, and the source of their noise."""
        settings, b = self.settings, self.settings.batch_size
        generator = torch.Generator().manual_seed(self.seed)
        noises = Noise(self.seed, bank=settings.noise == "bank")
        permutation = settings.timesteps == "permutation"
        total = settings.steps * b
        order = torch.randperm(total if permutation else 0, generator=generator)
        for step in range(settings.steps):
            if permutation:
                t = (order[step * b : (step + 1) * b] + 0.5) / total
            else:
                t = (torch.randperm(b, generator=generator) + torch.rand(b, generator=generator)) / b
            # Independent of t: with the authors' `t % n` some noise levels only ever see one of the pairs.
            which = torch.randint(len(self.pairs), (b,), generator=generator)
            yield t.clamp(max=1 - 1e-6), which, noises

    def _draw_probes(self) -> list[tuple[int, Tensor, Tensor]]:
        """For every pair its share of equally spaced noise levels, in interleaved order, and their noise."""
        count, n = max(self.settings.probe_size, len(self.pairs)), len(self.pairs)
        levels = (torch.arange(count) + 0.5) / count
        noises = Noise(PROBE_SEED)
        return [(pair, levels[pair::n], self._noise(pair, levels[pair::n], noises)) for pair in range(n)]

    def _choose_start(self, watch: Callable[[str], None] | None) -> tuple[str, Instruction]:
        """The candidate text with the least probe loss, and its instruction with the rows to learn marked free."""
        settings = self.settings
        texts = starting_texts(
            self.editor,
            self.pairs,
            settings.init,
            settings.init_candidates,
            captioner=settings.captioner,
            search=settings.search,
            seed=self.seed,
            watch=watch,
        )
        if settings.init in INITS:
            found, texts = texts, [shorten(self.editor, text) for text in texts]
        candidates = [(text, self.editor.instruct(text)) for text in texts]
        text, start = min(candidates, key=lambda item: self.probe(item[1])) if len(candidates) > 1 else candidates[0]
        if settings.init in INITS and text not in found:
            self.init_caption = found[texts.index(text)]
        if self.settings.tokens:
            return text, start.with_length(self.settings.tokens)
        if not len(start.tokens):
            raise UsageError(
                "tokens = 0 learns the rows of the starting text, and it is empty; give a text or a number"
            )
        return text, start

    def _clip_direction(self) -> Tensor | None:
        joint = self.editor.joint
        if joint is None:
            return None
        before = joint.image_features([pair.before for pair in self.pairs])
        return edit_direction(before, joint.image_features([pair.after for pair in self.pairs]))

    def _report(self, step: int, loss: float, mse: float, clip: float | None, probe: float | None) -> Step:
        explained = 1 - self.best_loss / self.null_loss
        return Step(
            step, self.settings.steps, loss, mse, clip, probe, explained, self.samples, lambda: self._edit(step)
        )

    def _edit(self, step: int) -> Edit:
        training = {
            "recipe": self.settings.recipe,
            "init": self.settings.init if self.settings.init in INITS else "words",
            **({"init_caption": self.init_caption} if self.init_caption else {}),
            "seed": self.seed,
            "noise": self.settings.noise,
            "steps": step,
            "best_step": self.best_step,
            "samples": self.samples,
            "loss_null": round(self.null_loss, 6),
            "loss_start": round(self.start_loss, 6),
            "loss": round(self.best_loss, 6),
            "explained_start": round(1 - self.start_loss / self.null_loss, 4),
            "explained": round(1 - self.best_loss / self.null_loss, 4),
        }
        return Edit(
            tokens=self.best_tokens.float().cpu(),
            space=self.editor.space,
            editor=self.editor.name,
            init_text=self.init_text,
            start=self.start.free[0],
            resolution=self.editor.resolution,
            settings=dataclasses.asdict(self.guidance),
            training=training,
            pairs=tuple(pair.sha256() for pair in self.pairs),
        )


def _guidance(editor: Editor, settings: InversionSettings) -> Any:
    """The editor's recommended settings with the recipe's guidance: used in a guided loss, and kept for applying.

    Tokens learned with guidance inside the loss are right only when they are sampled with that same guidance.
    """
    known = {field.name for field in dataclasses.fields(editor.settings)}
    wanted = {"guidance_scale": settings.guidance_scale, "image_guidance_scale": settings.image_guidance_scale}
    changes = {name: value for name, value in wanted.items() if value is not None and name in known}
    return dataclasses.replace(editor.settings, **changes)


def learning_rate_at(step: int, settings: InversionSettings) -> float:
    """Learning rate of update `step`, counted from 0: a linear rise, then constant or half a cosine down to zero."""
    rise = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps) if settings.learning_rate_schedule == "cosine" else 1.0
    return settings.learning_rate * rise * fall
