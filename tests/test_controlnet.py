"""The ControlNet editor against diffusers' own pipeline and against formulas written out."""

import dataclasses
import json
import shutil

import diffusers
import pytest
import torch
from conftest import (
    SAMPLERS,
    by_pipeline,
    parts_of,
    picture,
    tiny_controlnet_pipeline,
    tiny_pipeline,
    with_scheduler,
)
from PIL import Image
from test_cli import printed as run

import vii
from vii.diffusion import Noise
from vii.editors.controlnet import ControlnetEditor, ControlnetSettings
from vii.editors.stable_diffusion import assemble
from vii.errors import EditorError, EditorMismatch, UsageError

TOLERANCE = 1e-3


def editor_of(pipeline, **options) -> ControlnetEditor:
    parts = parts_of(pipeline, **{name: options.pop(name) for name in ("unet", "controlnet") if name in options})
    given = {"name": "controlnet", "settings": ControlnetSettings(), "resolution": 32, **options}
    return ControlnetEditor(assemble(parts), **given)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("guidance", "scale"), [(7.5, 1.0), (1.0, 1.0), (4.0, 0.5)])
@pytest.mark.parametrize(("name", "cls"), [("model", "PNDMScheduler"), *SAMPLERS.items()])
def test_sampling_equals_diffusers_pipeline(name, cls, guidance, scale, prediction_type):
    pipeline = tiny_controlnet_pipeline(prediction_type)
    editor, image = editor_of(pipeline), picture(3, 32, 48)
    learned = editor.instruct("turn it blue").with_length(6).with_tokens(torch.randn(6, 32))
    options = {"num_inference_steps": 5, "guidance_scale": guidance, "controlnet_conditioning_scale": scale}
    encoding = editor.encode(image)
    ours = editor.edit(encoding, [(learned, 1.0)], ControlnetSettings(scheduler=name, **options), Noise(5))[0]
    theirs = by_pipeline(
        with_scheduler(pipeline, cls),
        encoding.condition[0],  # both see the photo at the editor's size
        5,
        prompt_embeds=learned.rows[None],
        negative_prompt_embeds=editor.instruct("").rows[None],
        **options,
    )
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01  # a constant picture would agree with anything
    assert (ours - theirs).abs().max() <= TOLERANCE


def test_the_photo_decides_the_picture_and_at_scale_zero_it_is_not_seen(tiny_controlnet):
    """Also that no pass of the ControlNet is made whose result would be multiplied by zero."""
    passes = []
    hook = tiny_controlnet.parts.controlnet.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        for scale, differs in ((1.0, True), (0.0, False)):
            options = {"text": "red", "num_inference_steps": 2, "scheduler": "ddim"}
            options["controlnet_conditioning_scale"] = scale
            one, two = (vii.apply(tiny_controlnet, None, picture(seed, 32, 32), **options) for seed in (1, 2))
            assert torch.equal(one, two) != differs
    finally:
        hook.remove()
    assert len(passes) == 4


def test_scale_zero_equals_the_pipeline_at_scale_zero():
    pipeline = tiny_controlnet_pipeline()
    editor, image = editor_of(pipeline), picture(3, 32, 32)
    options = {"num_inference_steps": 3, "guidance_scale": 3.0, "controlnet_conditioning_scale": 0.0}
    ours = vii.apply(editor, None, image, text="red", seed=1, **options)
    assert (ours - by_pipeline(pipeline, image, 1, prompt="red", **options)).abs().max() <= TOLERANCE


def test_loss_without_guidance_runs_the_controlnet_at_the_models_own_scale():
    editor = editor_of(tiny_controlnet_pipeline(), settings=ControlnetSettings(controlnet_conditioning_scale=0.4))
    before, after = editor.encode(picture(1, 32, 32)), editor.encode(picture(2, 32, 32))
    t, noise, instruction = torch.tensor([0.5]), torch.randn(1, *after.noise_shape), editor.instruct("red")
    same = ControlnetSettings(guidance_scale=1.0, controlnet_conditioning_scale=0.4)
    losses = [editor.loss(before, after, instruction, t, noise, guidance) for guidance in (None, same)]
    torch.testing.assert_close(*losses)


def test_the_authors_recipe_runs_with_guidance_and_noise_bank(tiny_controlnet):
    """Its image guidance is not a setting of this editor, and is left out rather than taken for another."""
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    settings = dataclasses.replace(
        vii.load_recipe("visii"), init="text", init_text="red", max_train_steps=2, probe_size=2, clip_weight=0.0
    )
    edit = vii.invert(tiny_controlnet, [pair], settings)
    assert edit.settings["guidance_scale"] == 7.5
    assert "image_guidance_scale" not in edit.settings
    options = {"reuse_noise": True, "num_inference_steps": 3, "scheduler": "euler_ancestral"}
    one, same = (vii.apply(tiny_controlnet, edit, picture(1, 32, 32), seed=seed, **options) for seed in (1, 2))
    assert torch.equal(one, same)


def test_settings_of_other_editors_and_what_is_no_number_are_refused(tiny_controlnet):
    with pytest.raises(UsageError, match=r"unknown setting 'image_guidance_scale'.*controlnet_conditioning_scale"):
        vii.apply(tiny_controlnet, None, picture(3, 32, 32), text="red", image_guidance_scale=1.5)
    with pytest.raises(UsageError, match="controlnet_conditioning_scale must be a finite number"):
        ControlnetSettings(controlnet_conditioning_scale=float("inf"))


def test_edits_of_one_editor_are_refused_by_the_other(tiny, tiny_controlnet):
    """Both read the same text encoder's rows, and tokens are still learned for the networks that read them."""
    assert dataclasses.replace(tiny.space, model="", fingerprint="") == dataclasses.replace(
        tiny_controlnet.space, model="", fingerprint=""
    )
    image = picture(1, 32, 32)
    for learned_with, other in ((tiny, tiny_controlnet), (tiny_controlnet, tiny)):
        edit = vii.Edit(torch.randn(4, 32), learned_with.space, learned_with.name, "red", 1, 32)
        with pytest.raises(EditorMismatch, match=rf"editor '{learned_with.name}'.*Load the editor it was learned with"):
            vii.apply(other, edit, image)
        vii.apply(other, edit, image, any_model=True, num_inference_steps=1)


def test_another_controlnet_is_another_space():
    one, two = tiny_controlnet_pipeline(), tiny_controlnet_pipeline()
    torch.nn.init.normal_(two.controlnet.controlnet_mid_block.weight)
    assert editor_of(one).space.fingerprint != editor_of(two).space.fingerprint


def test_an_edit_file_names_both_models(controlnet_folders, monkeypatch):
    """`BASE+CONTROLNET`, which `load_editor` takes back; folders by their names only."""
    base, control = map(str, controlnet_folders)
    apart = vii.load_editor("controlnet", model=base, controlnet=control, clip="none", device="cpu")
    assert (apart.space.model, apart.space.revision) == ("tiny-base+tiny-control", "")
    together = vii.load_editor("controlnet", model=f"{base}+{control}", clip="none", device="cpu")
    assert together.space == apart.space
    asked = []

    def fetched(repository, revision, *_):
        asked.append((repository, revision))
        folder = controlnet_folders["control" in repository]
        return folder, f"commit of {folder.name}"

    for module in ("loading", "controlnet"):
        monkeypatch.setattr(f"vii.editors.{module}.fetch", fetched)
    options = {"clip": "none", "device": "cpu"}
    edited = vii.load_editor("controlnet", model="a/base+b/control", revision="one+two", **options)
    assert edited.space.model == "a/base+b/control"
    assert edited.space.revision == "commit of tiny-base+commit of tiny-control"
    vii.load_editor("controlnet", revision="main", **options)
    vii.load_editor("controlnet", model="a/base+b/control", controlnet="c/control", revision="one+two", **options)
    assert asked == [
        ("b/control", "two"),
        ("a/base", "one"),
        ("lllyasviel/control_v11e_sd15_ip2p", None),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "main"),
        ("c/control", None),
        ("a/base", "one"),
    ]


def test_missing_models_say_which_and_what_to_do(monkeypatch, controlnet_folders):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    base, control = map(str, controlnet_folders)
    with pytest.raises(EditorError, match=r"ControlNet 'lllyasviel/control_v11e_sd15_ip2p'.*with `controlnet`"):
        vii.load_editor("controlnet", model=base)
    with pytest.raises(EditorError, match=r"model 'stable-diffusion-v1-5/.*with `model`, or use the editor 'embedded'"):
        vii.load_editor("controlnet", controlnet=control)


def test_wrong_folders_are_refused(tmp_path, controlnet_folders, tiny_folder):
    base, control = map(str, controlnet_folders)

    def refused(match, **options):
        with pytest.raises(EditorError, match=match) as caught:
            vii.load_editor("controlnet", **{"model": base, "controlnet": control, "clip": "none", **options})
        assert "\n" not in str(caught.value)

    refused(r"no config\.json; expected the folder of a ControlNet", controlnet=str(tmp_path))
    refused("not a complete ControlNet .*config.json is that of a UNet2DConditionModel", controlnet=f"{base}/unet")
    refused(r"no model_index\.json", model=control)
    refused("UNet takes 8 channels.*use the editor 'ip2p'", model=str(tiny_folder))
    shutil.copy(controlnet_folders[1] / "config.json", tmp_path)
    refused("not a complete ControlNet", controlnet=str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    refused("not a complete ControlNet|not valid JSON", controlnet=str(tmp_path))
    with pytest.raises(EditorError, match="not a model that edits photos by instruction"):
        vii.load_editor("ip2p", model=base, clip="none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": (32, 96)}, "has block_out_channels .*32, 96.* made for another base model"),
        ({"cross_attention_dim": 48}, "has cross_attention_dim 48, the UNet 32"),
        ({"layers_per_block": 2}, "has layers_per_block 2, the UNet 1"),
        ({"conditioning_embedding_out_channels": (16, 32, 96, 256)}, "expected .* at 1/2 scale.* 3 at 1/8"),
        ({"conditioning_channels": 1}, "with 1 at 1/2"),
        ({"global_pool_conditions": True}, "averaged over the picture"),
    ],
)
def test_a_controlnet_that_does_not_fit_is_refused(changes, message):
    pipeline = tiny_controlnet_pipeline()
    other = diffusers.ControlNetModel.from_config(pipeline.controlnet.config, **changes)
    with pytest.raises(EditorError, match=message):
        editor_of(pipeline, controlnet=other)


def test_settings_of_a_folder_are_checked(tmp_path, controlnet_folders):
    base, control = controlnet_folders
    shutil.copytree(base, tmp_path / "base")
    manifest = {"name": "mine", "settings": {"controlnet_conditioning_scale": 0.8, "guidance_scale": 5}}
    (tmp_path / "base/vii.json").write_text(json.dumps(manifest))
    options = {"model": str(tmp_path / "base"), "controlnet": str(control), "clip": "none", "device": "cpu"}
    editor = vii.load_editor("controlnet", **options)
    assert editor.settings == ControlnetSettings(controlnet_conditioning_scale=0.8, guidance_scale=5.0)
    assert editor.space.model == "mine+tiny-control"
    (tmp_path / "base/vii.json").write_text('{"settings": {"image_guidance_scale": 1.5}}')
    with pytest.raises(EditorError, match=r"vii\.json: unknown setting 'image_guidance_scale'"):
        vii.load_editor("controlnet", **options)


def test_a_pipeline_of_another_kind_is_not_taken_for_parts():
    pipeline = tiny_controlnet_pipeline()
    with pytest.raises(EditorError, match="UNet takes 8 channels"):
        editor_of(pipeline, unet=tiny_pipeline().unet)


def test_the_commands_learn_show_and_apply(tmp_path, controlnet_folders):
    """Models by folder; `apply` takes the editor from the edit file, and folders cannot be fetched again by name."""

    shutil.copytree(controlnet_folders[0], tmp_path / "base")
    (tmp_path / "base/vii.json").write_text('{"resolution": 32}')
    models = ["--model", tmp_path / "base", "--controlnet", controlnet_folders[1], "--clip", "none"]
    for name, seed in (("before", 1), ("after", 2)):
        vii.save_image(picture(seed, 32, 32), tmp_path / f"{name}.png")
    edit, out = tmp_path / "e.safetensors", tmp_path / "out.png"
    fast = ["--init", "red", "--set", "steps=2", "--set", "batch_size=2", "--set", "probe_size=2"]
    fast += ["--set", "finish=none"]
    run("learn", tmp_path / "before.png", tmp_path / "after.png", "-o", edit, "--editor", "controlnet", *models, *fast)
    shown = json.loads(run("show", edit, "--json"))
    assert (shown["editor"], shown["base_model"]) == ("controlnet", "base+tiny-control")

    pictures = []
    for options in ([], ["--controlnet-scale", "0.3"], ["--seed", "1"]):
        run("apply", edit, tmp_path / "before.png", "-o", out, "--steps", "2", *models, *options)
        pictures.append(vii.load_image(out))
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])
    with Image.open(out) as image:
        assert "ControlNet scale: 1.0" in image.text["parameters"]
        assert "Model: base+tiny-control" in image.text["parameters"]
    assert "unknown setting 'image_guidance_scale'" in run(
        "apply", edit, tmp_path / "before.png", "-o", out, "--image-guidance", "1.5", *models, code=1
    )
    assert "unknown setting 'controlnet_conditioning_scale'" in run(
        "apply", tmp_path / "before.png", "--text", "red", "-o", out, "--controlnet-scale", "1", code=1
    )
