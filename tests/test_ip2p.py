"""The InstructPix2Pix editor against diffusers' own pipeline and against formulas written out."""

import dataclasses

import diffusers
import pytest
import torch
from conftest import picture, tiny_pipeline, weights_of

import vii
from vii.diffusion import Noise
from vii.editors.ip2p import Ip2pEditor, Ip2pSettings, load_ip2p
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.stable_diffusion import assemble
from vii.errors import EditorError, UsageError

TOLERANCE = 1e-3


def editor_of(pipeline, **options) -> Ip2pEditor:
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    assembled = assemble({name: getattr(pipeline, name) for name in parts})
    return Ip2pEditor(assembled, **{"name": "ip2p", "settings": Ip2pSettings(), "resolution": 32, **options})


def by_pipeline(pipeline, image, seed, **options):
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    return pipeline(image=image[None], generator=generator, output_type="pt", **options).images[0]


def with_scheduler(pipeline, name):
    # DDIM would clip latents to [-1, 1] where the model's own configuration does not say that it must not.
    options = {"clip_sample": False} if name == "DDIMScheduler" else {}
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **options)
    return pipeline


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("ddim", "DDIMScheduler"),
        ("euler", "EulerDiscreteScheduler"),
        ("euler_ancestral", "EulerAncestralDiscreteScheduler"),
        ("dpmsolver++", "DPMSolverMultistepScheduler"),
    ],
)
def test_sampling_equals_diffusers_pipeline(name, cls, prediction_type):
    pipeline = tiny_pipeline(prediction_type)
    editor, image = editor_of(pipeline), picture(3, 32, 32)
    learned = editor.instruct("turn it blue").with_length(6).with_tokens(torch.randn(6, 32))
    settings = Ip2pSettings(num_inference_steps=6, guidance_scale=7.5, image_guidance_scale=1.5, scheduler=name)
    ours = editor.edit(editor.encode(image), [(learned, 1.0)], settings, Noise(5))[0]
    theirs = by_pipeline(
        with_scheduler(pipeline, cls),
        image,
        5,
        prompt_embeds=learned.rows[None],
        negative_prompt_embeds=editor.instruct("").rows[None],
        num_inference_steps=6,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
    )
    assert ours.shape == theirs.shape == (3, 32, 32)
    assert theirs.std() > 0.01  # a constant picture would agree with anything
    assert (ours - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("guidance", [(1.0, 1.0), (4.0, 1.5)])
@pytest.mark.parametrize(
    ("name", "cls"), [("ddim", "DDIMScheduler"), ("euler_ancestral", "EulerAncestralDiscreteScheduler")]
)
def test_embedded_equals_diffusers_pipeline(embedded, name, cls, guidance):
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(EMBEDDED_MODEL, safety_checker=None)
    image = picture(4, 128, 128)
    tokens = torch.randn(10, embedded.space.width, generator=torch.Generator().manual_seed(0))
    edit = vii.Edit(tokens, embedded.space, "embedded", "make it night", 1, 128)
    options = {"num_inference_steps": 5, "guidance_scale": guidance[0], "image_guidance_scale": guidance[1]}
    ours = vii.apply(embedded, edit, image, seed=2, scheduler=name, **options)
    rows = edit.instruction(embedded.instruct("make it night")).rows
    null = embedded.instruct("").rows
    theirs = by_pipeline(
        with_scheduler(pipeline, cls), image, 2, prompt_embeds=rows[None], negative_prompt_embeds=null[None], **options
    )
    assert (ours - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("model", ["tiny", "embedded"])
def test_words_alone_equal_the_pipeline_with_that_prompt(model, request, tiny_folder):
    editor = request.getfixturevalue(model)
    folder = {"tiny": tiny_folder, "embedded": EMBEDDED_MODEL}[model]
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, safety_checker=None)
    image = picture(5, editor.resolution, editor.resolution)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0, "image_guidance_scale": 1.2}
    ours = vii.apply(editor, None, image, text="make it sepia", seed=1, scheduler="model", **options)
    theirs = by_pipeline(pipeline, image, 1, prompt="make it sepia", **options)
    assert (ours - theirs).abs().max() <= TOLERANCE


def test_two_branches_are_the_weighted_sum_written_out(tiny):
    """eps_u + s_I (eps_i - eps_u) + s_T sum_j w_j (eps_j - eps_i), each prediction from its own call of the UNet."""
    encoding, generator = tiny.encode(picture(6, 32, 32)), torch.Generator().manual_seed(0)
    noisy, t = torch.randn(1, *encoding.noise_shape, generator=generator), torch.tensor([421])
    one, two, null = tiny.instruct("one"), tiny.instruct("two words"), tiny.instruct("")

    def unet(rows, condition):
        return tiny.parts.unet(torch.cat([noisy, condition], 1), t, encoder_hidden_states=rows[None]).sample

    zero = torch.zeros_like(encoding.condition)
    e_u, e_i = unet(null.rows, zero), unet(null.rows, encoding.condition)
    e_1, e_2 = unet(one.rows, encoding.condition), unet(two.rows, encoding.condition)
    expected = e_u + 1.7 * (e_i - e_u) + 5.0 * (0.8 * (e_1 - e_i) - 0.5 * (e_2 - e_i))
    settings = Ip2pSettings(guidance_scale=5.0, image_guidance_scale=1.7)
    with torch.no_grad():
        ours = tiny.guided(settings, noisy, t, tiny.plan(encoding, [(one, 0.8), (two, -0.5)], settings))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("text_scale", "image_scale", "weights", "passes"),
    [
        (1, 1, [1], 1),
        (7.5, 1.5, [1], 3),
        (1.5, 1.5, [1], 2),
        (2, 1, [1], 2),
        (7.5, 1.5, [1, 0, 0.5], 4),
        (1, 1, [0], 1),
    ],
)
def test_branches_without_weight_are_not_computed(tiny, text_scale, image_scale, weights, passes):
    seen, encoding = [], tiny.encode(picture(1, 32, 32))
    hook = tiny.parts.unet.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    settings = Ip2pSettings(num_inference_steps=2, guidance_scale=text_scale, image_guidance_scale=image_scale)
    try:
        branches = [(tiny.instruct(f"word {index}"), weight) for index, weight in enumerate(weights)]
        tiny.edit(encoding, branches, settings, Noise(0))
    finally:
        hook.remove()
    assert seen == [passes] * 2
    assert tiny.num_branches(weights, settings) == passes


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("guided", [False, True])
def test_loss_is_the_formula_written_out(prediction_type, guided):
    """Every prediction type, against DDPMScheduler's own forward process and a UNet called branch by branch."""
    editor = editor_of(tiny_pipeline(prediction_type))
    before, after = editor.encode(picture(1, 32, 32)), editor.encode(picture(2, 32, 32))
    instruction, null = editor.instruct("make it red"), editor.instruct("")
    t, noise = torch.tensor([0.0105, 0.5005, 0.9005]), torch.randn(3, *after.noise_shape)
    guidance = Ip2pSettings(guidance_scale=7.5, image_guidance_scale=1.5) if guided else None
    losses = editor.loss(before, after, instruction, t, noise, guidance)

    scheduler = diffusers.DDPMScheduler.from_config(editor.parts.scheduler.config)
    clean = editor.parts.vae.encode(picture(2, 32, 32)[None] * 2 - 1).latent_dist.mode() * 0.18215
    condition = editor.parts.vae.encode(picture(1, 32, 32)[None] * 2 - 1).latent_dist.mode()
    for index, step in enumerate([10, 500, 900]):
        time, epsilon = torch.tensor([step]), noise[index][None]
        noisy = scheduler.add_noise(clean, epsilon, time)
        target = {"epsilon": epsilon, "sample": clean, "v_prediction": scheduler.get_velocity(clean, epsilon, time)}[
            prediction_type
        ]

        def unet(rows, image, noisy=noisy, time=time):
            return editor.parts.unet(torch.cat([noisy, image], 1), time, encoder_hidden_states=rows[None]).sample

        predicted = unet(instruction.rows, condition)
        if guided:
            e_i, e_u = unet(null.rows, condition), unet(null.rows, 0 * condition)
            predicted = e_u + 7.5 * (predicted - e_i) + 1.5 * (e_i - e_u)
        expected = ((predicted - target) ** 2).mean()
        torch.testing.assert_close(losses[index], expected, atol=1e-5, rtol=1e-4)


def test_gradient_reaches_the_tokens_and_nothing_else(tiny):
    before, after = tiny.encode(picture(1, 32, 32)), tiny.encode(picture(2, 32, 32))
    start = tiny.instruct("make it red")
    tokens = start.tokens.clone().requires_grad_(True)
    guidance = Ip2pSettings(guidance_scale=3.0, image_guidance_scale=1.5)
    noise = torch.randn(2, *after.noise_shape)
    tiny.loss(before, after, start.with_tokens(tokens), torch.tensor([0.2, 0.7]), noise, guidance).mean().backward()
    assert tokens.grad is not None
    assert tokens.grad.abs().sum() > 0
    for module in (tiny.parts.unet, tiny.parts.text_encoder, tiny.parts.vae):
        assert all(parameter.grad is None for parameter in module.parameters())


def test_guided_loss_gradient_equals_one_with_gradient_through_every_branch(tiny):
    """Computing the other branches without a gradient changes nothing: they do not depend on the tokens."""
    before, after = tiny.encode(picture(1, 32, 32)), tiny.encode(picture(2, 32, 32))
    start, null = tiny.instruct("make it red"), tiny.instruct("")
    noise, t = torch.randn(1, *after.noise_shape), torch.tensor([0.5005])
    ours, reference = (start.tokens.clone().requires_grad_(True) for _ in range(2))
    guidance = Ip2pSettings(guidance_scale=7.5, image_guidance_scale=1.5)
    tiny.loss(before, after, start.with_tokens(ours), t, noise, guidance).mean().backward()
    alpha = tiny.parts.levels.alpha_bar[500]
    noisy = alpha.sqrt() * after.latents + (1 - alpha).sqrt() * noise
    rows = torch.stack([start.with_tokens(reference).rows, null.rows, null.rows])
    condition = torch.cat([before.condition, before.condition, torch.zeros_like(before.condition)])
    e_t, e_i, e_u = tiny.parts.unet(
        torch.cat([noisy.expand(3, -1, -1, -1), condition], 1), torch.tensor([500]), encoder_hidden_states=rows
    ).sample.chunk(3)
    ((e_u + 7.5 * (e_t - e_i) + 1.5 * (e_i - e_u) - noise) ** 2).mean().backward()
    torch.testing.assert_close(ours.grad, reference.grad, atol=1e-6, rtol=1e-4)


def test_frozen_models_are_unchanged(tiny):
    before = weights_of(tiny.parts.text_encoder, tiny.parts.unet)
    whole = {name: value.clone() for name, value in tiny.parts.unet.state_dict().items()}
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    vii.invert(
        tiny, [pair], vii.InversionSettings(init="text", init_text="red", max_train_steps=2, batch_size=2, probe_size=2)
    )
    assert weights_of(tiny.parts.text_encoder, tiny.parts.unet) == before
    assert all(torch.equal(value, whole[name]) for name, value in tiny.parts.unet.state_dict().items())


def test_instruct_marks_the_words_between_bos_and_eos(tiny):
    ids = tiny.parts.tokenizer("make it red").input_ids
    instruction = tiny.instruct("make it red")
    assert instruction.rows.shape == (77, 32)
    assert instruction.free == (1, len(ids) - 1)
    assert tiny.instruct("").free == (1, 1)


def test_text_that_is_too_long_is_refused_and_not_cut(tiny):
    with pytest.raises(UsageError, match="this editor takes 75"):
        tiny.instruct("red " * 76)
    assert tiny.instruct("red " * 75).rows.shape == (77, 32)


@pytest.mark.parametrize("size", [(32, 32), (30, 71), (200, 90)])
def test_photos_of_any_shape(tiny, size):
    result = vii.apply(tiny, None, picture(8, *size), text="red", num_inference_steps=1, size="editor")
    height, width = result.shape[1:]
    assert height % 2 == width % 2 == 0
    assert height * width == pytest.approx(32 * 32, rel=0.1)
    assert height / width == pytest.approx(size[0] / size[1], rel=0.1)
    assert vii.apply(tiny, None, picture(8, *size), text="red", num_inference_steps=1).shape[1:] == size


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_to_float32_and_keeps_the_fingerprint(tiny, tiny_folder, dtype):
    editor = vii.load_editor("ip2p", model=str(tiny_folder), clip="none", dtype=dtype, device="cpu")
    editor.resolution = 32
    assert editor.space == tiny.space
    options = {"text": "make it red", "num_inference_steps": 3, "guidance_scale": 1.0, "image_guidance_scale": 1.0}
    half, full = (vii.apply(e, None, picture(3, 32, 32), **options) for e in (editor, tiny))
    assert torch.isfinite(half).all()
    assert (half - full).abs().mean() < 0.05


def test_learning_in_bfloat16_moves_float32_tokens(tiny_folder):
    editor = vii.load_editor("ip2p", model=str(tiny_folder), clip="none", dtype="bfloat16", device="cpu")
    editor.resolution = 32
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    settings = vii.InversionSettings(
        init="text", init_text="red", max_train_steps=2, batch_size=2, probe_size=2, probe_every=1
    )
    *_, last = vii.invert_steps(editor, [pair], settings)
    assert last.best().tokens.dtype == torch.float32


def test_a_different_model_has_another_fingerprint():
    assert editor_of(tiny_pipeline(seed=0)).space.fingerprint != editor_of(tiny_pipeline(seed=1)).space.fingerprint


def test_a_model_that_does_not_edit_by_instruction_is_refused():
    pipeline = tiny_pipeline()
    pipeline.unet.register_to_config(in_channels=4)
    with pytest.raises(EditorError, match="not a model that edits photos by instruction"):
        editor_of(pipeline)


def test_a_missing_hub_model_says_which_and_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EditorError, match=r"'somebody/model'.*`model`.*'embedded'"):
        load_ip2p(name="ip2p", model="somebody/model")


def test_incomplete_folders_are_refused(tmp_path, tiny_folder):
    with pytest.raises(EditorError, match=r"no model_index\.json"):
        vii.load_editor("ip2p", model=str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(EditorError, match="not a complete InstructPix2Pix model"):
        vii.load_editor("ip2p", model=str(tmp_path))


@pytest.mark.parametrize(
    "bad",
    [
        {"num_inference_steps": 0},
        {"num_inference_steps": 1001},
        {"guidance_scale": float("nan")},
        {"image_guidance_scale": 1e6},
        {"scheduler": "euler_a"},
    ],
)
def test_settings_refuse_what_cannot_be_sampled(bad):
    with pytest.raises(UsageError):
        dataclasses.replace(Ip2pSettings(), **bad)


def test_every_setting_changes_the_picture(tiny):
    base = {"text": "make it red", "num_inference_steps": 3, "guidance_scale": 4.0, "image_guidance_scale": 1.5}
    image = picture(3, 32, 32)
    reference = vii.apply(tiny, None, image, **base)
    changes = {"num_inference_steps": 4, "guidance_scale": 6.0, "image_guidance_scale": 2.5, "scheduler": "ddim"}
    assert set(changes) == {field.name for field in dataclasses.fields(Ip2pSettings)}
    for name, value in changes.items():
        assert not torch.equal(vii.apply(tiny, None, image, **{**base, name: value}), reference), name


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("[1]", "expected a JSON object"),
        ("{", "not (a )?valid"),
        ("[" * 10000, "not (a )?valid"),
        ('{"phrases": "../../../../etc/hostname"}', "phrases must lie in the model's folder"),
        ('{"phrases": "/etc/hostname"}', "phrases must lie in the model's folder"),
        ('{"phrases": "none.txt"}', "not in its folder"),
        ('{"phrases": 3}', "phrases must be a text"),
        ('{"clip": "../other"}', "clip must lie in the model's folder"),
        ('{"resolution": "512"}', "resolution must be a whole number"),
        ('{"resolution": 1e300}', "resolution must be a whole number"),
        ('{"settings": [1]}', "settings must be an object"),
        ('{"settings": {"guidance_scale": "much"}}', "guidance_scale must be of type float"),
        ('{"settings": {"num_inference_steps": 100000}}', "num_inference_steps must be from 1 to 1000"),
        ('{"resolutoin": 64}', "did you mean 'resolution'"),
    ],
)
def test_a_folder_that_says_what_cannot_be_is_refused_in_one_line(tmp_path, tiny_folder, manifest, message):
    for part in tiny_folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / "vii.json").write_text(manifest)
    with pytest.raises(EditorError, match=message) as caught:
        vii.load_editor("ip2p", model=str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


def test_an_edit_file_cannot_ask_for_what_the_model_cannot_do(tiny):
    """Nor for hours of work: its settings are checked as everybody's are."""
    for name, value in (("num_inference_steps", 1001), ("guidance_scale", 1e9), ("guidance_scale", "much")):
        edit = vii.Edit(torch.randn(4, 32), tiny.space, "ip2p", "red", 1, 32, settings={name: value})
        with pytest.warns(UserWarning, match=name):
            vii.apply(tiny, edit, picture(1, 32, 32))
    few = type(tiny.parts.scheduler).from_config(tiny.parts.scheduler.config, num_train_timesteps=50)
    editor = Ip2pEditor(dataclasses.replace(tiny.parts, scheduler=few), name="few", settings=Ip2pSettings())
    with pytest.raises(UsageError, match="at most 50, the noise levels of this model, got 51"):
        vii.apply(editor, None, picture(1, 32, 32), text="red", num_inference_steps=51)


def test_ddim_clips_latents_only_where_the_model_says_so(tiny):
    assert "clip_sample" not in tiny.parts.scheduler.config
    assert tiny.make_scheduler("ddim").config.clip_sample is False
    clipped = diffusers.DDIMScheduler.from_config(tiny.parts.scheduler.config, clip_sample=True)
    editor = Ip2pEditor(dataclasses.replace(tiny.parts, scheduler=clipped), name="c", settings=Ip2pSettings())
    assert editor.make_scheduler("ddim").config.clip_sample is True
