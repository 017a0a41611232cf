"""The loop, a generator that leaves progress, previews, logs and stopping to its caller; `invert` drains it."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..captions import INITS, shorten, starting_texts
from ..edit_file import Edit
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair
from ..instruction import Instruction
from ..losses import direction_term, edit_direction
from .examples import Batch, Examples
from .settings import InversionSettings, learning_rate_at

# Below this `explained`, an edit has probably not been learned: of 32 edits the four below it gained 2.4 dB at most on
# photos held out, the 28 above it 9.8 dB on average (LOG.md).
LOW_EXPLAINED = 0.4


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
        learning_rate: of this update (step 0: NaN).
        best: builds the `Edit` that was best on the probe set after this update, whenever it is called.
    """

    step: int
    steps: int
    loss: float
    mse: float
    clip: float | None
    probe: float | None
    explained: float
    samples: int
    learning_rate: float
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


@dataclass(frozen=True, eq=False)
class _Best:
    """The tokens with the least probe loss, and how far the run had come when it was asked."""

    tokens: Tensor
    found_at: int
    loss: float
    steps: int
    samples: int


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
        self.examples = Examples(editor, pairs, settings.augment, seed)
        self.guidance = _guidance(editor, settings)
        self.branches = editor.num_branches([1.0], self.guidance) if settings.guided_loss else 1
        self.samples = 0
        power = settings.high_noise if settings.timesteps == "stratified" else 1.0
        self.probes = self.examples.probes(settings.probe_size, power)
        self.null_loss = self.probe(editor.instruct(""))
        self.init_caption = ""
        self.init_text, self.start, self.start_loss = self._choose_start(watch)
        self.direction = self._clip_direction() if settings.clip_weight else None

    def steps(self) -> Iterator[Step]:
        settings = self.settings
        tokens = self.start.tokens.clone().requires_grad_(True)
        optimizer = torch.optim.AdamW([tokens], lr=settings.learning_rate, weight_decay=settings.weight_decay)
        draws = self.examples.draws(settings, self.seed)
        self.best_tokens, self.best_step, self.best_loss, stale = tokens.detach().clone(), 0, self.start_loss, 0
        yield self._report(0, math.nan, math.nan, None, self.best_loss, math.nan)

        for step in range(1, settings.steps + 1):
            rate = optimizer.param_groups[0]["lr"] = learning_rate_at(step - 1, settings) * self.start.scale
            instruction = self.start.with_tokens(tokens).encoded()  # once for both terms of the loss
            mse = self._losses(next(draws), instruction).mean()
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
            yield self._report(step, loss.item(), mse.item(), None if clip is None else clip.item(), probe, rate)
            if settings.patience and stale >= settings.patience:
                return

    def probe(self, instruction: Instruction) -> float:
        """Mean loss on the fixed set of (t, noise), without gradient, under the guidance that is learned with."""
        with torch.no_grad():
            return self._losses(self.probes, instruction).mean().item()

    def _losses(self, batch: Batch, instruction: Instruction) -> Tensor:
        self.samples += self.branches * len(batch.t)
        return self.examples.loss(batch, instruction, self.guidance if self.settings.guided_loss else None)

    def _choose_start(self, watch: Callable[[str], None] | None) -> tuple[str, Instruction, float]:
        """The text with the least probe loss, its instruction with the rows to learn marked free, and that loss."""
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
        starts = [(text, self._free(self.editor.instruct(text))) for text in texts]
        text, start, loss = min(((text, start, self.probe(start)) for text, start in starts), key=lambda one: one[2])
        if settings.init in INITS and text not in found:
            self.init_caption = found[texts.index(text)]
        if not len(start.tokens):
            raise UsageError(
                "tokens = 0 learns the rows of the starting text, and it is empty; give a text or a number"
            )
        return text, start, loss

    def _free(self, start: Instruction) -> Instruction:
        """A starting text with the rows to learn marked free: as many as asked for, or those of its words."""
        return start.with_length(self.settings.tokens) if self.settings.tokens else start

    def _clip_direction(self) -> Tensor | None:
        joint = self.editor.joint
        if joint is None:
            return None
        before = joint.image_features([pair.before for pair in self.pairs])
        return edit_direction(before, joint.image_features([pair.after for pair in self.pairs]))

    def _report(self, step: int, loss: float, mse: float, clip: float | None, probe: float | None, rate: float) -> Step:
        explained, steps = 1 - self.best_loss / self.null_loss, self.settings.steps
        # What is best now: asked later, a step must not answer with what was found after it.
        best = _Best(self.best_tokens, self.best_step, self.best_loss, step, self.samples)
        return Step(step, steps, loss, mse, clip, probe, explained, self.samples, rate, lambda: self._edit(best))

    def _edit(self, best: "_Best") -> Edit:
        training = {
            "recipe": self.settings.recipe,
            "init": self.settings.init if self.settings.init in INITS else "words",
            **({"init_caption": self.init_caption} if self.init_caption else {}),
            "seed": self.seed,
            "noise": self.settings.noise,
            **({"augment": self.settings.augment} if self.settings.augment != "none" else {}),
            "steps": best.steps,
            "best_step": best.found_at,
            "samples": best.samples,
            "loss_null": round(self.null_loss, 6),
            "loss_start": round(self.start_loss, 6),
            "loss": round(best.loss, 6),
            "explained_start": round(1 - self.start_loss / self.null_loss, 4),
            "explained": round(1 - best.loss / self.null_loss, 4),
        }
        return Edit(
            tokens=best.tokens.float().cpu(),
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
