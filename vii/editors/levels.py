"""The discrete noise levels of a Stable Diffusion model, by whatever its scheduler says of them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import EditorError


@dataclass(frozen=True, eq=False)
class Levels:
    """N noise levels, from clean to noise.

    Attributes:
        alpha_bar: `(N,)`, the cumulative product of alphas.
        told: `(N,)`, what the networks are told of each.
        prediction_type: one of "epsilon", "v_prediction", "sample".
    """

    alpha_bar: Tensor
    told: Tensor
    prediction_type: str

    def index(self, timestep: Tensor) -> int:
        """The level of one timestep of a sampler, which may lie between two."""
        return int((self.told - timestep).abs().argmin()) if self.told.is_floating_point() else int(timestep)


def levels_of(scheduler: Any, device: torch.device) -> Levels:
    """The levels that a model with this scheduler of diffusers was trained on."""
    from diffusers import DDPMScheduler

    if is_edm(scheduler):
        return edm_levels(scheduler.config, device)
    training = DDPMScheduler.from_config(scheduler.config)
    told = torch.arange(training.config.num_train_timesteps, device=device)
    return Levels(training.alphas_cumprod.to(device), told, str(training.config.prediction_type))


def is_edm(scheduler: Any) -> bool:
    """Whether a scheduler is one of Karras et al. 2022 (arXiv 2206.00364), as those of CosXL are."""
    return "sigma_data" in scheduler.config


def edm_levels(config: Any, device: torch.device) -> Levels:
    """Levels of CosXL: EDM, v-prediction and a cosine schedule, `alpha_bar = cos(pi t / 2)^2` at `t = (i + 1/2) / N`.

    With sigma_data 1 the preconditioning of EDM (arXiv 2206.00364, table 1) is v-prediction at
    `alpha_bar = 1 / (1 + sigma^2)`, where `sigma = tan(pi t / 2)`, kept in the scheduler's range. The networks are told
    `ln(sigma) / 4`.

    Raises:
        EditorError: EDM of another kind.
    """
    if config.sigma_data != 1 or config.prediction_type != "v_prediction":
        raise EditorError(
            f"the scheduler has sigma_data {config.sigma_data} and prediction type {config.prediction_type}; expected "
            "1 and v_prediction, as of CosXL"
        )
    t = (torch.arange(config.num_train_timesteps, dtype=torch.float64) + 0.5) / config.num_train_timesteps
    sigma = torch.tan(torch.pi * t / 2).clamp(config.sigma_min, config.sigma_max)
    return Levels((1 / (1 + sigma**2)).float().to(device), (sigma.log() / 4).float().to(device), "v_prediction")
