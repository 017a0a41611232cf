"""How much memory a network takes, by its configuration alone: every tensor of a pass, counted on the meta device.

There shapes are computed and nothing else, so that a network of 30 billion parameters is counted in seconds on any
machine. What is counted is what PyTorch allocates in eager mode: the results of every operation, from when they are
made to when nothing holds them any more. Attention is taken as the fused kernels do it, which keep query, key, value,
output and one number a row, and nothing of size tokens x tokens. Not counted: what a library takes for itself (a CUDA
context, workspaces of convolutions and matrix products), and the allocator's rounding.
"""

import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from ..libraries import quiet


@dataclass(frozen=True)
class Counted:
    """Bytes of one pass of a network beside its weights.

    Attributes:
        kept: alive after the forward pass; what is kept for the backward pass, and the result.
        peak: the most that were alive, the backward pass included where there was one.
    """

    kept: int
    peak: int


class Living(TorchDispatchMode):
    """Counts bytes of storages that operations make, while they live.

    Attributes:
        now: bytes alive.
        peak: the most so far.
    """

    def __init__(self, known: Any = ()) -> None:
        """Leave out the storages of these tensors."""
        super().__init__()
        self.now = self.peak = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self._seen:
                self._seen.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)  # the address may be used again
        self.now -= size


class _Attention(torch.autograd.Function):
    """The shapes of fused attention: what goes in and comes out is kept, and a number for each row."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, result, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return result

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return tuple(torch.empty_like(tensor) for tensor in context.saved_tensors[:3])


class _Fused(TorchFunctionMode):
    """Fused attention, whatever the device; the one of the meta device is not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        return _Attention.apply(given["query"], given["key"], given["value"])


def counted(network: Any, run: Callable[[], Tensor], *, learning: bool = False, checkpointing: bool = False) -> Counted:
    """The bytes of one pass of a network that is on the meta device.

    Args:
        network: of diffusers, frozen.
        run: the pass, to its result; for `learning` it has inputs that require a gradient.
        learning: whether a backward pass follows.
        checkpointing: whether the forward pass keeps what goes into the network's blocks, and they are run again.
    """
    if checkpointing:
        network.enable_gradient_checkpointing(_checkpointed)
    weights = [*network.parameters(), *network.buffers()]
    with Living(weights) as living, _Fused(), nullcontext() if learning else torch.no_grad():
        result = run()
        kept = living.now
        if learning:
            result.sum().backward()
    if checkpointing:
        network.disable_gradient_checkpointing()
    return Counted(kept, living.peak)


def _checkpointed(module: Any, *args: Any) -> Any:
    """As diffusers does it; a backward pass leaves the modes of functions, and the second run has to enter them."""
    return checkpoint(module, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _Fused()))


def on_meta(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """A model of diffusers or transformers without its weights, frozen."""
    with quiet(), torch.device("meta"):
        made = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
        return made.to(dtype).eval().requires_grad_(False)


def parameters_of(model: torch.nn.Module) -> tuple[int, int]:
    """How many parameters a model has, and how many of them are those of linear layers, which can be quantised."""
    linear = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    return sum(parameter.numel() for parameter in model.parameters()), linear


def one_pass(
    network: Any, height: int, width: int, *, factor: int = 8, batch: int = 1, rows: int = 512
) -> Callable[[], Tensor]:
    """One pass of a network that edits, on empty inputs: photo and result of the same size.

    Args:
        network: of a class in `INPUTS`.
        height: of the picture in pixels.
        width: of the picture in pixels.
        factor: pixels a side of a latent.
        batch: samples.
        rows: of the instruction; they require a gradient.
    """
    return lambda: INPUTS[type(network).__name__](network, height // factor, width // factor, batch, rows)


def _empty(network: Any, *shape: int) -> Tensor:
    return torch.empty(*shape, device=network.device, dtype=network.dtype)


def _unet(unet: Any, h: int, w: int, batch: int, rows: int) -> Tensor:
    config, extra = unet.config, {}
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        extra = {"added_cond_kwargs": {"text_embeds": _empty(unet, batch, pooled), "time_ids": _empty(unet, batch, 6)}}
    words = _empty(unet, batch, rows, config.cross_attention_dim).requires_grad_(torch.is_grad_enabled())
    noisy = _empty(unet, batch, config.in_channels, h, w)
    return unet(noisy, _empty(unet, batch), encoder_hidden_states=words, return_dict=False, **extra)[0]


def _transformer(axes: int, patch: int = 2) -> Callable[..., Tensor]:
    """FLUX and its kin: tokens of result and photo in one sequence, with positions of so many axes."""

    def run(network: Any, h: int, w: int, batch: int, rows: int) -> Tensor:
        tokens, config = 2 * (h // patch) * (w // patch), network.config
        told: dict[str, Any] = {"guidance": _empty(network, batch)} if getattr(config, "guidance_embeds", False) else {}
        if hasattr(config, "pooled_projection_dim"):
            told["pooled_projections"] = _empty(network, batch, config.pooled_projection_dim)
        if axes:
            told |= {"img_ids": _empty(network, tokens, axes), "txt_ids": _empty(network, rows, axes)}
        else:
            told["img_shapes"] = [[(1, h // patch, w // patch)] * 2] * batch
        words = _empty(network, batch, rows, config.joint_attention_dim).requires_grad_(torch.is_grad_enabled())
        sequence, t = _empty(network, batch, tokens, config.in_channels), _empty(network, batch)
        return network(sequence, encoder_hidden_states=words, timestep=t, return_dict=False, **told)[0]

    return run


# Class of diffusers -> one pass of it.
INPUTS: Mapping[str, Callable[..., Tensor]] = {
    "UNet2DConditionModel": _unet,
    "Flux2Transformer2DModel": _transformer(4),
    "FluxTransformer2DModel": _transformer(3),
    "QwenImageTransformer2DModel": _transformer(0),
}
