"""Learning in the input embeddings of a text encoder, and taking what was learned to other programs."""

import dataclasses
import json

import diffusers
import pytest
import torch
from conftest import EXACT, picture, tiny_pipeline, weights_of
from safetensors.torch import load_file
from test_cli import printed as run

import vii
from vii.diffusion import Noise
from vii.editor import INPUT_EMBEDDING, SPACES
from vii.editors.ip2p import Ip2pSettings
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import EditorMismatch, OutputError, UsageError
from vii.interop.prompt_embeds import export_npz, import_prompt_embeds, prompt_embeds
from vii.interop.textual_inversion import check_textual_inversion, export_textual_inversion, token_name

TEXT = "make it a watercolor"
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def before(tiny_folder):
    """The tiny editor, learning before its text encoder."""
    editor = vii.load_editor("ip2p", model=str(tiny_folder), clip="none", space="input", **EXACT)
    editor.resolution = 32
    return editor


@pytest.fixture(scope="module")
def before_controlnet(controlnet_folders):
    base, control = map(str, controlnet_folders)
    editor = vii.load_editor("controlnet", model=base, controlnet=control, clip="none", space="input", **EXACT)
    editor.resolution = 32
    return editor


@pytest.fixture(scope="module")
def edit(before):
    """An edit whose tokens are far from any word's."""
    tokens = 0.05 * torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    return vii.Edit(tokens, before.space, "ip2p", TEXT, 1, 32, title="Water colour!")


@pytest.fixture(scope="module")
def pair():
    return vii.Pair(picture(1, 32, 32), picture(2, 32, 32))


def pipeline_of(folder):
    """A fresh one: loading a textual inversion changes its tokenizer and text encoder."""
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# --- rows


@pytest.mark.parametrize("text", ["", "red", TEXT, "red " * 75])
def test_a_text_is_read_exactly_as_after_the_encoder(tiny, before, text):
    after, early = tiny.instruct(text), before.instruct(text)
    assert early.free == after.free
    assert early.rows.shape == (before.space.length, before.space.width)
    assert not torch.equal(early.rows, after.rows)
    assert torch.equal(early.encoded().rows, after.rows)
    read = early.encoded()
    assert read.encoded() is read
    assert after.encoded() is after


def test_rows_are_the_tables_own_without_positions(before):
    ids = before.parts.tokenizer(TEXT).input_ids
    table = before.parts.text_encoder.get_input_embeddings().weight
    assert torch.equal(before.instruct(TEXT).rows[: len(ids)], table[ids])
    assert before.instruct(TEXT).scale == pytest.approx(float(table.std()))


def test_the_space_differs_in_its_kind_alone(tiny, before):
    assert before.space == dataclasses.replace(tiny.space, kind="input_embedding")


@pytest.mark.parametrize("k", [1, 3, 12])
def test_nothing_but_eos_and_padding_follows_the_free_rows(before, k):
    """A longer text is cut, a shorter one goes on with EOS and padding."""
    start = before.instruct(TEXT)
    words, made = len(start.tokens), start.with_length(k)
    empty = before.instruct("")
    assert made.free == (1, 1 + k)
    assert torch.equal(made.rows[1 + k :], empty.rows[1 : 77 - k])
    assert torch.equal(made.rows[: 1 + min(k, words)], start.rows[: 1 + min(k, words)])
    assert before.instruct(TEXT).with_length(words).rows.equal(start.rows)
    with pytest.raises(UsageError, match="leave none of 77 rows for EOS"):
        start.with_span(1, 77)


def test_the_instruction_of_an_edit_depends_on_nothing_but_its_tokens(before, edit):
    made = [edit.instruction(before.instruct(text)).rows for text in (TEXT, "", "red " * 70)]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("name", ["before", "before_controlnet"])
def test_the_gradient_reaches_the_free_rows_and_nothing_else(request, name, guided, pair):
    editor = request.getfixturevalue(name)
    start = editor.instruct(TEXT).with_length(3)
    tokens = start.tokens.clone().requires_grad_(True)
    rows = [start.rows.clone(), tokens]
    guidance = dataclasses.replace(editor.settings, guidance_scale=3.0) if guided else None
    encodings = editor.encode(pair.before), editor.encode(pair.after)
    noise = torch.randn(2, *encodings[0].noise_shape)
    editor.loss(*encodings, start.with_tokens(tokens), torch.tensor([0.3, 0.7]), noise, guidance).sum().backward()
    assert (tokens.grad.abs().sum(1) > 0).all()
    assert torch.equal(start.rows, rows[0])
    modules = (editor.parts.unet, editor.parts.vae, editor.parts.text_encoder)
    assert all(parameter.grad is None for module in modules for parameter in module.parameters())


def test_the_loss_of_a_text_is_that_after_the_encoder(tiny, before, pair):
    t, noise = torch.tensor([0.2, 0.6]), torch.randn(2, 4, 16, 16)
    losses = [e.loss(e.encode(pair.before), e.encode(pair.after), e.instruct(TEXT), t, noise) for e in (tiny, before)]
    assert torch.equal(*losses)


def test_the_encoder_runs_once_a_loss_and_once_a_branch_of_an_edit(before, pair):
    """Not once for every branch of a guided loss, nor for every step of sampling."""
    encoding, calls = before.encode(pair.before), []
    assert before.parts.null.rows.shape == (77, 32)  # computed once an editor
    hook = before.parts.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        settings = Ip2pSettings(num_inference_steps=3)
        start = before.instruct(TEXT)
        noise = torch.randn(2, *encoding.noise_shape)
        before.edit(encoding, [(start, 1.0), (start, 0.5)], settings, Noise(0))
        assert len(calls) == 2
        calls.clear()
        before.loss(encoding, encoding, start, torch.tensor([0.5, 0.6]), noise, settings)
        assert len(calls) == 1
    finally:
        hook.remove()


def test_half_precision_learns_float32_tokens(tiny_folder, pair):
    options = {"clip": "none", "dtype": "bfloat16", "device": "cpu", "space": "input"}
    editor = vii.load_editor("ip2p", model=str(tiny_folder), **options)
    editor.resolution = 32
    found = vii.invert(
        editor,
        [pair],
        vii.InversionSettings(init="text", init_text="red", max_train_steps=2, batch_size=2, probe_size=2, tokens=3),
    )
    assert found.tokens.dtype == torch.float32
    assert torch.isfinite(found.tokens).all()


# --- learning and applying


@pytest.mark.parametrize("name", ["before", "before_controlnet"])
def test_learning_lowers_the_loss_and_changes_no_model(request, name, pair):
    editor = request.getfixturevalue(name)
    frozen = weights_of(editor.parts.unet)
    settings = vii.InversionSettings(
        init="text", init_text=TEXT, tokens=4, max_train_steps=25, batch_size=4, probe_size=8, learning_rate=0.5
    )
    learned = vii.invert(editor, [pair], settings, seed=0)
    assert learned.training["loss"] < learned.training["loss_start"]
    assert learned.space.kind == INPUT_EMBEDDING
    assert learned.tokens.shape == (4, 32)
    assert weights_of(editor.parts.unet) == frozen
    result = vii.apply(editor, learned, picture(3, 32, 32), num_inference_steps=2)
    assert torch.isfinite(result).all()


def test_learning_rates_are_in_units_of_the_embeddings(before, tiny, pair):
    settings = vii.InversionSettings(
        init="text", init_text="red", tokens=2, max_train_steps=1, batch_size=2, probe_size=2, lr_warmup_steps=0
    )
    rates = [list(vii.invert_steps(editor, [pair], settings))[-1].learning_rate for editor in (tiny, before)]
    assert rates[0] == settings.learning_rate
    assert rates[1] == pytest.approx(settings.learning_rate * before.instruct("").scale)


def test_the_clip_term_sees_the_rows_after_the_encoder(before, pair, monkeypatch):
    seen = []

    class Joint:
        captions = ()

        def image_features(self, images):
            return torch.stack([image.mean((1, 2)) for image in images])

        def project(self, rows):
            seen.append(rows)
            return rows.mean(0)[:3]

    monkeypatch.setitem(before.parts.__dict__, "joint", Joint())
    settings = vii.InversionSettings(
        init="text", init_text=TEXT, tokens=0, max_train_steps=1, batch_size=1, probe_size=1, clip_weight=0.1
    )
    step = list(vii.invert_steps(before, [pair], settings))[-1]
    assert step.clip is not None
    torch.testing.assert_close(seen[0], before.instruct(TEXT).encoded().rows)


def test_the_embedded_editor_learns_there_with_its_clip(pair):
    editor = vii.load_editor("embedded", space="input", **EXACT)
    settings = vii.InversionSettings(
        init="text", init_text="make it night", tokens=3, max_train_steps=3, batch_size=1, probe_size=2, clip_weight=1
    )
    learned = vii.invert(editor, [pair], settings)
    assert (learned.space.kind, learned.editor) == (INPUT_EMBEDDING, "embedded")


def test_words_go_with_an_edit_as_a_branch_and_joined(before, edit, tiny_folder):
    image, options = picture(3, 32, 32), {"num_inference_steps": 3, "scheduler": "model"}
    branch = vii.apply(before, edit, image, text="at night", **options)
    joined = vii.apply(before, edit, image, text="at night", join_text=True, **options)
    assert not torch.equal(branch, joined)
    tail = edit.instruction(before.instruct(TEXT)).joined(before.instruct("at night"))
    words = before.instruct("at night")
    assert torch.equal(tail.rows[6:], words.rows[1:72])
    with pytest.raises(UsageError, match="do not fit"):
        vii.apply(before, edit, image, text="red " * 72, join_text=True)


def test_words_alone_give_the_same_picture_in_both_spaces(tiny, before):
    one, two = (vii.apply(e, None, picture(3, 32, 32), text=TEXT, num_inference_steps=2) for e in (tiny, before))
    assert torch.equal(one, two)


# --- files and refusals


def test_the_edit_file_names_the_space_and_the_wrong_editor_is_refused(tmp_path, tiny, before, edit):
    vii.save_edit(edit, tmp_path / "e.safetensors")
    loaded = vii.load_edit(tmp_path / "e.safetensors")
    assert loaded.space == before.space
    assert torch.equal(loaded.tokens, edit.tokens)
    with pytest.raises(EditorMismatch, match=r'kind input_embedding.*load_editor\(\.\.\., space="input"\)'):
        vii.apply(tiny, loaded, picture(1))
    other = dataclasses.replace(edit, space=tiny.space)
    with pytest.raises(EditorMismatch, match=r'kind encoder_output.*space="output"'):
        vii.apply(before, other, picture(1))
    with pytest.raises(UsageError, match=r"input_embedding \(Water colour!\) and encoder_output .*one at a time"):
        vii.apply(before, [(edit, 1.0), (other, 0.5)], picture(1))


def test_spaces_that_there_are_not_are_refused():
    assert set(SPACES) == {"output", "input"}
    with pytest.raises(UsageError, match="expected space output, got input"):
        vii.load_editor("toy", space="input")
    assert vii.load_editor("toy", space="output").space.kind == "encoder_output"
    with pytest.raises(UsageError, match=r"unknown space 'inptu'.*input"):
        vii.load_editor("toy", space="inptu")


def test_the_authors_files_are_not_for_this_space(tmp_path, before):
    torch.save(torch.zeros(77, 32), tmp_path / "p.pt")
    with pytest.raises(UsageError, match="rows of a text encoder's output"):
        import_prompt_embeds(before, tmp_path / "p.pt")


def test_on_the_command_line(tmp_path, monkeypatch, tiny_folder, edit, tiny):
    """Learned with --space, applied and shown without it."""
    monkeypatch.chdir(tmp_path)
    vii.save_image(picture(1, 32, 32), "a.png")
    vii.save_image(picture(2, 32, 32), "b.png")
    fast = [*("--set", "steps=2", "--set", "batch_size=1", "--set", "probe_size=1", "--set", "finish=none")]
    fast += ["--init", "make it night"]
    run("learn", "a.png", "b.png", "-o", "e.safetensors", "--space", "input", "--tokens", 3, *fast)
    assert vii.load_edit("e.safetensors").space.kind == INPUT_EMBEDDING
    assert "input_embedding of CLIPTextModel" in run("show", "e.safetensors")
    run("apply", "e.safetensors", "a.png", "-o", "out.png", "--steps", 1)
    run("apply", "e.safetensors", "a.png", "-o", "out.png", "--steps", 1, "--editor", "embedded")
    vii.save_edit(dataclasses.replace(vii.load_edit("e.safetensors"), space=tiny.space), "o.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("vii.editors.load_editor", None)  # refused before a model is loaded
        out = run("apply", "e.safetensors", "o.safetensors", "a.png", "-o", "out.png", code=1)
    assert "one kind of instruction space" in out
    assert "unknown space" in run("learn", "a.png", "b.png", "-o", "x.safetensors", "--space", "outptu", code=1)


# --- to other programs


def test_the_placeholder_is_made_of_the_title(edit):
    assert token_name(edit) == "<water-colour>"
    assert token_name(dataclasses.replace(edit, title="水彩")) == "<vii-edit>"


@pytest.mark.parametrize("words", ["", " at night"])
def test_diffusers_draws_from_the_exported_file_what_vii_draws(tmp_path, before, tiny_folder, edit, words):
    """Alone, and with words after it, which is what `join_text` does."""
    prompt = export_textual_inversion(edit, tmp_path / "w.safetensors", "diffusers-ti")
    pipeline, image = pipeline_of(tiny_folder), picture(3, 32, 32)
    pipeline.load_textual_inversion(tmp_path / "w.safetensors")
    options = {"num_inference_steps": 4, "guidance_scale": 4.0, "image_guidance_scale": 1.5}
    theirs = pipeline(
        prompt + words, image=image[None], generator=torch.Generator().manual_seed(2), output_type="pt", **options
    ).images[0]
    ours = vii.apply(before, edit, image, text=words.strip(), join_text=True, seed=2, scheduler="model", **options)
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (ours - vii.apply(before, None, image, text="red", seed=2, **options)).abs().max() > 10 * TOLERANCE


def test_the_conditioning_of_the_placeholder_is_exactly_the_edits(tmp_path, before, tiny_folder, edit):
    prompt = export_textual_inversion(edit, tmp_path / "w.safetensors", "diffusers-ti", name="<w>")
    pipeline = pipeline_of(tiny_folder)
    pipeline.load_textual_inversion(str(tmp_path / "w.safetensors"))
    text = pipeline.maybe_convert_prompt(prompt, pipeline.tokenizer)
    ids = pipeline.tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    rows = pipeline.text_encoder(ids).last_hidden_state[0]
    torch.testing.assert_close(rows, edit.instruction(before.instruct(TEXT)).encoded().rows, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["a1111", "comfyui"])
def test_the_other_layouts_hold_one_tensor_that_diffusers_reads_too(tmp_path, tiny_folder, edit, kind):
    prompt = export_textual_inversion(edit, tmp_path / "w.safetensors", kind)
    assert prompt == {"a1111": "w", "comfyui": "embedding:w"}[kind]
    tensors = load_file(tmp_path / "w.safetensors")
    assert list(tensors) == ["emb_params"]
    assert torch.equal(tensors["emb_params"], edit.tokens)
    pipeline = pipeline_of(tiny_folder)
    pipeline.load_textual_inversion(tmp_path / "w.safetensors", token="<w>")
    first = pipeline.tokenizer.convert_tokens_to_ids("<w>")
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight[first : first + 5], edit.tokens)


def test_npz_and_prompt_embeds_hold_what_the_networks_read(tmp_path, before, tiny_folder, edit):
    import numpy as np

    rows = edit.instruction(before.instruct(TEXT)).encoded().rows
    export_npz(edit, before, tmp_path / "w.npz")
    arrays = np.load(tmp_path / "w.npz", allow_pickle=False)
    assert np.array_equal(arrays["prompt_embeds"][0], rows.numpy())
    assert np.array_equal(arrays["negative_prompt_embeds"][0], before.instruct("").encoded().rows.numpy())
    assert torch.equal(prompt_embeds(edit, pipeline_of(tiny_folder))[0], rows)
    with pytest.raises(EditorMismatch):
        prompt_embeds(edit, tiny_pipeline(seed=1))


def test_exports_that_mean_nothing_are_refused(tmp_path, tiny, edit):
    path = tmp_path / "w.safetensors"
    other = dataclasses.replace(edit, space=tiny.space)
    with pytest.raises(UsageError, match=r"encoder output of CLIPTextModel.*space='input'"):
        export_textual_inversion(other, path, "comfyui")
    with pytest.raises(UsageError, match="start at row 3"):
        check_textual_inversion(dataclasses.replace(edit, start=3), "a1111")
    with pytest.raises(UsageError, match="by the name of its file"):
        export_textual_inversion(edit, path, "a1111", name="<w>")
    for name in ("", "two words", "x" * 80, "\x1b[2J"):
        with pytest.raises(UsageError, match="expected a token name"):
            export_textual_inversion(edit, path, "diffusers-ti", name=name)
    with pytest.raises(OutputError, match="up to a space"):
        export_textual_inversion(edit, tmp_path / "two words.safetensors", "comfyui")
    with pytest.raises(OutputError, match=r"named \*\.safetensors"):
        export_textual_inversion(edit, tmp_path / "w.bin", "a1111")
    assert not path.exists()


def test_export_on_the_command_line_needs_no_model(tmp_path, monkeypatch, edit):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vii.editors.load_editor", None)
    vii.save_edit(edit, "w.safetensors")
    report = json.loads(run("export", "w.safetensors", "--format", "diffusers-ti", "--json"))
    assert (report["path"], report["prompt"]) == ("w-embedding.safetensors", "<water-colour>")
    out = run("export", "w.safetensors", "--format", "diffusers-ti", "--token-name", "<x>", "-o", "x.safetensors")
    assert "in a prompt: <x>" in out
    assert list(load_file("x.safetensors")) == ["<x>"]
    assert "is read by this run" in run("export", "w.safetensors", "--format", "a1111", "-o", "w.safetensors", code=1)
    refusal = run("export", "w.safetensors", "--format", "npz", "--token-name", "<x>", code=1)
    assert "is for --format diffusers-ti" in refusal


def test_the_comfyui_node_says_that_it_is_not_needed(edit):
    from vii.interop.comfyui import conditioning

    with pytest.raises(UsageError, match="--format comfyui"):
        conditioning(edit, None)


def test_a_card_loads_the_editor_in_the_right_space(edit):
    from vii.interop.hub.card import model_card

    assert 'space="input"' in model_card("ada/w", {"w": edit})


def test_shipped_edits_are_of_the_default_space(embedded):
    """A shipped file, in the space that is the default."""
    path = EMBEDDED_MODEL.parent.parent.parent / "learned_instructions/negative.safetensors"
    edit = vii.load_edit(path)
    edit.check_space(embedded.space)
    start, stop = embedded.instruct(edit.init_text), edit.start + len(edit.tokens)
    rows = edit.instruction(start).rows
    assert torch.equal(rows[: edit.start], start.rows[: edit.start])
    assert torch.equal(rows[edit.start : stop], edit.tokens)
    assert torch.equal(rows[stop:], start.rows[stop:])
