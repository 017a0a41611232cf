"""Learn, apply, measure: one row a case, way and photo."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..edit_file import Edit
from ..editor import Editor
from ..errors import UsageError
from ..images import Pair, fit, load_image, resize
from .cases import Case, Photo
from .judges import Judges
from .measures import MEASURES, change, similarity
from .metrics import psnr, ssim
from .store import Store
from .ways import Way


@dataclass(frozen=True)
class Row:
    """What one way makes of one photo.

    Attributes:
        case: name of the case.
        way: name of the way.
        photo: what it was made from.
        result: the picture, at the editor's size; None for no edit.
        measures: name -> value for each of `MEASURES`, None where it could not be measured or was not asked for.
        explained: of the edit, see `Step.explained`; None where nothing was learned, or the edit does not say.
    """

    case: str
    way: str
    photo: Photo
    result: Path | None
    measures: Mapping[str, float | None]
    explained: float | None = None


def evaluate(
    editor: Editor,
    cases: Sequence[Case],
    ways: Sequence[Way],
    judges: Judges,
    folder: Path,
    *,
    seed: int = 0,
    cycle: bool = False,
    words: tuple[str, str] | None = None,
    conditions: Mapping[str, str | None] | None = None,
) -> Iterator[Row]:
    """Measure ways of editing on cases.

    Edits are learned from, and applied to, the pictures as they are in their files, as `vii learn` and `vii apply` do.
    They are compared at the size of the result: photo and truth are scaled to it, the examples to the same area.
    Results are kept as 8-bit pictures, and those are measured; edits and pictures that `folder` holds from a run with
    the same version, weights, settings, recipe, pictures and seed are used again.

    ImageBrush (arXiv 2308.00906) measures without a truth by going round, for the example E -> E', the photo I and its
    result I': its image fidelity is FID(I, Phi(I' | E' -> E)), its prompt fidelity FID(E', Phi(E | I -> I')). FID
    compares sets; here each picture is compared with its own, by PSNR, CLIP and LPIPS. The first learns one edit more a
    case and way, the second one edit more a photo. Of several examples the first is what a prompt cycle comes back to.

    Args:
        editor: to learn and apply with.
        cases: see `read_cases`.
        ways: see `ways_for`.
        judges: see `load_judges`.
        folder: of edits and pictures; made if it is not there.
        seed: of learning and of sampling.
        cycle: whether to measure the cycles, for the ways that learn.
        words: what a photo before and after the edit is a picture of, for the CLIP direction of texts.
        conditions: what results depend on that cannot be seen from the editor, such as the precision.

    Yields:
        a row for every case, way and photo, in this order.

    Raises:
        UsageError: nothing can be measured, or something is asked for that needs a CLIP or a recipe.
        EditorMismatch: an edit was learned for another instruction space.
        ImageError: a picture cannot be read, or the two of a pair do not show one frame.
        OutputError: the folder cannot be written to.
    """
    with_truths = any(photo.truth for case in cases for photo in case.photos)
    if not judges.clip and not with_truths and not cycle:
        raise UsageError(
            "nothing to measure: expected truths among the pictures, a CLIP model (--measure-clip), or --cycle"
        )
    if words and not judges.clip:
        raise UsageError("--text needs a CLIP model to compare words with pictures; name one with --measure-clip")
    if cycle and not any(way.recipe for way in ways):
        raise UsageError("--cycle learns the way back and needs a recipe to learn it by; add --recipe")
    for way in ways:
        if way.edit:
            way.edit.check_space(editor.space)
    for case in cases:  # learning takes long: what cannot be read is found before it
        for pair in case.examples:
            Pair.open(*pair)
        for photo in case.photos:
            _open(photo)
    store = Store(folder, editor, seed, conditions or {})
    # Not a generator itself: arguments are checked when it is called, not when the first row is asked for.
    return _Run(editor, judges, store, cycle, words).rows(cases, ways)


class _Run:
    def __init__(
        self, editor: Editor, judges: Judges, store: Store, cycle: bool, words: tuple[str, str] | None
    ) -> None:
        self.editor, self.judges, self.store, self.cycle = editor, judges, store, cycle
        self.words = judges.clip.text_features(words) if judges.clip and words else None

    def rows(self, cases: Sequence[Case], ways: Sequence[Way]) -> Iterator[Row]:
        for case in cases:
            pairs = [Pair.open(*pair) for pair in case.examples]
            shown = None
            if self.judges.clip:
                shown = self._features([pair.before for pair in pairs]), self._features([pair.after for pair in pairs])
            for way in ways:
                label = f"{case.name}-{way.name}"
                edit, back = way.edit, None
                if way.recipe:
                    edit = self.store.learned(way, pairs, label)
                    if self.cycle:
                        turned = [Pair(pair.after, pair.before) for pair in pairs]
                        back = self.store.learned(way, turned, f"{label}-back")
                for photo in case.photos:
                    yield self._row(case, way, photo, pairs[0], shown, edit, back)

    def _row(
        self,
        case: Case,
        way: Way,
        photo: Photo,
        example: Pair,
        shown: tuple[Tensor, Tensor] | None,
        edit: Edit | None,
        back: Edit | None,
    ) -> Row:
        image, truth = _open(photo)
        label, path = f"{case.name}-{photo.name}-{way.name}", None
        result = fit(image, self.editor.resolution, 1)
        if edit:
            result, path = self.store.applied(edit, image, label)
        size = result.shape[-2:]
        before = resize(image, *size)
        measures: dict[str, float | None] = dict.fromkeys((measure.name for measure in MEASURES), None)
        if shown:
            measures |= self._clip_measures(before, result, shown)
        if truth is not None:
            measures |= self._truth_measures(result, resize(truth, *size))
        if back:
            returned, _ = self.store.applied(back, result, f"{label}-back")
            measures |= self._cycle_measures("cycle_image", returned, before)
            again = self.store.learned(way, [Pair(before, result)], f"{label}-again")
            repeated, _ = self.store.applied(again, example.before, f"{label}-again")
            measures |= self._cycle_measures("cycle_prompt", repeated, example.after)
        explained = edit.training.get("explained") if edit else None
        return Row(case.name, way.name, photo, path, measures, explained)

    def _clip_measures(self, before: Tensor, result: Tensor, shown: tuple[Tensor, Tensor]) -> dict[str, float | None]:
        start, end = self._features([before]), self._features([result])
        found: dict[str, float | None] = {"image_clip": similarity(start[0], end[0])}
        for name, normalised in (("visual_clip", True), ("visual_clip_raw", False)):
            asked = change(*shown, normalised=normalised)
            found[name] = similarity(asked, change(start, end, normalised=normalised))
        if self.words is not None:
            asked = change(self.words[:1], self.words[1:], normalised=True)
            found["text_clip"] = similarity(asked, change(start, end, normalised=True))
        return found

    def _truth_measures(self, result: Tensor, truth: Tensor) -> dict[str, float | None]:
        found: dict[str, float | None] = {"psnr": psnr(result, truth), "ssim": ssim(result, truth)}
        if self.judges.lpips:
            found["lpips"] = self.judges.lpips(result, truth)
        if self.judges.dino:
            found["dino"] = similarity(*self.judges.dino([result, truth]))
        return found

    def _cycle_measures(self, name: str, picture: Tensor, goal: Tensor) -> dict[str, float | None]:
        goal = resize(goal, *picture.shape[-2:])
        found: dict[str, float | None] = {f"{name}_psnr": psnr(picture, goal)}
        if self.judges.clip:
            found[f"{name}_clip"] = similarity(*self.judges.clip.image_features([picture, goal]))
        if self.judges.lpips:
            found[f"{name}_lpips"] = self.judges.lpips(picture, goal)
        return found

    def _features(self, images: Sequence[Tensor]) -> Tensor:
        """Image features `(n, p)` of pictures scaled to the editor's area."""
        assert self.judges.clip is not None
        return self.judges.clip.image_features([fit(image, self.editor.resolution, 1) for image in images])


def _open(photo: Photo) -> tuple[Tensor, Tensor | None]:
    """A photo and its truth, at the size of the photo."""
    if photo.truth is None:
        return load_image(photo.path), None
    pair = Pair.open(photo.path, photo.truth)
    return pair.before, pair.after
