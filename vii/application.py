"""Apply learned edits to photos: alone, with words, with other edits, everywhere or in a region.

`Application` is the one way from edits and a photo to a picture and its record.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .arrangement import SIZES, arrangement, chained, check_choice
from .batching import NOTHING, HeldPhoto, batch_for, in_batches, workers_for
from .diffusion import Noise, banked_noise
from .edit_list import Edits, check_together, weighted_edits
from .editor import Editor, check_editor, stack
from .errors import UsageError
from .finish import Colors
from .finish.steady import Steady
from .finish.tiles import by_rows
from .images import as_image, channels_first, channels_last, fit, resize
from .instruction import Instruction
from .record import chunks, record
from .region import Region, check_box, check_region, composite
from .settings import check_seed, override
from .sizes import MULTIPLE, Done

# Sampling steps, each a run of the networks, that somebody else's file may ask for; its user may ask for more.
MAX_UNASKED_STEPS = 100
# The same region for every photo, or what gives one for a photo `(3, h, w)`.
Where = Region | Callable[[Tensor], Region] | None


class Application:
    """Edits and words made ready for one editor: all that does not depend on a photo is checked and computed once.

    Attributes:
        editor: that edits; None where there is none.
        edits: with their weights.
        settings: the editor's settings that are sampled with.
        warnings: what the first edit's file recommends beyond what the editor takes, and is not done; a sentence each.
        sampled: of the edits those that the editor is given, with the weights of their branches.
        branches: instructions, encoded, and their weights, a guidance branch each; none for colour transforms alone.
        reuse_noise: whether the noises of training are used.
        batch: photos that are worth sending through the networks at once.
    """

    def __init__(
        self,
        editor: Editor | None,
        edits: Edits = None,
        *,
        text: str = "",
        join_text: bool = False,
        seed: int = 0,
        reuse_noise: bool | None = None,
        finish: str = "auto",
        size: str = "photo",
        any_model: bool = False,
        **settings: Any,
    ) -> None:
        """Check everything, and encode the texts.

        Args:
            editor: the editor that the edits were learned with; None will do for those that need none.
            edits: one edit; several, each with a weight (1 as learned, 0 not at all, negative the other way); or None
                for words alone.
            text: words to add, as one more guidance branch of weight 1.
            join_text: put the words after the tokens of the first edit instead, `BOS tokens | words | EOS`, as the
                paper's hybrid instruction does; weaker on the embedded editor (LOG.md).
            seed: of all random numbers, in [0, 2**63); the same for every photo.
            reuse_noise: start from and add the noises that the (first) edit was learned with, each at its timestep (the
                paper's "fixed noise"); needs an edit learned with a noise bank, whose seed is then used instead of
                `seed`. None: where the edit was learned to be applied so (`noise = "reuse"`).
            finish: "auto": as the edits' own finishes say, by the rule of `vii.finish.arrange`; "none": the editor's
                picture as it is.
            size: of results: "photo", the photo's own, or "editor", that at which the editor works.
            any_model: see `Edit.check_space`.
            settings: fields of the editor's settings (`num_inference_steps`, `guidance_scale`, ...); what is not given
                comes from the first edit, and what that does not say from the model.

        Raises:
            EditorMismatch: an edit was learned for another instruction space.
            UsageError: nothing to do, edits of two kinds of space, a text too long, no noise to reuse, or a weight,
                seed, finish, size or setting that cannot be.
        """
        self.editor, self.edits = editor, weighted_edits(edits)
        self.text, self.join_text, self.seed, self.finish, self.size = text, join_text, check_seed(seed), finish, size
        if not isinstance(text, str):
            raise UsageError(f"text must be a str, got {type(text).__name__}")
        if not self.edits and not text:
            raise UsageError("nothing to apply: expected an edit, or a text, or both")
        check_choice("size", size, SIZES)
        self._steps = arrangement(self.edits, words=bool(text), joined=join_text, finish=finish)
        run = self._steps.run
        self.sampled = [(self.edits[number][0], weight) for number, weight in run.branches] if run else []
        if editor is None and (run or size == "editor"):
            raise UsageError("expected an editor: words, size 'editor' and edits that have tokens need one")
        if editor is not None:
            check_editor(editor)
        check_together([edit for edit, _ in self.sampled])
        self.settings: Any = None
        self.warnings: tuple[str, ...] = ()
        if editor is not None:
            for edit, _ in self.sampled:
                edit.check_space(editor.space, any_model=any_model)
            self.settings, self.warnings = self._resolve(editor, settings)
        training = self.sampled[0][0].training if self.sampled else {}
        self.reuse_noise = training.get("noise") == "reuse" if reuse_noise is None else reuse_noise
        self._noise = banked_noise(training) if self.reuse_noise else Noise(seed)
        self.batch = batch_for(editor.resolution, editor.device) if editor else 1
        self._sizes: dict[Done, tuple[int, ...]] = {}
        with torch.no_grad():
            built = self._instructions(editor) if editor and run else []
            self.branches = [(instruction.encoded(), weight) for instruction, weight in built]

    def __call__(self, photo: Any, mask: Region | None = None) -> Tensor:
        """Edit one photo.

        Args:
            photo: `(3, h, w)` in [0, 1], any size, or whatever `as_image` takes.
            mask: 1 where to edit, 0 where the photo stays as it is, or a box; None for everywhere.

        Returns:
            `(3, h', w')` in [0, 1]: of the photo's size, or of the editor's where that was asked for.

        Raises:
            UsageError: no picture, no mask, or a box that does not lie inside the photo.
        """
        return next(self.many([photo], mask, batch=1))

    def many(
        self, photos: Iterable[Any], mask: Where = None, *, batch: int | None = None, steady: Steady | None = None
    ) -> Iterator[Tensor]:
        """Edit photos, those of one working size together; each is taken from `photos` no earlier than it is needed.

        A photo's picture is that of `self(photo, mask)` but for the rounding of sums in the networks, by the size of
        the batch alone: with the embedded editor one 8-bit value in ten thousand differs, by 1. A batch for which a GPU
        has too little memory is halved.

        Args:
            photos: see `__call__`; or `Done`, for photos that only take their place in a batch.
            mask: for every one of them, or what gives it for one.
            batch: photos that go through the networks at once; None for `self.batch`.
            steady: for the frames of one clip, what holds the results of an editor near each other.

        Yields:
            pictures in the photos' order, `(3, 0, 0)` for what is `Done`; those before a failure are given first.

        Raises UsageError as `__call__` does.
        """
        if batch is not None and (type(batch) is not int or batch < 1):
            raise UsageError(f"batch must be a whole number of at least 1, got {batch!r}")
        if mask is not None and not callable(mask):
            check_region(mask)
        prepare, edit = (lambda photo: self._taken(photo, mask)), (lambda group: self._edit(group, steady))
        batch = batch or self.batch
        # What steadies a clip goes from frame to frame.
        workers = workers_for(batch, self.editor.device) if self.editor and not steady else 1
        return in_batches(iter(photos), prepare, edit, batch, workers)

    def record(self, picture: Tensor, mask: Where = None, *, names: Sequence[str] | None = None) -> dict[str, Any]:
        """How a picture was made, as plain values that JSON can hold; see "What a result says" in docs/formats.md.

        Args:
            picture: the result.
            mask: with which it was made.
            names: of the edits, for people; by default their titles.
        """
        names = [edit.title for edit, _ in self.edits] if names is None else names
        return record(
            self.editor,
            [(name, weight, edit) for name, (edit, weight) in zip(names, self.edits, strict=True)],
            self.settings,
            text=self.text,
            join_text=self.join_text,
            seed=self.seed,
            reuse_noise=self.reuse_noise,
            region=mask if mask is None or isinstance(mask, tuple) else "mask",
            finish=self.finish,
            size=(picture.shape[2], picture.shape[1]),
            editors_size=self.size == "editor",
        )

    def chunks(self, picture: Tensor, mask: Where = None, *, names: Sequence[str] | None = None) -> dict[str, str]:
        """The same as text for `vii.save_image(..., text=...)`."""
        return chunks(self.record(picture, mask, names=names), self.settings)

    def _resolve(self, editor: Editor, given: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
        """Settings: those given, over those of the first edit sampled, over the model's; and what is not done.

        An edit that was learned on a relative of the editor's model brings its tokens and no settings: what a model is
        sampled with says nothing of the one that was distilled from it.
        """
        chosen, refused = editor.settings, []
        known = {field.name for field in dataclasses.fields(chosen)}
        first = self.sampled[0][0] if self.sampled else None
        related = first is not None and editor.space.is_related_to(first.space)
        recommended = first.settings if first is not None and not related else {}
        for name, value in recommended.items():
            if name in known and given.get(name) is None:
                try:
                    if name == "num_inference_steps" and isinstance(value, int) and value > MAX_UNASKED_STEPS:
                        raise UsageError(f"an edit by itself gets at most {MAX_UNASKED_STEPS}")
                    chosen = override(chosen, **{name: value})
                except UsageError as error:
                    refused.append(f"the edit recommends {name} {value!r:.40}, which is not done: {error!s:.160}")
        return override(chosen, **given), tuple(refused)

    def _instructions(self, editor: Editor) -> list[tuple[Instruction, float]]:
        """Each edit, and the words, as a branch of its own, or the words joined to the first edit.

        The weight of an edit that is the only branch lies in its rows where the editor asks for that.
        """
        built = [(edit.instruction(editor.instruct(edit.init_text)), weight) for edit, weight in self.sampled]
        in_rows: Callable[[Any], bool] | None = getattr(editor, "strength_in_rows", None)
        if len(built) == 1 and (self.join_text or not self.text) and in_rows and in_rows(self.settings):
            ((edit, weight),) = self.sampled
            if weight:
                built = [(edit.instruction(editor.instruct(edit.init_text), weight), 1.0)]
        if not self.text:
            return built
        words = editor.instruct(self.text)
        if self.join_text and built:
            (first, weight), *others = built
            return [(first.joined(words), weight), *others]
        return [*built, (words, 1.0)]

    def _taken(self, photo: Any, mask: Where) -> HeldPhoto:
        if isinstance(photo, Done):
            return self._in_place(photo)
        image = as_image(photo)
        region = mask(image) if callable(mask) else mask
        if isinstance(region, tuple):
            check_box(region, *image.shape[-2:])
        held = HeldPhoto(image, image[0].numel(), region, _colored(image, self._steps.before))
        if self._steps.run is None or self.editor is None:
            held.picture = self._result(held, None)
        else:
            held.encoding = self.editor.encode(held.colored)
            held.size = held.encoding.noise_shape
        return held

    def _in_place(self, done: Done) -> HeldPhoto:
        pixels = done.height * done.width
        if self._steps.run is None or self.editor is None:
            return HeldPhoto(NOTHING, pixels, None, NOTHING, picture=NOTHING)
        if done not in self._sizes:
            self._sizes[done] = self.editor.encode(torch.zeros(3, done.height, done.width)).noise_shape
        return HeldPhoto(NOTHING, pixels, None, NOTHING, self._sizes[done])

    def _edit(self, group: Sequence[HeldPhoto], steady: Steady | None) -> None:
        """Give every photo of one working size its picture."""
        assert self.editor is not None  # nothing is encoded without
        # In the place of what was done before any other will do: samples of a batch do not know each other.
        some = next((held.encoding for held in group if held.encoding is not None), None)
        made: Iterable[Tensor] = [NOTHING] * len(group)
        if some is not None:
            encoded = stack([some if held.encoding is None else held.encoding for held in group])
            made = self.editor.edit(encoded, self.branches, self.settings, self._noise)
        for held, picture in zip(group, made, strict=True):
            held.picture = NOTHING if held.encoding is None else self._result(held, picture, steady)

    def _result(self, held: HeldPhoto, made: Tensor | None, steady: Steady | None = None) -> Tensor:
        """What the editor made of a photo, at the editor's size -> the result, at the size asked for, masked there."""
        picture, run = held.colored, self._steps.run
        if run is not None and made is not None:
            seen = resize(picture, *made.shape[-2:])
            whole = picture if self.size == "photo" else self._unsqueezed(picture, seen)
            shown, what = channels_last(seen), channels_last(made)
            picture = channels_first(run(channels_last(whole), shown, steady(shown, what) if steady else what))
        elif self.size == "editor" and self.editor is not None:
            picture = fit(picture, self.editor.resolution, MULTIPLE)
        result = _colored(picture, self._steps.after)
        if result is held.photo:  # a caller may change what it is given
            result = result.clone()
        return result if held.region is None else composite(result, held.photo, held.region)

    def _unsqueezed(self, picture: Tensor, seen: Tensor) -> Tensor:
        """A photo at the editor's size and in its own shape; an editor of one's own need not say that it squeezes."""
        assert self.editor is not None
        return fit(picture, self.editor.resolution, MULTIPLE) if getattr(self.editor, "square", False) else seen


def apply(editor: Editor | None, edits: Edits, image: Any, *, mask: Region | None = None, **options: Any) -> Tensor:
    """Edit one photo: `Application(editor, edits, **options)(image, mask)`; see there, also for the errors.

    What an edit's file recommends and the editor does not take is a `UserWarning`.
    """
    plan = Application(editor, edits, **options)
    for warning in plan.warnings:
        warnings.warn(warning, stacklevel=2)
    return plan(image, mask)


def _colored(image: Tensor, steps: Sequence[Colors]) -> Tensor:
    """`(3, h, w)` through colour transforms; the image itself where there are none."""
    return channels_first(by_rows(channels_last(image), chained(steps, channels_last(image)))) if steps else image
