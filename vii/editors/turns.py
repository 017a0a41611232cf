"""Large modules that take turns on a device: a text encoder is needed for a moment, and is as large as the networks."""

from typing import Any

import torch


class Turns:
    """Frozen modules of which an accelerator holds one at a time; on a CPU all are where they are."""

    def __init__(self, device: torch.device, *modules: Any) -> None:
        """Take modules that are on the CPU."""
        self.device, self.modules = device, modules

    def take(self, module: Any) -> Any:
        """The module, on the device; the others have left it."""
        if self.device.type != "cpu" and module.device.type != self.device.type:
            for other in self.modules:
                if other is not module:
                    other.to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # what the others held is not of the sizes that this one asks for
            module.to(self.device)
        return module
