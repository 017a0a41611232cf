"""What holds for every editor on Stable Diffusion 1.x, on tiny random models."""

import copy
import dataclasses
from functools import partial

import diffusers
import pytest
import torch
from conftest import EXACT, gradient_of, parts_of, picture, tiny_controlnet_pipeline, tiny_pipeline, weights_of

import vii
from vii.diffusion import Noise
from vii.editors.controlnet import ControlnetEditor, ControlnetSettings
from vii.editors.ip2p import Ip2pEditor, Ip2pSettings
from vii.editors.stable_diffusion import assemble

KINDS = {
    "ip2p": (tiny_pipeline, Ip2pEditor, Ip2pSettings),
    "controlnet": (tiny_controlnet_pipeline, ControlnetEditor, ControlnetSettings),
}
# One pass of the networks a step: no guidance.
PLAIN = {"text": "make it red", "num_inference_steps": 3, "guidance_scale": 1.0}


@pytest.fixture(params=["tiny", "tiny_controlnet"])
def editor(request):
    return request.getfixturevalue(request.param)


def predicted(editor, rows, noisy, t, photo, scale=1.0):
    """One pass of the networks themselves, given what they see of a photo."""
    parts, told = editor.parts, rows[None]
    if parts.controlnet is None:
        return parts.unet(torch.cat([noisy, photo], 1), t, told).sample
    down, middle = parts.controlnet(noisy, t, told, photo, conditioning_scale=scale, return_dict=False)
    return parts.unet(noisy, t, told, down_block_additional_residuals=down, mid_block_additional_residual=middle).sample


@torch.no_grad()
def test_two_branches_are_the_weighted_sum_written_out(editor):
    """eps_u + s_I (eps_i - eps_u) + s_T sum_j w_j (eps_j - eps_i), where s_I is 1 with a ControlNet."""
    own = {"ip2p": {"image_guidance_scale": 1.7}, "controlnet": {"controlnet_conditioning_scale": 0.7}}[editor.name]
    settings = dataclasses.replace(editor.settings, guidance_scale=5.0, **own)
    encoding, generator = editor.encode(picture(6, 32, 32)), torch.Generator().manual_seed(0)
    noisy, t = torch.randn(1, *encoding.noise_shape, generator=generator), torch.tensor([421])
    one, two, null = editor.instruct("one"), editor.instruct("two words"), editor.instruct("")
    photo, s_i = encoding.condition, own.get("image_guidance_scale", 1.0)
    by_networks = partial(predicted, editor, noisy=noisy, t=t, scale=own.get("controlnet_conditioning_scale", 1.0))
    e_u = by_networks(null.rows, photo=torch.zeros_like(photo))
    e_i, e_1, e_2 = (by_networks(words.rows, photo=photo) for words in (null, one, two))
    expected = e_u + s_i * (e_i - e_u) + 5.0 * (0.8 * (e_1 - e_i) - 0.5 * (e_2 - e_i))
    ours = editor.guided(settings, noisy, t, editor.plan(encoding, [(one, 0.8), (two, -0.5)], settings))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "scales", "weights", "passes"),
    [
        ("tiny", (1, 1), [1], 1),
        ("tiny", (7.5, 1.5), [1], 3),
        ("tiny", (1.5, 1.5), [1], 2),
        ("tiny", (2, 1), [1], 2),
        ("tiny", (7.5, 1.5), [1, 0, 0.5], 4),
        ("tiny", (1, 1), [0], 1),
        ("tiny_controlnet", (1,), [1], 1),
        ("tiny_controlnet", (7.5,), [1], 2),
        ("tiny_controlnet", (2,), [0.5], 1),
        ("tiny_controlnet", (7.5,), [1, 0, 0.5], 3),
        ("tiny_controlnet", (1,), [0], 1),
    ],
)
def test_branches_without_weight_are_not_computed(model, scales, weights, passes, request):
    editor, seen = request.getfixturevalue(model), []
    networks = [network for network in (editor.parts.unet, editor.parts.controlnet) if network is not None]
    hooks = [network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0]))) for network in networks]
    guidance = dict(zip(("guidance_scale", "image_guidance_scale"), scales, strict=False))
    settings = dataclasses.replace(editor.settings, num_inference_steps=2, scheduler="ddim", **guidance)
    try:
        branches = [(editor.instruct(f"word {index}"), weight) for index, weight in enumerate(weights)]
        editor.edit(editor.encode(picture(1, 32, 32)), branches, settings, Noise(0))
    finally:
        for hook in hooks:
            hook.remove()
    assert seen == [passes] * 2 * len(networks)
    assert editor.num_branches(weights, settings) == passes


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_formula_written_out(kind, prediction_type, guided):
    """Every prediction type, against DDPMScheduler's own forward process and networks called branch by branch."""
    make, editor_of, settings = KINDS[kind]
    parts = assemble(parts_of(make(prediction_type)))
    editor = editor_of(parts, name=kind, settings=settings(), resolution=32)
    before, after = editor.encode(picture(1, 32, 32)), editor.encode(picture(2, 32, 32))
    instruction, null = editor.instruct("make it red"), editor.instruct("")
    t, noise = torch.tensor([0.0105, 0.5005, 0.9005]), torch.randn(3, *after.noise_shape)
    losses = editor.loss(before, after, instruction, t, noise, settings(guidance_scale=7.5) if guided else None)

    scheduler = diffusers.DDPMScheduler.from_config(parts.scheduler.config)
    photo, clean = (parts.vae.encode(picture(seed, 32, 32)[None] * 2 - 1).latent_dist.mode() for seed in (1, 2))
    clean = clean * 0.18215
    photo, s_i = {"ip2p": (photo, 1.5), "controlnet": (picture(1, 32, 32)[None], 1.0)}[kind]
    for index, step in enumerate([10, 500, 900]):
        time, epsilon = torch.tensor([step]), noise[index][None]
        velocity = scheduler.get_velocity(clean, epsilon, time)
        target = {"epsilon": epsilon, "sample": clean, "v_prediction": velocity}[prediction_type]
        by_networks = partial(predicted, editor, noisy=scheduler.add_noise(clean, epsilon, time), t=time)
        found = by_networks(instruction.rows, photo=photo)
        if guided:
            e_i, e_u = by_networks(null.rows, photo=photo), by_networks(null.rows, photo=0 * photo)
            found = e_u + 7.5 * (found - e_i) + s_i * (e_i - e_u)
        torch.testing.assert_close(losses[index], (found - target).square().mean(), atol=1e-5, rtol=1e-4)


def test_gradient_reaches_the_tokens_and_nothing_else(editor):
    before, after = editor.encode(picture(1, 32, 32)), editor.encode(picture(2, 32, 32))
    noise, t = torch.randn(2, *after.noise_shape), torch.tensor([0.2, 0.7])
    for guidance in (None, dataclasses.replace(editor.settings, guidance_scale=3.0)):
        assert gradient_of(editor, before, after, editor.instruct("make it red"), t, noise, guidance).any()
    networks = editor.parts.unet, editor.parts.controlnet, editor.parts.text_encoder, editor.parts.vae
    for module in filter(None, networks):
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_learning_lowers_the_loss_and_leaves_the_models_unchanged(editor):
    networks = [part for part in (editor.parts.text_encoder, editor.parts.unet, editor.parts.controlnet) if part]
    before, whole = weights_of(*networks), copy.deepcopy(editor.parts.unet.state_dict())
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    settings = vii.InversionSettings(
        init="text", init_text="red", tokens=6, max_train_steps=15, batch_size=4, probe_size=4, probe_every=5
    )
    edit = vii.invert(editor, [pair], settings)
    assert edit.training["loss"] < edit.training["loss_start"]
    assert edit.editor == editor.name
    assert edit.settings.items() >= dataclasses.asdict(editor.settings).items()
    assert weights_of(*networks) == before
    assert all(torch.equal(value, whole[name]) for name, value in editor.parts.unet.state_dict().items())


@pytest.mark.parametrize("size", [(32, 32), (30, 71), (200, 90)])
def test_photos_of_any_shape(editor, size):
    options = {"text": "red", "num_inference_steps": 1}
    result = vii.apply(editor, None, picture(8, *size), size="editor", **options)
    height, width = result.shape[1:]
    assert height % 2 == width % 2 == 0
    assert height * width == pytest.approx(32 * 32, rel=0.1)
    assert height / width == pytest.approx(size[0] / size[1], rel=0.1)
    assert vii.apply(editor, None, picture(8, *size), **options).shape[1:] == size


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_to_float32_and_keeps_the_fingerprint(editor, dtype, tiny_folder, controlnet_folders):
    base, control = controlnet_folders
    models = {"ip2p": {"model": str(tiny_folder)}, "controlnet": {"model": str(base), "controlnet": str(control)}}
    half = vii.load_editor(editor.name, **models[editor.name], clip="none", **{**EXACT, "dtype": dtype})
    half.resolution = 32
    assert half.space == editor.space
    options = {**PLAIN, "scheduler": "ddim", **({"image_guidance_scale": 1.0} if editor.name == "ip2p" else {})}
    rounded, full = (vii.apply(one, None, picture(3, 32, 32), **options) for one in (half, editor))
    assert torch.isfinite(rounded).all()
    assert (rounded - full).abs().mean() < 0.05


def test_every_setting_changes_the_picture(editor):
    base, image = {**PLAIN, "guidance_scale": 4.0}, picture(3, 32, 32)
    reference = vii.apply(editor, None, image, **base)
    changes = {"num_inference_steps": 4, "guidance_scale": 6.0, "scheduler": "ddim"}
    own = {"ip2p": {"image_guidance_scale": 2.5}, "controlnet": {"controlnet_conditioning_scale": 0.5}}
    changes |= own[editor.name]
    assert set(changes) == {field.name for field in dataclasses.fields(editor.settings)}
    for name, value in changes.items():
        assert not torch.equal(vii.apply(editor, None, image, **{**base, name: value}), reference), name
