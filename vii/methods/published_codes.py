"""The checkpoints of visual prompting's authors in the layout of the stock libraries.

They are in that of the code of MAE (facebookresearch/mae) and of taming-transformers' VQGAN. `save_published` writes
what `read_prompting` reads.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from safetensors.torch import save_file
from torch import Tensor

from ..errors import EditorError
from ..files import make_folder

State = Mapping[str, Tensor]
# Of MAE's code -> what transformers' own published checkpoints are called, which every version of it loads.
MAE_NAMES = (
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "vit.embeddings.patch_embeddings.projection."),
    (r"^norm\.", "vit.layernorm."),
    (r"^(mask_token|decoder_pos_embed)$", r"decoder.\1"),
    (r"^(decoder_embed|decoder_norm|decoder_pred)\.", r"decoder.\1."),
    (r"^blocks\.(\d+)\.", r"vit.encoder.layer.\1."),
    (r"^decoder_blocks\.(\d+)\.", r"decoder.decoder_layers.\1."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
VQ_NAMES = (
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.attn\.", r"encoder.down_blocks.\1.attentions."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.attn\.", r"decoder.up_blocks.\1.attentions."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def mae_from_published(state: State, heads: int = 16, decoder_heads: int = 16) -> tuple[dict[str, Any], State]:
    """The configuration of `MaskedCodes` and its weights.

    Args:
        state: of the authors' `MaskedAutoencoderViT`, perhaps with their VQGAN in it, which is left out.
        heads: of the encoder's attention; no weight tells. 16 in all that was published.
        decoder_heads: of the decoder's.

    Raises:
        EditorError: it is no such checkpoint.
    """
    weights: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("vae."):
            continue
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                new = _renamed(name.replace("attn.qkv", f"attention.attention.{part}"), MAE_NAMES)
                weights[new] = piece.contiguous()
        else:
            weights[_renamed(name, MAE_NAMES)] = value
    try:
        patches = weights["vit.embeddings.position_embeddings"].shape[1] - 1
        width, _, patch, _ = weights["vit.embeddings.patch_embeddings.projection.weight"].shape
        codes, decoder_width = weights["decoder.decoder_pred.weight"].shape
        config = {
            "architectures": ["ViTMAEForPreTraining"],
            "model_type": "vit_mae",
            "image_size": round(patches**0.5) * patch,
            "patch_size": patch,
            "hidden_size": width,
            "num_hidden_layers": _count(weights, r"vit\.encoder\.layer\.(\d+)\."),
            "num_attention_heads": heads,
            "intermediate_size": len(weights["vit.encoder.layer.0.intermediate.dense.weight"]),
            "decoder_hidden_size": decoder_width,
            "decoder_num_hidden_layers": _count(weights, r"decoder\.decoder_layers\.(\d+)\."),
            "decoder_num_attention_heads": decoder_heads,
            "decoder_intermediate_size": len(weights["decoder.decoder_layers.0.intermediate.dense.weight"]),
            "layer_norm_eps": 1e-6,  # not transformers' default
            "num_codes": codes,
        }
    except (KeyError, ValueError) as error:
        raise EditorError(f"no checkpoint of visual prompting's masked autoencoder (it lacks {error})") from None
    return config, weights


def vq_from_published(state: State) -> VQModel:
    """A `VQModel` with the weights of a VQGAN of taming-transformers; its discriminator and loss are left out.

    Raises:
        EditorError: it is no such checkpoint.
    """
    kept = {name: value for name, value in state.items() if not name.startswith("loss.")}
    try:
        levels = _count(kept, r"encoder\.down\.(\d+)\.")
        layers = _count(kept, r"encoder\.down\.0\.block\.(\d+)\.")
        attends = [f"encoder.down.{level}.attn.0.q.weight" in kept for level in range(levels)]
        codes, width = kept["quantize.embedding.weight"].shape
        model = VQModel(
            down_block_types=tuple("Attn" * one + "DownEncoderBlock2D" for one in attends),
            up_block_types=tuple("Attn" * one + "UpDecoderBlock2D" for one in reversed(attends)),
            block_out_channels=tuple(
                len(kept[f"encoder.down.{level}.block.{layers - 1}.conv2.weight"]) for level in range(levels)
            ),
            layers_per_block=layers,
            latent_channels=len(kept["encoder.conv_out.weight"]),
            vq_embed_dim=width,
            num_vq_embeddings=codes,
        )
        model.load_state_dict({new: value for name, v in kept.items() for new, value in [_vq(name, v, levels)]})
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise EditorError(f"no checkpoint of a VQGAN of taming-transformers ({reason})") from None
    return model


def _vq(name: str, value: Tensor, levels: int) -> tuple[str, Tensor]:
    """One weight: diffusers counts the decoder's levels from the other end, and has its attention in linear layers."""
    name = re.sub(r"^decoder\.up\.(\d+)", lambda found: f"decoder.up.{levels - 1 - int(found[1])}", name)
    name = _renamed(name, VQ_NAMES)
    projects = ".attentions." in name and value.ndim == 4
    return name, value[..., 0, 0] if projects else value


def _count(names: Mapping[str, Any], pattern: str) -> int:
    found = {int(match[1]) for name in names if (match := re.match(pattern, name))}
    if not found:
        raise ValueError(pattern.replace("\\", ""))
    return max(found) + 1


def save_published(mae: State, vq: State, folder: Path, *, heads: int = 16, decoder_heads: int = 16) -> None:
    """Write a model for `read_prompting`; see `mae_from_published` and `vq_from_published`.

    Raises:
        EditorError: one of them is no such checkpoint.
    """
    config, weights = mae_from_published(mae, heads, decoder_heads)
    vq_from_published(vq).save_pretrained(folder / "vq", safe_serialization=True)
    make_folder(folder / "mae")
    (folder / "mae/config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: value.clone() for name, value in weights.items()}, folder / "mae/model.safetensors", {"format": "pt"}
    )


def read_published(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint of torch, without running what else its pickle says.

    Raises:
        EditorError: it cannot be read so.
    """
    import argparse

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # type: ignore[no-untyped-call]
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle can raise anything
        raise EditorError(f"{path}: no checkpoint of weights alone ({str(error).splitlines()[0][:200]})") from None
    if not isinstance(content, dict):
        raise EditorError(f"{path}: no checkpoint of weights, but a {type(content).__name__}")
    state = next((content[key] for key in ("model", "state_dict") if key in content), content)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
