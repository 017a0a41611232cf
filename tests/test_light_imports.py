"""What a command that edits one photo imports of the libraries, and that what is left out is there when asked for."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Of each, something that only what is left out would have imported.
LEFT_OUT = (
    "torch._dynamo.symbolic_convert",
    "triton",
    "scipy.stats._stats_py",
    "scipy.optimize._optimize",
    "torchvision",
    "torch.distributed.tensor",
    "diffusers.models.transformers.transformer_flux",
    "diffusers.models.unets.unet_1d",
    "transformers.image_processing_utils",
)
LOAD = """
import hashlib, json, sys
import vii
from vii import light_imports
if sys.argv[1] == "light":
    light_imports.begin()
editor = vii.load_editor("embedded", device="cpu", dtype="float32")
edit = vii.load_edit(next(path for path in sys.argv[2:] if vii.load_edit(path).needs_editor))
image = vii.apply(editor, edit, vii.load_image("vii/demo/before.png"), num_inference_steps=2)
loaded = sorted(sys.modules)
"""


def run(how, code=""):
    edits = map(str, sorted((ROOT / "learned_instructions").glob("*.safetensors")))
    code = f"{LOAD}\n{code}\nprint(json.dumps([hashlib.sha256(image.numpy().tobytes()).hexdigest(), loaded]))"
    ran = subprocess.run([sys.executable, "-c", code, how, *edits], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_little_is_imported_the_picture_is_the_same_and_the_rest_is_there_when_it_is_asked_for():
    code = """
import scipy.stats, torch
from diffusers.models.transformers import FluxTransformer2DModel
from transformers import BertConfig
from transformers.utils import is_scipy_available
assert is_scipy_available()
assert scipy.stats.norm.cdf(0) == 0.5
assert FluxTransformer2DModel.__module__ == "diffusers.models.transformers.transformer_flux"
assert BertConfig(num_hidden_layers=1).num_hidden_layers == 1
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item() == 2
assert torch._dynamo.disable.__module__.startswith("torch._dynamo")
"""
    light, loaded = run("light", code)
    usual, all_loaded = run("usual")
    assert light == usual
    assert not set(LEFT_OUT) & set(loaded)
    assert len(loaded) < 0.75 * len(all_loaded)


def test_where_a_library_needs_more_it_is_imported_as_usual():
    code = """
import sys
from vii import light_imports
light_imports.begin()
light_imports.GIVEN["torch._dynamo"]["disable"] = None  # which fails where it decorates
light_imports.classes("diffusers.models.unets.unet_2d_condition:UNet2DConditionModel")
print("torch._dynamo.symbolic_convert" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.split() == ["True"], ran.stderr
