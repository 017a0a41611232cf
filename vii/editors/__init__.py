"""The editors by name. A builder imports its one module when it is called, so that naming an editor costs nothing."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..editor import ENCODER_OUTPUT, SPACES, Editor
from ..errors import EditorError, UsageError, unknown_name
from ..libraries import downloads
from .needs import CONTROLNET, IP2P, STABLE_DIFFUSION


def _toy(**options: Any) -> Editor:
    from .toy import ToyEditor

    return ToyEditor(**options)


def _embedded(**options: Any) -> Editor:
    from .ip2p import load_ip2p
    from .loading import EMBEDDED_MODEL

    return load_ip2p(name="embedded", **{"model": str(EMBEDDED_MODEL), **options})


def _ip2p(**options: Any) -> Editor:
    from .ip2p import load_ip2p

    return load_ip2p(name="ip2p", **{"model": IP2P, **options})


def _controlnet(**options: Any) -> Editor:
    from .controlnet import load_controlnet

    return load_controlnet(name="controlnet", **options)


@dataclasses.dataclass(frozen=True)
class EditorEntry:
    """A row of `EDITORS`; `model` is what its own model is called in edit files."""

    build: Callable[..., Editor]
    description: str
    needs: str
    model: str = ""


EDITORS: Mapping[str, EditorEntry] = {
    "embedded": EditorEntry(
        _embedded, "a small InstructPix2Pix at 128 px that ships inside the package", "nothing", "vii-embedded-3"
    ),
    "ip2p": EditorEntry(
        _ip2p,
        "InstructPix2Pix at 512 px, or any model of that architecture by id or folder (--model)",
        "2 to 5 GB of weights, downloaded once; a GPU for comfort",
        IP2P,
    ),
    "controlnet": EditorEntry(
        _controlnet,
        "Stable Diffusion 1.5 with ControlNet 1.1 ip2p at 512 px, or others of these architectures (--model, "
        "--controlnet)",
        "4 to 7 GB of weights, downloaded once; a GPU for comfort",
        f"{STABLE_DIFFUSION}+{CONTROLNET}",
    ),
    "toy": EditorEntry(
        _toy, "moves the colours of horizontal bands; for tests and for writing editors", "nothing", "toy"
    ),
}


def load_editor(name: str = "embedded", *, space: str | None = None, download: bool = True, **options: Any) -> Editor:
    """Load an editor, frozen, on the best device there is.

    Args:
        name: a key of `EDITORS`.
        space: where instructions are learned: in the "output" of the text encoder, which is what the networks read
            (the default), or in its "input" embeddings, whose edits other programs load as textual inversions.
        download: False to take a model from this machine or not at all.
        options: `model` (hub id or folder), `revision`, `device` ("cuda", "mps", "cpu"), `dtype` ("float32",
            "bfloat16", "float16") and `clip` (see `vii.clip.load_clip`; "none" for no joint space), for the editors
            that load weights; `controlnet` (hub id or folder) for the one that has one.

    Raises:
        EditorError: an unknown name, or weights that cannot be loaded.
        UsageError: an option that this editor does not have, or an unknown space.
    """
    if name not in EDITORS:
        raise EditorError(unknown_name("editor", name, EDITORS))
    given = {key: value for key, value in options.items() if value is not None}
    if (kind := space_kind(space)) != ENCODER_OUTPUT:  # which every editor has
        given["space"] = kind
    try:
        with downloads(download):
            return EDITORS[name].build(**given)
    except TypeError as error:
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if not unexpected or unexpected[1] not in given:
            raise
        if unexpected[1] == "space":
            raise UsageError(
                f"the editor '{name}' has no text encoder with input embeddings to learn in; expected space output, "
                f"got {space}"
            ) from None
        raise UsageError(f"the editor '{name}' does not take {unexpected[1]}") from None


def space_kind(space: str | None) -> str:
    """The kind of space that an option names: a value of `vii.editor.SPACES`.

    Raises:
        UsageError: an unknown name.
    """
    if space is not None and space not in SPACES:
        raise UsageError(unknown_name("space", space, SPACES))
    return SPACES[space] if space else ENCODER_OUTPUT
