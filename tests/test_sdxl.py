"""SDXL InstructPix2Pix and CosXL-Edit on tiny random models, against diffusers' own pipeline and schedulers."""

from dataclasses import replace

import diffusers
import pytest
import torch
from conftest import EXACT, gradient_of, picture
from flow_families import BARE, OPTIONS, QUICK, TEXT, learn_and_apply
from tiny_sdxl import sdxl_pipeline

import vii
from vii.diffusion import Noise
from vii.editors.levels import levels_of
from vii.errors import EditorError, UsageError

KINDS = ("sdxl", "cosxl")


@pytest.fixture(scope="module")
def pipelines():
    return {kind: sdxl_pipeline(kind == "cosxl") for kind in KINDS}


@pytest.fixture(scope="module")
def folders(pipelines, tmp_path_factory):
    home = tmp_path_factory.mktemp("sdxl")
    for kind, pipeline in pipelines.items():
        pipeline.save_pretrained(home / kind)
    return home


@pytest.fixture(scope="module")
def editors(folders):
    return {kind: vii.load_editor("sdxl", model=str(folders / kind), **OPTIONS) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def editor(kind, editors):
    return editors[kind]


@pytest.fixture
def pipeline(kind, pipelines):
    return pipelines[kind]


@pytest.fixture(scope="module")
def learned(editors):
    return vii.invert(editors["sdxl"], [vii.Pair(picture(1), picture(2))], QUICK)


@pytest.mark.parametrize("text", [TEXT, "ein Café, 雪が降る"])
def test_rows_and_pooled_vector_are_those_of_the_pipeline(editor, pipeline, text):
    rows, null, pooled, null_pooled = pipeline.encode_prompt(text, do_classifier_free_guidance=True)
    words, nothing = editor.instruct(text), editor.instruct("")
    torch.testing.assert_close(words.rows, rows[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(words.pooled, pooled[0], rtol=0, atol=1e-6)
    assert words.free == (1, len(pipeline.tokenizer(text).input_ids) - 1)
    assert torch.equal(nothing.rows, null[0])
    assert torch.equal(nothing.pooled, null_pooled[0])
    assert not nothing.rows.any()
    assert words.scale.shape == (40,)


def test_a_null_that_is_the_encoding_of_the_empty_text(folders, tmp_path):
    pipeline = sdxl_pipeline()
    pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    pipeline.save_pretrained(tmp_path)
    null = vii.load_editor("sdxl", model=str(tmp_path), **OPTIONS).instruct("")
    _, rows, _, pooled = pipeline.encode_prompt(TEXT)
    torch.testing.assert_close(null.rows, rows[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(null.pooled, pooled[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96)])
def test_a_sampled_picture_is_that_of_the_pipeline(editor, pipeline, height, width, monkeypatch):
    monkeypatch.setattr(editor, "resolution", round((height * width) ** 0.5))
    settings = replace(editor.settings, num_inference_steps=3, guidance_scale=5.0, image_guidance_scale=1.5)
    photo, words = picture(5, height, width), editor.instruct(TEXT)
    ours = editor.edit(editor.encode(photo), [(words, 1.0)], settings, Noise(7))
    theirs = pipeline(
        image=photo[None],
        prompt_embeds=words.rows[None],
        pooled_prompt_embeds=words.pooled[None],
        height=height,
        width=width,
        num_inference_steps=3,
        guidance_scale=5.0,
        image_guidance_scale=1.5,
        output_type="pt",
        generator=torch.Generator().manual_seed(7),
    ).images
    assert ours.shape == (1, 3, height, width)
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-5)  # 1e-5 seen: latents of CosXL begin at 120
    assert editor.num_branches([1.0], settings) == 3


def test_the_levels_of_cosxl_are_those_of_its_scheduler(editors):
    """EDM's own preconditioning of the network's output, in float64, gives the clean sample back at every level."""
    scheduler = diffusers.EDMEulerScheduler.from_config(editors["cosxl"].parts.scheduler.config)
    levels = levels_of(scheduler, torch.device("cpu"))
    assert len(levels.told) == editors["cosxl"].num_timesteps == 1000
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    for index in (0, 1, 300, 700, 998, 999):
        sigma = (4 * levels.told[index].double()).exp()
        assert 0.00199 < sigma < 120.01
        a = levels.alpha_bar[index].double()
        assert a.item() == pytest.approx((1 / (1 + sigma**2)).item(), rel=1e-4)
        noisy = clean + sigma * noise
        torch.testing.assert_close(scheduler.precondition_inputs(noisy, sigma), noisy * a.sqrt(), rtol=1e-3, atol=1e-6)
        velocity = a.sqrt() * noise - (1 - a).sqrt() * clean
        denoised = scheduler.precondition_outputs(noisy, velocity, sigma)
        torch.testing.assert_close(denoised, clean, rtol=0, atol=2e-3)
    assert (levels.alpha_bar.diff() <= 0).all()
    # A level between two of the sampler's is found again, for noises that are told apart by it.
    scheduler.set_timesteps(5)
    assert [levels.index(t) for t in (levels.told[400], levels.told[700])] == [400, 700]
    assert levels.index(scheduler.timesteps[0]) > 990
    with pytest.raises(EditorError, match=r"sigma_data 0\.5"):
        levels_of(diffusers.EDMEulerScheduler(), torch.device("cpu"))


def test_the_loss_is_the_formula_written_out(editor, pipeline, kind):
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    t, noise = torch.tensor([0.3005, 0.9005]), torch.randn(2, *after.noise_shape)
    losses = editor.loss(before, after, words, t, noise)
    vae, factor = pipeline.vae, pipeline.vae.config.scaling_factor
    photo, clean = (vae.encode(picture(seed)[None] * 2 - 1).latent_dist.mode() for seed in (1, 2))
    clean = clean * factor
    for index, step in enumerate((300, 900)):
        epsilon = noise[index : index + 1]
        if kind == "cosxl":
            sigma = torch.tensor(torch.pi * (step + 0.5) / 2000).tan()
            told, a, seen = sigma.log() / 4, 1 / (1 + sigma**2), photo * factor
            target = a.sqrt() * epsilon - (1 - a).sqrt() * clean
        else:
            ddpm = diffusers.DDPMScheduler.from_config(pipeline.scheduler.config)
            told, a, seen, target = torch.tensor(step), ddpm.alphas_cumprod[step], photo, epsilon
        noisy = torch.cat([a.sqrt() * clean + (1 - a).sqrt() * epsilon, seen], 1)
        added = {"text_embeds": words.pooled[None], "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
        predicted = pipeline.unet(noisy, told, words.rows[None], added_cond_kwargs=added).sample
        assert losses[index].item() == pytest.approx((predicted - target).square().mean().item(), rel=1e-4)


def test_the_gradient_is_at_the_free_rows_and_the_pooled_vector_only(editor):
    before, after, words = editor.encode(picture(1)), editor.encode(picture(2)), editor.instruct(TEXT)
    tokens, pooled = (leaf.clone().requires_grad_(True) for leaf in (words.tokens, words.pooled))
    t, noise = torch.tensor([0.4, 0.95]), torch.randn(2, *after.noise_shape)
    gradients = []
    for guidance in (None, replace(editor.settings, guidance_scale=3.0)):
        for switch in (
            editor.parts.unet.enable_gradient_checkpointing,
            editor.parts.unet.disable_gradient_checkpointing,
        ):
            switch()
            told = words.with_tokens(tokens).with_pooled(pooled)
            losses = editor.loss(before, after, told, t, noise, guidance)
            gradients.append(torch.autograd.grad(losses.sum(), (tokens, pooled)))
        torch.testing.assert_close(gradients[-1], gradients[-2])
        assert all(gradient.any() for gradient in gradients[-1])
        assert gradients[-1][0].any(dim=1).all()
    modules = (editor.parts.unet, editor.parts.vae, editor.parts.text_encoder, editor.parts.text_encoder_2)
    assert not any(parameter.requires_grad for module in modules for parameter in module.parameters())


def test_a_zero_change_is_the_text_and_halves_of_an_edit_are_the_edit(editors, learned, tmp_path):
    editor, photo = editors["sdxl"], picture(5, 48, 80)
    assert learned.training["loss"] < learned.training["loss_start"]
    same = replace(learned, tokens=editor.instruct(TEXT).tokens)
    quick = {"num_inference_steps": 2, **BARE}
    text = vii.apply(editor, None, photo, text=TEXT, **quick)
    assert torch.equal(vii.apply(editor, same, photo, **quick), text)
    whole = vii.apply(editor, learned, photo, **quick)
    assert not torch.equal(whole, text)
    torch.testing.assert_close(
        vii.apply(editor, [(learned, 0.5), (learned, 0.5)], photo, **quick), whole, rtol=0, atol=1e-5
    )


def test_a_learned_pooled_vector_is_kept_and_used(editors, tmp_path):
    pairs = [vii.Pair(picture(1), picture(2)), vii.Pair(picture(3, 48, 96), picture(4, 48, 96))]
    edit = vii.invert(editors["cosxl"], pairs, replace(QUICK, learn_pooled=True, max_train_steps=2))
    vii.save_edit(edit, tmp_path / "edit.safetensors")
    loaded = vii.load_edit(tmp_path / "edit.safetensors")
    assert torch.equal(loaded.pooled, edit.pooled)
    start = editors["cosxl"].instruct(TEXT)
    assert torch.equal(loaded.instruction(start).pooled, edit.pooled)
    assert not torch.equal(edit.pooled, start.pooled)


def test_bfloat16_is_near_float32(editor, folders, kind):
    half = vii.load_editor("sdxl", model=str(folders / kind), **{**OPTIONS, "dtype": "bfloat16"})
    assert half.space == editor.space
    assert half.parts.unet.dtype == torch.bfloat16
    before, after, noise = editor.encode(picture(1)), editor.encode(picture(2)), torch.randn(1, 4, 32, 32)
    told = before, after, editor.instruct(TEXT), torch.tensor([0.7]), noise
    gradients = [gradient_of(one, *told).flatten() for one in (editor, half)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_schedulers_of_cosxl(editors):
    edited = {}
    for name in ("model", "euler", "dpmsolver++"):
        edited[name] = vii.apply(
            editors["cosxl"], None, picture(3), text=TEXT, scheduler=name, **BARE | {"num_inference_steps": 4}
        )
    assert torch.equal(edited["model"], edited["euler"])
    assert (edited["model"] - edited["dpmsolver++"]).abs().max() > 1e-3
    with pytest.raises(UsageError, match="with CosXL"):
        vii.apply(editors["cosxl"], None, picture(3), text=TEXT, scheduler="ddim")


def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path, folders, tiny_folder):
    single = tmp_path / "cosxl_edit.safetensors"
    single.write_bytes(b"")
    for model in (str(single), "stabilityai/cosxl"):
        with pytest.raises(EditorError, match=r"from_single_file\(FILE, num_in_channels=8, is_cosxl_edit=True\)"):
            vii.load_editor("sdxl", model=model, **OPTIONS)
    with pytest.raises(EditorError, match="StableDiffusionInstructPix2PixPipeline"):
        vii.load_editor("sdxl", model=str(tiny_folder), **OPTIONS)
    with pytest.raises(UsageError, match="expected space output"):
        vii.load_editor("sdxl", model=str(folders / "sdxl"), space="input", **EXACT)


def test_the_command_line_learns_applies_and_stacks(folders, tmp_path):
    report, _ = learn_and_apply("sdxl", folders / "cosxl", tmp_path)
    assert report["steps"] == 4
