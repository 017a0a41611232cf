"""The paper's measures: how well an edit carries over to photos for which there may be no right answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..edit_file import load_edit, save_edit
from ..editor import Editor
from ..errors import UsageError
from ..files import make_folder
from ..images import Pair, fit, limited, load_image, resize, save_image
from ..methods import Learned
from ..methods.inversion import AppliedEdit
from .keys import code_sha256, conditions_of, key
from .methods import NO_EDIT, Method
from .metric_models import MetricModels
from .metric_table import PAPER
from .metrics import change, psnr, similarity, ssim
from .scores import Score
from .tasks import Case, Task

# Pictures of more pixels than a square of this side are compared scaled down to as many.
MEASURED_SIDE = 1024


def evaluate(
    editor: Editor,
    tasks: Sequence[Task],
    methods: Sequence[Method],
    models: MetricModels,
    folder: Path,
    *,
    seed: int = 0,
    cycle: bool = False,
    words: tuple[str, str] | None = None,
    conditions: Mapping[str, str | None] | None = None,
) -> Iterator[Score]:
    """Measure methods on tasks: yields a score for every task, method and photo, in this order.

    Edits are learned from, and applied to, the pictures as they are in their files, as `vii learn` and `vii apply` do.
    They are compared at the size of the result, up to `MEASURED_SIDE`: photo and truth are scaled to it; for CLIP, all
    are scaled to the editor's area. Results are kept as 8-bit pictures, and those are measured; edits and pictures that
    `folder` holds from a run with the same code, weights, settings, recipe, pictures and seed are used again.

    ImageBrush (arXiv 2308.00906) measures without a truth by going round, for the example E -> E', the photo I and its
    result I': its image fidelity is FID(I, Phi(I' | E' -> E)), its prompt fidelity FID(E', Phi(E | I -> I')). FID
    compares sets; here each picture is compared with its own, by PSNR, CLIP and LPIPS. The first learns one edit more a
    task and method, the second one edit more a photo. Of several examples the first is what a prompt cycle comes back
    to.

    Args:
        editor: to learn and apply with.
        tasks: see `read_folders`.
        methods: see `methods_for`.
        models: see `load_metric_models`.
        folder: of edits and pictures; made if it is not there.
        seed: of learning and of sampling.
        cycle: whether to measure the cycles, for the methods that look at the pairs.
        words: what a photo before and after the edit is a picture of, for the CLIP direction of texts.
        conditions: see `conditions_of`.

    Raises:
        UsageError: nothing can be measured, or something is asked for that needs a CLIP or a recipe.
        EditorMismatch: an edit was learned for another instruction space.
        ImageError: a picture cannot be read, or the two of a pair do not show one frame.
        OutputError: the folder cannot be written to.
    """
    with_truths = False
    for task in tasks:  # learning takes long: what cannot be read is found before it
        for query in task.source.split({}, seed).queries:
            with_truths |= query.read()[1] is not None
    if not models.clip and not with_truths and not cycle:
        raise UsageError(
            "nothing to measure: expected truths among the pictures, a CLIP model (`measure_clip`), or `cycle`"
        )
    if words and not models.clip:
        raise UsageError("`words` needs a CLIP model to compare words with pictures; name one with `measure_clip`")
    if cycle and not any(method.looks_at_the_pair for method in methods):
        raise UsageError("`cycle` takes the way back, by a recipe or a method that is shown pairs; add one")
    for method in methods:
        if method.needs_words:
            raise UsageError(f"{method.name}: it needs words that say the edit, which folders of pictures do not have")
        if method.edit:
            method.edit.check_space(editor.space)
    # Not a generator itself: arguments are checked when it is called, not when the first row is asked for.
    features = models.clip.text_features(words) if models.clip and words else None
    common = {**conditions_of(editor, conditions), "seed": seed}
    run = _Run(editor, models, folder / "edits", folder / "pictures", seed, cycle, features, common)
    make_folder(run.edits)
    make_folder(run.pictures)
    return run.scores(tasks, methods)


@dataclass(frozen=True)
class _Run:
    """One editor and one seed; what was learned or made before is taken from `edits` and `pictures`."""

    editor: Editor
    models: MetricModels
    edits: Path
    pictures: Path
    seed: int
    cycle: bool
    words: Tensor | None  # features of those before and after
    common: Mapping[str, Any]  # what every result depends on

    def scores(self, tasks: Sequence[Task], methods: Sequence[Method]) -> Iterator[Score]:
        for task in tasks:
            split = task.source.split({}, self.seed)
            pairs, shown = split.pairs(), None
            if self.models.clip:
                shown = self._features([pair.before for pair in pairs]), self._features([pair.after for pair in pairs])
            for method in methods:
                ready = self.prepared(method, pairs, f"{task.name}-{method.name}")
                for query in split.queries:
                    yield self._score(task.name, method, ready, query, pairs, shown)

    def _score(
        self,
        task: str,
        method: Method,
        ready: Learned,
        query: Case,
        pairs: Sequence[Pair],
        shown: tuple[Tensor, Tensor] | None,
    ) -> Score:
        image, truth = query.read()
        label, path = f"{task}-{query.name}-{method.name}", None
        result = image
        if method.name != NO_EDIT:
            result, path = self.applied(method, ready, pairs, image, label)
        result = limited(result, MEASURED_SIDE)
        size = result.shape[-2:]
        before = resize(image, *size)
        found: dict[str, float | None] = dict.fromkeys((metric.name for metric in PAPER), None)
        if shown:
            found |= self._clip_metrics(before, result, shown)
        if truth is not None:
            found |= self._truth_metrics(result, resize(truth, *size))
        if self.cycle and method.looks_at_the_pair:
            back, again = [Pair(pair.after, pair.before) for pair in pairs], [Pair(before, result)]
            labels = f"{task}-{method.name}-back", f"{label}-back"
            found |= self._cycle("cycle_image", method, back, result, before, labels)
            labels = f"{label}-again", f"{label}-again"
            found |= self._cycle("cycle_prompt", method, again, pairs[0].before, pairs[0].after, labels)
        found["explained"] = ready.edit.training.get("explained") if ready.edit else None
        rounded = {name: None if value is None else round(value, 6) for name, value in found.items()}
        picture = f"{path.parent.name}/{path.name}" if path else ""
        return Score(task, method.name, self.seed, rounded, photo=query.name, picture=picture)

    def _clip_metrics(self, before: Tensor, result: Tensor, shown: tuple[Tensor, Tensor]) -> dict[str, float | None]:
        start, end = self._features([before]), self._features([result])
        found: dict[str, float | None] = {"image_clip": similarity(start[0], end[0])}
        for name, normalised in (("visual_clip", True), ("visual_clip_raw", False)):
            asked = change(*shown, normalised=normalised)
            found[name] = similarity(asked, change(start, end, normalised=normalised))
        if self.words is not None:
            asked = change(self.words[:1], self.words[1:], normalised=True)
            found["text_clip"] = similarity(asked, change(start, end, normalised=True))
        return found

    def _truth_metrics(self, result: Tensor, truth: Tensor) -> dict[str, float | None]:
        found: dict[str, float | None] = {"psnr": psnr(result, truth), "ssim": ssim(result, truth)}
        if self.models.lpips:
            found["lpips"] = self.models.lpips(result, truth)
        if self.models.dino:
            found["dino"] = similarity(*self.models.dino([result, truth]))
        return found

    def _cycle(
        self, name: str, method: Method, pairs: Sequence[Pair], photo: Tensor, goal: Tensor, labels: tuple[str, str]
    ) -> dict[str, float | None]:
        """What the method makes of a photo by these pairs, against its goal; labels of the edit and of the picture."""
        ready = self.prepared(method, pairs, labels[0])
        picture = limited(self.applied(method, ready, pairs, photo, labels[1])[0], MEASURED_SIDE)
        goal = resize(goal, *picture.shape[-2:])
        found: dict[str, float | None] = {f"{name}_psnr": psnr(picture, goal)}
        if self.models.clip:
            found[f"{name}_clip"] = similarity(*self.models.clip.image_features([picture, goal]))
        if self.models.lpips:
            found[f"{name}_lpips"] = self.models.lpips(picture, goal)
        return found

    def _features(self, images: Sequence[Tensor]) -> Tensor:
        """Image features `(n, p)` of pictures scaled to the editor's area."""
        assert self.models.clip is not None
        return self.models.clip.image_features([fit(image, self.editor.resolution, 1) for image in images])

    def prepared(self, method: Method, pairs: Sequence[Pair], label: str) -> Learned:
        """A method made ready for these pairs; an edit that it learns is kept, in a file named after `label`."""
        path = self.edits / f"{self._name(label, self._identity(method, pairs))}.safetensors"
        if path.exists():
            edit = load_edit(path)
            return Learned(AppliedEdit(self.editor, edit), edit)
        learned = method.prepare(self.editor, "", pairs, self.seed)
        if learned.edit and method.entry.learns:
            save_edit(learned.edit, path)
        return learned

    def applied(
        self, method: Method, ready: Learned, pairs: Sequence[Pair], photo: Tensor, label: str
    ) -> tuple[Tensor, Path]:
        """What a method, prepared, makes of a photo, read back from the 8 bits of its file; and that file."""
        content = {**self._identity(method, pairs), "photo": Pair(photo, photo).sha256()}
        path = self.pictures / f"{self._name(label, content)}.png"
        if not path.exists():
            result = ready.transfer(pairs, photo, seed=self.seed)
            made_by = ready.transfer
            record = made_by.plan(self.seed).chunks(result, names=[label]) if isinstance(made_by, AppliedEdit) else {}
            save_image(result, path, text=record)
        return load_image(path), path

    def _identity(self, method: Method, pairs: Sequence[Pair]) -> dict[str, Any]:
        used = [pair.sha256() for pair in pairs] if method.looks_at_the_pair else []
        return {**method.identity(), "code": code_sha256(method.entry.builder()), "pairs": used}

    def _name(self, label: str, content: Mapping[str, Any]) -> str:
        return f"{label.replace('/', '-')}-{key({'common': self.common, **content})[:12]}"
