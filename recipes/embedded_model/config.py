"""What a training run is made of: one TOML file, a section a stage."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from vii.errors import RecipeError, unknown_name


@dataclasses.dataclass(frozen=True)
class Run:
    """What every training run says.

    Attributes:
        seed: of everything random.
        device: where the networks are trained.
        checkpoint_seconds: how often a stage saves what it needs to go on after it is killed.

    Each stage has `minutes`: it ends by then, however many of its steps are done; 0 for no such limit.
    """

    seed: int = 0
    device: str = "cpu"
    checkpoint_seconds: float = 120.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """How long one network is trained, and how fast.

    Attributes:
        samples: drawn in all. A finished run goes on where it stopped when this grows.
        batch: samples a step.
        lr: peak learning rate.
        average: decay of the average of the weights that is kept as the result.
        minutes: see `Run`.
    """

    samples: int = 400_000
    batch: int = 32
    lr: float = 1e-3
    average: float = 0.999
    minutes: float = 0.0

    @property
    def steps(self) -> int:
        """If the clock does not end them."""
        return self.samples // self.batch


@dataclasses.dataclass(frozen=True)
class Data:
    """Pairs made ahead of training.

    Attributes:
        crops: random crops of the photos, each the before picture of several pairs.
        edits: pairs a crop.
        phrasings: ways of asking for each edit that training draws from.
        compositions: share of the edits that have two or three steps.
        shard: crops made by one worker at a time; what an interruption can cost.
        workers: processes.
    """

    crops: int = 16_000
    edits: int = 4
    phrasings: int = 4
    compositions: float = 0.2
    shard: int = 500
    workers: int = 2


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """The autoencoder: a fixed linear encoder and a trained decoder.

    Attributes:
        channels: of the latents; principal components of 8x8 patches.
        whitening: exponent p in `scale = std ** (p - 1)`: 0 makes all variances the same, 1 leaves the pixels'.
        width: channels inside the decoder.
        blocks: residual blocks of the decoder at 1/8, 1/4, 1/2 and full size.
        crops: random crops that the decoder is trained on, in all.
        batch: crops a step.
        crop_size: side of a crop.
        lr: peak learning rate.
        noise: standard deviation of the noise added to the latents, so that imperfect ones decode well.
        answers: pairs whose latents as the UNet makes them the decoder is trained on as well.
    """

    channels: int = 32
    whitening: float = 0.4
    width: int = 48
    blocks: tuple[int, ...] = (4, 3, 2, 1)
    crops: int = 64_000
    batch: int = 8
    crop_size: int = 64
    lr: float = 1.5e-3
    noise: float = 0.05
    answers: int = 4_000
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Clip:
    """The joint embedding of pictures, their changes, captions and instructions.

    Attributes:
        width: of both towers and of the joint space.
        layers: transformer layers of each tower.
        positions: the longest text, in tokens.
        vocabulary: merges of the byte-pair encoding, before the bytes themselves are added.
        texts: instructions drawn to teach the text tower alone, before any picture.
        text_batch: instructions a step.
        text_minutes: of that.
        pairs: pairs drawn in training, in all.
        batch: pairs a step.
        lr: peak learning rate.
    """

    width: int = 256
    layers: int = 4
    positions: int = 32
    vocabulary: int = 1500
    texts: int = 130_000
    text_batch: int = 128
    text_minutes: float = 0.0
    pairs: int = 60_000
    batch: int = 128
    lr: float = 1e-3
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Denoiser(Stage):
    """A UNet.

    Attributes:
        channels: a level; 16x16, 8x8 and 4x4 latents for pictures of 128 pixels.
        attention: whether a level attends, to itself and to the text.
        layers: residual blocks a level.
        heads: of attention.
        no_text: share of samples without words.
        high_noise: timesteps are `1000 (1 - u ** high_noise)`; above 1 prefers noisy ones, where an edit is decided.
        pixel_weight: channels count by what their errors are worth in pixels, to this power; 0 for all alike.
    """

    channels: tuple[int, ...] = (96, 160, 256)
    attention: tuple[bool, ...] = (True, True, False)
    layers: int = 1
    heads: int = 2
    samples: int = 320_000
    no_text: float = 0.08
    high_noise: float = 4.0
    pixel_weight: float = 0.5


@dataclasses.dataclass(frozen=True)
class Unet(Denoiser):
    """The embedded editor's; where it is given no words, the answer is the photo itself.

    Attributes:
        no_photo, no_both: shares of samples without the photo, and without either (InstructPix2Pix, section 3.2.1).
        compile: use torch.compile.
    """

    no_photo: float = 0.03
    no_both: float = 0.03
    compile: bool = True


@dataclasses.dataclass(frozen=True)
class Config(Run):
    """A training run of the embedded editor."""

    data: Data = Data()
    autoencoder: Autoencoder = Autoencoder()
    clip: Clip = Clip()
    unet: Unet = Unet()


def load(path: Path, defaults: Any = Config()) -> Any:
    """Read a configuration; what it leaves out keeps the defaults.

    Raises:
        RecipeError: it is not valid TOML, or names something unknown.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from None
    return _fill(defaults, content, str(path))


def _fill(defaults: Any, content: dict[str, Any], where: str) -> Any:
    fields = {field.name for field in dataclasses.fields(defaults)}
    changes = {}
    for name, value in content.items():
        if name not in fields:
            raise RecipeError(f"{where}: {unknown_name('setting', name, fields)}")
        default = getattr(defaults, name)
        if dataclasses.is_dataclass(default):
            value = _fill(default, value, f"{where} [{name}]")
        elif isinstance(default, tuple):
            value = tuple(value)
        elif isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise RecipeError(f"{where}: {name} must be of type {type(default).__name__}, got {value!r}")
        changes[name] = value
    return dataclasses.replace(defaults, **changes)
