"""Large modules that share a device: a text encoder is needed for a moment, and is as large as the networks."""

from typing import Any

import torch

from ..errors import UsageError


class Turns:
    """Frozen modules of which an accelerator holds one at a time, or one group of layers at a time."""

    def __init__(self, device: torch.device, *modules: Any, offload: bool = False) -> None:
        """Take modules.

        Args:
            device: where they run; on a CPU all are where they are.
            modules: of diffusers or transformers.
            offload: whether each stays on the CPU, and its layers come to the device when they are run: little of its
                memory and much of its time. A gradient cannot be had so: the backward pass would find them gone.
        """
        self.device, self.modules, self.offload = device, modules, offload
        if offload:
            from diffusers.hooks import apply_group_offloading

            for module in modules:
                # Copied ahead of their turn while others run, where the device can.
                where = {"onload_device": device, "use_stream": device.type == "cuda"}
                apply_group_offloading(module, **where, offload_type="leaf_level")

    def take(self, module: Any) -> Any:
        """The module, ready to run on the device; others have left it.

        Raises:
            UsageError: a gradient is asked for through layers that leave the device.
        """
        if self.offload:
            if torch.is_grad_enabled():
                raise UsageError(
                    "offload is for applying: learning needs the whole network on the device; leave it out"
                )
            return module
        if self.device.type == "cpu":
            return module
        others = [other for other in self.modules if other is not module and other.device.type != "cpu"]
        for other in others:
            other.to("cpu")
        if others and self.device.type == "cuda":
            torch.cuda.empty_cache()  # what the others held is not of the sizes that this one asks for
        if module.device.type != self.device.type:
            module.to(self.device)
        return module
