"""FLUX.1 Kontext on a tiny random model, against diffusers' own pipeline."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import EXACT, picture
from tiny_flux import kontext_pipeline

import vii
from vii.cli import main
from vii.diffusion import Noise
from vii.errors import EditorMismatch, UsageError
from vii.images import save_image
from vii.instruction import join
from vii.interop.prompt_embeds import export_npz

TEXT = "make it snow"
# The editor's own picture.
BARE = {"finish": "none", "size": "editor", "num_inference_steps": 3}
OPTIONS = {**EXACT, "clip": "none", "resolution": 96}
# Without a finish, which may find that the tokens of a random model are better not used.
QUICK = vii.InversionSettings(
    init="text", init_text=TEXT, tokens=0, max_train_steps=8, probe_every=4, probe_size=4, finish="none"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("kontext") / "FLUX.1-Kontext-dev"
    kontext_pipeline().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def pipeline(folder):
    import diffusers

    made = diffusers.FluxKontextPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def editor(folder):
    return vii.load_editor("kontext", model=str(folder), **OPTIONS)


@pytest.fixture(scope="module")
def learned(editor):
    return vii.invert(editor, [vii.Pair(picture(1), picture(2))], QUICK)


@pytest.mark.parametrize("text", [TEXT, "", "a long text " * 30])
def test_rows_and_pooled_vector_are_those_of_the_pipeline(editor, pipeline, text):
    rows, pooled, _ = pipeline.encode_prompt(text, prompt_2=text)
    instruction = editor.instruct(text)
    torch.testing.assert_close(instruction.rows, rows[0], rtol=1e-4, atol=5e-5)  # T5 does not scale its attention
    torch.testing.assert_close(instruction.pooled, pooled[0], rtol=0, atol=1e-6)
    ids = pipeline.tokenizer_2(text).input_ids
    assert instruction.free == (0, len(ids) - 1)


def test_a_text_too_long_is_refused(editor):
    with pytest.raises(UsageError, match=r"601 tokens long, this editor takes 511"):
        editor.instruct("a" * 600)


def test_the_order_of_rows_means_nothing_and_padding_is_seen(editor):
    words, photo = editor.instruct(TEXT), editor.encode(picture(1))
    noisy, t = torch.randn(1, *photo.noise_shape), torch.tensor([0.5])
    shapes = (words.rows, words.rows.flip(0), words.rows[:60])
    whole, turned, short = (editor.predict(noisy, t, photo, replace(words, rows=rows), None) for rows in shapes)
    torch.testing.assert_close(turned, whole, rtol=0, atol=1e-5)
    assert (short - whole).abs().max() > 1e-4


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 144)])
@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
def test_a_sampled_picture_is_that_of_the_pipeline(editor, pipeline, true_cfg, height, width):
    settings = replace(editor.settings, num_inference_steps=3, true_cfg_scale=true_cfg)
    photo, words, null = picture(5, height, width), editor.instruct(TEXT), editor.instruct("")
    ours = editor.edit(editor.encode(photo), [(words, 1.0)], settings, Noise(7))
    theirs = pipeline(
        image=photo[None],
        prompt_embeds=words.rows[None],
        pooled_prompt_embeds=words.pooled[None],
        negative_prompt_embeds=null.rows[None],
        negative_pooled_prompt_embeds=null.pooled[None],
        true_cfg_scale=true_cfg,
        height=height,
        width=width,
        max_area=height * width,
        _auto_resize=False,
        num_inference_steps=3,
        guidance_scale=2.5,
        output_type="pt",
        generator=torch.Generator().manual_seed(7),
    ).images
    assert ours.shape == (1, 3, height, width)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert editor.num_branches([1.0], settings) == (1 if true_cfg == 1 else 2)


def test_the_loss_tells_no_guidance(editor, monkeypatch):
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    told = []
    forward = editor.transformer.forward
    monkeypatch.setattr(
        editor.transformer, "forward", lambda *a, **k: (told.append(k["guidance"]), forward(*a, **k))[1]
    )
    t, noise = torch.tensor([0.3, 0.9]), torch.randn(2, *after.noise_shape)
    loss = editor.loss(before, after, words, t, noise)
    assert told[0].tolist() == [1.0, 1.0]
    editor.loss(before, after, words, t, noise, replace(editor.settings, guidance_scale=4.0))
    assert told[1].tolist() == [4.0, 4.0]
    for index, level in enumerate(t.tolist()):
        noisy = (1 - level) * after.latents + level * noise[index]
        velocity = editor.predict(noisy, t[index : index + 1], before, words, None)[0]
        target = noise[index].double() - after.latents[0].double()
        assert loss[index].item() == pytest.approx((velocity - target).square().mean().item(), rel=1e-5)


def test_the_gradient_is_at_the_free_rows_and_the_pooled_vector_only(editor):
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    tokens, pooled = words.tokens.clone().requires_grad_(True), words.pooled.clone().requires_grad_(True)
    noise = torch.randn(2, *after.noise_shape)
    told = words.with_tokens(tokens).with_pooled(pooled)
    editor.loss(before, after, told, torch.tensor([0.4, 0.95]), noise).sum().backward()
    assert tokens.grad.any(dim=1).all()
    assert pooled.grad.any()
    assert all(
        parameter.grad is None for module in (editor.transformer, editor.t5) for parameter in module.parameters()
    )


def test_a_zero_change_is_the_text_and_halves_are_the_whole(editor, learned):
    photo = picture(5, 48, 80)
    assert learned.training["loss"] < learned.training["loss_start"]
    assert not learned.pooled.numel()
    same = replace(learned, tokens=editor.instruct(TEXT).tokens)
    whole = vii.apply(editor, learned, photo, **BARE)
    assert torch.equal(vii.apply(editor, same, photo, **BARE), vii.apply(editor, None, photo, text=TEXT, **BARE))
    assert not torch.equal(vii.apply(editor, same, photo, **BARE), whole)
    halves = vii.apply(editor, [(learned, 0.5), (learned, 0.5)], photo, **BARE)
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)


def test_the_pooled_vector_is_learned_saved_and_applied(editor, learned, tmp_path):
    settings = replace(QUICK, learn_pooled=True)
    edit = vii.invert(editor, [vii.Pair(picture(1), picture(2))], settings)
    start = editor.instruct(TEXT)
    assert edit.pooled.shape == start.pooled.shape
    assert not torch.allclose(edit.pooled, start.pooled)
    vii.save_edit(edit, tmp_path / "edit.safetensors")
    loaded = vii.load_edit(tmp_path / "edit.safetensors")
    assert torch.equal(loaded.pooled, edit.pooled)
    photo = picture(5)
    with_it, without = (vii.apply(editor, one, photo, **BARE) for one in (loaded, replace(loaded, pooled=())))
    assert not torch.equal(with_it, without)
    assert torch.equal(join(loaded.instruction(start), editor.instruct("at night")).pooled, edit.pooled)


def test_arrays_for_diffusers_make_the_same_picture(editor, pipeline, learned, tmp_path):
    """The whole way of a user of diffusers: `vii export --format npz`, then the stock pipeline."""
    export_npz(learned, editor, tmp_path / "edit.npz")
    with np.load(tmp_path / "edit.npz") as arrays:
        told = {name: torch.from_numpy(arrays[name]) for name in ("prompt_embeds", "pooled_prompt_embeds")}
    options = {"height": 96, "width": 96, "max_area": 96 * 96, "_auto_resize": False, "num_inference_steps": 3}
    generator, photo = torch.Generator().manual_seed(0), picture(5, 96, 96)
    made = pipeline(image=photo[None], **told, **options, guidance_scale=2.5, output_type="pt", generator=generator)
    ours = vii.apply(editor, learned, photo, **BARE)
    torch.testing.assert_close(ours, made.images[0], rtol=0, atol=1e-5)


def test_bfloat16_is_near_float32(editor, folder):
    half = vii.load_editor("kontext", model=str(folder), **{**OPTIONS, "dtype": "bfloat16"})
    photo, t = editor.encode(picture(1)), torch.tensor([0.7])
    noisy = torch.randn(1, *photo.noise_shape, generator=torch.Generator().manual_seed(0))
    exact, rounded = (one.predict(noisy, t, photo, one.instruct(TEXT), None) for one in (editor, half))
    assert ((rounded - exact).norm() / exact.norm()).item() < 0.02


def test_edits_of_other_models_are_refused(editor, learned):
    foreign = replace(learned, space=replace(learned.space, fingerprint="0" * 32))
    with pytest.raises(EditorMismatch, match="other weights"):
        vii.apply(editor, foreign, picture(3))


def test_the_command_line_learns_and_applies(folder, tmp_path):
    for index, name in enumerate(("before", "after", "photo")):
        save_image(picture(index), tmp_path / f"{name}.png")
    model = ["--editor", "kontext", "--model", str(folder), "--device", "cpu", "--dtype", "float32", "--clip", "none"]
    model += ["--resolution", "64"]
    edit = str(tmp_path / "snow.safetensors")
    learn = ["learn", str(tmp_path / "before.png"), str(tmp_path / "after.png"), "-o", edit, "--init", TEXT, "--json"]
    learn += [
        "--tokens",
        "4",
        "--set",
        "max_train_steps=4",
        "--set",
        "finish=none",
        "--set",
        "probe_size=2",
        "--set",
        "learn_pooled=true",
    ]
    assert json.loads(run([*learn, *model]))["steps"] == 4
    photo, one, two = (str(tmp_path / name) for name in ("photo.png", "one.png", "two.png"))
    run(["apply", edit, photo, "-o", one, "--steps", "2", *model])
    run(["apply", f"{edit}:0.5", photo, "-o", two, "--steps", "2", "--text", "at night", "--seed", "3", *model])
    made = [vii.load_image(path) for path in (photo, one, two)]
    assert {image.shape for image in made} == {(3, 64, 64)}
    assert not any(torch.equal(made[i], made[i - 1]) for i in range(3))


def run(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout
