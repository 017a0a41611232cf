"""FLUX.2 [klein] on tiny random models, against diffusers' own pipeline."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from conftest import EXACT, picture
from tiny_flux import klein_pipeline
from transformers import Qwen3Config

import vii
from vii.cli import main
from vii.clip import Beside
from vii.diffusion import Noise
from vii.editors.flow import SPREAD_TEXTS
from vii.editors.klein import KleinEditor, layers_of, relatives_of
from vii.editors.turns import Turns
from vii.errors import EditorError, EditorMismatch, UsageError
from vii.images import save_image, to_pil

LAYERS = (1, 2, 3)
TEXT = "make it snow"
# The editor's own picture.
BARE = {"finish": "none", "size": "editor"}
OPTIONS = {**EXACT, "clip": "none", "resolution": 64}
# Without a finish, which may find that the tokens of a random model are better not used.
QUICK = vii.InversionSettings(
    init="text", init_text=TEXT, tokens=0, max_train_steps=8, probe_every=4, probe_size=4, finish="none"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Base and distilled, in folders named as the real ones; they share the text encoder."""
    home = tmp_path_factory.mktemp("klein")
    base, distilled = klein_pipeline(False), klein_pipeline(True)
    with torch.no_grad():
        for parameter in distilled.transformer.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    base.save_pretrained(home / "FLUX.2-klein-base-4B")
    distilled.save_pretrained(home / "FLUX.2-klein-4B")
    return home


@pytest.fixture(scope="module")
def pipelines(folders):
    import diffusers

    made = {name: diffusers.Flux2KleinPipeline.from_pretrained(folders / name) for name in names(folders)}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made


def names(folders):
    return [path.name for path in folders.iterdir()]


@pytest.fixture(scope="module")
def base(folders):
    return vii.load_editor("klein", model=str(folders / "FLUX.2-klein-base-4B"), **OPTIONS)


@pytest.fixture(scope="module")
def distilled(folders):
    return vii.load_editor("klein", model=str(folders / "FLUX.2-klein-4B"), **OPTIONS)


@pytest.fixture(scope="module")
def pair():
    return vii.Pair(picture(1), picture(2))


@pytest.fixture(scope="module")
def learned(base, pair):
    return vii.invert(base, [pair], QUICK)


def test_what_is_known_of_the_real_models():
    """Layers 9, 18 and 27 of Qwen3's 36 (diffusers' default), and which model is distilled from which."""
    assert layers_of(Qwen3Config(num_hidden_layers=36)) == (9, 18, 27)
    owner = "black-forest-labs/"
    for size in ("4B", "9B"):
        base, distilled = f"FLUX.2-klein-base-{size}", f"FLUX.2-klein-{size}"
        for one, other in ((base, distilled), (distilled, base)):
            assert relatives_of(owner + one) == relatives_of(one) == (owner + other, other)
    assert relatives_of("somebody/FLUX.2-klein-4B") == relatives_of("black-forest-labs/FLUX.2-dev") == ()


def test_what_the_folder_says(base, distilled):
    assert (base.space.encoder, base.space.width, base.space.length) == ("Qwen3ForCausalLM 1 2 3", 48, 512)
    assert (base.settings.num_inference_steps, base.settings.guidance_scale) == (50, 4.0)
    assert vars(distilled.settings) == {"num_inference_steps": 4}
    assert base.joint is None
    assert base.num_branches([1.0], base.settings) == 2
    assert distilled.num_branches([1.0], distilled.settings) == 1
    assert distilled.num_branches([0.5, 0.5], distilled.settings) == 2
    assert distilled.num_branches([0.5], distilled.settings) == 2


@pytest.mark.parametrize("text", [TEXT, "", "ein Café, 雪が降る"])
def test_rows_are_those_of_the_pipeline(base, pipelines, text):
    expected, _ = pipelines[base.space.model].encode_prompt(text, text_encoder_out_layers=LAYERS)
    instruction = base.instruct(text)
    torch.testing.assert_close(instruction.rows, expected[0], rtol=0, atol=1e-6)
    start, stop = instruction.free
    tokenizer = pipelines[base.space.model].tokenizer
    ids = tokenizer(f"<|im_start|>user\n{text}").input_ids
    assert tokenizer.decode(ids[start:]) == text
    assert stop == len(ids)


def test_the_padding_after_the_words_knows_them_and_is_seen(base):
    first, second = base.instruct(TEXT), base.instruct("make it rain")
    assert (first.rows[-1] - second.rows[-1]).abs().max() > 1e-3
    photo = base.encode(picture(1))
    noisy, t = torch.randn(1, *photo.noise_shape), torch.tensor([0.5])
    whole, short = (
        base.predict(noisy, t, photo, replace(first, rows=rows), None) for rows in (first.rows, first.rows[:60])
    )
    assert (whole - short).abs().max() > 1e-4
    turned = base.predict(noisy, t, photo, replace(first, rows=first.rows.flip(0)), None)
    assert (whole - turned).abs().max() > 1e-4  # rows have positions


def test_a_text_too_long_is_refused(base):
    with pytest.raises(UsageError, match=r"600 tokens long, this editor takes 4\d\d"):
        base.instruct("a" * 600)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 144)])
@pytest.mark.parametrize("name", ["FLUX.2-klein-base-4B", "FLUX.2-klein-4B"])
def test_a_sampled_picture_is_that_of_the_pipeline(base, distilled, pipelines, name, height, width, monkeypatch):
    editor, pipeline = (base if "base" in name else distilled), pipelines[name]
    monkeypatch.setattr(editor, "resolution", 96)  # both shapes then are their own fitted ones
    guided = "base" in name
    settings = replace(editor.settings, num_inference_steps=3, **({"guidance_scale": 3.0} if guided else {}))
    photo = to_pil(picture(5, height, width))
    image = editor.encode(vii.images.from_pil(photo))
    assert image.noise_shape == (16, height // 4, width // 4)
    words = editor.instruct(TEXT)
    ours = editor.edit(image, [(words, 1.0)], settings, Noise(7))
    theirs = pipeline(
        image=photo,
        prompt_embeds=words.rows[None],
        negative_prompt_embeds=editor.instruct("").rows[None],
        height=height,
        width=width,
        num_inference_steps=3,
        guidance_scale=3.0,
        output_type="pt",
        text_encoder_out_layers=LAYERS,
        generator=torch.Generator().manual_seed(7),
    ).images
    assert ours.shape == (1, 3, height, width)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_the_loss_is_that_of_flow_matching(base):
    """Written out beside the pipeline's own packing, in float64 from the prediction on."""
    before, after, words = base.encode(picture(1)), base.encode(picture(2)), base.instruct(TEXT)
    t, noise = torch.tensor([0.3, 0.9]), torch.randn(2, *after.noise_shape)
    loss = base.loss(before, after, words, t, noise)
    for index, level in enumerate(t.tolist()):
        noisy = (1 - level) * after.latents + level * noise[index]
        velocity = base.predict(noisy, t[index : index + 1], before, words, None)
        target = noise[index].double() - after.latents[0].double()
        assert loss[index].item() == pytest.approx((velocity[0] - target).square().mean().item(), rel=1e-5)


def test_the_gradient_is_at_the_free_rows_only_and_not_zero(base):
    before, after, words = base.encode(picture(1)), base.encode(picture(2)), base.instruct(TEXT)
    tokens = words.tokens.clone().requires_grad_(True)
    t, noise = torch.tensor([0.4, 0.95]), torch.randn(2, *after.noise_shape)
    base.loss(before, after, words.with_tokens(tokens), t, noise).sum().backward()
    assert tokens.grad.any(dim=1).all()
    parameters = [*base.transformer.parameters(), *base.vae.parameters(), *base.text.model.parameters()]
    assert all(parameter.grad is None for parameter in parameters)
    plain = tokens.grad.clone()
    base.transformer.disable_gradient_checkpointing()
    try:
        tokens.grad = None
        base.loss(before, after, words.with_tokens(tokens), t, noise).sum().backward()
    finally:
        base.transformer.enable_gradient_checkpointing()
    torch.testing.assert_close(tokens.grad, plain)


def test_learning_lowers_the_loss_and_moves_every_feature_in_its_own_unit(base, learned):
    assert learned.training["loss"] < learned.training["loss_start"]
    words = base.instruct(TEXT)
    assert learned.tokens.shape == words.tokens.shape
    assert words.scale.shape == (48,)
    assert words.scale.max() > 1.5 * words.scale.min()
    moved = ((learned.tokens - words.tokens) / words.scale).square().mean(0).sqrt()
    assert moved.max() < 3 * moved.min()  # AdamW moves every entry of the leaf by about the same


def test_the_spread_is_that_of_words_alone(base):
    words = torch.cat([base.instruct(text).tokens for text in SPREAD_TEXTS])
    torch.testing.assert_close(base.instruct("").spread, words.std(0), rtol=1e-4, atol=1e-6)


def test_a_zero_change_is_the_text(base, learned):
    photo = picture(5, 48, 80)
    same = replace(learned, tokens=base.instruct(TEXT).tokens)
    quick = {"num_inference_steps": 2, **BARE}
    assert torch.equal(vii.apply(base, same, photo, **quick), vii.apply(base, None, photo, text=TEXT, **quick))
    assert not torch.equal(vii.apply(base, learned, photo, **quick), vii.apply(base, same, photo, **quick))


def test_halves_of_an_edit_are_the_edit(base, distilled, learned):
    photo = picture(5)
    for editor in (base, distilled):
        whole = vii.apply(editor, learned, photo, num_inference_steps=3, **BARE)
        halves = vii.apply(editor, [(learned, 0.5), (learned, 0.5)], photo, num_inference_steps=3, **BARE)
        torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)
        other = vii.apply(editor, learned, photo, text="at night", num_inference_steps=3, **BARE)
        assert (other - whole).abs().max() > 1e-5


def test_base_and_distilled_take_each_others_edits_but_not_settings(base, distilled, learned, folders, pair, tmp_path):
    assert learned.settings["num_inference_steps"] == 50
    vii.save_edit(learned, tmp_path / "edit.safetensors")
    loaded = vii.load_edit(tmp_path / "edit.safetensors")
    assert torch.equal(loaded.tokens, learned.tokens)
    plan = vii.Application(distilled, loaded)
    assert plan.settings == distilled.settings
    assert not plan.warnings
    vii.apply(distilled, loaded, picture(3))
    foreign = replace(loaded, space=replace(loaded.space, model="somebody/else", fingerprint="0" * 32))
    for editor in (base, distilled):
        with pytest.raises(EditorMismatch, match="other weights"):
            vii.apply(editor, foreign, picture(3), num_inference_steps=1)
        vii.apply(editor, foreign, picture(3), any_model=True, num_inference_steps=1)
    layers = replace(loaded, space=replace(loaded.space, encoder="Qwen3ForCausalLM 1 2 4"))
    with pytest.raises(EditorMismatch, match="encoder"):
        vii.apply(base, layers, picture(3))


def test_learning_on_the_distilled_model_is_warned_of(distilled, pair):
    with pytest.warns(UserWarning, match="learn on the base model"):
        vii.invert(distilled, [pair], replace(QUICK, max_train_steps=1))


def test_pairs_of_two_shapes_and_the_empty_text(base):
    pairs = [vii.Pair(picture(1, 64, 64), picture(2, 64, 64)), vii.Pair(picture(3, 48, 96), picture(4, 48, 96))]
    settings = replace(QUICK, init="none", init_text="", tokens=6, max_train_steps=3, batch_size=3)
    edit = vii.invert(base, pairs, settings)
    assert edit.tokens.shape == (6, 48)
    assert math.isfinite(edit.training["loss"])


def test_bfloat16_is_near_float32(base, folders):
    """Of a velocity of size 1, tiny random weights in bfloat16 differ by hundredths."""
    half = vii.load_editor("klein", model=str(folders / "FLUX.2-klein-base-4B"), **{**OPTIONS, "dtype": "bfloat16"})
    assert half.space.has_weights_of(base.space)
    assert half.transformer.dtype == torch.bfloat16
    photo, t = base.encode(picture(1)), torch.tensor([0.7])
    noisy = torch.randn(1, *photo.noise_shape, generator=torch.Generator().manual_seed(0))
    exact, rounded = (editor.predict(noisy, t, photo, editor.instruct(TEXT), None) for editor in (base, half))
    assert ((rounded - exact).norm() / exact.norm()).item() < 0.02
    gradients = []
    for editor in (base, half):
        words = base.instruct(TEXT)
        tokens = words.tokens.clone().requires_grad_(True)
        editor.loss(photo, editor.encode(picture(2)), words.with_tokens(tokens), t, noisy).sum().backward()
        gradients.append(tokens.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_clip_term_is_refused_where_rows_are_not_of_clip(base, pair, monkeypatch):
    class Clip:
        captions = ()

        def image_features(self, images):
            return torch.stack([image.mean((1, 2)) for image in images])

        text_features = prompt_tower = None

    monkeypatch.setitem(base.__dict__, "joint", Beside(Clip()))
    with pytest.raises(UsageError, match="clip_weight=0"):
        vii.invert(base, [pair], replace(QUICK, clip_weight=0.1))


def test_the_text_encoder_and_the_networks_take_turns():
    """On a device that cannot be had here: what is moved where, and in which order."""

    class Module:
        def __init__(self, name):
            self.name, self.device = name, torch.device("cpu")

        def to(self, device):
            self.device = torch.device(device)
            moves.append(f"{self.name} {self.device}")

    moves, first, second = [], Module("text"), Module("networks")
    turns = Turns(torch.device("meta"), first, second)
    for module in (first, first, second, second, first):
        assert turns.take(module) is module
    assert moves == ["networks cpu", "text meta", "text cpu", "networks meta", "networks cpu", "text meta"]


def test_what_is_no_klein_is_refused(folders, tmp_path):
    def load(folder):
        return vii.load_editor("klein", model=str(folder), **OPTIONS)

    single = tmp_path / "model.safetensors"
    single.write_bytes(b"")
    with pytest.raises(EditorError, match=r"from_single_file\(FILE\).save_pretrained"):
        load(single)
    broken = tmp_path / "broken"
    shutil.copytree(folders / "FLUX.2-klein-base-4B", broken)
    (broken / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(EditorError, match="not a complete"):
        load(broken)
    other = tmp_path / "other"
    shutil.copytree(folders / "FLUX.2-klein-base-4B", other)
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps(index | {"_class_name": "Flux2Pipeline"}))
    with pytest.raises(EditorError, match="Flux2KleinPipeline"):
        load(other)


def test_the_command_line_learns_applies_and_stacks(folders, tmp_path):
    for index, name in enumerate(("before", "after", "photo")):
        save_image(picture(index), tmp_path / f"{name}.png")
    model = ["--editor", "klein", "--model", str(folders / "FLUX.2-klein-base-4B"), "--device", "cpu"]
    model += ["--dtype", "float32", "--clip", "none", "--resolution", "64"]
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
        "batch_size=2",
        *model,
    ]
    report = json.loads(run(learn))
    assert report["steps"] == 4
    assert report["init_text"] == TEXT
    assert vii.load_edit(edit).space.model == "FLUX.2-klein-base-4B"
    photo, one, two = (str(tmp_path / name) for name in ("photo.png", "one.png", "two.png"))
    run(["apply", edit, photo, "-o", one, "--steps", "2", *model])
    model[3] = str(folders / "FLUX.2-klein-4B")
    run(["apply", f"{edit}:0.5", f"{edit}:0.5", photo, "-o", two, *model])
    made = [vii.load_image(path) for path in (photo, one, two)]
    assert {image.shape for image in made} == {(3, 64, 64)}
    assert not any(torch.equal(made[i], made[i - 1]) for i in range(3))
    learn[learn.index("--model") + 1] = model[3]
    result = CliRunner().invoke(main, [*learn, "--overwrite"])
    assert result.exit_code == 0, result.output
    assert "learn on the base model" in result.stderr


def run(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_kinds_of_editors_are_told(folders):
    assert "klein" in run(["editors"])
    assert isinstance(vii.load_editor("klein", model=str(folders / "FLUX.2-klein-4B"), **OPTIONS), KleinEditor)
