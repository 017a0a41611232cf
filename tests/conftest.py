"""Small models and pictures shared by the tests. Nothing here needs a network, a GPU or more than a few seconds."""

import json
import os
import signal
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vii.cores import share_cores

share_cores()  # before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:  # one of as many processes as there are cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["VII_DEBUG"] = "1"  # a fault of the program is a traceback, and a test fails

import safetensors.torch
import torch
from torch import Tensor

import vii
from vii.clip import load_clip
from vii.edit import stored
from vii.edit_file import to_bytes
from vii.editors.fingerprint import fingerprint
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.toy import ToyEditor

# Of editors whose results are compared to many digits, whatever the machine is fastest with.
EXACT = {"device": "cpu", "dtype": "float32"}


def heeds_ctrl_c() -> None:
    """Called in a process that is to be ended by SIGINT: shells have it ignored by what they run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def picture(seed: int, height: int = 64, width: int = 64) -> Tensor:
    """A smooth random picture `(3, height, width)` in [0, 1]."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)


def saved(folder: Path, **images: Tensor) -> list[Path]:
    """Pictures on disk, `NAME.png` each."""
    for name, image in images.items():
        vii.save_image(image, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in images]


def bomb_png(side: int = 60_000) -> bytes:
    """A PNG of a hundred bytes whose header claims `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SAMPLERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}
# Of pipelines of Stable Diffusion.
UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def assembled(kind: str, **parts: Any) -> Any:
    """A pipeline of diffusers, its modules as for use, that shows no progress."""
    import diffusers

    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline = getattr(diffusers, kind)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clip_tokenizer(length: int = 77) -> Any:
    """The embedded model's words, for so many rows."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(EMBEDDED_MODEL / "tokenizer", model_max_length=length)


def clip_text(tokenizer: Any, width: int, layers: int = 2, heads: int = 4, **options: Any) -> Any:
    """The configuration of a CLIP text encoder."""
    from transformers import CLIPTextConfig

    size = {"hidden_size": width, "intermediate_size": 2 * width}
    size |= {"num_hidden_layers": layers, "num_attention_heads": heads}
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return CLIPTextConfig(vocab_size=len(tokenizer), **size, **special, **options)


def tiny_vae(width: int, kind: str = "AutoencoderKL", **options: Any) -> Any:
    """An autoencoder of two levels, with latents of four channels at half the size."""
    import diffusers

    return getattr(diffusers, kind)(
        block_out_channels=(width, 2 * width),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=width // 2,
        **options,
    )


def tiny_unet(down: Sequence[str], up: Sequence[str], **options: Any) -> Any:
    """A UNet of two levels, for latents of four channels and those of a photo."""
    import diffusers

    return diffusers.UNet2DConditionModel(
        sample_size=16,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=down,
        up_block_types=up,
        norm_num_groups=8,
        **{"in_channels": 8} | options,
    )


def tiny_pipeline(prediction_type: str = "epsilon", scheduler: str = "EulerAncestralDiscreteScheduler", seed: int = 0):
    """InstructPix2Pix in the shape of Stable Diffusion 1.x, randomly initialised: AutoencoderKL, CLIP of 77 rows."""
    import diffusers
    from transformers import CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    down, up = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
    return assembled(
        "StableDiffusionInstructPix2PixPipeline",
        unet=tiny_unet(down, up, cross_attention_dim=32, attention_head_dim=4),
        vae=tiny_vae(16, scaling_factor=0.18215),
        text_encoder=CLIPTextModel(clip_text(tokenizer, 32)),
        tokenizer=tokenizer,
        scheduler=getattr(diffusers, scheduler)(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type
        ),
        **UNCHECKED,
    )


def tiny_controlnet_pipeline(prediction_type: str = "epsilon"):
    """Stable Diffusion 1.x with a ControlNet, randomly initialised, its zero convolutions too."""
    import diffusers

    base = tiny_pipeline(prediction_type, "PNDMScheduler")
    unet = diffusers.UNet2DConditionModel.from_config(base.unet.config, in_channels=4)
    controlnet = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    for name, parameter in controlnet.named_parameters():
        if not parameter.any():  # left at zero it would not see the photo, and every test of that would pass
            torch.nn.init.normal_(parameter, std=0.3 if "bias" not in name else 0.1)
    # As in Stable Diffusion 1.5's own configuration.
    scheduler = type(base.scheduler).from_config(base.scheduler.config, skip_prk_steps=True, steps_offset=1)
    own = {"vae": base.vae, "text_encoder": base.text_encoder, "tokenizer": base.tokenizer, "scheduler": scheduler}
    return assembled("StableDiffusionControlNetPipeline", **own, unet=unet, controlnet=controlnet, **UNCHECKED)


def parts_of(pipeline: Any, **others: Any) -> dict[str, Any]:
    """What `assemble` takes, of a pipeline of Stable Diffusion; `others` in place of its own."""
    names = ("unet", "controlnet", "vae", "text_encoder", "tokenizer", "scheduler")
    return {name: getattr(pipeline, name) for name in names if hasattr(pipeline, name)} | others


def with_scheduler(pipeline: Any, name: str) -> Any:
    """A pipeline with a scheduler of another class."""
    import diffusers

    # DDIM would clip latents to [-1, 1] where the model's own configuration does not say that it must not.
    options = {"clip_sample": False} if name == "DDIMScheduler" else {}
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **options)
    return pipeline


def by_pipeline(pipeline: Any, image: Tensor, seed: int, **options: Any) -> Tensor:
    """A picture by a pipeline of diffusers."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    return pipeline(image=image[None], generator=generator, output_type="pt", **options).images[0]


def gradient_of(editor: Any, before: Any, after: Any, words: Any, *told: Any) -> Tensor:
    """The gradient `(k, d)` of `Editor.loss` at the free rows of an instruction; `told` are levels, noise, guidance."""
    tokens = words.tokens.clone().requires_grad_(True)
    losses = editor.loss(before, after, words.with_tokens(tokens), *told)
    return torch.autograd.grad(losses.sum(), tokens)[0]


def weights_of(*modules: torch.nn.Module) -> str:
    """What tells the weights of these modules from any others, as they are now."""
    return fingerprint({str(index): module.state_dict() for index, module in enumerate(modules)})


def strange_file(edit: vii.Edit, path: Path, **fields: str | None) -> Path:
    """An edit file of somebody who does not use `vii`: with other header fields (dots as __), None for left out."""
    data = to_bytes(edit)
    own = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    changed = own | {name.replace("__", "."): value for name, value in fields.items()}
    arrays = {name: torch.from_numpy(array) for name, array in stored(edit).items()}
    kept = {name: value for name, value in changed.items() if value is not None}
    path.write_bytes(safetensors.torch.save(arrays, kept))
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The tiny model on disk, in diffusers' layout, as a user's own folder would be."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sd"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """The tiny model as an editor, working at 32 px."""
    editor = vii.load_editor("ip2p", model=str(tiny_folder), clip="none", **EXACT)
    editor.resolution = 32
    return editor


@pytest.fixture(scope="session")
def controlnet_folders(tmp_path_factory) -> tuple[Path, Path]:
    """The tiny base model and its ControlNet on disk, each in a folder of its own, as on a hub."""
    pipeline, folder = tiny_controlnet_pipeline(), tmp_path_factory.mktemp("models")
    pipeline.save_pretrained(folder / "tiny-base")
    pipeline.controlnet.save_pretrained(folder / "tiny-control")
    return folder / "tiny-base", folder / "tiny-control"


@pytest.fixture(scope="session")
def tiny_controlnet(controlnet_folders):
    """The two as an editor, working at 32 px."""
    base, control = map(str, controlnet_folders)
    editor = vii.load_editor("controlnet", model=base, controlnet=control, clip="none", **EXACT)
    editor.resolution = 32
    return editor


@pytest.fixture(scope="session")
def embedded():
    """The editor that ships with the package."""
    return vii.load_editor("embedded", **EXACT)


@pytest.fixture(scope="session")
def clip():
    """The embedded editor's own CLIP."""
    return load_clip(str(EMBEDDED_MODEL / "clip"))


@pytest.fixture(autouse=True)
def library(tmp_path_factory, monkeypatch) -> Path:
    """An empty library, so that no test sees or changes the user's own."""
    folder = tmp_path_factory.mktemp("data") / "library"
    monkeypatch.setenv("VII_LIBRARY", str(folder))
    return folder


@pytest.fixture
def toy() -> ToyEditor:
    """The editor whose instruction can be recovered exactly."""
    return ToyEditor()


@pytest.fixture
def toy_edit(toy) -> vii.Edit:
    """An edit for the toy editor."""
    tokens = torch.linspace(-0.3, 0.3, 12).reshape(4, 3)
    return vii.Edit(tokens=tokens, space=toy.space, editor="toy", init_text="make it red", start=1, resolution=32)


@pytest.fixture
def toy_pair(toy) -> vii.Pair:
    """A pair whose after picture the toy editor makes exactly: rows 1 to 4 offset by `toy_edit`'s tokens."""
    before = 0.3 + 0.4 * picture(1, 32, 32)
    offsets = torch.zeros(8, 3)
    offsets[1:5] = torch.linspace(-0.3, 0.3, 12).reshape(4, 3)
    return vii.Pair(before, before + offsets.T.repeat_interleave(4, dim=1)[:, :, None])


@pytest.fixture
def photo_file(tmp_path):
    """A photo on disk."""
    path = tmp_path / "photo.png"
    vii.save_image(picture(7, 60, 80), path)
    return path
