# LAVIS 1.0.2 itself pins transformers < 4.27 and timm 0.4.12; what was released after it is held back to where it
# still works. From torch 2.6 on checkpoints are read without executing what they hold.
# /// script
# requires-python = "==3.11.*"
# dependencies = [
#   "salesforce-lavis==1.0.2",
#   "torch>=2.6",
#   "numpy<2",
#   "pandas<2.3",
#   "scipy<1.14",
#   "scikit-image<0.25",
#   "spacy<3.8.3",
#   "thinc<8.3",
#   "blis<1.0",
# ]
# ///
"""Captions by LAVIS (Li et al. 2023), as a program of its own: it runs in LAVIS's environment, without this package.

    uv run --script lavis_worker.py MODEL DEVICE PICTURE...

MODEL is ARCHITECTURE/TYPE of LAVIS's model zoo (`blip_caption/base_coco`), or a file in the form of LAVIS's own
configs/models/*.yaml. Prints `{"captions": ["...", ...]}`, or `{"error": "..."}`.
"""

import json
import os
import sys
from typing import Any

ADVICE = (
    "without a network give a .yaml model configuration with local weights, and a folder bert-base-uncased beside it, "
    "as `captioner`, or start from words, 'retrieve' or 'none'"
)


def main(model: str, device: str, *pictures: str) -> None:
    """Load the model, and print what it says of each picture."""
    # Whatever the libraries print must not come between: file descriptor 1 becomes that of the messages.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    told: dict[str, Any]
    try:
        caption = load(model, device)
    except Exception as error:
        told = {"error": f"cannot load '{model}': {describe(error)[:250]}; {ADVICE}"}
    else:
        try:
            told = {"captions": [caption(picture) for picture in pictures]}
        except Exception as error:
            told = {"error": describe(error)}
    answers.write(json.dumps(told))
    answers.close()


def load(model: str, device: str) -> Any:
    """A function from the path of a picture to a caption."""
    import torch
    from lavis.common.registry import registry
    from lavis.models import load_model_and_preprocess, load_preprocess
    from omegaconf import OmegaConf
    from PIL import Image

    device = device if device != "cuda" or torch.cuda.is_available() else "cpu"
    if model.endswith((".yaml", ".yml")):
        config = OmegaConf.load(model)
        loaded = registry.get_model_class(config.model.arch).from_config(config.model).eval().to(device)
        processors, _ = load_preprocess(config.preprocess)
    else:
        architecture, kind = model.split("/")
        if registry.get_model_class(architecture) is None:
            raise ValueError(f"LAVIS has no model '{architecture}'")
        loaded, processors, _ = load_model_and_preprocess(architecture, kind, is_eval=True, device=device)

    @torch.no_grad()
    def caption(path: str) -> str:
        with Image.open(path) as image:
            pixels = processors["eval"](image.convert("RGB"))[None].to(device)
        return " ".join(str(loaded.generate({"image": pixels})[0]).split())

    return caption


def describe(error: Exception) -> str:
    """The first line of an error, or its name."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    main(*sys.argv[1:])
