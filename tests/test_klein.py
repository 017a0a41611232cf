"""What FLUX.2 has of its own: base and distilled models, layers, padding; the rest is in test_flow_editor.py."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import picture
from flow_families import BARE, FAMILIES, OPTIONS, QUICK, TEXT, Family, Tiny
from tiny_flows import klein_pipeline
from transformers import Qwen3Config

import vii
from vii.clip import Beside
from vii.diffusion import Noise
from vii.editors.flow import SPREAD_TEXTS
from vii.editors.klein import layers_of, relatives_of
from vii.editors.turns import Turns
from vii.errors import EditorError, EditorMismatch, UsageError


def distilled_pipeline():
    """Of other weights than the base model; they share the text encoder."""
    pipeline = klein_pipeline(True)
    with torch.no_grad():
        for parameter in pipeline.transformer.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return pipeline


# A guidance that it takes no notice of.
DISTILLED = Family("klein", distilled_pipeline, "FLUX.2-klein-4B", stock={"guidance_scale": 3.0})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Base and distilled, in folders named as the real ones."""
    return tmp_path_factory.mktemp("klein")


@pytest.fixture(scope="module")
def base(folders):
    return Tiny.made(FAMILIES["klein"], folders).editor


@pytest.fixture(scope="module")
def tiny_distilled(folders):
    return Tiny.made(DISTILLED, folders)


@pytest.fixture(scope="module")
def distilled(tiny_distilled):
    return tiny_distilled.editor


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


def test_the_padding_after_the_words_knows_them_and_is_seen(base):
    first, second = base.instruct(TEXT), base.instruct("make it rain")
    assert (first.rows[-1] - second.rows[-1]).abs().max() > 1e-4
    photo = base.encode(picture(1))
    noisy, t = torch.randn(1, *photo.noise_shape), torch.tensor([0.5])
    whole, short = (
        base.predict(noisy, t, photo, replace(first, rows=rows), None) for rows in (first.rows, first.rows[:60])
    )
    assert (whole - short).abs().max() > 1e-4


def test_a_distilled_model_samples_as_the_pipeline(tiny_distilled, monkeypatch):
    editor = tiny_distilled.editor
    photo, image = tiny_distilled.photo(5, 64, 144, monkeypatch)
    ours = editor.edit(image, [(editor.instruct(TEXT), 1.0)], replace(editor.settings, num_inference_steps=3), Noise(7))
    theirs = DISTILLED.picture(tiny_distilled.pipeline, editor, photo, image, 7, monkeypatch)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_strength_on_a_distilled_model_lies_in_the_rows_and_stacking_in_branches(distilled, learned, monkeypatch):
    photo, passes, forward = picture(5), [], distilled.transformer.forward
    monkeypatch.setattr(distilled.transformer, "forward", lambda *a, **k: (passes.append(1), forward(*a, **k))[1])

    def applied(edits, **options):
        passes.clear()
        return vii.apply(distilled, edits, photo, **BARE, **options), len(passes) / BARE["num_inference_steps"]

    start = distilled.instruct(TEXT).tokens
    for weight in (0.5, 1.5, -1.0):
        made, took = applied([(learned, weight)])
        further = replace(learned, tokens=start + weight * (learned.tokens - start))
        torch.testing.assert_close(made, applied(further)[0], rtol=0, atol=1e-6)
        assert took == 1
    whole, _ = applied(learned)
    halves, took = applied([(learned, 0.5), (learned, 0.5)])
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)
    assert took == 2
    nothing, took = applied([(learned, 0.0)])
    settings = replace(distilled.settings, num_inference_steps=BARE["num_inference_steps"])
    null = distilled.edit(distilled.encode(photo), [(distilled.instruct(""), 1.0)], settings, Noise(0))
    torch.testing.assert_close(nothing, null[0], rtol=0, atol=1e-6)
    assert took == 1
    assert applied([(learned, 0.5)], text="at night")[1] == 3
    assert applied([(learned, 0.5)], text="at night", join_text=True)[1] == 1


def test_strength_on_a_base_model_is_the_weight_of_a_branch(base, learned):
    assert not base.strength_in_rows(replace(base.settings, guidance_scale=1.0))
    half = vii.Application(base, [(learned, 0.5)])
    assert half.branches[0][1] == 0.5
    assert torch.equal(half.branches[0][0].tokens, learned.tokens)


def test_more_rows_than_words_stand_behind_them_in_klein_and_before_them_in_dev(base, tmp_path):
    dev = Tiny.made(FAMILIES["dev"], tmp_path).editor
    for editor in (base, dev):
        words = editor.instruct(TEXT)
        start, stop = words.with_length(20).free
        assert stop - start == 20
        assert start <= words.free[0]
        assert stop >= words.free[1]
        assert (start < words.free[0]) == (editor is dev)
        assert words.with_length(5).free == (words.free[0], words.free[0] + 5)
    with pytest.raises(UsageError, match=r"room for 1 to 1\d\d"):  # neither its padding nor the first token
        dev.instruct(TEXT).with_length(400)
    assert (dev.settings.guidance_scale, dev.advice, dev.space.encoder.split()[0]) == (
        4.0,
        "",
        "Mistral3ForConditionalGeneration",
    )


def test_the_spread_is_that_of_words_alone(base):
    words = torch.cat([base.instruct(text).tokens for text in SPREAD_TEXTS])
    torch.testing.assert_close(base.instruct("").spread, words.std(0), rtol=1e-4, atol=1e-6)


def test_base_and_distilled_take_each_others_edits_but_not_settings(base, distilled, learned, tmp_path):
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


def test_learning_on_the_distilled_model_is_warned_of(distilled, pair):
    with pytest.warns(UserWarning, match="learn on the base model"):
        vii.invert(distilled, [pair], replace(QUICK, max_train_steps=1))


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
    assert moves == ["text meta", "text cpu", "networks meta", "networks cpu", "text meta"]


def test_what_is_no_klein_is_refused(base, folders, tmp_path):
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
    (other / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    with pytest.raises(EditorError, match="Flux2KleinPipeline or Flux2Pipeline"):
        load(other)
