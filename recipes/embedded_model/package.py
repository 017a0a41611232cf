"""Put the trained parts together: half precision, the layout of diffusers and transformers, and vii's own files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from vii.clip import KNOWN_TEXTS, TransformersClip, digest_of
from vii.evaluation.synthetic import captions, phrases

from .clip import processor
from .unet import scheduler

PHRASES = CAPTIONS = 2000
# One step is best by PSNR and to the eye: a small network estimates the answer better than it removes little noise.
SETTINGS = {"num_inference_steps": 1, "guidance_scale": 1.0, "image_guidance_scale": 1.0, "scheduler": "ddim"}


def package(
    folder: Path, name: str, vae: AutoencoderTiny, clip: CLIPModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> None:
    """Write everything that `vii.load_editor` and a plain `from_pretrained` need into `folder`."""
    text_encoder = CLIPTextModel(clip.config.text_config)
    # Versions of transformers differ in whether a lone text tower calls its weights "text_model.".
    prefix = "text_model." if any(key.startswith("text_model.") for key in text_encoder.state_dict()) else ""
    text_encoder.load_state_dict({prefix + key: value for key, value in clip.text_model.state_dict().items()})
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to("cpu", torch.float16).save_pretrained(folder, safe_serialization=True)
    for part in (clip.to("cpu", torch.float16), tokenizer, processor()):
        part.save_pretrained(folder / "clip")
    for part in ("clip", "text_encoder"):
        # transformers loads in the precision that config.json names, diffusers in float32: with float16 named there a
        # plain from_pretrained mixes the two and crashes. The file stays in half precision.
        _change(folder / part / "config.json", dtype="float32")
    manifest = {
        "name": name,
        "resolution": 128,
        "square": True,
        "settings": SETTINGS,
        "clip": "clip",
        "phrases": "phrases.txt",
    }
    (folder / "vii.json").write_text(json.dumps(manifest, indent=2) + "\n")
    texts = {"phrases.txt": phrases(PHRASES), "clip/captions.txt": captions(CAPTIONS)}
    for path, lines in texts.items():
        (folder / path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    remember_texts(folder / "clip", *texts.values())


def remember_texts(folder: Path, *lists: Sequence[str]) -> None:
    """Compute the text features of whole lists once and keep them in a CLIP model's folder, in half precision.

    Of exactly such a list they are then read instead of computed, which takes seconds for thousands of phrases.
    """
    (folder / KNOWN_TEXTS).unlink(missing_ok=True)
    clip = TransformersClip(str(folder))
    features = {digest_of(texts): clip.text_features(texts).half().contiguous() for texts in lists}
    save_file(features, folder / KNOWN_TEXTS)


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2, sort_keys=True) + "\n")
