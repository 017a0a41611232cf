"""What an edit will take of a device's memory, before anything is loaded: by the model's configuration alone.

While an edit is applied the device holds the network, the autoencoder in float32 and what a pass of either makes;
before that the text encoders, which have left by then. Learning ends with an application, to its own pairs. So

    applying = autoencoder + max(text encoders + decoding, network + max(pass of all branches, decoding)) + `RESERVE`
    learning = max(applying, autoencoder + network + pass of a batch + `RESERVE`)

where weights are parameters times the bytes of their precision, or of their kind of quantisation where they are of a
linear layer, and a pass is counted tensor by tensor; see `vii.editors.memory`.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..errors import EditorError
from .flow_files import NETWORKS, RESOLUTION
from .loading import Manifest, fetch, loading, read_config, read_manifest
from .memory import counted, on_meta, one_pass, parameters_of
from .quantize import KINDS, is_gguf
from .stable_diffusion import pixel_multiple

# Of models that need not be on this machine: what differs from the defaults of their classes.
SIZES = Path(__file__).with_name("sizes.json")
TEXTS = ("text_encoder", "text_encoder_2")
# What CUDA takes for itself, workspaces of matrix products and convolutions, and the allocator's rounding.
RESERVE = 2**30
# Rows of an instruction: of CLIP; of Qwen with a photo among them, of its first pipeline and of the others; of FLUX.
ROWS = {"UNet2DConditionModel": 77, "QwenImageTransformer2DModel": 300}
DEFAULT_ROWS = 512
# Guidance branches that go through a network together; flows take one after the other.
BRANCHES = {"UNet2DConditionModel": 3}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An edit with one model, at one size.

    Attributes:
        models: part of a model -> it, without its weights.
        height: pixels.
        width: pixels.
        batch: samples of an update.
        quantize: see `vii.editors.quantize`.
        known: passes that were counted.
    """

    models: Mapping[str, Any]
    height: int
    width: int
    batch: int = 4
    quantize: str | None = None
    known: dict[Any, int] = field(default_factory=dict)

    @property
    def network(self) -> Any:
        """The UNet or transformer."""
        return next(self.models[part] for part in NETWORKS if part in self.models)

    @property
    def factor(self) -> int:
        """Pixels a side of a latent."""
        return pixel_multiple(self.models["vae"])

    @property
    def parameters(self) -> dict[str, int]:
        """Part -> how many."""
        return {part: parameters_of(model)[0] for part, model in self.models.items()}

    @cached_property
    def weights(self) -> dict[str, int]:
        """Part -> bytes on the device."""
        return {part: self._bytes(part, model) for part, model in self.models.items()}

    def _bytes(self, part: str, model: Any) -> int:
        total, linear = parameters_of(model)
        size = next(model.parameters()).element_size()
        if self.quantize is None or part == "vae" or type(model).__name__.startswith("CLIP"):
            return total * size
        if not is_gguf(self.quantize):
            return (total - linear) * size + round(linear * KINDS[self.quantize].bytes)
        return Path(self.quantize).stat().st_size if part in NETWORKS else total * size

    @property
    def resident(self) -> int:
        """Bytes of weights that are on the device with the network: it and the autoencoder, and one layer unpacked."""
        unpacked = max(layer.weight.numel() for layer in self.network.modules() if isinstance(layer, torch.nn.Linear))
        own = sum(self.weights[part] for part in (*NETWORKS, "vae") if part in self.weights)
        return own + (unpacked * self.network.dtype.itemsize if self.quantize else 0)

    @property
    def text(self) -> int:
        """Bytes of the text encoders."""
        return sum(self.weights[part] for part in TEXTS if part in self.weights)

    def learning(self, checkpointing: bool = True) -> int:
        """Bytes that learning takes, and the application that ends it."""
        made = self._pass(self.batch, learning=True, checkpointing=checkpointing)
        return max(self.applying(), self.resident + made + RESERVE)

    def applying(self, offload: bool = False) -> int:
        """Bytes that applying to one photo takes, with all of the network on the device or groups of it by turns."""
        decoding, own = self._decoding(), sum(self.weights[part] for part in NETWORKS if part in self.weights)
        made = self.resident + max(self._pass(BRANCHES.get(type(self.network).__name__, 1)), decoding)
        if offload:
            return made - round(own * (1 - self._group / parameters_of(self.network)[0])) + RESERVE
        return max(self.text + self.weights["vae"] + decoding, made) + RESERVE

    def _pass(self, batch: int, **how: bool) -> int:
        """Bytes at the peak of a pass of the network."""
        rows = ROWS.get(type(self.network).__name__, DEFAULT_ROWS)
        run = one_pass(self.network, self.height, self.width, factor=self.factor, batch=batch, rows=rows)
        return self._once((batch, *how.items()), lambda: counted(self.network, run, **how).peak)

    def _decoding(self) -> int:
        """Bytes at the peak of decoding one picture."""
        vae, size = self.models["vae"], (self.height // self.factor, self.width // self.factor)
        frames = [1] if hasattr(vae.config, "z_dim") else []
        channels = getattr(vae.config, "z_dim", None) or vae.config.latent_channels
        latents = torch.empty(1, channels, *frames, *size, device="meta")
        return self._once("decoding", lambda: counted(vae, lambda: vae.decode(latents, return_dict=False)[0]).peak)

    def _once(self, what: Any, count: Callable[[], int]) -> int:
        key = (self.height, self.width, what)
        if key not in self.known:
            self.known[key] = count()
        return self.known[key]

    @property
    def _group(self) -> int:
        """Parameters that are on the device at a time with groups: those outside of blocks, and two blocks."""
        lists = [child for child in self.network.children() if isinstance(child, torch.nn.ModuleList)]
        blocks = [parameters_of(block)[0] for each in lists for block in each]
        whole = parameters_of(self.network)[0]
        return min(whole, whole - sum(blocks) + 2 * max(blocks))


def plan_of(
    model: str,
    resolution: int | None = None,
    *,
    revision: str | None = None,
    batch: int = 4,
    dtype: torch.dtype = torch.bfloat16,
    quantize: str | None = None,
) -> Plan:
    """The plan of a model for square pictures.

    Args:
        model: folder in diffusers' layout, or hub id.
        resolution: pixels a side; by default those that the model was trained on.
        revision: of the model on the hub.
        batch: samples of an update.
        dtype: of the network and the text encoders.
        quantize: see `vii.editors.quantize`.

    Raises:
        EditorError: its configuration cannot be had, or is not one that is known.
    """
    models = {part: _model(config, part, dtype) for part, config in configs_of(model, revision).items()}
    plan = Plan(models=models, height=0, width=0, batch=batch, quantize=quantize)
    trained = getattr(plan.network.config, "sample_size", None)  # of UNets, in latents
    default = Manifest(resolution=trained * plan.factor if trained and "unet" in models else RESOLUTION)
    side = resolution or (read_manifest(Path(model), default) if Path(model).is_dir() else default).resolution
    return replace(plan, height=side, width=side)


def configs_of(model: str, revision: str | None = None) -> dict[str, dict[str, Any]]:
    """Part of a model -> its configuration, with its class as `class`: from its folder, from here, or from the hub.

    Raises:
        EditorError: it cannot be had, or names a class that the libraries do not have.
    """
    known, parts = json.loads(SIZES.read_text(encoding="utf-8")), (*NETWORKS, "vae", *TEXTS)
    if model in known and not Path(model).is_dir():
        return dict(known[model])
    wanted = ["model_index.json", *(f"{part}/config.json" for part in parts)]
    folder, _ = fetch(model, revision, wanted, "configuration of", "`model`")
    index, found = read_config(folder / "model_index.json"), {}
    for part in parts:
        if isinstance(named := index.get(part), list) and len(named) == 2 and None not in named:
            found[part] = read_config(folder / part / "config.json") | {"class": ":".join(map(str, named))}
    if "vae" not in found or not any(part in found for part in NETWORKS):
        raise EditorError(f"{model}: its model_index.json names no network and autoencoder")
    return found


def _model(config: Mapping[str, Any], part: str, dtype: torch.dtype) -> Any:
    library, _, name = str(config["class"]).partition(":")
    own = {key: value for key, value in config.items() if key != "class"}
    kind = getattr(import_module(library), name, None) if library in ("diffusers", "transformers") else None
    if kind is None or not issubclass(kind, torch.nn.Module):
        raise EditorError(f"'{name}' is no class of diffusers or transformers that holds weights")
    with loading(name, "configuration"):
        made = own if library == "diffusers" else kind.config_class(**own)
        return on_meta(kind, made, torch.float32 if part == "vae" else dtype)


# What makes learning fit, from what costs least: how it is asked for, and what of a plan it changes.
REMEDIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("batch_size=1", {"batch": 1}),
    ("resolution=512", {"height": 512, "width": 512}),
    ("quantize=int8wo", {"quantize": "int8wo"}),
    ("quantize=nf4", {"quantize": "nf4"}),
)


def remedies(plan: Plan, memory: int, checkpointing: bool, known: Collection[str]) -> tuple[list[str], int]:
    """What to add so that learning fits so many bytes, and the bytes that it then takes; all there is where none does.

    Args:
        plan: as it is asked for.
        memory: bytes of the device.
        checkpointing: whether it is on.
        known: options that the editor takes.

    Returns:
        options, as `name=value`; none where it fits as it is.
    """
    steps = [step for step in REMEDIES if step[0].partition("=")[0] in {*known, "batch_size"}]
    steps = [("checkpointing=True", {})] * (not checkpointing and "checkpointing" in known) + steps
    added: list[str] = []
    while (takes := plan.learning(checkpointing)) > memory and steps:
        option, change = steps.pop(0)
        if change.get("height", 0) >= plan.height or change == {"batch": plan.batch}:
            continue
        plan, checkpointing = replace(plan, **change), checkpointing or not change
        added = [one for one in added if one.partition("=")[0] != option.partition("=")[0]] + [option]
    return added, takes
