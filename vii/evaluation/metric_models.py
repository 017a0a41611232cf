"""The networks that metrics are computed with.

CLIP is that of the editor or one that is named. LPIPS and DINO are used where their packages and weights are already
there; nothing is downloaded for them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import strict
from ..clip import load_clip
from ..editor import Editor, JointSpace
from ..errors import EditorError
from ..libraries import load_weights, quiet
from ..preprocessing import Preprocessing
from .metric_table import CLIP, DINO, LPIPS

DINO_MODEL = "facebook/dino-vits16"
# The statistics of ImageNet, for folders without a preprocessor_config.json.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class MetricModels:
    """Networks to measure with, each None where it could not be had.

    Attributes:
        lpips: two pictures `(3, h, w)` in [0, 1] of one size -> their distance.
        dino: pictures `(3, h, w)` in [0, 1] -> class tokens `(n, p)`.
        names: network, as in `Metric.network` -> which one it is.
        missing: for each that could not be had, one sentence that says why and what to do.
    """

    clip: JointSpace | None = None
    lpips: Callable[[Tensor, Tensor], float] | None = None
    dino: Callable[[Sequence[Tensor]], Tensor] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def load_metric_models(
    editor: Editor,
    clip: str | None = None,
    dino: str | None = None,
    *,
    truths: bool = True,
    cycle: bool = False,
    own_clip: str | None = None,
) -> MetricModels:
    """The networks to measure with.

    Args:
        editor: its joint space is used where no CLIP is named.
        clip: see `vii.clip.load_clip`.
        dino: a DINO model in transformers' form, by folder or by an id that is in the cache; `DINO_MODEL` if not given.
        truths: whether there is a truth to compare with; only then is DINO looked for, and LPIPS then and for a cycle.
        cycle: whether a cycle is measured.
        own_clip: what to call the editor's own CLIP; by default it is named after the editor's model.

    Raises EditorError where the CLIP or DINO model that is named cannot be loaded.
    """
    names: dict[str, str] = {}
    missing: list[str] = []
    joint = load_clip(clip, editor.device, "give a folder or an id with `measure_clip`") if clip else editor.joint
    if joint is None:
        missing.append(
            f"no CLIP measures: the editor '{editor.name}' has no CLIP of its own; name one with `measure_clip`"
        )
    else:
        names[CLIP] = clip or own_clip or f"the editor's own ({editor.space.model})"
    distance = tokens = None
    if truths or cycle:
        try:
            distance = _lpips(editor.device)
            names[LPIPS] = "AlexNet, lpips 0.1"
        except EditorError as error:
            missing.append(str(error))
    if truths:
        try:
            tokens = _dino(dino or DINO_MODEL, editor.device)
            names[DINO] = dino or DINO_MODEL
        except EditorError as error:
            if dino:
                raise EditorError(f"{error}; leave `dino` away to do without") from None
            missing.append(str(error))
    return MetricModels(joint, distance, tokens, names, tuple(missing))


def _lpips(device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """Zhang et al. 2018, AlexNet; its package loads the backbone from torchvision, which would download it."""
    try:
        import lpips
        from torchvision.models import AlexNet_Weights
    except ImportError:
        raise EditorError("no LPIPS: the package is not there; pip install lpips") from None
    weights = Path(torch.hub.get_dir()) / "checkpoints" / AlexNet_Weights.DEFAULT.url.rpartition("/")[2]
    if not weights.is_file():
        url = AlexNet_Weights.DEFAULT.url
        raise EditorError(f"no LPIPS: AlexNet's weights are not there; put {url} into {weights.parent}")
    with redirect_stdout(StringIO()):  # it prints what it loads
        network: Any = lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False).to(device)

    def distance(first: Tensor, second: Tensor) -> float:
        with torch.no_grad():
            pictures = [(2 * image.float() - 1).unsqueeze(0).to(device) for image in (first, second)]
            return float(network(*pictures))

    return distance


def _dino(model: str, device: torch.device) -> Callable[[Sequence[Tensor]], Tensor]:
    """Class token of a DINO vision transformer, as DreamBooth (arXiv 2208.12242) compares pictures."""
    from huggingface_hub import snapshot_download
    from transformers import AutoModel

    try:
        with quiet():
            folder = model if Path(model).is_dir() else snapshot_download(model, local_files_only=True)
            network = load_weights(AutoModel, folder, unused=("pooler.",), trust_remote_code=False, dtype=torch.float32)
            size = int(network.config.image_size)
            preprocess = Preprocessing(size, *_statistics(model))
    except (OSError, ValueError, AttributeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if Path(model).exists() else "not in the cache"
        raise EditorError(
            f"no DINO: the model '{model}' is not to be had here ({reason}); hf download {model}"
        ) from None
    network = network.eval().requires_grad_(False).to(device)

    def tokens(images: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            pixels = torch.stack([preprocess(image.to(device)) for image in images])
            found: Tensor = network(pixel_values=pixels).last_hidden_state[:, 0]
            return found

    return tokens


def _statistics(model: str) -> tuple[Sequence[float], Sequence[float]]:
    from huggingface_hub import try_to_load_from_cache

    name = "preprocessor_config.json"
    found = Path(model) / name if Path(model).is_dir() else try_to_load_from_cache(model, name)
    if not isinstance(found, str | Path) or not Path(found).is_file():
        return MEAN, STD
    content = strict.loads(Path(found).read_bytes())
    return content.get("image_mean", MEAN), content.get("image_std", STD)
