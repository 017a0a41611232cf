"""Starting texts by retrieval in a joint image-text space.

Either the known instructions that point the way a pair does, or the known captions that lie where its result does.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from ..editor import Editor, JointSpace
from ..errors import UsageError
from ..images import Pair
from ..losses import edit_direction

# Two phrases whose centred features are nearer than this say the same: the second one would waste a candidate.
SAME = 0.95


def nearest_phrases(editor: Editor, pairs: Sequence[Pair], count: int) -> list[tuple[str, float]]:
    """Distinct phrases of an editor whose text features lie nearest to the direction from before to after, with their
    cosines.

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
