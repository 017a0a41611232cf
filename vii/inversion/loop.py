"""The loop, a generator that leaves progress, previews, logs and stopping to its caller; `invert` drains it."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..edit_file import Edit
from ..editor import Editor, RowSpace, check_editor
from ..errors import UsageError
from ..images import Pair
from ..instruction import Instruction
from ..losses import direction_term, edit_direction
from ..settings import check_seed
from .examples import Examples
from .finishing import with_finish
from .leaf import Leaves
from .settings import InversionSettings, learning_rate_at
from .start import Start, choose_start, free

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
        finished: the same with its finish, chosen by applying the edit to its own pairs, where the settings ask for
            one. That takes an application or a few, and a second or two besides.
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
    finished: Callable[[], Edit]


def invert(editor: Editor, pairs: Sequence[Pair], settings: InversionSettings | None = None, *, seed: int = 0) -> Edit:
    """Learn an edit and its finish from one or more pairs; Ctrl-C ends it early with the best tokens so far.

    Args:
        editor: a frozen editor.
        pairs: examples of one edit.
        settings: how to learn, as from `load_recipe`; by default the recipe `default`.
        seed: makes the run repeatable: the same seed gives the same edit file on the same machine.

    Raises UsageError for no pair, or settings that this editor cannot follow.
    """
    if advice := learning_advice(editor):
        warnings.warn(advice, stacklevel=2)
    best: Step | None = None
    try:
        for step in invert_steps(editor, pairs, settings, seed=seed):
            best = step
    except KeyboardInterrupt:
        if best is None:
            raise
    assert best is not None  # the loop yields its starting point before anything else
    return best.finished()


def invert_steps(
    editor: Editor,
    pairs: Sequence[Pair],
    settings: InversionSettings | None = None,
    *,
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
) -> Iterator[Step]:
    """The loop behind `invert`: yields a `Step` for the starting text and after every update.

    Stop whenever you like: `step.best()` is the edit so far, `step.finished()` the same with its finish. Arguments and
    errors as `invert`; besides, `watch` is called with a note now and then while a starting text is looked for, before
    the first step. Ctrl-C meanwhile ends the search of "pez" early, and learning goes on from its best prompt.

    Arguments are checked at once; whatever takes time is done when the first step is asked for.
    """
    settings = settings or InversionSettings()
    check_editor(editor)
    if not isinstance(settings, InversionSettings):
        raise UsageError(f"expected settings, as vii.load_recipe gives, got {type(settings).__name__}")
    if isinstance(pairs, Pair) or not pairs:
        raise UsageError("expected a list of at least one before/after pair")
    seed = check_seed(seed)
    # Refuses what there is no room for, and what there is not.
    Leaves.of(free(editor.instruct(settings.init_text), settings), settings.learn_pooled)
    return _steps(editor, tuple(pairs), settings, sampling_settings(editor, settings), seed, watch)


@dataclass(frozen=True, eq=False)
class _Best:
    """What was told with the least probe loss so far, and after which update it was found."""

    instruction: Instruction
    step: int
    loss: float


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same while learning goes on, and what is told of it.

    `sampling` are the settings that the edit is to be applied with, and a guided loss guided; `null_loss` is that on
    the probe set without an instruction; `probes` the number of its samples.
    """

    editor: Editor
    pairs: Sequence[Pair]
    settings: InversionSettings
    sampling: Any
    seed: int
    start: Start
    null_loss: float
    probes: int

    def report(
        self, best: _Best, step: int, loss: float, mse: float, clip: float | None, probe: float | None, rate: float
    ) -> Step:
        steps, explained, samples = self.settings.max_train_steps, self.explained(best.loss), self.samples(step)
        edits = partial(self.edit, best, step), partial(self.finished, best, step)
        return Step(step, steps, loss, mse, clip, probe, explained, samples, rate, *edits)

    def explained(self, loss: float) -> float:
        """The share of the loss without an instruction that is gone; none where there is no loss to take away."""
        return 1 - loss / self.null_loss if self.null_loss else 0.0

    def samples(self, step: int) -> int:
        """Through the UNet after so many updates: looks are at no instruction, at candidates, and on the way."""
        settings = self.settings
        on_the_way = step // settings.probe_every + (
            step == settings.max_train_steps and step % settings.probe_every > 0
        )
        looks = 1 + self.start.candidates + on_the_way
        branches = self.editor.num_branches([1.0], self.sampling) if settings.guided_loss else 1
        return branches * (step * settings.batch_size + looks * self.probes)

    def edit(self, best: _Best, step: int) -> Edit:
        """The edit that was best after so many updates."""
        settings, start = self.settings, self.start
        training = {
            "recipe": settings.recipe,
            "init": settings.init,
            **({"init_caption": start.caption} if start.caption else {}),
            "seed": self.seed,
            "noise": settings.noise,
            **({"augment": settings.augment} if settings.augment != "none" else {}),
            "steps": step,
            "best_step": best.step,
            "samples": self.samples(step),
            "loss_null": round(self.null_loss, 6),
            "loss_start": round(start.loss, 6),
            "loss": round(best.loss, 6),
            "explained_start": round(self.explained(start.loss), 4),
            "explained": round(self.explained(best.loss), 4),
        }
        return Edit(
            tokens=best.instruction.tokens.float().cpu(),
            pooled=best.instruction.pooled if settings.learn_pooled else (),
            space=self.editor.space,
            editor=self.editor.name,
            init_text=start.text,
            start=start.instruction.free[0],
            resolution=self.editor.resolution,
            settings=dataclasses.asdict(self.sampling),
            training=training,
            pairs=tuple(pair.sha256() for pair in self.pairs),
        )

    def finished(self, best: _Best, step: int) -> Edit:
        edit = self.edit(best, step)
        return with_finish(self.editor, self.pairs, edit, seed=self.seed) if self.settings.finish == "auto" else edit


def _steps(
    editor: Editor,
    pairs: Sequence[Pair],
    settings: InversionSettings,
    sampling: Any,
    seed: int,
    watch: Callable[[str], None] | None,
) -> Iterator[Step]:
    """Minimise `mse_weight * MSE - clip_weight * min(cos, cap)` over the tokens (arXiv 2307.14331, section 3)."""
    examples = Examples(editor, pairs, settings.augment, seed)
    probes, guidance = examples.probes(settings), sampling if settings.guided_loss else None
    # A sample takes less than half the memory without a gradient, even where a pass with one is checkpointed.
    judged = partial(examples.mean_loss, guidance=guidance, at_once=2 * settings.batch_size)
    probe: Callable[[Instruction], float] = partial(judged, probes)
    seen = [before for before, _ in examples.encoded]
    null_loss = probe(editor.instruct("", seen))
    start = choose_start(editor, pairs, settings, seed, probe, watch, seen)
    run = _Run(editor, pairs, settings, sampling, seed, start, null_loss, len(probes.t))
    cosine = _cosine(editor, pairs, settings.clip_cap) if settings.clip_weight else None
    leaves = Leaves.of(start.instruction, settings.learn_pooled)
    optimizer = torch.optim.AdamW(leaves.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    best, stale = _Best(start.instruction, 0, start.loss), 0
    yield run.report(best, 0, math.nan, math.nan, None, best.loss, math.nan)
    for step, batch in enumerate(examples.draws(settings, seed), start=1):
        rate = optimizer.param_groups[0]["lr"] = learning_rate_at(step - 1, settings) * leaves.tokens.unit
        instruction = leaves.instruction.encoded()  # once for both terms of the loss
        mse = examples.loss(batch, instruction, guidance).mean()
        loss, clip = settings.mse_weight * mse, cosine(instruction.rows) if cosine else None
        if clip is not None:
            loss = loss - settings.clip_weight * clip.to(loss.device)
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        if step == 1 and settings.mse_weight:
            leaves.check_gradient(editor.name)
        optimizer.step()

        probed = None
        if step % settings.probe_every == 0 or step == settings.max_train_steps:
            with torch.no_grad():
                told = leaves.instruction
            probed = probe(told)
            stale = 0 if probed < best.loss * (1 - settings.min_improvement) else stale + 1
            best = _Best(told, step, probed) if probed < best.loss else best
        yield run.report(best, step, loss.item(), mse.item(), None if clip is None else clip.item(), probed, rate)
        if settings.patience and stale >= settings.patience:
            return


def _cosine(editor: Editor, pairs: Sequence[Pair], cap: float) -> Callable[[Tensor], Tensor] | None:
    """Rows `(n, d)` -> how well they point along the edit direction of the pairs; see `direction_term`."""
    joint = editor.joint
    if joint is None:
        return None
    if not isinstance(joint, RowSpace):
        raise UsageError(
            f"clip_weight compares tokens with pictures where both have a place, and the text encoder of the editor "
            f"'{editor.name}' is not that of a CLIP; set clip_weight=0"
        )
    before = joint.image_features([pair.before for pair in pairs])
    direction = edit_direction(before, joint.image_features([pair.after for pair in pairs]))
    return lambda rows: direction_term(joint.project(rows), direction, cap)


def little_learned(edit: Edit) -> bool:
    """Whether an edit that needs what its tokens say has probably not been learned."""
    return edit.needs_editor and edit.training["explained"] < LOW_EXPLAINED


def learning_advice(editor: Editor) -> str:
    """A sentence against learning with this editor, which some have as `advice`; else empty."""
    return str(getattr(editor, "advice", ""))


def sampling_settings(editor: Editor, settings: InversionSettings) -> Any:
    """The editor's recommended settings with the recipe's guidance: used in a guided loss, and kept for applying.

    Tokens learned with guidance inside the loss are right only when they are sampled with that same guidance.
    """
    known = {field.name for field in dataclasses.fields(editor.settings)}
    wanted = {"guidance_scale": settings.guidance_scale, "image_guidance_scale": settings.image_guidance_scale}
    changes = {name: value for name, value in wanted.items() if value is not None and name in known}
    return dataclasses.replace(editor.settings, **changes)
