"""The editors by name: those in here, and those that other packages offer by entry points, group `vii.editors`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..editor import ENCODER_OUTPUT, SPACES, Editor
from ..errors import EditorError, UsageError, unknown_name
from ..libraries import downloads
from ..plugins import Entry, Table
from .loading import EMBEDDED_MODEL

GROUP = "vii.editors"
DEFAULT_EDITOR = "embedded"
# The one that the files of the paper's authors were learned with.
AUTHORS_EDITOR = "ip2p"
# How models may be used, as their cards say.
MODEL_LICENSES = {
    "timbrooks/instruct-pix2pix": "mit",
    "diffusers/sdxl-instructpix2pix-768": "openrail++",
    "black-forest-labs/FLUX.2-klein-base-4B": "apache-2.0",
    "black-forest-labs/FLUX.2-klein-4B": "apache-2.0",
    "black-forest-labs/FLUX.2-klein-base-9B": "FLUX non-commercial",
    "black-forest-labs/FLUX.2-klein-9B": "FLUX non-commercial",
    "black-forest-labs/FLUX.2-dev": "FLUX non-commercial",
    "black-forest-labs/FLUX.1-Kontext-dev": "FLUX.1 [dev] non-commercial",
    "Qwen/Qwen-Image-Edit": "apache-2.0",
    "Qwen/Qwen-Image-Edit-2509": "apache-2.0",
    "Qwen/Qwen-Image-Edit-2511": "apache-2.0",
}
CLIP = {"openai/clip-vit-large-patch14": "finding a starting text, and the CLIP term of the recipe 'visii'"}


# Only figures that were measured stand in these records, with what they were measured on.
@dataclass(frozen=True)
class Measured:
    """Learning one edit from one pair.

    Attributes:
        device: "cpu", "cuda" or "mps".
        took: how long.
        memory: bytes, the peak of the whole process, or None where it was not measured.
        basis: what it was measured on, and where it is written.
    """

    device: str
    took: str
    memory: int | None
    basis: str


@dataclass(frozen=True)
class Needs:
    """What one editor needs.

    Attributes:
        folder: weights that ship with the package.
        models: id on the Hugging Face Hub -> what it is for.
        measured: what learning took.
    """

    folder: Path | None = None
    models: Mapping[str, str] | None = None
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class EditorEntry(Entry[Editor]):
    """A row of `EDITORS`, and what an entry point of the group `vii.editors` stands for.

    Attributes:
        build: see `Entry`; its keyword arguments are the options that `load_editor` takes for it.
        description: see `Entry`.
        needs: what it needs, in a few words.
        model: what its own model is called in edit files; edits that name another are used only on the user's word.
        options: arguments that it is built with unless others are given.
        files: what it needs, for `vii doctor`; None where nobody says.
        pipeline: ids on the hub of the models of an edit, none for the editor's own -> Python lines that make a
            `pipeline` of diffusers which takes its prompt embeddings; "" where there is none.
    """

    error = EditorError
    needs: str = "nothing"
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Needs | None = None
    pipeline: Callable[[Sequence[str]], str] = lambda _models: ""


def _ip2p_pipeline(models: Sequence[str]) -> str:
    if len(models) > 1:
        return ""
    imported, named = "", f'"{models[0]}"' if models else "EMBEDDED_MODEL, safety_checker=None"
    if not models:
        imported = "from vii.editors.loading import EMBEDDED_MODEL\n\n"
    return f"{imported}pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained({named})\n"


def _flux2_pipeline(models: Sequence[str]) -> str:
    return _large("Flux2Pipeline" if models and models[0].endswith("-dev") else "Flux2KleinPipeline")(models)


def _large(kind: str) -> Callable[[Sequence[str]], str]:
    made = f'pipeline = diffusers.{kind}.from_pretrained("{{}}", torch_dtype=torch.bfloat16).to("cuda")\n'
    return lambda models: made.format(models[0]) if len(models) == 1 else ""


def _controlnet_pipeline(models: Sequence[str]) -> str:
    if len(models) != 2:
        return ""
    network = f'controlnet = diffusers.ControlNetModel.from_pretrained("{models[1]}")\n'
    kind = "diffusers.StableDiffusionControlNetPipeline"
    return f'{network}pipeline = {kind}.from_pretrained("{models[0]}", controlnet=controlnet)\n'


OWN: Mapping[str, EditorEntry] = {
    DEFAULT_EDITOR: EditorEntry(
        "vii.editors.ip2p:load_ip2p",
        "a small InstructPix2Pix at 128 px that ships inside the package",
        model="vii-embedded-4",
        options={"name": "embedded", "model": str(EMBEDDED_MODEL)},
        files=Needs(
            folder=EMBEDDED_MODEL,
            measured=(
                Measured(
                    "cpu",
                    "about 10 s",
                    1_150_000_000,
                    "recipe 'default' on two CPU cores in bfloat16 (time: README.md; memory: LOG.md)",
                ),
            ),
        ),
        pipeline=_ip2p_pipeline,
    ),
    "ip2p": EditorEntry(
        "vii.editors.ip2p:load_ip2p",
        "InstructPix2Pix at 512 px, or any model of that architecture by id or folder (--model)",
        "2 to 5 GB of weights, downloaded once; a GPU for comfort",
        model="timbrooks/instruct-pix2pix",
        options={"name": "ip2p", "model": "timbrooks/instruct-pix2pix"},
        files=Needs(models={"timbrooks/instruct-pix2pix": "the editor itself", **CLIP}),
        pipeline=_ip2p_pipeline,
    ),
    "controlnet": EditorEntry(
        "vii.editors.controlnet:load_controlnet",
        "Stable Diffusion 1.5 with ControlNet 1.1 ip2p at 512 px, or others of these architectures (--model, "
        "--controlnet)",
        "4 to 7 GB of weights, downloaded once; a GPU for comfort",
        model="stable-diffusion-v1-5/stable-diffusion-v1-5+lllyasviel/control_v11e_sd15_ip2p",
        options={"name": "controlnet"},
        files=Needs(
            models={
                "stable-diffusion-v1-5/stable-diffusion-v1-5": "the editor itself",
                "lllyasviel/control_v11e_sd15_ip2p": "its ControlNet",
                **CLIP,
            }
        ),
        pipeline=_controlnet_pipeline,
    ),
    "sdxl": EditorEntry(
        "vii.editors.sdxl:load_sdxl",
        "SDXL InstructPix2Pix at 768 px, or CosXL-Edit in a folder of diffusers' layout (--model)",
        "7 GB of weights, downloaded once; a GPU with 8 GB",
        model="diffusers/sdxl-instructpix2pix-768",
        options={"name": "sdxl", "model": "diffusers/sdxl-instructpix2pix-768"},
        files=Needs(models={"diffusers/sdxl-instructpix2pix-768": "the editor itself", **CLIP}),
        pipeline=_large("StableDiffusionXLInstructPix2PixPipeline"),
    ),
    "klein": EditorEntry(
        "vii.editors.klein:KleinEditor.load",
        "FLUX.2 [klein] base 4B at 1024 px; base or distilled, 4B or 9B, or FLUX.2 [dev], by id or folder (--model)",
        "16 GB of weights, downloaded once; a GPU with 16 GB",
        model="black-forest-labs/FLUX.2-klein-base-4B",
        options={"name": "klein", "model": "black-forest-labs/FLUX.2-klein-base-4B"},
        files=Needs(models={"black-forest-labs/FLUX.2-klein-base-4B": "the editor itself", **CLIP}),
        pipeline=_flux2_pipeline,
    ),
    "kontext": EditorEntry(
        "vii.editors.kontext:KontextEditor.load",
        "FLUX.1 Kontext [dev] at 1024 px, or a model of its architecture by id or folder (--model)",
        "34 GB of weights, downloaded once, after its licence (not commercial) was accepted there; a GPU with 32 GB",
        model="black-forest-labs/FLUX.1-Kontext-dev",
        options={"name": "kontext", "model": "black-forest-labs/FLUX.1-Kontext-dev"},
        files=Needs(models={"black-forest-labs/FLUX.1-Kontext-dev": "the editor itself", **CLIP}),
        pipeline=_large("FluxKontextPipeline"),
    ),
    "qwen": EditorEntry(
        "vii.editors.qwen:QwenEditor.load",
        "Qwen-Image-Edit-2511 at 1024 px; also -2509 and Qwen-Image-Edit, by id or folder (--model)",
        "58 GB of weights, downloaded once; a GPU with 48 GB",
        model="Qwen/Qwen-Image-Edit-2511",
        options={"name": "qwen", "model": "Qwen/Qwen-Image-Edit-2511"},
        files=Needs(models={"Qwen/Qwen-Image-Edit-2511": "the editor itself", **CLIP}),
    ),
    "toy": EditorEntry(
        "vii.editors.toy:ToyEditor",
        "moves the colours of horizontal bands; for tests and for writing editors",
        model="toy",
        files=Needs(),
    ),
}


EDITORS: Mapping[str, EditorEntry] = Table(GROUP, OWN, partial(EditorEntry.offered, needs="a repair of its package"))


def load_editor(
    name: str = DEFAULT_EDITOR, *, space: str | None = None, download: bool = True, **options: Any
) -> Editor:
    """Load an editor, frozen, on the best device there is.

    Args:
        name: a key of `EDITORS`.
        space: where instructions are learned: in the "output" of the text encoder, which is what the networks read
            (the default), or in its "input" embeddings, whose edits other programs load as textual inversions.
        download: False to take a model from this machine or not at all.
        options: `model` (hub id or folder), `revision`, `device` ("cuda", "mps", "cpu"), `dtype` ("float32",
            "bfloat16", "float16") and `clip` (see `vii.clip.load_clip`; "none" for no joint space), for the editors
            that load weights; `controlnet` (hub id or folder) for the one that has one. None is as not given.

    Raises:
        EditorError: an unknown name, or weights that cannot be loaded.
        UsageError: an option that this editor does not have, or an unknown space.
    """
    if name not in EDITORS:
        raise EditorError(unknown_name("editor", str(name), EDITORS))
    given = {key: value for key, value in options.items() if value is not None}
    if (kind := space_kind(space)) != ENCODER_OUTPUT:  # which every editor has
        given["space"] = kind
    build = EDITORS[name].builder()
    parameters = inspect.signature(build).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in given:
        if option not in parameters and not takes_any:
            if option == "space":
                raise UsageError(
                    f"the editor '{name}' has no text encoder with input embeddings to learn in; expected space "
                    f"output, got {space}"
                )
            raise UsageError(f"the editor '{name}' does not take {option}")
    with downloads(download):
        return build(**{**EDITORS[name].options, **given})


def space_kind(space: str | None) -> str:
    """The kind of space that an option names: a value of `vii.editor.SPACES`.

    Raises:
        UsageError: an unknown name.
    """
    if space is not None and space not in SPACES:
        raise UsageError(unknown_name("space", space, SPACES))
    return SPACES[space] if space else ENCODER_OUTPUT
