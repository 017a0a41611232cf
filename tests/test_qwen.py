"""What Qwen-Image-Edit has of its own, for its text encoder sees the photo; the rest is in test_flow_editor.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture
from flow_families import BARE, FAMILIES, QUICK, TEXT, Tiny

import vii
from vii.editors import qwen_text
from vii.errors import UsageError
from vii.interop.comfyui import conditioning
from vii.interop.prompt_embeds import export_npz


@pytest.fixture(scope="module", params=["qwen", "qwen-2509"])
def tiny(request, tmp_path_factory):
    return Tiny.made(FAMILIES[request.param], tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def editor(tiny):
    return tiny.editor


@pytest.fixture(scope="module")
def learned(editor):
    return vii.invert(editor, [vii.Pair(picture(1), picture(2))], QUICK)


def test_what_the_folder_says(tiny, editor):
    space = editor.space
    assert (space.kind, space.width, space.length) == ("encoder_output_offset", 16, 1024)
    assert editor.settings.num_inference_steps == (40 if tiny.family.is_plus else 50)  # as on the cards
    assert editor.settings.guidance_scale == 4.0


def test_the_template_is_that_of_the_pipeline(tiny):
    template = qwen_text.SYSTEM + "{}" + qwen_text.END
    if not tiny.family.is_plus:
        template = template.format(qwen_text.BEFORE_PHOTO + "<|image_pad|>" + qwen_text.AFTER_PHOTO + "{}")
    assert template == tiny.pipeline.prompt_template_encode


def test_the_rows_of_words_are_others_for_every_photo_and_those_of_the_photo_do_not_know_the_words(editor):
    first, second = editor.encode(picture(1)), editor.encode(picture(2))
    snow, rain = editor.instruct(TEXT), editor.instruct("let it rain!")
    rows = editor.reader.rows
    photo = len(rows(first, snow)[0]) - len(snow.rows)
    torch.testing.assert_close(rows(first, snow)[0, :photo], rows(first, rain)[0, :photo], rtol=0, atol=1e-5)
    assert (rows(first, snow) - rows(second, snow))[0, photo:].abs().max() > 1e-3
    added = rows(first, snow.with_tokens(torch.ones_like(snow.tokens))) - rows(first, snow)
    torch.testing.assert_close(added[0, photo : photo + len(snow.tokens)], torch.ones_like(snow.tokens))
    assert not added[0, :photo].any()
    assert not added[0, photo + len(snow.tokens) :].any()


def test_the_photo_has_positions_of_rows_and_columns(editor, monkeypatch):
    """Not those of text, which transformers gives it where it is not told which tokens are the photo's."""
    image, told = editor.encode(picture(1)), editor.instruct(TEXT)
    forward = editor.text_encoder.model.forward

    def untold(mm_token_type_ids, **inputs):
        return forward(**inputs)

    rows = editor.reader.rows(image, told)
    monkeypatch.setattr(editor.text_encoder.model, "forward", untold)
    without = editor.reader.rows(replace(image, digest=image.digest + 1), told)
    assert (rows - without).abs().max() > 1e-4


def test_a_photo_is_read_once_with_each_text(editor, learned, monkeypatch):
    editor.reader.readings.clear()
    read, seen = [], editor.reader._seen
    monkeypatch.setattr(editor.reader, "_seen", lambda *a: (read.append(a[2]), seen(*a))[1])
    plan = vii.Application(editor, learned, **BARE)
    plan(picture(5))
    assert len(read) == 2  # with the text and without, whatever the steps
    plan(picture(5))
    assert len(read) == 2
    plan(picture(6))
    assert len(read) == 4
    monkeypatch.setattr(qwen_text, "KEPT_READINGS", 3)
    plan(picture(5))
    assert len(editor.reader.readings) == 3
    read.clear()
    editor.instruct("one more", [editor.encode(picture(7)), editor.encode(picture(8))])
    assert len(read) == 2


def test_guidance_keeps_the_length_of_every_token(editor):
    """Written out over the packed tokens of the pipeline, with two branches, and where the null's weight is zero."""
    photo, t = editor.encode(picture(1)), torch.tensor([0.6])
    told = [editor.instruct(text) for text in ("", TEXT, "at night")]
    noisy = torch.randn(1, *photo.noise_shape)
    null, *own = (editor.predict(noisy, t, photo, each, None).double() for each in told)
    packed = torch.nn.functional.pixel_unshuffle
    for s, weights in ((4.0, (0.7, 0.5)), (4.0, (0.25, 0.0)), (4.0, (1.0, 0.0)), (1.0, (0.5, 0.2))):
        settings = replace(editor.settings, guidance_scale=s)
        change = sum(weight * (each - null) for weight, each in zip(weights, own, strict=True))
        plain, guided = packed(null + change, 2), packed(null + s * change, 2)
        expected = guided * (plain.square().sum(1, keepdim=True) / guided.square().sum(1, keepdim=True)).sqrt()
        branches = list(zip(told[1:], weights, strict=True))
        velocity = editor.velocity(noisy, t, photo, branches, settings)
        torch.testing.assert_close(packed(velocity, 2), expected.float(), rtol=0, atol=1e-5)
        passes = editor.num_branches(weights, settings)
        assert passes == sum(weight != 0 for weight in weights) + (s != 1 or sum(weights) != 1)


def test_words_are_joined_as_text_and_every_offset_stays_with_its_word(editor, learned):
    edit, words = learned.instruction(editor.instruct(TEXT)), editor.instruct("at night")
    both, plain = edit.joined(words), editor.instruct(f"{TEXT}, at night")
    assert both.words == plain.words
    assert both.rows.shape == plain.rows.shape
    k = len(edit.tokens)
    assert torch.equal(both.rows[:k], edit.tokens)
    assert not both.rows[k:].any()
    made = vii.apply(editor, learned, picture(5), text="at night", join_text=True, **BARE)
    same = replace(learned, tokens=torch.zeros_like(learned.tokens))
    assert not torch.equal(made, vii.apply(editor, same, picture(5), text="at night", join_text=True, **BARE))
    with pytest.raises(UsageError, match="together, this editor takes 1024"):
        edit.joined(editor.instruct("a" * 1005))


def test_a_short_text_frees_its_rows_and_those_of_the_end_of_the_turn(editor):
    edit = vii.invert(editor, [vii.Pair(picture(1), picture(2))], replace(QUICK, tokens=200, max_train_steps=2))
    words = editor.instruct(TEXT)
    assert len(edit.tokens) == len(words.rows) > len(words.tokens)
    assert words.with_length(3).free == (0, 3)
    with pytest.raises(UsageError, match="room for 1 to"):
        words.with_length(0)


def test_offsets_for_diffusers_make_the_same_rows(tiny, editor, learned, tmp_path, monkeypatch):
    """As docs/editors.md says: the pipeline's own rows for a photo, with the offsets added to the last."""
    photo, image = tiny.photo(5, 96, 96, monkeypatch)
    export_npz(learned, editor, tmp_path / "edit.npz")
    with np.load(tmp_path / "edit.npz") as arrays:
        assert {"prompt_embeds", "negative_prompt_embeds"}.isdisjoint(arrays)
        offsets, text = torch.from_numpy(arrays["offsets"]), str(arrays["init_text"])
    if tiny.family.is_plus:
        photo = tiny.pipeline.image_processor.resize(photo, 384, 384)
    rows = tiny.family.rows(tiny.pipeline, text, photo)["prompt_embeds"]
    rows[:, -len(offsets) :] += offsets
    told = learned.instruction(editor.instruct(TEXT))
    torch.testing.assert_close(rows, editor.reader.rows(image, told), rtol=0, atol=1e-5)


def test_comfyuis_node_refuses_it(learned):
    with pytest.raises(UsageError, match="sees the photo"):
        conditioning(learned, None)
