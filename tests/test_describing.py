"""The marked grid, and a vision-language model of transformers asked about it."""

import pytest
import torch
from conftest import picture

import vii
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import CaptionerError
from vii.methods.describing import VisionLanguageModel, marked
from vii.methods.grid import Grid

GRID = Grid.within(256, margin=2, gap=2)
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)


def test_letters_and_arrows_are_where_they_belong():
    canvas = GRID.draw([vii.Pair(picture(1) * 0 + 0.5, picture(2) * 0 + 0.5)], picture(3) * 0 + 0.5)
    found = marked(GRID, canvas)
    changed = (found - canvas).abs().amax(0) > 0.01
    red = (found[0] > 0.9) & (found[1:].amax(0) < 0.1)
    for row in (0, 1):
        for column in (False, True):
            top, left, bottom, right = GRID.box(row, column)
            assert changed[top : top + 18, left : left + 18].float().mean() > 0.9  # the letter's box
            assert not changed[bottom - 20 : bottom, left:right].any()
    rows = red.any(1).nonzero().flatten()
    assert {int(rows.min()) // 128, int(rows.max()) // 128} == {0, 1}
    columns = red.any(0).nonzero().flatten()
    assert 64 < columns.min() < 128 < columns.max() < 192  # from one cell to the other


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """LLaVA, randomly initialised, on the embedded model's words."""
    import transformers as tf

    torch.manual_seed(0)
    tokenizer = tf.CLIPTokenizer.from_pretrained(EMBEDDED_MODEL / "tokenizer", model_max_length=512)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    vision = tf.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = tf.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = tf.LlavaForConditionalGeneration(
        tf.LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
        )
    )
    images = tf.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = tf.LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # of the class
        chat_template=TEMPLATE,
    )
    folder = tmp_path_factory.mktemp("vlm")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_model_of_transformers_is_asked(tiny, monkeypatch):
    vlm, asked = VisionLanguageModel(str(tiny)), []
    generate = vlm.model.generate
    monkeypatch.setattr(vlm.model, "generate", lambda **inputs: asked.append(inputs) or generate(**inputs))
    first, second = (vlm.ask(marked(GRID, GRID.draw([vii.Pair(picture(s), picture(2))], picture(3)))) for s in (1, 9))
    assert 1 <= len(first.split()) <= 12
    assert second.split()
    assert not torch.equal(asked[0]["pixel_values"], asked[1]["pixel_values"])  # it sees the picture
    told = vlm.processor.tokenizer.decode(asked[0]["input_ids"][0])
    assert "grid" in told.lower()  # and reads the question


def test_answers_are_one_short_line(tiny, monkeypatch):
    vlm = VisionLanguageModel(str(tiny))
    for told, expected in (
        ('"A cat in watercolor."\nBecause it was.', "A cat in watercolor"),
        ("word " * 20, " ".join(["word"] * 12)),
    ):
        monkeypatch.setattr(vlm.processor, "batch_decode", lambda _ids, told=told, **_o: [told])
        assert vlm.ask(picture(1)) == expected
    monkeypatch.setattr(vlm.processor, "batch_decode", lambda _ids, **_o: ["  \n"])
    with pytest.raises(CaptionerError, match="said nothing"):
        vlm.ask(picture(1))


def test_a_folder_that_holds_no_such_model_is_refused(tmp_path):
    with pytest.raises(CaptionerError, match=r"cannot load the vision-language model .*`text`"):
        VisionLanguageModel(str(tmp_path))
