"""The sampling settings that have an option of their own on the command line; others are given by name.

A setting that the editor at hand does not have is refused by it. What is here can be asked without loading an editor.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingOption:
    """An option of `vii apply`: its flag, the setting it gives, and what the help says."""

    flag: str
    setting: str
    kind: type
    metavar: str
    help: str


SAMPLING_OPTIONS = (
    SamplingOption("--guidance", "guidance_scale", float, "S", "How far along the instruction; 1 = off."),
    SamplingOption("--image-guidance", "image_guidance_scale", float, "S", "How near the photo; 1 = off."),
    SamplingOption(
        "--controlnet-scale",
        "controlnet_conditioning_scale",
        float,
        "S",
        "How near the photo, for an editor with a ControlNet; 1 = as it was trained.",
    ),
    SamplingOption("--steps", "num_inference_steps", int, "N", "Denoising steps."),
    SamplingOption("--scheduler", "scheduler", str, "NAME", "ddim, euler, euler_ancestral, dpmsolver++ or model."),
)
