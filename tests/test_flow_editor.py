"""What holds for every flow editor, on tiny random models, against diffusers' own pipelines."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import gradient_of, picture
from flow_families import BARE, FAMILIES, OPTIONS, QUICK, TEXT, Tiny, learn_and_apply

import vii
from vii.diffusion import Noise
from vii.errors import EditorMismatch, UsageError

SIZES = [pytest.param(index, id=f"shape {index}") for index in range(2)]


@pytest.fixture(scope="module", params=list(FAMILIES))
def tiny(request, tmp_path_factory):
    return Tiny.made(FAMILIES[request.param], tmp_path_factory.mktemp("flow"))


@pytest.fixture(scope="module")
def editor(tiny):
    return tiny.editor


@pytest.fixture(scope="module")
def learned(editor):
    return vii.invert(editor, [vii.Pair(picture(1), picture(2))], QUICK)


@pytest.mark.parametrize("text", [TEXT, "", "a red hat, " * 9])
def test_rows_are_those_of_the_pipeline(tiny, text, monkeypatch):
    photo, image = tiny.photo(5, 96, 96, monkeypatch)
    if tiny.family.is_plus:  # as the pipeline's __call__ does
        photo = tiny.pipeline.image_processor.resize(photo, 384, 384)
    expected = tiny.family.rows(tiny.pipeline, text, photo)
    told = tiny.family.told(tiny.editor, tiny.editor.instruct(text), image)
    tolerance = 5e-5 if tiny.family.editor == "kontext" else 2e-6  # T5 does not scale its attention
    torch.testing.assert_close(told, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SIZES)
def test_a_sampled_picture_is_that_of_the_pipeline(tiny, shape, monkeypatch):
    editor, (height, width) = tiny.editor, tiny.family.shapes[shape]
    photo, image = tiny.photo(5, height, width, monkeypatch)
    settings = replace(editor.settings, num_inference_steps=3, **tiny.family.settings)
    ours = editor.edit(image, [(editor.instruct(TEXT), 1.0)], settings, Noise(7))
    theirs = tiny.family.picture(tiny.pipeline, editor, photo, image, 7, monkeypatch)
    assert ours.shape == (1, 3, height, width)
    # Another photo changes pictures of these models by 5e-5 or more, other words and guidance by 2e-4 or more.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-6)
    assert editor.num_branches([1.0], settings) == (1 if tiny.family.folder == "FLUX.2-dev" else 2)


def test_the_order_of_rows_means_something_where_they_have_positions(tiny):
    editor = tiny.editor
    words, photo = editor.instruct(TEXT), editor.encode(picture(1))
    noisy, t = torch.randn(1, *photo.noise_shape), torch.tensor([0.5])
    words = words.with_tokens(torch.randn_like(words.tokens) * words.spread)
    turned = words.with_tokens(words.tokens.flip(0))
    whole, other = (editor.predict(noisy, t, photo, each, None) for each in (words, turned))
    assert ((whole - other).abs().max() > 1e-5) == tiny.family.ordered


def test_a_text_too_long_is_refused(editor):
    with pytest.raises(UsageError, match=r"tokens long, this editor takes \d+: 'aaaa"):
        editor.instruct("a" * 1100)


def test_the_loss_is_that_of_flow_matching(editor):
    """Written out, in float64 from the prediction on."""
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    t, noise = torch.tensor([0.3, 0.9]), torch.randn(2, *after.noise_shape)
    loss = editor.loss(before, after, words, t, noise)
    for index, level in enumerate(t.tolist()):
        noisy = (1 - level) * after.latents + level * noise[index]
        velocity = editor.predict(noisy, t[index : index + 1], before, words, None)[0]
        target = noise[index].double() - after.latents[0].double()
        assert loss[index].item() == pytest.approx((velocity - target).square().mean().item(), rel=1e-5)


def test_the_gradient_is_at_the_free_rows_only_and_not_zero(editor):
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    gradient = partial(gradient_of, editor, before, after, words, torch.tensor([0.4, 0.95]))
    gradient = partial(gradient, torch.randn(2, *after.noise_shape))
    plain = gradient()
    assert plain.any(dim=1).all()
    assert gradient(editor.settings).any(dim=1).all()
    modules = editor.transformer, editor.vae, editor.text_encoder
    assert not any(parameter.requires_grad for module in modules for parameter in module.parameters())
    editor.transformer.disable_gradient_checkpointing()
    try:
        torch.testing.assert_close(gradient(), plain)
    finally:
        editor.transformer.enable_gradient_checkpointing()


def test_learning_lowers_the_loss_in_units_of_each_feature(editor, learned):
    assert learned.training["loss"] < learned.training["loss_start"]
    words = editor.instruct(TEXT)
    assert learned.tokens.shape == words.tokens.shape
    moved = ((learned.tokens - words.tokens) / words.scale).square().mean(0).sqrt()
    assert moved.max() < 4 * moved.min()  # AdamW moves every entry of the leaf by about the same


def test_a_zero_change_is_the_text(editor, learned):
    photo = picture(5, 48, 80)
    same = replace(learned, tokens=editor.instruct(TEXT).tokens)
    words = vii.apply(editor, None, photo, text=TEXT, **BARE)
    assert torch.equal(vii.apply(editor, same, photo, **BARE), words)
    assert not torch.equal(vii.apply(editor, learned, photo, **BARE), words)


def test_halves_of_an_edit_are_the_edit(editor, learned):
    photo = picture(5)
    whole = vii.apply(editor, learned, photo, **BARE)
    halves = vii.apply(editor, [(learned, 0.5), (learned, 0.5)], photo, **BARE)
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)
    other = vii.apply(editor, learned, photo, text="at night", **BARE)
    assert (other - whole).abs().max() > 1e-6


def test_photos_of_a_batch_are_as_each_alone(editor, learned):
    """Two photos, of which a text encoder that sees them reads each."""
    photos = [picture(5), picture(6)]
    plan = vii.Application(editor, learned, **BARE)
    together = list(plan.many(photos, batch=2))
    for photo, made in zip(photos, together, strict=True):
        torch.testing.assert_close(made, plan(photo), rtol=0, atol=1e-5)


def test_pairs_of_two_shapes_and_more_tokens_than_words(editor):
    pairs = [vii.Pair(picture(1, 64, 64), picture(2, 64, 64)), vii.Pair(picture(3, 48, 96), picture(4, 48, 96))]
    settings = replace(QUICK, init="none", init_text="", tokens=6, max_train_steps=3, batch_size=3)
    edit = vii.invert(editor, pairs, settings)
    assert edit.tokens.shape == (6, editor.space.width)
    assert math.isfinite(edit.training["loss"])
    vii.apply(editor, edit, picture(5), **BARE)


def test_no_text_is_too_short_for_the_default_recipe(editor):
    """Where there is no padding to grow into, fewer rows are learned."""
    words = editor.instruct("")
    assert len(words.with_length(20).tokens) == min(20, len(words.rows))


def test_bfloat16_is_near_float32(tiny):
    """Of a velocity of size 1, tiny random weights in bfloat16 differ by hundredths."""
    exact = tiny.editor
    half = vii.load_editor(tiny.family.editor, model=str(tiny.folder), **{**OPTIONS, "dtype": "bfloat16"})
    assert half.space.has_weights_of(exact.space)
    before, t = exact.encode(picture(1)), torch.tensor([0.7])
    noisy = torch.randn(1, *before.noise_shape, generator=torch.Generator().manual_seed(0))
    ours, rounded = (editor.predict(noisy, t, before, editor.instruct(TEXT), None) for editor in (exact, half))
    assert ((rounded - ours).norm() / ours.norm()).item() < 0.02
    words = exact.instruct(TEXT)
    gradients = [gradient_of(one, before, one.encode(picture(2)), words, t, noisy).flatten() for one in (exact, half)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_edits_of_other_models_are_refused(editor, learned):
    for changed, told in (({"fingerprint": "0" * 32}, "other weights"), ({"encoder": "Qwen3 1 2 4"}, "encoder")):
        foreign = replace(learned, space=replace(learned.space, **changed))
        with pytest.raises(EditorMismatch, match=told):
            vii.apply(editor, foreign, picture(3))


def test_the_command_line_learns_applies_and_stacks(tiny, tmp_path):
    report, edit = learn_and_apply(tiny.family.editor, tiny.folder, tmp_path)
    assert (report["steps"], report["init_text"]) == (4, TEXT)
    assert edit.space.model == tiny.family.folder
    assert edit.tokens.shape == (4, tiny.editor.space.width)
