"""The table of ways to find a starting text, and what is done with a text that is too long.

Other packages add ways with entry points of the group `vii.captioners`: functions `(pairs, editor) -> texts` that give
candidates, the most likely first, and are described by the first line of their docstring.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..clip import load_clip
from ..editor import Editor, JointSpace
from ..errors import CaptionerError, UsageError, unknown_name
from ..images import Pair
from ..losses import edit_direction
from ..plugins import Plugin, Table, plugins
from ..prompt_tower import PromptSpace
from .pez import pez

OWN: Mapping[str, str] = {
    "retrieve": "instructions the editor knows that point from before to after in its joint space",
    "none": "the empty text",
    "caption": "a caption of the after picture: of those the editor's joint space knows, or by BLIP",
    "pez": "a prompt of real words searched for by gradient (PEZ), as the authors do",
    "lavis": "a caption of the after picture by salesforce-lavis, in an environment of its own",
}


def _described(plugin: Plugin) -> str:
    documented = str(getattr(plugin.value, "__doc__", "") or f"offered by {plugin.package}")
    return plugin.problem or documented.strip().splitlines()[0]


GROUP = "vii.captioners"
INITS: Mapping[str, str] = Table(GROUP, OWN, _described)
MODELS = ("caption", "pez", "lavis")  # those that a model can be named for
# Two phrases whose centred features are nearer than this say the same: the second one would waste a candidate.
SAME = 0.95


def starting_texts(
    editor: Editor,
    pairs: Sequence[Pair],
    init: str,
    count: int,
    *,
    captioner: str = "",
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
    **search: Any,
) -> list[str]:
    """Candidates for a starting text, the most likely first.

    Args:
        editor: the editor to learn for.
        pairs: the example.
        init: a key of `INITS`. "retrieve" is the empty text where the editor has no joint
            space. "caption" gives captions that the editor's joint space knows where it knows any and no captioner is
            named, else a caption by BLIP of every after picture.
        count: how many candidates to retrieve.
        captioner: the model behind "caption" (BLIP), "pez" (see `vii.clip.load_clip`) or "lavis"; empty for what
            needs the least.
        seed: of "pez".
        watch: called with a note now and then while something slow goes on.
        search: how "pez" searches, see `pez_steps`.

    Raises:
        UsageError: an unknown `init`, a captioner for one that has no use for it, or no joint space to search in.
        CaptionerError: the captioner cannot be loaded or fails.
        EditorError: the CLIP model to search in cannot be loaded.
    """
    if captioner and init not in MODELS:
        raise UsageError(f"a captioner is for init {', '.join(MODELS)}; got init '{init}' with captioner '{captioner}'")
    if init == "none":
        return [""]
    if init == "retrieve":
        if not editor.phrases or editor.joint is None:
            return [""]
        return [phrase for phrase, _ in nearest_phrases(editor, pairs, count)]
    if init == "caption":
        return _captions(editor, pairs, count, captioner, watch)
    if init == "pez":
        space = _space(editor, captioner)
        return [pez(space, pairs, phrases=editor.phrases, seed=seed, watch=watch, **search)]
    if init == "lavis":
        from .lavis import DEFAULT_MODEL, lavis_captions

        if watch:
            watch("LAVIS")
        return lavis_captions([pair.after for pair in pairs], captioner or DEFAULT_MODEL, editor.device)
    if init not in INITS:
        raise UsageError(unknown_name("init", init, INITS))
    offered = next(plugin for plugin in plugins(GROUP) if plugin.name == init)
    if offered.problem:
        raise CaptionerError(offered.problem)
    texts = offered.value(pairs, editor)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CaptionerError(f"the captioner '{init}' of {offered.package} gave no list of texts, but {texts!r:.80}")
    return list(texts)[:count]


def nearest_phrases(editor: Editor, pairs: Sequence[Pair], count: int) -> list[tuple[str, float]]:
    """Distinct phrases of an editor whose text features lie nearest to the direction from before to after, and cosines.

    The mean over all phrases is taken off first: what every instruction has in common says nothing about this one.
    Image features are normalised before they are subtracted, as every joint space compares them by their angle.
    """
    joint = editor.joint
    if joint is None or not editor.phrases:
        raise UsageError(f"the editor '{editor.name}' has no joint image-text space to look for a phrase in")
    before = F.normalize(joint.image_features([pair.before for pair in pairs]), dim=1)
    after = F.normalize(joint.image_features([pair.after for pair in pairs]), dim=1)
    texts = F.normalize(joint.text_features(editor.phrases), dim=1)
    texts = F.normalize(texts - texts.mean(0), dim=1)
    cosines = texts @ edit_direction(before, after)
    chosen: list[int] = []
    for index in cosines.argsort(descending=True).tolist():
        if len(chosen) == count:
            break
        if not chosen or (texts[chosen] @ texts[index]).max() < SAME:
            chosen.append(index)
    return [(editor.phrases[index], float(cosines[index])) for index in chosen]


def nearest_captions(joint: JointSpace, images: Sequence[Tensor], count: int) -> list[tuple[str, float]]:
    """Captions known to a joint space whose text features lie nearest to the mean of pictures', with their cosines."""
    if not joint.captions:
        raise UsageError("this joint image-text space knows no captions to choose among")
    pictures = F.normalize(joint.image_features(images), dim=1)
    texts = F.normalize(joint.text_features(joint.captions), dim=1)
    cosines = texts @ F.normalize(pictures.mean(0), dim=0)
    best = cosines.argsort(descending=True)[:count].tolist()
    return [(joint.captions[index], float(cosines[index])) for index in best]


def shorten(editor: Editor, text: str) -> str:
    """A text cut after the last word with which the editor's text encoder still takes it, or UsageError.

    For captions, which nobody chose the length of; words that somebody wrote are refused by `Editor.instruct` instead.
    """
    words = text.split(" ")
    for kept in range(len(words), 1, -1):
        shortened = " ".join(words[:kept])
        try:
            editor.instruct(shortened)
        except UsageError:
            continue
        return shortened
    editor.instruct(words[0])
    return words[0]


def _captions(
    editor: Editor, pairs: Sequence[Pair], count: int, captioner: str, watch: Callable[[str], None] | None
) -> list[str]:
    after = [pair.after for pair in pairs]
    if not captioner and editor.joint is not None and editor.joint.captions:
        return [caption for caption, _ in nearest_captions(editor.joint, after, count)]
    from .blip import DEFAULT_MODEL, BlipCaptioner

    if watch:
        watch("BLIP")
    return BlipCaptioner(captioner or DEFAULT_MODEL, editor.device).caption(after)


def _space(editor: Editor, model: str) -> PromptSpace:
    if model:
        advice = (
            "give open_clip:ARCHITECTURE/WEIGHTS, or a folder or an id of a CLIP model in transformers' form, as "
            "`captioner`"
        )
        return load_clip(model, editor.device, advice)
    if not isinstance(editor.joint, PromptSpace):
        raise UsageError(
            f"the editor '{editor.name}' has no joint image-text space to search a prompt in; name a CLIP model: "
            "`captioner=open_clip:ARCHITECTURE/WEIGHTS`"
        )
    return editor.joint
