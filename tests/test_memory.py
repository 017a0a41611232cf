"""Bytes by configuration alone: against what torch's own allocator counts, and against what autograd keeps."""

import json
from dataclasses import replace
from functools import partial

import diffusers
import pytest
import torch
from conftest import tiny_pipeline
from test_cli import run
from tiny_flows import klein_pipeline, kontext_pipeline
from tiny_sdxl import sdxl_pipeline
from torch.profiler import ProfilerActivity, profile

from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.memory import counted, on_meta, one_pass, parameters_of
from vii.editors.plan import RESERVE, SIZES, plan_of, remedies
from vii.editors.quantize import KINDS
from vii.errors import EditorError

GIB = 2**30
NETWORKS = {
    "unet": lambda: tiny_pipeline().unet,
    "sdxl": lambda: sdxl_pipeline().unet,
    "klein": lambda: klein_pipeline(False).transformer,
    "kontext": lambda: kontext_pipeline().transformer,
}
SIZE = {"height": 64, "width": 96, "factor": 2, "batch": 2, "rows": 30}


def allocated(run_it):
    """The most bytes that torch's CPU allocator held at once during a call, beside those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run_it()
    now = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_peak_is_that_of_torchs_allocator(name, checkpointing, monkeypatch):
    """The same pass with weights on the CPU, in float32, attention aside: as the meta device has it on both."""
    network = NETWORKS[name]().requires_grad_(False)
    math = partial(torch.nn.attention.sdpa_kernel, torch.nn.attention.SDPBackend.MATH)
    monkeypatch.setattr("vii.editors.memory._Fused", math)
    meta = on_meta(type(network), network.config, torch.float32)
    if checkpointing:
        network.enable_gradient_checkpointing()
    for learning in {False, checkpointing or True}:
        ours = counted(meta, one_pass(meta, **SIZE), learning=learning, checkpointing=checkpointing and learning)

        def step(learning=learning):
            with math(), torch.set_grad_enabled(learning):
                result = one_pass(network, **SIZE)()
                if learning:
                    result.sum().backward()

        step()  # what is made once only
        theirs = allocated(step)
        print(name, learning, checkpointing, ours.peak / theirs)
        assert ours.peak == pytest.approx(theirs, rel=0.15)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_kept_is_what_autograd_packs(name):
    """Storages that autograd saves, counted by its own hooks, plus the result."""
    network = NETWORKS[name]()
    meta = on_meta(type(network), network.config, torch.bfloat16)
    weights, kept = {parameter.untyped_storage()._cdata for parameter in meta.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = (storage.nbytes(), tensor)
        return tensor

    def watched():
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            return one_pass(meta, **SIZE)()

    ours = counted(meta, watched, learning=True).kept
    saved = sum(size for size, _ in kept.values())
    assert saved <= ours <= 1.1 * saved
    checkpointed = counted(meta, one_pass(meta, **SIZE), learning=True, checkpointing=True)
    assert checkpointed.kept < ours / 2
    assert checkpointed.peak < counted(meta, one_pass(meta, **SIZE), learning=True).peak


def test_samples_and_pixels_take_as_much_more():
    meta = on_meta(diffusers.Flux2Transformer2DModel, NETWORKS["klein"]().config, torch.bfloat16)
    one, two = (counted(meta, one_pass(meta, **SIZE | {"batch": batch}), learning=True).kept for batch in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.05)


def test_parameters_are_counted_once():
    network = klein_pipeline(False)
    total, linear = parameters_of(network.transformer)
    assert total == sum(parameter.numel() for parameter in network.transformer.parameters())
    assert 0.8 * total < linear < total
    tied = network.text_encoder
    assert parameters_of(tied)[0] == sum(parameter.numel() for parameter in {*tied.parameters()})


def test_the_plan_of_a_folder_is_its_models(tmp_path):
    pipeline = klein_pipeline(False)
    pipeline.save_pretrained(tmp_path)
    plan = plan_of(str(tmp_path), 64, batch=2)
    own = {part: getattr(pipeline, part) for part in ("transformer", "vae", "text_encoder")}
    assert plan.parameters == {part: sum(p.numel() for p in model.parameters()) for part, model in own.items()}
    assert plan.weights["transformer"] == 2 * plan.parameters["transformer"]
    assert plan.weights["vae"] == 4 * plan.parameters["vae"]
    assert plan.factor == 2
    passes = one_pass(plan.network, 64, 64, factor=2, batch=2, rows=512)
    peak = counted(plan.network, passes, learning=True, checkpointing=True).peak
    assert plan.learning(True) == max(
        plan.applying(), plan.weights["transformer"] + plan.weights["vae"] + peak + RESERVE
    )
    assert plan.learning(False) > plan.learning(True)
    assert RESERVE < plan.applying(offload=True) <= plan.applying()
    (tmp_path / "transformer" / "config.json").write_text('{"num_attention_heads": "many"}')
    with pytest.raises(EditorError, match="not a complete configuration"):
        plan_of(str(tmp_path))
    (tmp_path / "model_index.json").write_text(
        '{"vae": ["diffusers", "AutoencoderKLFlux2"], "transformer": [null, null]}'
    )
    with pytest.raises(EditorError, match="names no network"):
        plan_of(str(tmp_path))


def test_sizes_of_the_real_models():
    """The true configurations, by the figures that their makers give (billions of parameters)."""
    billions = {
        "timbrooks/instruct-pix2pix": (0.86, 0.123),
        "diffusers/sdxl-instructpix2pix-768": (2.57, 0.82),
        "black-forest-labs/FLUX.2-klein-base-4B": (3.88, 4.02),
        "black-forest-labs/FLUX.2-klein-base-9B": (9.08, 8.19),
        "black-forest-labs/FLUX.2-dev": (32.2, 24.0),
        "black-forest-labs/FLUX.1-Kontext-dev": (11.9, 4.89),
        "Qwen/Qwen-Image-Edit-2511": (20.4, 8.29),
    }
    assert set(billions) == set(json.loads(SIZES.read_text()))
    for model in (
        "timbrooks/instruct-pix2pix",
        "black-forest-labs/FLUX.2-klein-base-4B",
    ):  # the others take seconds each
        plan = plan_of(model)
        network, text = billions[model]
        assert parameters_of(plan.network)[0] / 1e9 == pytest.approx(network, rel=0.01)
        assert plan.text / 2e9 == pytest.approx(text, rel=0.01)
    assert (plan.height, plan.width) == (1024, 1024)


def test_quantised_weights_and_what_to_add():
    plan = plan_of("black-forest-labs/FLUX.2-klein-base-4B", 512)
    total, linear = parameters_of(plan.network)
    for kind in KINDS:
        packed = replace(plan, quantize=kind).weights
        assert packed["transformer"] == (total - linear) * 2 + round(linear * KINDS[kind].bytes)
        assert packed["vae"] == plan.weights["vae"]
    assert plan.applying(offload=True) < plan.applying() / 2
    known = {"checkpointing", "quantize", "resolution", "offload"}
    assert remedies(plan, 24 * GIB, True, known) == ([], plan.learning())
    added, takes = remedies(plan, 11 * GIB, True, known)
    assert added == ["batch_size=1"]
    assert takes == replace(plan, batch=1).learning() < 11 * GIB
    added, takes = remedies(plan, 5 * GIB, False, known)
    assert added == ["checkpointing=True", "batch_size=1", "quantize=nf4"]
    assert takes < 5 * GIB
    assert remedies(plan, GIB, True, {"checkpointing"})[0] == ["batch_size=1"]


def test_the_command_line_tells_and_loads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("vii.editors.load_editor", None)
    told = json.loads(run("doctor", "--editor", "embedded", "--device", "cpu", "--json")[0])
    assert told["model"] == str(EMBEDDED_MODEL)
    assert told["pixels"] == [128, 128]
    assert told["to_fit"] == {"add": [], "bytes": told["learning"]["bytes"], "fits": True}
    assert "with_checkpointing" not in told["learning"]
    learn = ["learn", "a.png", "b.png", "-o", str(tmp_path / "x.safetensors"), "--dry-run", "--device", "cpu"]
    text, _ = run(*learn, "--set", "batch_size=1")
    assert "learning, batch of 1: 1." in text
    assert "learning fits" in text
    assert all("is not known" in run("doctor", "--editor", name, code=1)[1] for name in ("toy", "controlnet"))
    assert "did you mean 'klein'" in run("doctor", "--editor", "kleen", code=1)[1]
    monkeypatch.setattr("vii.editors.devices.memory_of", lambda device: 3 * GIB)
    small = run("doctor", "--editor", "klein", "--resolution", "512", "--device", "cpu", "--dtype", "bfloat16")[0]
    assert "learning does not fit; --set batch_size=1 --quantize nf4 is not enough either" in small
    assert not list(tmp_path.iterdir())
