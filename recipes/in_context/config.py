"""What training a small in-context model is made of: one TOML file, a section a stage."""

import dataclasses
from pathlib import Path

from recipes.embedded_model.config import Denoiser, Run, Stage
from vii.methods.agents import AgentConfig


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a run reads and writes.

    Attributes:
        photos: folder of photos to train on.
        groups: folder of what is rendered from them; several methods can have the same.
        embedded: folder of the embedded editor whose parts a method is trained on.
        output: folder of everything else.
    """

    photos: Path
    groups: Path
    embedded: Path
    output: Path


@dataclasses.dataclass(frozen=True)
class Data:
    """Groups of photos under one edit, made ahead of training.

    Attributes:
        edits: random edits, each rendered on several photos.
        photos: a group.
        cell: pixels a side of a picture on the canvas; edits are drawn at 128 pixels and scaled down.
        phrasings: ways of asking for each edit that training draws from.
        compositions: share of the edits that have two or three steps.
        shard: groups made by one worker at a time; what an interruption can cost.
        workers: processes.
    """

    edits: int = 8_000
    photos: int = 4
    cell: int = 64
    phrasings: int = 4
    compositions: float = 0.2
    shard: int = 250
    workers: int = 1


@dataclasses.dataclass(frozen=True)
class Inpainting(Denoiser):
    """The inpainting UNet behind Analogist, for a canvas of 128 pixels.

    Attributes:
        single: share of samples that are one photo with a random box to fill; the others are grids.
        any_cell: share of the grids in which another cell than the answer's is to be filled.
        known_weight: of errors where nothing is to be filled, against 1 where something is.
    """

    channels: tuple[int, ...] = (64, 96, 112)
    heads: int = 4
    samples: int = 400_000
    lr: float = 1.5e-3
    no_text: float = 0.3
    single: float = 0.1
    any_cell: float = 0.1
    known_weight: float = 0.05


@dataclasses.dataclass(frozen=True)
class Codes(Stage):
    """The VQ model behind visual prompting.

    Attributes:
        channels: a level; each but the last halves the picture.
        codes: in the codebook.
        width: of a code.
        window: side of a picture, as a share of a canvas's.
        clustered: pictures whose patches are clustered, for the codes.
        encoder: weight of the encoder's error, against 1 of the decoder's.
    """

    channels: tuple[int, ...] = (16, 32, 64, 64)
    codes: int = 512
    width: int = 32
    samples: int = 100_000
    window: float = 0.5
    batch: int = 8
    average: float = 0.998
    clustered: int = 1_000
    encoder: float = 0.1

    @property
    def patch(self) -> int:
        """Pixels a side of what a code stands for."""
        return int(2 ** (len(self.channels) - 1))


@dataclasses.dataclass(frozen=True)
class Prompting(Stage):
    """The masked autoencoder behind visual prompting.

    Attributes:
        side: pixels a side of a canvas; 14 patches, as in the paper.
        scenes: groups of drawn scenes that are made, each of one of the paper's tasks.
        easy: share of these scenes that are easier than those that the tasks are measured on; see `draw_colors`.
        figures: share of the canvases that show these; the others show photos under one edit.
        width, layers, heads: of the encoder.
        decoder_width, decoder_layers, decoder_heads: of the decoder.
        crop: the smallest share of a canvas's area that a random crop keeps.
        answers: share of the steps that mask the answer's cell, as at use, of whole canvases; the others mask
            three patches in four at random, as in the paper.
        seen: weight of the error of patches that are seen. The paper has none; but at use all patches are decoded
            together, as the model says they are.
    """

    side: int = 112
    scenes: int = 9_000
    easy: float = 0.75
    figures: float = 0.875
    width: int = 128
    layers: int = 6
    heads: int = 4
    decoder_width: int = 96
    decoder_layers: int = 4
    decoder_heads: int = 4
    batch: int = 16
    lr: float = 1.5e-3
    crop: float = 0.2
    answers: float = 1.0
    seen: float = 0.1


@dataclasses.dataclass(frozen=True)
class ImageBrush(Stage):
    """The UNet and the visual prompt encoder behind ImageBrush, trained together.

    Attributes:
        channels: a level, all of which attend to themselves; 16x16 and 8x8 latents for a canvas of 128 pixels.
        layers: residual blocks a level.
        head_width: channels of a head of the UNet's attention.
        prompt_blocks: cross-attentions in the middle, which alone read the prompt; two in the paper.
        prompt_width, prompt_layers, prompt_heads: of the visual prompt encoder.
        pool: see `VisualPromptEncoder`.
        no_prompt: share of samples whose prompt is left out, for guidance; the paper's.
        no_box: share of samples whose box is the whole picture instead of what the edit changes.
        high_noise, pixel_weight: as of `Denoiser`.
        known_weight: of errors in the three cells that are given, against 1 in the answer; 1 in the paper.
    """

    channels: tuple[int, ...] = (80, 112)
    layers: int = 1
    head_width: int = 16
    prompt_blocks: int = 2
    prompt_width: int = 160
    prompt_layers: int = 3
    prompt_heads: int = 5
    pool: int = 2
    no_prompt: float = 0.05
    no_box: float = 0.5
    high_noise: float = 8.0
    pixel_weight: float = 0.5
    known_weight: float = 0.05


@dataclasses.dataclass(frozen=True)
class DiscreteVae(Stage):
    """The discrete VAE of Im-Promptu's agents that write tokens.

    Attributes:
        clustered: pictures whose patches are clustered, for codes to start from.
        told: share of the training in which the encoder is told its codes; after it the choice is relaxed.
        temperature: of the relaxed choice.
    """

    batch: int = 128
    average: float = 0.998
    clustered: int = 400
    told: float = 0.6
    temperature: float = 0.1


@dataclasses.dataclass(frozen=True)
class ImPromptu(Stage):
    """Im-Promptu's agents.

    Attributes:
        shape: of the agents; patches of the patch agent are twice as large, as in the paper's code.
        vae: how the discrete VAE is trained, for each agent that has one.
        untold: share of the analogies in which some of D's codes, any number of them, are left out before the next
            one is to be told: at use the codes before are its own, mistakes among them.
    """

    shape: AgentConfig = dataclasses.field(default_factory=AgentConfig)
    vae: DiscreteVae = DiscreteVae()
    samples: int = 600_000
    batch: int = 64
    lr: float = 6e-4
    untold: float = 0.5


@dataclasses.dataclass(frozen=True)
class Config(Run):
    """A training run of the small in-context models."""

    data: Data = Data()
    inpainting: Inpainting = Inpainting()
    codes: Codes = Codes()
    prompting: Prompting = Prompting()
    imagebrush: ImageBrush = ImageBrush()
    impromptu: ImPromptu = ImPromptu()
