"""Starting texts: captions, and prompts found by gradient."""

import random

import pytest
import torch
from conftest import picture, saved
from test_cli import run

import vii
from vii.captions import nearest_captions, pez_steps, shorten, starting_texts
from vii.captions.blip import BlipCaptioner
from vii.captions.pez import pez
from vii.clip import load_clip
from vii.demo import demo_photos
from vii.errors import CaptionerError, EditorError, UsageError
from vii.evaluation.synthetic import captions, make
from vii.evaluation.tasks import square
from vii.prompt_tower import PromptSpace

FAST = {"max_train_steps": 1, "batch_size": 1, "probe_size": 1, "tokens": 4}


@pytest.fixture
def pair():
    """A pair that the embedded CLIP knows."""
    photo = picture(1, 96, 96)
    return vii.Pair(photo, make("sepia").apply(photo))


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
    pictures = saved(tmp_path, before=pair.before, after=pair.after)
    sets = [part for name, value in FAST.items() if name != "tokens" for part in ("--set", f"{name}={value}")]
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
        vii.invert(toy, [pair], vii.InversionSettings(init="text", init_text=long, **FAST))
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
    steps = list(pez_steps(space, [pair], tokens=5, steps=12, seed=1))
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
    first, second = pez_steps(clip, [pair], tokens=3, steps=1, seed=4)
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
        return list(pez_steps(clip, [pair], **base | changes, phrases=["make it red"], seed=seed))[-1]

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
    *_, last = pez_steps(clip, [pair], tokens=4, steps=10, target="direction", phrases=phrases)
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
    best = pez(clip, [pair], tokens=3, steps=1000, watch=notes.append)
    assert best == list(pez_steps(clip, [pair], tokens=3, steps=4))[-1].best
    assert "stopped early" in notes[-1]


def test_prompts_that_cannot_be_searched_for(clip, toy, embedded, pair):
    for bad in ({"pez_tokens": 0}, {"pez_steps": 0}, {"pez_target": "before"}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            vii.InversionSettings(**bad)
    with pytest.raises(UsageError, match="takes 30"):
        clip.prompt_tower(31)
    with pytest.raises(UsageError, match="no joint image-text space to search"):
        starting_texts(toy, [pair], "pez", 1)
    with pytest.raises(EditorError, match="as `captioner`"):
        starting_texts(embedded, [pair], "pez", 1, captioner="open_clip:NoSuchModel/openai")
    with pytest.raises(UsageError, match="a captioner is for init caption, pez, lavis"):
        starting_texts(embedded, [pair], "make it red", 1, captioner="x")


@pytest.mark.parametrize(
    "change", [{"pez_tokens": 3}, {"pez_steps": 40}, {"pez_target": "direction"}, {"captioner": ""}]
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
