"""The training loop of every stage: scheduled, averaged, and able to go on after being killed at any moment."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vii.editors.devices import computes_in_bfloat16
from vii.errors import RecipeError
from vii.files import replacing

from .config import Run

WARM_UP = 200


@dataclass
class Trainee:
    """Networks in training with their optimizer and, where `average` is above 0, a moving average of the weights."""

    networks: nn.Module
    optimizer: torch.optim.Optimizer
    average: float = 0.0
    step: int = 0
    seconds: float = 0.0
    averaged: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.averaged = [p.detach().clone() for p in self.networks.parameters()] if self.average else []
        for group in self.optimizer.param_groups:
            group["peak_lr"] = group["lr"]

    def save(self, path: Path) -> None:
        """Everything that the next step depends on, whole or not at all."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "networks": self.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Go on from a saved state.

        Raises:
            RecipeError: it is of networks of another shape.
        """
        state = torch.load(path, weights_only=True, map_location=next(self.networks.parameters()).device)
        try:
            self.networks.load_state_dict(state["networks"])
        except RuntimeError:
            raise RecipeError(
                f"{path}: was begun with networks of another shape than the configuration asks for; go on with that "
                "of then, or train from the start in another folder"
            ) from None
        self.step, self.seconds = state["step"], state["seconds"]
        peaks = [group["peak_lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group["peak_lr"] = peak  # a configuration that has changed counts
        self.averaged = state["averaged"]

    def progress(self, steps: int, minutes: float) -> float:
        """Share of the training that is over, by steps or by the clock; 1 or more at its end."""
        return max(self.step / steps, self.seconds / (60 * minutes) if minutes else 0.0)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their average; twice changes nothing."""
        for parameter, averaged in zip(self.networks.parameters(), self.averaged, strict=bool(self.average)):
            weights = parameter.detach().clone()
            parameter.copy_(averaged)
            averaged.copy_(weights)

    @torch.no_grad()
    def update_average(self) -> None:
        """One step of the moving average; it forgets faster at first."""
        if self.average:
            decay = min(self.average, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(self.averaged, list(self.networks.parameters()), 1 - decay)


def adamw(network: nn.Module, lr: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW, whose weight decay leaves biases and norms alone."""
    groups = [
        {"params": [weight for weight in network.parameters() if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in network.parameters() if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))


@contextmanager
def fast(device: torch.device) -> Iterator[None]:
    """bfloat16 where the device computes in it, and the attention whose backward is then fastest.

    On a CPU plain matrices beat the fused kernel in bfloat16. One that only imitates bfloat16, ten times slower than
    it computes in float32, keeps to that.
    """
    if not computes_in_bfloat16(device):
        yield
        return
    kernels = [SDPBackend.MATH]
    if device.type != "cpu":
        kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kernels), torch.autocast(device.type, torch.bfloat16):
        yield


def generator(seed: int, step: int, device: str = "cpu") -> torch.Generator:
    """The randomness of one step, from nothing but the seed and its number: a resumed run draws what it would have."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)


def train(
    trainee: Trainee,
    losses: Callable[[torch.Generator], Mapping[str, Tensor]],
    steps: int,
    checkpoint: Path,
    run: Run,
    *,
    stage: int,
    minutes: float = 0.0,
    every: int = 100,
    report: Callable[[], str] | None = None,
    report_every: int = 1000,
) -> None:
    """Minimise `losses(...)["loss"]` until `steps` or `minutes` are over: linear warm-up, cosine decay to zero.

    `losses` is given a generator on the run's device. `minutes` are for a machine that is there for so long only, 0 for
    no such limit: the decay then follows the clock where that is ahead of the steps, and how many steps are done
    depends on the machine.

    Goes on from `checkpoint` where that exists. A step whose gradient is not finite is left out. `report`, called
    with the averaged weights in place, says how well it goes; at the end these are left there. No two stages of a run
    have the same number, which keeps their random numbers apart.
    """
    if checkpoint.exists():
        trainee.load(checkpoint)
    parameters = list(trainee.networks.parameters())
    saved = marked = time.monotonic()
    skipped, sums = 0, dict[str, float]()
    while (progress := trainee.progress(steps, minutes)) < 1:
        began = time.monotonic()
        share = min(1, (trainee.step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * progress))
        trainee.optimizer.zero_grad(set_to_none=True)
        for group in trainee.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
        terms = losses(generator(run.seed + stage, trainee.step, run.device))
        terms["loss"].backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, 1.0)):
            trainee.optimizer.step()
        else:
            skipped += 1
        trainee.step += 1
        trainee.update_average()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + term.item() / every
        now = time.monotonic()
        trainee.seconds += now - began
        finished = trainee.progress(steps, minutes) >= 1
        if trainee.step % every == 0:
            speed, marked = every / (now - marked), now
            shown = " ".join(f"{name} {value:.4f}" for name, value in sums.items())
            left = min((steps - trainee.step) / speed, 60 * minutes - trainee.seconds if minutes else math.inf) / 60
            print(
                f"{trainee.step}/{steps} {shown} | {speed:.2f} steps/s, {left:.0f} min left, {skipped} skipped",
                flush=True,
            )
            sums.clear()
        if report and (trainee.step % report_every == 0 or finished):
            trainee.swap()
            print(f"{trainee.step}/{steps} {report()}", flush=True)
            trainee.swap()
        if now - saved > run.checkpoint_seconds or finished:
            trainee.save(checkpoint)
            saved = now
    trainee.swap()
