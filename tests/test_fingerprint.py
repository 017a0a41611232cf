"""The fingerprint of a model: one for all precisions and versions of the libraries, another for any other weights."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXACT, tiny_pipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import vii
from vii.editors.fingerprint import canonical_name, fingerprint, version_1_fingerprints
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import EditorError, EditorMismatch
from vii.libraries import load_weights
from vii.space import digests, same_weights

WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS = {"text_encoder": "model.safetensors", "unet": WEIGHTS, "vae": WEIGHTS}


def weights(seed: int = 0, n: int = 3000) -> dict[str, dict[str, torch.Tensor]]:
    """Two parts whose values take every size that weights have, zero and subnormal ones of float16 too."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(4, n, generator=generator) * 10.0 ** torch.randint(-9, 3, (4, n), generator=generator)
    values[0, :5] = torch.tensor([0.0, -0.0, 1.0, 6e-8, -1e-9])
    return {"unet": {"a": values[0], "b": values[1].reshape(30, -1)}, "vae": {"a": values[2], "c": values[3]}}


def cast(parts, dtype):
    """A copy that was saved in another precision."""
    return {part: {name: tensor.to(dtype) for name, tensor in named.items()} for part, named in parts.items()}


@pytest.mark.parametrize("seed", range(3))
def test_copies_in_three_precisions_have_the_same_weights(seed):
    original = weights(seed)
    copies = [original, cast(original, torch.float16), cast(original, torch.bfloat16)]
    copies += [cast(copy, torch.float32) for copy in copies[1:]]  # as a library loads them
    prints = [fingerprint(copy) for copy in copies]
    assert all(same_weights(one, other) for one in prints for other in prints)
    assert prints[1] == prints[3]
    assert prints[2] == prints[4]
    assert [list(digests(text)) for text in prints[:3]] == [
        ["float16", "bfloat16", "sign"],
        ["float16", "sign"],
        ["bfloat16", "sign"],
    ]


def test_a_part_in_another_precision_is_no_other_model():
    original = weights()
    mixed = {"unet": cast(original, torch.float16)["unet"], "vae": original["vae"]}
    assert same_weights(fingerprint(mixed), fingerprint(original))
    both = {"unet": mixed["unet"], "vae": cast(original, torch.bfloat16)["vae"]}
    assert list(digests(fingerprint(both))) == ["sign"]
    assert same_weights(fingerprint(both), fingerprint(original))


def test_the_digests_are_those_of_numpy():
    """Written out: rounding by numpy and by bits, names, shapes and signs."""
    tensor = weights()["unet"]["b"]
    values = tensor.numpy()
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to nearest, ties to even
    data = {
        "float16": values.astype(np.float16).tobytes(),
        "bfloat16": rounded.tobytes(),
        "sign": np.packbits(np.signbit(values).ravel()).tobytes(),
    }
    expected = {
        name: hashlib.sha256(f"unet/b (30, 100) {hashlib.sha256(of).hexdigest()}\n".encode()).hexdigest()[:32]
        for name, of in data.items()
    }
    assert digests(fingerprint({"unet": {"text_model.b": tensor}})) == expected


@settings(max_examples=40, deadline=None)
@given(
    part=st.sampled_from(["unet", "vae"]),
    index=st.integers(0, 2999),
    change=st.sampled_from([lambda x: x * 1.01, lambda x: -x, lambda x: x + 1, lambda x: x * 0 + 0.123]),
)
def test_one_changed_number_anywhere_is_another_model(part, index, change):
    original, other = weights(), weights()
    flat = other[part]["a"]
    flat[index] = change(flat[index])
    halves = [copy[part]["a"].half().view(torch.int16) for copy in (original, other)]  # zero has two signs
    assert same_weights(fingerprint(original), fingerprint(other)) == torch.equal(*halves)


def test_names_shapes_and_the_part_belong_to_it():
    tensor = torch.randn(6, generator=torch.Generator().manual_seed(0))
    prints = [
        fingerprint({"unet": {"a": tensor}}),
        fingerprint({"vae": {"a": tensor}}),
        fingerprint({"unet": {"b": tensor}}),
        fingerprint({"unet": {"a": tensor.reshape(2, 3)}}),
        fingerprint({"unet": {"a": tensor, "b": tensor}}),
    ]
    assert not any(same_weights(one, other) for i, one in enumerate(prints) for other in prints[:i])


def test_names_of_all_versions_are_one():
    assert canonical_name("text_model.encoder.layers.0.mlp.fc1.weight") == "encoder.layers.0.mlp.fc1.weight"
    assert canonical_name("_orig_mod.conv_in.bias") == "conv_in.bias"
    old = "decoder.mid_block.attentions.0.proj_attn.weight"
    assert canonical_name(old) == "decoder.mid_block.attentions.0.to_out.0.weight"
    tensor = torch.ones(3) / 3
    positions = {"text_model.embeddings.position_ids": torch.arange(77)}
    named = [{"embeddings.weight": tensor}, {"text_model.embeddings.weight": tensor, **positions}]
    assert len({fingerprint({"text_encoder": names}) for names in named}) == 1


def test_a_loaded_model_has_the_fingerprint_of_its_files(embedded):
    files = {part: load_file(EMBEDDED_MODEL / part / name) for part, name in PARTS.items()}
    assert fingerprint(files) == embedded.space.fingerprint


def test_every_tensor_of_every_part_counts(tiny, tiny_folder):
    files = {}
    for part, name in PARTS.items():
        files[part] = load_file(tiny_folder / part / name)
    assert same_weights(fingerprint(files), tiny.space.fingerprint)
    for part, named in files.items():
        for name in list(named)[:: max(1, len(named) // 10)]:
            changed = {**files, part: {**named, name: named[name] + 0.01}}
            assert not same_weights(fingerprint(changed), tiny.space.fingerprint), (part, name)


def test_half_precision_folders_are_the_same_model(tmp_path, tiny, tiny_folder):
    for dtype in (torch.float16, torch.bfloat16):
        folder = tmp_path / str(dtype)
        pipeline = tiny_pipeline()
        pipeline.to(dtype=dtype).save_pretrained(folder)
        copy = vii.load_editor("ip2p", model=str(folder), clip="none", **EXACT)
        assert copy.space.fingerprint != tiny.space.fingerprint
        assert copy.space.has_weights_of(tiny.space)


def test_random_weights_that_keep_four_values_of_each_tensor_are_refused(tiny):
    """They had the fingerprint of format version 1."""
    pipeline = tiny_pipeline()
    for module in (pipeline.unet, pipeline.text_encoder):
        for parameter in module.parameters():
            flat = parameter.data.flatten()
            kept = torch.linspace(0, len(flat) - 1, 4, dtype=torch.float64).long()
            new = torch.randn(len(flat), generator=torch.Generator().manual_seed(1))
            new[kept] = flat[kept]
            parameter.data.copy_(new.reshape(parameter.shape))
    assert version_1_fingerprints(pipeline.text_encoder, [pipeline.unet]) == tiny.space.version_1
    parts = {name: getattr(pipeline, name).state_dict() for name in PARTS}
    assert not same_weights(fingerprint(parts), tiny.space.fingerprint)


def test_an_edit_of_version_1_fits_whatever_the_installed_transformers_calls_the_weights(embedded):
    edit = vii.load_edit(Path(__file__).parent / "version_1.safetensors")
    assert edit.format_version == 1
    with pytest.raises(EditorMismatch, match="other weights"):  # an embedded editor's that has been replaced
        edit.check_space(embedded.space)
    modern, before = embedded.space.version_1
    assert before != modern
    for known in (modern, before):
        space = dataclasses.replace(edit.space, fingerprint=known)
        dataclasses.replace(edit, space=space).check_space(embedded.space)


def test_missing_weights_are_an_error(tmp_path, tiny_folder):
    from transformers import CLIPTextModel

    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    file = folder / "text_encoder" / "model.safetensors"
    whole = load_file(file)
    name = sorted(whole)[3]
    for changed, message in (
        ({key: value for key, value in whole.items() if key != name}, "lacks 1 weights"),
        ({**whole, "other.weight": torch.zeros(3)}, "1 weights: .*other.weight"),
        ({**whole, name: torch.zeros(5)}, "shape|lacks|size mismatch|ignore_mismatched"),
    ):
        save_file({key: value.contiguous() for key, value in changed.items()}, file, {"format": "pt"})
        with pytest.raises(EditorError, match=message):
            vii.load_editor("ip2p", model=str(folder), clip="none", **EXACT)
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}  # as files of 2022 have them
    save_file({**whole, **positions}, file, {"format": "pt"})
    assert load_weights(CLIPTextModel, file.parent) is not None


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_missing_weights_of_diffusers_are_an_error(tmp_path, tiny_folder, part):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    file = folder / part / WEIGHTS
    whole = load_file(file)
    save_file({name: whole[name] for name in sorted(whole)[1:]}, file, {"format": "pt"})
    with pytest.raises(EditorError, match=sorted(whole)[0]):
        vii.load_editor("ip2p", model=str(folder), clip="none", **EXACT)


def test_an_edit_for_other_weights_is_refused(tiny, toy_edit):
    other = dataclasses.replace(tiny.space, fingerprint="float16:00 sign:00", version_1=())
    edit = vii.Edit(tokens=torch.zeros(2, 32), space=other, editor="ip2p", start=1, resolution=32)
    with pytest.raises(EditorMismatch, match="other weights"):
        edit.check_space(tiny.space)
    edit.check_space(tiny.space, any_model=True)
