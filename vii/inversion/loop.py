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
from ..editor import Editor, RowSpace
from ..errors import UsageError
from ..images import Pair
from ..instruction import Instruction
from ..losses import direction_term, edit_direction
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
    """Learn an edit and its finish; Ctrl-C ends it early with the best tokens so far.

    Args:
        editor: a frozen editor.
        pairs: one or more examples of one edit.
        settings: how to learn, as from `load_recipe`; by default the recipe `default`.
        seed: makes the run repeatable: the same seed gives the same edit file on the same machine.

    Raises:
        UsageError: no pair, or settings that this editor cannot follow.
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
    if not pairs:
        raise UsageError("expected at least one before/after pair")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UsageError(f"the seed must be a whole number from 0 to 2**63 - 1, got {seed}")
    # Refuses what there is no room for, and what there is not.
    Leaves.of(free(editor.instruct(settings.init_text), settings), settings.learn_pooled)
    return _steps(editor, tuple(pairs), settings, sampling_settings(editor, settings), seed, watch)


@dataclass(frozen=True, eq=False)
class _Best:
    """What was told with the least probe loss so far, and after which update it was found."""

    instruction: Instruction
    step: int
    loss: float


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
    guidance = sampling if settings.guided_loss else None
    probes, last = examples.probes(settings), settings.max_train_steps
    probe: Callable[[Instruction], float] = partial(examples.mean_loss, probes, guidance=guidance)
    seen = [before for before, _ in examples.encoded]
    null_loss = probe(editor.instruct("", seen))
    start = choose_start(editor, pairs, settings, seed, probe, watch, seen)
    direction = _direction(editor, pairs) if settings.clip_weight else None
    branches = editor.num_branches([1.0], sampling) if settings.guided_loss else 1

    def report(step: int, loss: float, mse: float, clip: float | None, probed: float | None, rate: float) -> Step:
        looks = 1 + start.candidates + step // settings.probe_every + (step == last and step % settings.probe_every > 0)
        samples = branches * (step * settings.batch_size + looks * len(probes.t))
        learned = partial(_edit, editor, pairs, settings, sampling, seed, start, null_loss, best, step, samples)
        finished = partial(_finished, editor, pairs, settings, seed, learned)
        return Step(
            step, last, loss, mse, clip, probed, _explained(best.loss, null_loss), samples, rate, learned, finished
        )

    leaves = Leaves.of(start.instruction, settings.learn_pooled)
    optimizer = torch.optim.AdamW(leaves.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    best, stale = _Best(start.instruction, 0, start.loss), 0
    yield report(0, math.nan, math.nan, None, best.loss, math.nan)
    for step, batch in enumerate(examples.draws(settings, seed), start=1):
        rate = optimizer.param_groups[0]["lr"] = learning_rate_at(step - 1, settings) * leaves.tokens.unit
        instruction = leaves.instruction.encoded()  # once for both terms of the loss
        mse = examples.loss(batch, instruction, guidance).mean()
        loss, clip = settings.mse_weight * mse, None
        if direction is not None and isinstance(editor.joint, RowSpace):
            clip = direction_term(editor.joint.project(instruction.rows), direction, settings.clip_cap)
            loss = loss - settings.clip_weight * clip.to(loss.device)
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        if step == 1 and settings.mse_weight:
            leaves.check_gradient(editor.name)
        optimizer.step()

        probed = None
        if step % settings.probe_every == 0 or step == last:
            with torch.no_grad():
                told = leaves.instruction
            probed = probe(told)
            stale = 0 if probed < best.loss * (1 - settings.min_improvement) else stale + 1
            if probed < best.loss:
                best = _Best(told, step, probed)
        yield report(step, loss.item(), mse.item(), None if clip is None else clip.item(), probed, rate)
        if settings.patience and stale >= settings.patience:
            return


def _direction(editor: Editor, pairs: Sequence[Pair]) -> Tensor | None:
    joint = editor.joint
    if joint is None:
        return None
    if not isinstance(joint, RowSpace):
        raise UsageError(
            f"clip_weight compares tokens with pictures where both have a place, and the text encoder of the editor "
            f"'{editor.name}' is not that of a CLIP; set clip_weight=0"
        )
    before = joint.image_features([pair.before for pair in pairs])
    return edit_direction(before, joint.image_features([pair.after for pair in pairs]))


def _edit(
    editor: Editor,
    pairs: Sequence[Pair],
    settings: InversionSettings,
    sampling: Any,
    seed: int,
    start: Start,
    null_loss: float,
    best: _Best,
    steps: int,
    samples: int,
) -> Edit:
    """The edit that was best after so many steps and samples."""
    training = {
        "recipe": settings.recipe,
        "init": settings.init,
        **({"init_caption": start.caption} if start.caption else {}),
        "seed": seed,
        "noise": settings.noise,
        **({"augment": settings.augment} if settings.augment != "none" else {}),
        "steps": steps,
        "best_step": best.step,
        "samples": samples,
        "loss_null": round(null_loss, 6),
        "loss_start": round(start.loss, 6),
        "loss": round(best.loss, 6),
        "explained_start": round(_explained(start.loss, null_loss), 4),
        "explained": round(_explained(best.loss, null_loss), 4),
    }
    return Edit(
        tokens=best.instruction.tokens.float().cpu(),
        pooled=best.instruction.pooled if settings.learn_pooled else (),
        space=editor.space,
        editor=editor.name,
        init_text=start.text,
        start=start.instruction.free[0],
        resolution=editor.resolution,
        settings=dataclasses.asdict(sampling),
        training=training,
        pairs=tuple(pair.sha256() for pair in pairs),
    )


def _finished(
    editor: Editor, pairs: Sequence[Pair], settings: InversionSettings, seed: int, learned: Callable[[], Edit]
) -> Edit:
    return with_finish(editor, pairs, learned(), seed=seed) if settings.finish == "auto" else learned()


def _explained(loss: float, null_loss: float) -> float:
    """The share of the loss without an instruction that is gone; none where there is no loss to take away."""
    return 1 - loss / null_loss if null_loss else 0.0


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
