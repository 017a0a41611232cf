"""Weights in fewer bits: which pass a gradient, and what is said of those that do not or are not here."""

import importlib.util
import json
import shutil

import pytest
import torch
from conftest import gradient_of, picture
from flow_families import BARE, OPTIONS, TEXT
from tiny_flows import klein_pipeline

import vii
from vii.editors.quantize import KINDS, WITHOUT_GRADIENT, check_config, check_usable
from vii.errors import EditorError, UsageError

CPU = torch.device("cpu")


def needs(*packages):
    missing = [package for package in packages if not importlib.util.find_spec(package)]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny klein whose blocks are wide enough for weights that are quantised 32 and 64 together."""
    import diffusers

    home = tmp_path_factory.mktemp("klein") / "FLUX.2-klein-base-4B"
    pipeline = klein_pipeline(False)
    torch.manual_seed(1)
    own = {"num_layers": 2, "attention_head_dim": 64, "num_attention_heads": 2, "axes_dims_rope": (16,) * 4}
    pipeline.transformer = diffusers.Flux2Transformer2DModel.from_config(pipeline.transformer.config, **own)
    pipeline.save_pretrained(home)
    return home


@pytest.fixture(scope="module")
def exact(folder):
    return vii.load_editor("klein", model=str(folder), **OPTIONS)


def gradient(editor, exact):
    before, after, words = exact.encode(picture(1)), exact.encode(picture(2)), exact.instruct(TEXT)
    noise = torch.randn(1, *after.noise_shape, generator=torch.Generator().manual_seed(0))
    return gradient_of(editor, before, after, words, torch.tensor([0.7]), noise).flatten()


def gguf_of(transformer, path):
    """The blocks of a transformer in 8 bits, the rest in 32, as a GGUF file."""
    import gguf

    writer, kinds = gguf.GGUFWriter(str(path), "flux2"), gguf.GGMLQuantizationType
    for name, tensor in transformer.state_dict().items():
        kind = kinds.Q8_0 if tensor.ndim == 2 and "blocks" in name and tensor.shape[1] % 32 == 0 else kinds.F32
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


@needs("torchao")
@pytest.mark.parametrize("kind", ["int8wo", "float8wo"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_weight_only_kinds_of_torchao_pass_the_gradient(kind, checkpointing, folder, exact):
    options = {**OPTIONS, "quantize": kind, "checkpointing": checkpointing}
    editor = vii.load_editor("klein", model=str(folder), **options)
    assert type(editor.transformer.transformer_blocks[0].attn.to_q.weight).__name__ != "Parameter"
    assert editor.space == exact.space  # of the files, before anything was quantised
    found, wanted = gradient(editor, exact), gradient(exact, exact)
    assert not torch.equal(found, wanted)
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.98


@needs("bitsandbytes")
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_kinds_of_bitsandbytes_pass_the_gradient(kind, folder, exact):
    """Its layers, put in by hand: diffusers loads them on a GPU only."""
    import bitsandbytes

    editor = vii.load_editor("klein", model=str(folder), **OPTIONS)
    layers = {name: one for name, one in editor.transformer.named_modules() if isinstance(one, torch.nn.Linear)}
    for name, layer in layers.items():
        shape, weight = (layer.in_features, layer.out_features), layer.weight.data
        if "blocks" not in name or shape[0] % 64:
            continue
        if kind == "nf4":
            new = bitsandbytes.nn.Linear4bit(*shape, bias=False, compute_dtype=torch.float32, quant_type="nf4")
            new.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
            new.weight._quantize("cpu")
        else:
            new = bitsandbytes.nn.Linear8bitLt(*shape, bias=False, has_fp16_weights=False)
            new.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
            new = new.to("cpu")
        editor.transformer.set_submodule(name, new)
    found, wanted = gradient(editor, exact), gradient(exact, exact)
    assert not torch.equal(found, wanted)
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.9


@needs("gguf", "accelerate")
def test_a_gguf_file_takes_the_place_of_the_transformers_weights(folder, exact, tmp_path):
    path = gguf_of(exact.transformer, tmp_path / "klein-Q8_0.gguf")
    for network_there in (True, False):
        home = tmp_path / str(network_there) / folder.name
        shutil.copytree(folder, home)
        if not network_there:
            next((home / "transformer").glob("*.safetensors")).unlink()
        editor = vii.load_editor("klein", model=str(home), **OPTIONS, quantize=path)
        assert type(editor.transformer.transformer_blocks[0].attn.to_q).__name__ == "GGUFLinear"
        found, wanted = gradient(editor, exact), gradient(exact, exact)
        assert not torch.equal(found, wanted)
        assert torch.cosine_similarity(found, wanted, dim=0) > 0.98
        assert editor.space.has_weights_of(exact.space) == network_there
        assert editor.space.is_related_to(exact.space) != network_there  # either way edits of the model are taken


@needs("torchao")
def test_activations_that_are_quantised_too_pass_none(folder, exact):
    """What the names in `WITHOUT_GRADIENT` stand for: int8dq of torchao, and why it is refused."""
    from torchao import quantization

    editor = vii.load_editor("klein", model=str(folder), **OPTIONS)
    config = quantization.Int8DynamicActivationInt8WeightConfig()
    quantization.quantize_(
        editor.transformer, config, filter_fn=lambda layer, name: "blocks" in name and is_wide(layer)
    )
    pair = vii.Pair(picture(1), picture(2))
    settings = vii.InversionSettings(init="text", init_text=TEXT, tokens=0, max_train_steps=2, probe_size=2)
    with pytest.raises(EditorError, match="exactly zero"):
        vii.invert(editor, [pair], settings)


def is_wide(layer):
    return isinstance(layer, torch.nn.Linear) and layer.in_features % 64 == 0


def test_what_cannot_be_used_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    for kind in WITHOUT_GRADIENT:
        with pytest.raises(UsageError, match="pass no gradient"):
            vii.load_editor("klein", model="nowhere/at-all", quantize=kind, device="cpu")
    with pytest.raises(UsageError, match="did you mean 'int8wo'"):
        check_usable("int8w", CPU)
    with pytest.raises(UsageError, match="no such file"):
        check_usable(str(tmp_path / "x.gguf"), CPU)
    monkeypatch.setattr("vii.editors.quantize.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs bitsandbytes and accelerate: pip install bitsandbytes accelerate"):
        check_usable("nf4", torch.device("cuda"))
    monkeypatch.setattr("vii.editors.quantize.find_spec", lambda name: name)
    with pytest.raises(UsageError, match="needs a CUDA device, this is 'cpu'; int8wo needs none"):
        check_usable("nf4", CPU)
    check_usable(None, CPU)
    with pytest.raises(UsageError, match="'ip2p' does not take quantize"):
        vii.load_editor("ip2p", quantize="nf4")


def test_a_folder_that_was_quantised_so_is_refused(folder, tmp_path):
    home = tmp_path / "model"
    shutil.copytree(folder, home)
    path = home / "transformer" / "config.json"
    told = {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8DynamicActivationInt8WeightConfig"}}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": told}))
    with pytest.raises(EditorError, match=r"transformer \(torchao\): .* pass no gradient"):
        vii.load_editor("klein", model=str(home), **OPTIONS)
    for fine in ({}, {"quant_method": "bitsandbytes"}, {"quant_method": "torchao", "quant_type": "int8wo"}):
        check_config({"quantization_config": fine}, "transformer")
    for method in ("nunchaku", "modelopt"):
        with pytest.raises(EditorError, match="no gradient"):
            check_config({"quantization_config": {"quant_method": method}}, "transformer")


def test_kinds_are_smaller_than_bfloat16():
    assert all(0.5 < kind.bytes <= 1 for kind in KINDS.values())


def test_offload_gives_the_same_picture_and_refuses_to_learn(folder, exact):
    """On a CPU the layers come from where they are; what the hooks do to a result is seen all the same."""
    editor = vii.load_editor("klein", model=str(folder), **OPTIONS, offload=True)
    quick = {"text": TEXT, "num_inference_steps": 2, **BARE}
    photo = picture(3)
    assert any(hasattr(layer, "_diffusers_hook") for layer in editor.transformer.modules())
    assert torch.equal(vii.apply(editor, None, photo, **quick), vii.apply(exact, None, photo, **quick))
    with pytest.raises(UsageError, match="offload is for applying"):
        gradient(editor, exact)
