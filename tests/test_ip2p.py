"""The InstructPix2Pix editor against diffusers' own pipeline and against formulas written out."""

import dataclasses

import diffusers
import pytest
import torch
from conftest import SAMPLERS, by_pipeline, parts_of, picture, tiny_pipeline, with_scheduler

import vii
from vii.diffusion import Noise
from vii.editors.ip2p import Ip2pEditor, Ip2pSettings, load_ip2p
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.stable_diffusion import assemble
from vii.errors import EditorError, UsageError
from vii.finish.detail import upsampled
from vii.images import channels_first, channels_last

TOLERANCE = 1e-3


def editor_of(pipeline, **options) -> Ip2pEditor:
    given = {"name": "ip2p", "settings": Ip2pSettings(), "resolution": 32, **options}
    return Ip2pEditor(assemble(parts_of(pipeline)), **given)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("name", "cls"), SAMPLERS.items())
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


def test_settings_of_a_folder_that_cannot_be_are_refused_in_one_line(tmp_path, tiny_folder):
    for part in tiny_folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    for settings, message in (
        ('{"guidance_scale": "much"}', "guidance_scale must be of type float"),
        ('{"num_inference_steps": 100000}', "num_inference_steps must be from 1 to 1000"),
    ):
        (tmp_path / "vii.json").write_text(f'{{"settings": {settings}}}')
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


def test_a_model_of_squares_sees_photos_squeezed_and_gives_them_their_shape_back(tmp_path, tiny_folder):
    for part in tiny_folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / "vii.json").write_text('{"resolution": 32, "square": true, "clip": null}')
    editor = vii.load_editor("ip2p", model=str(tmp_path), device="cpu")
    photo, options = picture(5, 64, 144), {"text": "turn it blue", "seed": 3, "num_inference_steps": 2}
    squeezed = vii.images.resize(photo, 32, 32)
    torch.testing.assert_close(editor.encode(photo).latents, editor.encode(squeezed).latents)
    made = vii.apply(editor, None, squeezed, finish="none", **options)
    whole = vii.apply(editor, None, photo, finish="none", **options)
    assert whole.shape == (3, 64, 144)
    enlarged = upsampled(channels_last(photo), channels_last(made))
    torch.testing.assert_close(whole, channels_first(enlarged), atol=1e-5, rtol=0)
    assert vii.apply(editor, None, photo, size="editor", **options).shape == (3, 24, 48)
    (tmp_path / "vii.json").write_text('{"square": "yes"}')
    with pytest.raises(EditorError, match="square must be true or false, got 'yes'"):
        vii.load_editor("ip2p", model=str(tmp_path), device="cpu")
