"""What the editors need besides the package, and what learning with them was measured to take.

Only figures that were measured stand here, with what they were measured on; nothing is derived from another machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Ids on the Hub of the editors' own models.
IP2P = "timbrooks/instruct-pix2pix"
STABLE_DIFFUSION, CONTROLNET = "stable-diffusion-v1-5/stable-diffusion-v1-5", "lllyasviel/control_v11e_sd15_ip2p"
CLIP = "openai/clip-vit-large-patch14"

# As in loading.py, which loads torch; what is here can be asked without it.
EMBEDDED_MODEL = Path(__file__).parent / "embedded"


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


NEEDS: Mapping[str, Needs] = {
    "embedded": Needs(
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
    "ip2p": Needs(
        models={
            IP2P: "the editor itself",
            CLIP: "finding a starting text, and the CLIP term of the recipe 'visii'",
        }
    ),
    "controlnet": Needs(
        models={
            STABLE_DIFFUSION: "the editor itself",
            CONTROLNET: "its ControlNet",
            CLIP: "finding a starting text, and the CLIP term of the recipe 'visii'",
        }
    ),
    "toy": Needs(),
}
