"""One contract for every editor, and the table that names them."""

import dataclasses
from functools import cache

import pytest
import torch
from conftest import EXACT, picture, weights_of
from tiny_flows import klein_pipeline, kontext_pipeline, qwen_pipeline
from tiny_sdxl import sdxl_pipeline

import vii
from vii.diffusion import Noise
from vii.editor import stack
from vii.editors import EDITORS
from vii.editors.devices import pick_dtype
from vii.errors import EditorError, UsageError

PIPELINES = {
    "klein": lambda: klein_pipeline(False),
    "kontext": kontext_pipeline,
    "qwen": qwen_pipeline,
    "sdxl": sdxl_pipeline,
}
NAMES = ["toy", "tiny", "tiny_controlnet", "embedded", *PIPELINES]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Editors of pipelines in folders whose vii.json says that they are small."""

    @cache
    def made(name):
        folder = tmp_path_factory.mktemp(name)
        PIPELINES[name]().save_pretrained(folder)
        (folder / "vii.json").write_text('{"resolution": 48, "clip": null, "settings": {"num_inference_steps": 3}}')
        return vii.load_editor(name, model=str(folder), **EXACT)

    return made


@pytest.fixture(params=NAMES)
def editor(request, small):
    return small(request.param) if request.param in PIPELINES else request.getfixturevalue(request.param)


def test_loss_is_one_number_a_sample_and_differentiable_in_the_rows(editor):
    side = editor.resolution
    before, after = editor.encode(picture(1, side, side)), editor.encode(picture(2, side, side))
    start = editor.instruct("red").with_length(2)
    tokens = start.tokens.clone().requires_grad_(True)
    t, noise = torch.tensor([0.1, 0.6, 0.999]), torch.randn(3, *after.noise_shape)
    for guidance in (None, editor.settings):
        losses = editor.loss(before, after, start.with_tokens(tokens), t, noise, guidance)
        assert losses.shape == (3,)
        assert (losses >= 0).all()
        gradient = torch.autograd.grad(losses.sum(), tokens)[0]
        assert gradient.shape == tokens.shape
        assert gradient.abs().sum() > 0


def test_loss_of_a_sample_does_not_depend_on_its_batch(editor):
    side = editor.resolution
    before, after = editor.encode(picture(1, side, side)), editor.encode(picture(2, side, side))
    t, noise, instruction = torch.tensor([0.2, 0.8]), torch.randn(2, *after.noise_shape), editor.instruct("red")
    with torch.no_grad():
        together = editor.loss(before, after, instruction, t, noise)
        apart = [editor.loss(before, after, instruction, t[i : i + 1], noise[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-3)


def test_a_batch_may_hold_samples_of_several_pairs(editor):
    side = editor.resolution
    pairs = [[editor.encode(picture(2 * pair + half, side, side)) for half in range(2)] for pair in range(2)]
    t, noise = torch.tensor([0.2, 0.8, 0.5]), torch.randn(3, *pairs[0][0].noise_shape)
    which, instruction = [0, 1, 0], editor.instruct("red")
    for guidance in (None, editor.settings):
        with torch.no_grad():
            together = editor.loss(
                *(stack([pairs[i][half] for i in which]) for half in range(2)), instruction, t, noise, guidance
            )
            apart = [
                editor.loss(*pairs[i], instruction, t[j : j + 1], noise[j : j + 1], guidance)
                for j, i in enumerate(which)
            ]
        torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-3)


def test_edit_gives_a_picture_that_the_seed_decides(editor):
    encoding = editor.encode(picture(1, 50, 70))
    branches = [(editor.instruct("red"), 1.0)]
    one, same = (editor.edit(encoding, branches, editor.settings, Noise(1)) for _ in range(2))
    assert one.ndim == 4
    assert one.shape[:2] == (1, 3)
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(one, same)


@pytest.mark.parametrize("bank", [False, True])
def test_a_photo_edited_in_a_batch_is_edited_as_alone(editor, bank):
    """With the model's own sampler and, where there are several, with one that adds noise at every step."""
    branches, noise = [(editor.instruct("red"), 1.0), (editor.instruct("blue sky"), 0.5)], Noise(1, bank)
    encodings = [editor.encode(picture(seed, 50, 70)) for seed in (1, 2, 3)]
    settings = [editor.settings]
    if hasattr(editor.settings, "scheduler"):
        few = dataclasses.replace(editor.settings, num_inference_steps=3)
        settings = [few, dataclasses.replace(few, scheduler="euler_ancestral")]
    for chosen in settings:
        together = editor.edit(stack(encodings), branches, chosen, noise)
        apart = [editor.edit(encoding, branches, chosen, noise) for encoding in encodings]
        error = (together - torch.cat(apart)).abs().max()
        assert error <= 1e-3
        assert (together[0] - together[1]).abs().max() > 10 * error  # the photos, and not their places, decide


def test_the_rows_are_where_the_networks_run(editor):
    assert editor.instruct("red").rows.device == editor.device


def test_space_describes_the_rows(editor):
    rows = editor.instruct("red").rows
    offsets = editor.space.kind == "encoder_output_offset"  # of which there are as many as a text has tokens
    assert rows.shape[1] == editor.space.width
    assert (len(rows) < editor.space.length) if offsets else (len(rows) == editor.space.length)
    assert offsets or editor.space.kind == "encoder_output"
    assert editor.space.fingerprint


def test_every_editor_of_the_table_is_tested():
    # Those above that are called "tiny" are these editors on small weights.
    assert set(EDITORS) == {"toy", "embedded", "ip2p", "controlnet", "klein", "kontext", "qwen", "sdxl"}


def test_unknown_editors_and_options():
    with pytest.raises(EditorError, match="did you mean 'embedded'"):
        vii.load_editor("embeded")
    with pytest.raises(UsageError, match="does not take model"):
        vii.load_editor("toy", model="somewhere")
    with pytest.raises(UsageError, match="'embedded' does not take controlnet"):
        vii.load_editor("embedded", controlnet="somewhere", device="cpu")
    with pytest.raises(UsageError, match="did you mean 'float16'"):
        vii.load_editor("embedded", dtype="float61")
    with pytest.raises(UsageError, match="device 'warp'"):
        vii.load_editor("embedded", device="warp")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"bf16": True}, "bfloat16"),
    ],
)
def test_a_cpu_uses_bfloat16_where_it_has_instructions_for_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert pick_dtype(None, torch.device("cpu")) == getattr(torch, dtype)
    assert pick_dtype("float16", torch.device("cpu")) == torch.float16
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert pick_dtype(None, torch.device("cpu")) == torch.float32


def test_a_fingerprint_reads_tables_of_stable_diffusions_size_to_their_last_number():
    """float32 cannot tell the places of 49408 x 768 numbers apart, and rounds the last one past the end."""
    table = torch.nn.Embedding(49408, 768, dtype=torch.float16, _weight=torch.zeros(49408, 768, dtype=torch.float16))
    before = weights_of(table)
    with torch.no_grad():
        table.weight[-1, -1] = 1
    assert weights_of(table) != before
