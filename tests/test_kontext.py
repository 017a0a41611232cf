"""What FLUX.1 Kontext has of its own: a pooled vector, guidance as a number; the rest is in test_flow_editor.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture
from flow_families import BARE, FAMILIES, QUICK, TEXT, Tiny

import vii
from vii.interop.prompt_embeds import export_npz


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Tiny.made(FAMILIES["kontext"], tmp_path_factory.mktemp("kontext"))


@pytest.fixture(scope="module")
def editor(tiny):
    return tiny.editor


@pytest.fixture(scope="module")
def learned(editor):
    return vii.invert(editor, [vii.Pair(picture(1), picture(2))], QUICK)


def test_padding_is_seen(editor):
    words, photo = editor.instruct(TEXT), editor.encode(picture(1))
    noisy, t = torch.randn(1, *photo.noise_shape), torch.tensor([0.5])
    whole, short = (
        editor.predict(noisy, t, photo, replace(words, rows=rows), None) for rows in (words.rows, words.rows[:60])
    )
    assert (short - whole).abs().max() > 1e-4


def test_the_loss_tells_no_guidance(editor, monkeypatch):
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    told = []
    forward = editor.transformer.forward
    monkeypatch.setattr(
        editor.transformer, "forward", lambda *a, **k: (told.append(k["guidance"]), forward(*a, **k))[1]
    )
    t, noise = torch.tensor([0.3, 0.9]), torch.randn(2, *after.noise_shape)
    editor.loss(before, after, words, t, noise)
    assert told[0].tolist() == [1.0, 1.0]
    editor.loss(before, after, words, t, noise, replace(editor.settings, guidance_scale=4.0))
    assert told[1].tolist() == [4.0, 4.0]


def test_true_guidance_is_off_by_default_and_the_strength_of_an_edit_then_in_its_rows(editor, learned):
    assert editor.num_branches([1.0], editor.settings) == 1
    half = vii.Application(editor, [(replace(learned, pooled=editor.instruct("at night").pooled), 0.5)])
    start, ((told, weight),) = editor.instruct(TEXT), half.branches
    torch.testing.assert_close(told.tokens, (start.tokens + learned.tokens) / 2)
    torch.testing.assert_close(told.pooled, (start.pooled + editor.instruct("at night").pooled) / 2)
    assert weight == 1
    ((told, weight),) = vii.Application(editor, [(learned, 0.5)], true_cfg_scale=3.0).branches
    assert torch.equal(told.tokens, learned.tokens)
    assert weight == 0.5


def test_the_pooled_vector_is_learned_saved_and_applied(editor, learned, tmp_path):
    settings = replace(QUICK, learn_pooled=True)
    edit = vii.invert(editor, [vii.Pair(picture(1), picture(2))], settings)
    start = editor.instruct(TEXT)
    assert not learned.pooled.numel()
    assert edit.pooled.shape == start.pooled.shape
    assert not torch.allclose(edit.pooled, start.pooled)
    vii.save_edit(edit, tmp_path / "edit.safetensors")
    loaded = vii.load_edit(tmp_path / "edit.safetensors")
    assert torch.equal(loaded.pooled, edit.pooled)
    photo = picture(5)
    with_it, without = (vii.apply(editor, one, photo, **BARE) for one in (loaded, replace(loaded, pooled=())))
    assert not torch.equal(with_it, without)
    assert torch.equal(loaded.instruction(start).joined(editor.instruct("at night")).pooled, edit.pooled)


def test_arrays_for_diffusers_make_the_same_picture(tiny, editor, learned, tmp_path):
    """The whole way of a user of diffusers: `vii export --format npz`, then the stock pipeline."""
    export_npz(learned, editor, tmp_path / "edit.npz")
    with np.load(tmp_path / "edit.npz") as arrays:
        told = {name: torch.from_numpy(arrays[name]) for name in ("prompt_embeds", "pooled_prompt_embeds")}
    options = {"height": 64, "width": 64, "max_area": 64 * 64, "_auto_resize": False, "num_inference_steps": 3}
    generator, photo = torch.Generator().manual_seed(0), picture(5)
    made = tiny.pipeline(
        image=photo[None], **told, **options, guidance_scale=2.5, output_type="pt", generator=generator
    )
    ours = vii.apply(editor, learned, photo, **BARE)
    torch.testing.assert_close(ours, made.images[0], rtol=0, atol=1e-5)
