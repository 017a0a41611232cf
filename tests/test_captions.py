"""Starting texts: captions, prompts found by gradient, a worker in a process of its own, and its environment."""

import json
import os
import random
import sys
import textwrap
import time
import zipfile

import pytest
import torch
from click.testing import CliRunner
from conftest import picture
from test_cli import refused, run

import vii
from vii.benchmark import square
from vii.captions import INITS, PezSettings, nearest_captions, pez_steps, shorten, starting_texts
from vii.captions import environment as environments
from vii.captions.blip import BlipCaptioner
from vii.captions.environment import Environment, find_python, is_ready, ready_python, set_up
from vii.captions.lavis import PROGRAM, caption_of, lavis_command
from vii.captions.pez import pez
from vii.captions.worker import Worker
from vii.clip import PromptSpace, load_clip
from vii.demo import demo_photos
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import CaptionerError, EditorError, UsageError
from vii.synthetic import captions, make

FAST = {"steps": 1, "batch_size": 1, "probe_size": 1, "tokens": 4}


@pytest.fixture
def pair():
    """A pair that the embedded CLIP knows."""
    photo = picture(1, 96, 96)
    return vii.Pair(photo, make("sepia").apply(photo))


@pytest.fixture(scope="module")
def clip():
    """The embedded editor's own CLIP."""
    return load_clip(str(EMBEDDED_MODEL / "clip"))


@pytest.fixture(scope="module")
def open_clip_name(tmp_path_factory):
    """A small open_clip model, randomly initialised, on disk."""
    import open_clip

    path = tmp_path_factory.mktemp("open_clip") / "weights.pt"
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), path)
    return f"open_clip:ViT-S-32-alt/{path}"


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory):
    """BLIP as transformers knows it, tiny and randomly initialised, on disk."""
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor
    from transformers import BlipProcessor as Processor

    folder = tmp_path_factory.mktemp("blip")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[DEC]",
        "a",
        "photo",
        "of",
        "the",
        "dog",
        "cat",
        "sky",
        "red",
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        text_config={
            **small,
            **ids,
            "vocab_size": len(words),
            "encoder_hidden_size": 32,
            "max_position_embeddings": 64,
        },
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(3)
    model = BlipForConditionalGeneration(config)
    for parameter in model.parameters():  # far enough from zero that pictures differ in what is said about them
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    Processor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


# --- captions that the joint space knows ------------------------------------------------------------------------------


def test_the_shipped_captions_are_those_that_the_recipe_writes(clip):
    assert list(clip.captions) == captions(2000)
    assert set(captions(50)) < set(captions(100))


def test_the_nearest_captions_describe_the_result(clip):
    named = {}
    for name, word in (("sepia", "sepia"), ("night", "night"), ("thermal", "thermal")):
        after = [make(name).apply(square(photo, 128)) for photo in demo_photos().values()]
        found = nearest_captions(clip, after, 8)
        cosines = [cosine for _, cosine in found]
        assert len(set(found)) == 8
        assert cosines == sorted(cosines, reverse=True)
        named[name] = any(word in caption for caption, _ in found)
    assert sum(named.values()) >= 2, named


def test_a_joint_space_without_captions_has_none_to_choose_among(open_clip_name, pair):
    with pytest.raises(UsageError, match="knows no captions"):
        nearest_captions(load_clip(open_clip_name), [pair.after], 1)


def test_init_caption_needs_no_download_with_the_embedded_editor(embedded, pair):
    texts = starting_texts(embedded, [pair], "caption", 3)
    assert len(texts) == 3
    assert set(texts) <= set(embedded.joint.captions)
    edit = vii.invert(embedded, [pair], vii.InversionSettings(init="caption", init_candidates=3, **FAST))
    assert edit.init_text in texts
    assert edit.training["init"] == "caption"
    assert "init_caption" not in edit.training


# --- BLIP -------------------------------------------------------------------------------------------------------------


def test_blip_gives_what_transformers_own_classes_give(blip_folder, monkeypatch):
    from transformers import BlipForConditionalGeneration, BlipProcessor

    monkeypatch.setattr("vii.captions.blip.BATCH", 2)
    images = [picture(seed, 40, 60) for seed in range(3)]
    captions = BlipCaptioner(str(blip_folder)).caption(images)
    processor = BlipProcessor.from_pretrained(blip_folder)
    model = BlipForConditionalGeneration.from_pretrained(blip_folder).eval()
    for image, caption in zip(images, captions, strict=True):
        pixels = processor.image_processor(images=[image], do_rescale=False, return_tensors="pt")
        ids = model.generate(**pixels, num_beams=3, max_new_tokens=30)
        assert caption == processor.decode(ids[0], skip_special_tokens=True)
    assert captions == BlipCaptioner(str(blip_folder)).caption(images)


def test_learning_from_a_caption_by_blip(blip_folder, pair, tmp_path):
    """From the command line to the edit file, with a caption that is too long for the embedded text encoder."""
    vii.save_image(pair.before, tmp_path / "before.png")
    vii.save_image(pair.after, tmp_path / "after.png")
    sets = [part for name, value in FAST.items() if name != "tokens" for part in ("--set", f"{name}={value}")]
    pictures = [tmp_path / "before.png", tmp_path / "after.png"]
    out, _ = run(
        *("learn", *pictures, "-o", tmp_path / "e.safetensors", "--init", "caption", "--captioner", blip_folder, *sets)
    )
    edit = vii.load_edit(tmp_path / "e.safetensors")
    said = BlipCaptioner(str(blip_folder)).caption([vii.load_image(pictures[1])])[0]
    assert edit.training["init"] == "caption"
    assert edit.init_text
    assert said.startswith(edit.init_text)
    if edit.init_text != said:
        assert edit.training["init_caption"] == said
        assert f"the caption '{said}' was shortened" in " ".join(out.split())


def test_a_captioner_that_cannot_be_loaded_says_what_to_do(tmp_path, toy, pair, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CaptionerError, match=r"'Salesforce/blip-image-captioning-base' .*local copy.*'none'"):
        starting_texts(toy, [pair], "caption", 1)  # no joint space: BLIP is the default
    with pytest.raises(CaptionerError, match="cannot load the captioner"):
        BlipCaptioner(str(tmp_path))


# --- captions that are too long ---------------------------------------------------------------------------------------


def test_captions_are_shortened_at_a_word_and_words_are_refused(toy, pair, monkeypatch):
    long = "one two three four five six seven eight nine ten"
    assert shorten(toy, "one two") == "one two"
    assert shorten(toy, "") == ""
    assert shorten(toy, long) == "one two three four five six"  # the toy editor takes six words
    with pytest.raises(UsageError):
        vii.invert(toy, [pair], vii.InversionSettings(init=long, **FAST))
    monkeypatch.setattr("vii.captions.blip.BlipCaptioner.__init__", lambda self, model, device: None)
    monkeypatch.setattr("vii.captions.blip.BlipCaptioner.caption", lambda self, images: [long] * len(images))
    edit = vii.invert(toy, [pair], vii.InversionSettings(init="caption", **FAST))
    assert edit.init_text == "one two three four five six"
    assert edit.training["init_caption"] == long


def test_a_first_word_that_does_not_fit_is_refused(embedded):
    with pytest.raises(UsageError, match="tokens long"):
        shorten(embedded, "\u6f22" * 200 + " two")


# --- PEZ --------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["embedded", "open_clip"])
def space(request, clip, open_clip_name):
    """The two kinds of joint space."""
    return clip if request.param == "embedded" else load_clip(open_clip_name)


def encode(space, text):
    """Ids of a text without the marks of its beginning and end."""
    if hasattr(space.tokenizer, "encoder"):
        return space.tokenizer.encode(text)
    return space.tokenizer(text, add_special_tokens=False).input_ids


def test_pez_lowers_its_loss_and_finds_real_tokens(space, pair):
    assert isinstance(space, PromptSpace)
    steps = list(pez_steps(space, [pair], PezSettings(tokens=5, steps=12), seed=1))
    assert [step.step for step in steps] == list(range(13))
    assert steps[-1].best_loss < steps[0].loss - 0.05
    assert steps[-1].best_loss == min(step.loss for step in steps)
    words = steps[-1].best.split(" ")
    assert len(words) == 5
    assert len(encode(space, steps[-1].best)) == 5
    # The loss that was reported is that of the text, encoded anew by the model's own text encoder.
    feature, target = space.text_features([steps[-1].best])[0], space.image_features([pair.after])[0]
    assert 1 - torch.cosine_similarity(feature, target, dim=0).item() == pytest.approx(steps[-1].best_loss, abs=1e-4)


def test_any_words_of_the_table_are_encoded_as_those_very_tokens(space):
    tower = space.prompt_tower(10)
    ids = dict(zip(tower.words, space._words, strict=True))
    assert len(ids) == len(tower.words) == len(tower.table) > 500
    rng = random.Random(0)
    for _ in range(200):
        words = rng.choices(tower.words, k=10)
        assert encode(space, " ".join(words)) == [ids[word] for word in words]


def test_the_tower_leaves_the_model_as_it_was(clip):
    before = clip.text_features(["make it night"])
    tower = clip.prompt_tower(3)
    tower.features(torch.randn(3, tower.table.shape[1]))
    assert torch.equal(clip.text_features(["make it night"]), before)
    assert all(parameter.grad is None for parameter in clip.model.parameters())


def test_one_pez_update_is_algorithm_1_written_out(clip, pair):
    """Projection by cosine, gradient at the projected point, AdamW on the continuous one: PEZ, Algorithm 1."""
    first, second = pez_steps(clip, [pair], PezSettings(tokens=3, steps=1), seed=4)
    tower = clip.prompt_tower(3)
    start = tower.table[torch.randint(len(tower.words), (3,), generator=torch.Generator().manual_seed(4))]
    point = start.clone().requires_grad_(True)  # drawn from the table: its own nearest neighbour
    target = clip.image_features([pair.after])[0]
    loss = 1 - torch.cosine_similarity(tower.features(point), target, dim=0)
    loss.backward()
    assert first.loss == pytest.approx(loss.item(), abs=1e-5)
    # The first update of AdamW moves every number by the learning rate, after decaying it.
    moved = start * (1 - 0.1 * 0.1) - 0.1 * point.grad / (point.grad.abs() + 1e-8)
    nearest = [torch.cosine_similarity(row, tower.table, dim=1).argmax() for row in moved]
    prompt = tower.table[torch.stack(nearest)]
    expected = 1 - torch.cosine_similarity(tower.features(prompt), target, dim=0)
    assert second.loss == pytest.approx(expected.item(), abs=1e-4)


def test_pez_settings_change_the_prompt_and_the_seed_repeats_it(clip, pair):
    base = {"tokens": 4, "steps": 6}

    def last(seed=0, **changes):
        return list(pez_steps(clip, [pair], PezSettings(**{**base, **changes}), phrases=["make it red"], seed=seed))[-1]

    reference = last()
    assert last() == reference
    assert last(seed=1).best != reference.best
    for change in (
        {"tokens": 3},
        {"steps": 12},
        {"target": "direction"},
        {"learning_rate": 0.01},
        {"weight_decay": 9.0},
    ):
        assert (last(**change).loss, last(**change).best) != (reference.loss, reference.best), change


def test_pez_towards_the_direction_minimises_the_angle_to_it(clip, pair):
    phrases = ["make it night", "make it red"]
    *_, last = pez_steps(clip, [pair], PezSettings(tokens=4, steps=10, target="direction"), phrases=phrases)
    unit = torch.nn.functional.normalize
    direction = unit(clip.image_features([pair.after])) - unit(clip.image_features([pair.before]))
    feature = unit(clip.text_features([last.best])) - unit(clip.text_features(phrases)).mean(0)
    assert 1 - torch.cosine_similarity(feature, direction).item() == pytest.approx(last.best_loss, abs=1e-4)


def test_ctrl_c_ends_the_search_with_the_best_prompt_so_far(clip, pair, monkeypatch):
    notes = []

    def interrupted(*arguments, **options):
        for step in pez_steps(*arguments, **options):
            if step.step == 5:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr("vii.captions.pez.pez_steps", interrupted)
    best = pez(clip, [pair], PezSettings(tokens=3, steps=1000), watch=notes.append)
    assert best == list(pez_steps(clip, [pair], PezSettings(tokens=3, steps=4)))[-1].best
    assert "stopped early" in notes[-1]


def test_prompts_that_cannot_be_searched_for(clip, toy, embedded, pair):
    for bad in ({"tokens": 0}, {"steps": 0}, {"target": "before"}):
        with pytest.raises(UsageError, match=f"pez_{next(iter(bad))}"):
            PezSettings(**bad)
    with pytest.raises(UsageError, match="pez_steps must be at least 1"):
        vii.InversionSettings(pez_steps=0)
    with pytest.raises(UsageError, match="takes 30"):
        clip.prompt_tower(31)
    with pytest.raises(UsageError, match="no joint image-text space to search"):
        starting_texts(toy, [pair], "pez", 1)
    with pytest.raises(EditorError, match="with --captioner"):
        starting_texts(embedded, [pair], "pez", 1, captioner="open_clip:NoSuchModel/openai")
    with pytest.raises(UsageError, match="a captioner is for init caption, pez, lavis"):
        starting_texts(embedded, [pair], "make it red", 1, captioner="x")


@pytest.mark.parametrize(
    "change", [{"pez_tokens": 3}, {"pez_steps": 9}, {"pez_target": "direction"}, {"captioner": ""}]
)
def test_pez_settings_of_a_recipe_are_read(embedded, pair, change, open_clip_name):
    change = change if "captioner" not in change else {"captioner": open_clip_name}
    base = {**FAST, "init": "pez", "pez_tokens": 4, "pez_steps": 5}
    notes = []
    *_, step = vii.invert_steps(embedded, [pair], vii.InversionSettings(**base), watch=notes.append)
    assert step.best().training["init"] == "pez"
    assert notes[0].startswith("0 of 5, cosine ")
    changed = vii.invert(embedded, [pair], vii.InversionSettings(**{**base, **change}))
    assert changed.init_text != step.best().init_text


# --- the worker -------------------------------------------------------------------------------------------------------

FAKE = """
    import json, sys, time
    mode = sys.argv[1]
    def say(**answer):
        print(json.dumps(answer), flush=True)
    if mode == "no weights":
        say(error="cannot load 'x': no weights")
        sys.exit(0)
    if mode == "slow start":
        time.sleep(60)
    if mode == "not ready":
        say(hello=1)
    say(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        if mode == "death":
            sys.stderr.write("Segmentation fault\\n")
            sys.exit(3)
        if mode == "garbage":
            print("Downloading: 10%", flush=True)
        if mode == "binary":
            sys.stdout.buffer.write(b"\\xff\\x00\\n"); sys.stdout.flush()
        if mode == "endless":
            sys.stdout.write("[" * 200000); sys.stdout.flush()
        if mode == "list":
            print("[1]", flush=True)
        if mode == "silence":
            time.sleep(60)
        if mode == "other id":
            say(id=7, caption="of another picture")
        if mode == "no text":
            say(id=request["id"], caption=5)
        if mode == "error":
            say(id=request["id"], error="OSError: cannot identify image file")
        say(id=request["id"], caption=" a  photo of " + request["image"])
"""


@pytest.fixture
def fake(tmp_path):
    """Starts a worker that misbehaves as told."""
    script = tmp_path / "fake.py"
    script.write_text(textwrap.dedent(FAKE))

    def start(mode, **options):
        return Worker([sys.executable, "-I", str(script), mode], name="fake", **options)

    return start


def test_a_worker_answers_until_it_is_closed(fake, tmp_path):
    with fake("well") as worker:
        assert [caption_of(worker, tmp_path / name) for name in ("1.png", "2.png")] == [
            f"a photo of {tmp_path / name}" for name in ("1.png", "2.png")
        ]
    assert worker.process.returncode == 0


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("death", r"died \(exit code 3; Segmentation fault\)"),
        ("garbage", "spoke nonsense: expected a line of JSON, got 'Downloading: 10%"),
        ("binary", "spoke nonsense"),
        ("endless", "spoke nonsense"),
        ("list", "spoke nonsense"),
        ("silence", "did not answer within 0.5 seconds"),
        ("other id", "an answer to request 7 instead of 1"),
        ("no text", "expected a caption, got 5"),
        ("error", "reports: OSError: cannot identify image file"),
    ],
)
def test_a_worker_that_misbehaves_is_one_clear_error_and_is_ended(fake, tmp_path, mode, message):
    started = time.monotonic()
    with (
        pytest.raises(CaptionerError, match=message),
        fake(mode, answer_seconds=0.5 if mode == "silence" else 60) as it,
    ):
        caption_of(it, tmp_path / "1.png")
    assert it.process.poll() is not None
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("no weights", "reports: cannot load 'x': no weights"),
        ("slow start", "did not answer within 0.5 seconds"),
        ("not ready", "did not say that it is ready"),
    ],
)
def test_a_worker_that_does_not_begin(fake, mode, message):
    with pytest.raises(CaptionerError, match=message):
        fake(mode, start_seconds=0.5 if mode == "slow start" else 60)


def test_a_program_that_does_not_exist():
    with pytest.raises(CaptionerError, match=r"cannot be started \(No such file or directory: /nowhere/python\)"):
        Worker(["/nowhere/python"], name="fake")


def test_a_worker_that_is_killed_from_outside(fake, tmp_path):
    with fake("well") as worker:
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(CaptionerError, match=r"died \(exit code -9; it said nothing\)"):
            caption_of(worker, tmp_path / "1.png")


# --- LAVIS ------------------------------------------------------------------------------------------------------------

LAVIS = """
    class Registry:
        def get_model_class(self, name):
            return None if name == "unknown" else object
    registry = Registry()
    def load_preprocess(config):
        raise NotImplementedError
    def load_model_and_preprocess(name, model_type, is_eval, device):
        import torch
        print("Downloading the weights of", name)  # as LAVIS does, on standard output
        assert is_eval and device == "cpu"
        class Model:
            def generate(self, samples):
                value = samples["image"].mean().item()
                if value > 0.9:
                    raise RuntimeError("too bright\\nfor this model")
                return [f"a {name} of {model_type}, {'dark' if value < 0.5 else 'bright'}"]
        return Model(), {"eval": lambda image: torch.tensor(list(image.resize((4, 4)).getdata())) / 255}, None
"""


@pytest.fixture
def lavis(tmp_path, monkeypatch):
    """The real worker with this interpreter, and in place of salesforce-lavis a stand-in with its functions."""
    package = tmp_path / "site" / "lavis"
    (package / "common").mkdir(parents=True)
    (package / "models").mkdir()
    (package / "__init__.py").write_text("")
    (package / "common/__init__.py").write_text("")
    (package / "common/registry.py").write_text(textwrap.dedent(LAVIS))
    (package / "models/__init__.py").write_text("from ..common.registry import *")
    (tmp_path / "site/omegaconf.py").write_text("class OmegaConf: pass")
    launcher = tmp_path / "python"
    code = f"import runpy, sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); sys.argv = sys.argv[2:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -I -W ignore -c "{code}" "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setattr("vii.captions.lavis.ready_python", lambda name: launcher)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for the interpreter is a shell script")
def test_lavis_captions_pictures_in_its_own_process(lavis, toy):
    dark, bright, white = (torch.full((3, 8, 8), value) for value in (0.2, 0.7, 1.0))
    assert starting_texts(toy, [vii.Pair(bright, dark), vii.Pair(dark, bright)], "lavis", 1) == [
        "a blip_caption of base_coco, dark",
        "a blip_caption of base_coco, bright",
    ]
    assert starting_texts(toy, [vii.Pair(dark, dark)], "lavis", 1, captioner="blip2_opt/caption_coco_opt2.7b") == [
        "a blip2_opt of caption_coco_opt2.7b, dark"
    ]
    with pytest.raises(CaptionerError, match=r"reports: RuntimeError: too bright$"):
        starting_texts(toy, [vii.Pair(dark, white)], "lavis", 1)
    with pytest.raises(CaptionerError, match="cannot load 'unknown/x': ValueError: LAVIS has no model 'unknown'"):
        starting_texts(toy, [vii.Pair(dark, dark)], "lavis", 1, captioner="unknown/x")


def test_lavis_models_are_named_as_its_zoo_or_by_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("vii.captions.lavis.ready_python", lambda name: "python")
    assert lavis_command("blip_caption/large_coco", "cuda")[1:] == [
        "-I",
        str(PROGRAM),
        "blip_caption/large_coco",
        "cuda",
    ]
    (tmp_path / "mine.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert lavis_command("mine.yaml", "mps")[-2:] == [str(tmp_path / "mine.yaml"), "cpu"]
    with pytest.raises(UsageError, match=r"nowhere.yaml: no such file"):
        lavis_command("nowhere.yaml")
    for bad in ("blip", "a/b/c", "a b/c", "-c/x y"):
        with pytest.raises(UsageError, match="ARCHITECTURE/TYPE"):
            lavis_command(bad)


# --- its environment --------------------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """`lavis` needs a small wheel on disk instead of LAVIS, in a cache folder of its own."""
    path = tmp_path / "standin-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("standin/__init__.py", "")
        archive.writestr("standin-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n")
        archive.writestr(
            "standin-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("standin-1.0.dist-info/RECORD", "")
    monkeypatch.setattr(environments, "cache_folder", lambda: tmp_path / "cache")

    def need(*requirements, module="standin"):
        entry = Environment(sys.version_info[:2], requirements, module, "nothing")
        monkeypatch.setattr(environments, "ENVIRONMENTS", {"lavis": entry})

    need(str(path))
    return path, need


def test_an_environment_is_made_gone_on_with_and_removed(wheel, tmp_path):
    path, need = wheel
    offline = "--no-index"
    need(offline, str(tmp_path / "missing-1.0-py3-none-any.whl"))
    message = refused("captioner", "setup", "lavis")
    assert "missing-1.0" in message
    assert "again to go on" in message
    assert "install.log" in message
    assert not is_ready("lavis")
    folder = tmp_path / "cache/captioners/lavis"
    made = (folder / "pyvenv.cfg").stat().st_mtime_ns

    need(offline, str(path), module="no_such_module")
    with pytest.raises(CaptionerError, match=r"No module named 'no_such_module'.*start afresh"):
        set_up("lavis")

    need(offline, str(path))
    assert run("captioner", "setup", "lavis")[0].strip() == str(folder)
    assert (folder / "pyvenv.cfg").stat().st_mtime_ns == made  # what was there is used
    assert ready_python("lavis").exists()
    assert json.loads(run("captioner", "list", "--json")[0])[-1]["state"] == "ready"
    need(offline, str(path), "another")
    assert not is_ready("lavis")  # made for other requirements

    assert str(folder) in run("captioner", "remove", "lavis")[0]
    assert not folder.exists()
    assert "not set up" in refused("captioner", "remove", "lavis")


def test_interpreters_that_will_not_do(wheel, tmp_path, monkeypatch):
    _, need = wheel
    need()
    assert find_python(sys.version_info[:2]) == sys.executable
    with pytest.raises(CaptionerError, match=r"not an interpreter of Python 2\.4"):
        find_python((2, 4), sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "python2.4").write_text("#!/bin/sh\necho 'python2.4: command not found'; exit 127\n")
    (tmp_path / "python2.4").chmod(0o755)
    with pytest.raises(CaptionerError, match=r"no Python 2\.4 found.*--python"):
        find_python((2, 4))
    assert "not an interpreter" in refused("captioner", "setup", "lavis", "--python", "/nowhere/python")


def test_the_cache_folder_follows_the_system(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert environments.cache_folder() == tmp_path / ".cache/vii"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert environments.cache_folder() == tmp_path / "c/vii"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert environments.cache_folder() == tmp_path / "Library/Caches/vii"


# --- the command line -------------------------------------------------------------------------------------------------


def test_captioner_commands_refuse_in_one_line(wheel, tmp_path):
    assert "did you mean 'lavis'" in refused("captioner", "setup", "lavsi")
    assert "unknown captioner" in refused("captioner", "remove", "../..")
    assert "No such command" in refused("captioner", "install")
    (tmp_path / "cache").write_text("")
    assert "XDG_CACHE_HOME" in refused("captioner", "setup", "lavis")


def test_learn_refuses_bad_captioners_in_one_line(tmp_path, pair, monkeypatch, wheel):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    vii.save_image(pair.before, tmp_path / "b.png")
    learn = ["learn", tmp_path / "b.png", tmp_path / "b.png", "-o", tmp_path / "e.safetensors"]
    assert "cannot fetch the captioner 'no/such'" in refused(*learn, "--init", "caption", "--captioner", "no/such")
    assert "run 'vii captioner setup lavis'" in refused(*learn, "--init", "lavis")
    assert "a captioner is for init" in refused(*learn, "--init", "none", "--captioner", "x")
    assert "cannot load the CLIP model 'no/such'" in refused(*learn, "--init", "pez", "--captioner", "no/such")
    assert "pez_target must be one of" in refused(*learn, "--init", "pez", "--set", "pez_target=before")


def test_list_names_every_init_and_so_does_the_page_on_learning(wheel):
    from test_docs import DOCS, section

    told = section(DOCS["vii/inversion/README.md"], "## The starting text")

    out = CliRunner().invoke(vii.cli.main, ["captioner", "list"]).output
    for name in INITS:
        assert f" {name} " in out
        assert f"| `{name}` |" in told
