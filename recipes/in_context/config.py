"""What training a small in-context model is made of: one TOML file, a section a stage."""

import dataclasses
from pathlib import Path

from recipes.embedded_model.config import Denoiser, Run
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
        minutes: after which training ends, if `samples` are not over by then; 0 for no such limit.
    """

    channels: tuple[int, ...] = (64, 96, 112)
    heads: int = 4
    samples: int = 400_000
    lr: float = 1.5e-3
    no_text: float = 0.3
    single: float = 0.1
    any_cell: float = 0.1
    known_weight: float = 0.05
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Codes:
    """The VQ model behind visual prompting.

    Attributes:
        channels: a level; each but the last halves the picture.
        codes: in the codebook.
        width: of a code.
        pictures: trained on, in all.
        batch: pictures a step.
        lr: peak learning rate.
        average: decay of the average of the weights that is kept as the result.
        commitment: weight of the distance of latents from their codes, and of codes from their latents.
        revive_every: steps after which codes that nothing uses are moved to where latents are.
        minutes: after which training ends, if `pictures` are not over by then; 0 for no such limit.
    """

    channels: tuple[int, ...] = (32, 48, 64, 96)
    codes: int = 512
    width: int = 32
    pictures: int = 100_000
    batch: int = 8
    lr: float = 1e-3
    average: float = 0.998
    commitment: float = 0.25
    revive_every: int = 100
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Prompting:
    """The masked autoencoder behind visual prompting.

    Attributes:
        width, layers, heads: of the encoder.
        decoder_width, decoder_layers, decoder_heads: of the decoder.
        samples: canvases in all.
        batch: canvases a step.
        lr: peak learning rate.
        average: decay of the average of the weights that is kept as the result.
        crop: the smallest share of a canvas's area that a random crop keeps.
        answers: share of the steps that mask the answer's cell, as at use, of whole canvases; the others mask
            three patches in four at random, as in the paper.
        minutes: after which training ends, if `samples` are not over by then; 0 for no such limit.
    """

    width: int = 160
    layers: int = 6
    heads: int = 4
    decoder_width: int = 128
    decoder_layers: int = 4
    decoder_heads: int = 4
    samples: int = 400_000
    batch: int = 32
    lr: float = 1e-3
    average: float = 0.999
    crop: float = 0.2
    answers: float = 0.5
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class DiscreteVae:
    """The discrete VAE of Im-Promptu's agents that write tokens.

    Attributes:
        pictures: drawn in all.
        batch: pictures a step.
        lr: peak learning rate.
        average: decay of the average of the weights that is kept as the result.
        temperature: of the relaxed choice at the end; it falls from 1.
        annealed: share of the training after which it has come there.
        minutes: see `train`.
    """

    pictures: int = 400_000
    batch: int = 128
    lr: float = 1e-3
    average: float = 0.998
    temperature: float = 0.1
    annealed: float = 0.6
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class ImPromptu:
    """Im-Promptu's agents.

    Attributes:
        shape: of the agents; patches of the patch agent are twice as large, as in the paper's code.
        vae: how the discrete VAE is trained, for each agent that has one.
        samples: analogies drawn in all.
        batch: analogies a step.
        lr: peak learning rate.
        average: decay of the average of the weights that is kept as the result.
        minutes: see `train`.
    """

    shape: AgentConfig = dataclasses.field(default_factory=AgentConfig)
    vae: DiscreteVae = DiscreteVae()
    samples: int = 600_000
    batch: int = 64
    lr: float = 6e-4
    average: float = 0.999
    minutes: float = 0.0


@dataclasses.dataclass(frozen=True)
class Config(Run):
    """A training run of the small in-context models."""

    data: Data = Data()
    inpainting: Inpainting = Inpainting()
    codes: Codes = Codes()
    prompting: Prompting = Prompting()
    impromptu: ImPromptu = ImPromptu()
