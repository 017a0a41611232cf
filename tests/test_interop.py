"""Coming and going: the authors' files, plain arrays, and pipelines of diffusers; and everything that is refused."""

import contextlib
import dataclasses
import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from conftest import EXACT, picture, tiny_controlnet_pipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import printed, refused

import vii
from vii.cli.convert import FORMATS
from vii.demo import FOLDER as DEMO_FOLDER
from vii.editors.loading import EMBEDDED_MODEL
from vii.errors import EditFileError, EditorMismatch, OutputError, UsageError
from vii.interop.prompt_embeds import MAX_BYTES, export_npz, import_prompt_embeds, prompt_embeds, read_prompt_embeds
from vii.interop.textual_inversion import TEXTUAL_INVERSION

CAPTION = "make it a watercolor"
ROOT = Path(__file__).parent.parent


def authors_rows(editor, caption=CAPTION, seed=0):
    """The instruction as the authors' loop leaves it: the caption's words replaced, BOS, EOS and padding restored."""
    start = editor.instruct(caption)
    first, stop = start.free
    rows = start.rows.clone()
    rows[first:stop] = torch.randn(stop - first, rows.shape[1], generator=torch.Generator().manual_seed(seed))
    return rows


def authors_file(path, editor, caption=CAPTION):
    """(3, n, d): the instruction and twice the empty text, as their pipeline stacks them."""
    null = editor.instruct("").rows
    torch.save(torch.nn.Parameter(torch.stack([authors_rows(editor, caption), null, null])), path)
    return path


def saved(tmp_path, value):
    torch.save(value, tmp_path / "x.pt")
    return tmp_path / "x.pt"


# --- coming


@pytest.mark.parametrize("caption", [CAPTION, None])
def test_an_imported_edit_gives_the_rows_of_the_file_and_the_authors_picture(tmp_path, tiny, tiny_folder, caption):
    """With the caption its words alone are kept, without one every row; both give back all of them."""
    edit = import_prompt_embeds(tiny, authors_file(tmp_path / "prompt_embeds_best.pt", tiny), caption)
    vii.save_edit(edit, tmp_path / "e.safetensors")
    edit = vii.load_edit(tmp_path / "e.safetensors")
    rows = authors_rows(tiny)
    words = tiny.instruct(CAPTION).free[1] - 1
    assert (edit.start, len(edit.tokens), edit.init_text) == (1, words if caption else 76, caption or "")
    assert torch.equal(edit.instruction(tiny.instruct(edit.init_text)).rows, rows)
    assert edit.settings == {"num_inference_steps": 20, "guidance_scale": 7.5, "image_guidance_scale": 1.5}

    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(tiny_folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        image=picture(1, 32, 32)[None],
        prompt_embeds=rows[None],
        num_inference_steps=20,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images[0]
    assert (vii.apply(tiny, edit, picture(1, 32, 32), seed=3) - theirs).abs().max() <= 1e-3


@pytest.mark.parametrize("shape", ["(1, n, d)", "(n, d)", "half"])
def test_the_instruction_alone_is_read_too(tmp_path, tiny, shape):
    rows = authors_rows(tiny)
    given_rows = {"(1, n, d)": rows[None], "(n, d)": rows, "half": rows.half()}[shape]
    edit = import_prompt_embeds(tiny, saved(tmp_path, given_rows), CAPTION)
    torch.testing.assert_close(edit.tokens, rows[1 : 1 + len(edit.tokens)], atol=2e-3, rtol=2e-3)
    assert edit.tokens.dtype == torch.float32


def test_a_wrong_caption_is_found_out(tmp_path, tiny):
    path = authors_file(tmp_path / "p.pt", tiny)
    for caption in ("make it a charcoal", "watercolor", "make it a watercolor painting"):
        with pytest.raises(EditFileError, match=r"differ from those of the caption .*learned_prompt\.txt"):
            import_prompt_embeds(tiny, path, caption)
    with pytest.raises(UsageError, match="the caption has no words; leave it out"):
        import_prompt_embeds(tiny, path, "")
    with pytest.raises(UsageError, match="this editor takes 75"):
        import_prompt_embeds(tiny, path, "red " * 90)


def test_rows_of_another_encoder_are_refused(tmp_path, tiny, embedded):
    path = authors_file(tmp_path / "p.pt", tiny)
    with pytest.raises(EditFileError, match=r"it holds \(77, 32\) rows, the editor 'embedded'.*`editor`, `model`"):
        import_prompt_embeds(embedded, path, CAPTION)
    with pytest.raises(EditFileError, match=r"first row differs .* another text encoder"):
        import_prompt_embeds(tiny, saved(tmp_path, torch.randn(77, 32)))


class Payload:
    """What a malicious file holds: a call that is made when it is opened."""

    touched = ""

    def __reduce__(self):
        return (open, (self.touched, "w"))


def test_files_that_hold_code_are_refused_unopened(tmp_path):
    Payload.touched = str(tmp_path / "touched")
    torch.save({"prompt_embeds": torch.zeros(77, 768), "extra": Payload()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload()))
    torch.save(Payload(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, match in (("zip", "could run code"), ("plain", "not a file that torch.save"), ("old", "not a file that")):
        with pytest.raises(EditFileError, match=match) as caught:
            read_prompt_embeds(tmp_path / f"{name}.pt")
        assert "\n" not in str(caught.value)
        out = refused("import", tmp_path / f"{name}.pt", "-o", tmp_path / "e.safetensors")
        assert re.search(match, out)
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "e.safetensors").exists()


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"prompt_embeds": torch.zeros(77, 768)}, "found a dict"),
        ([1, 2], "found a list"),
        (torch.zeros(2, 77, 8), r"found torch.float32 \(2, 77, 8\)"),
        (torch.zeros(8), r"\(8,\)"),
        (torch.zeros(77, 8, dtype=torch.long), "torch.int64"),
        (torch.zeros(77, 8, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(4, 4).to_sparse(), "found"),
        (torch.zeros(0, 8), "empty or too large"),
        (torch.zeros(1).expand(100_000, 1000), "empty or too large"),
        (torch.full((77, 8), float("nan")), "not finite"),
        (torch.full((77, 8), 1e9), "rows longer than"),
        (torch.arange(24.0).view(3, 2, 4), "three different texts"),
    ],
)
def test_files_with_anything_else_are_refused(tmp_path, value, match):
    with pytest.raises(EditFileError, match=match):
        read_prompt_embeds(saved(tmp_path, value))


def test_large_missing_and_inflating_files_are_refused_before_loading(tmp_path):
    with pytest.raises(EditFileError, match="no such file"):
        read_prompt_embeds(tmp_path / "none.pt")
    with pytest.raises(EditFileError, match="no such file"):
        read_prompt_embeds(tmp_path)
    with (tmp_path / "large.pt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(EditFileError, match="too large"):
        read_prompt_embeds(tmp_path / "large.pt")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", bytes(MAX_BYTES + 1))
    assert (tmp_path / "bomb.pt").stat().st_size < 100_000
    with pytest.raises(EditFileError, match="when unpacked is too large"):
        read_prompt_embeds(tmp_path / "bomb.pt")


def _small_file() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.linspace(-1, 1, 12).view(3, 4), buffer)
    return buffer.getvalue()


SMALL = _small_file()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(SMALL) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_give_rows_or_our_own_error(tmp_path, position, value, cut):
    data = bytearray(SMALL)
    data[position] = value
    (tmp_path / "damaged.pt").write_bytes(data[:position] if cut else data)
    with contextlib.suppress(EditFileError):
        assert torch.isfinite(read_prompt_embeds(tmp_path / "damaged.pt")).all()


def test_import_on_the_command_line(tmp_path, tiny, tiny_folder):
    path, out = authors_file(tmp_path / "prompt_embeds_best.pt", tiny), tmp_path / "watercolor.safetensors"
    model = ["--editor", "ip2p", "--model", tiny_folder]
    report = json.loads(printed("import", path, "--caption", CAPTION, "-o", out, *model, "--json"))
    assert report["path"] == str(out)
    edit = vii.load_edit(out)
    assert (edit.title, edit.editor, edit.init_text, edit.space) == ("watercolor", "ip2p", CAPTION, tiny.space)
    assert report["bytes"] == out.stat().st_size < 5000
    assert "76 rows, all that follow the first" in printed("import", path, "-o", out, *model, "--title", "W")
    assert vii.load_edit(out).title == "W"
    assert "differ from those of the caption" in refused("import", path, "--caption", "oil", "-o", out, *model)
    assert "named *.safetensors" in refused("import", path, "-o", tmp_path / "w.pt", *model)
    assert "no such file" in refused("import", tmp_path / "none.pt", "-o", out)


def test_import_is_for_the_authors_model_when_none_is_named(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    path = authors_file(tmp_path / "p.pt", tiny)
    assert "'timbrooks/instruct-pix2pix'" in refused("import", path, "-o", tmp_path / "e.safetensors")


# --- going


@pytest.fixture
def night(embedded):
    """An edit of the embedded editor."""
    tokens = torch.randn(10, embedded.space.width, generator=torch.Generator().manual_seed(0))
    return vii.Edit(tokens, embedded.space, "embedded", "make it night", 1, 128)


def test_an_exported_npz_holds_what_a_model_is_given(tmp_path, embedded, night):
    path = tmp_path / "night.npz"
    export_npz(night, embedded, path)
    with np.load(path, allow_pickle=False) as arrays:
        assert torch.equal(torch.from_numpy(arrays["tokens"]), night.tokens)
        assert (int(arrays["start"]), str(arrays["init_text"])) == (1, "make it night")
        assert str(arrays["base_model"]) == embedded.space.model
        rows = torch.from_numpy(arrays["prompt_embeds"])
        assert rows.dtype == torch.float32
        assert torch.equal(rows[0], night.instruction(embedded.instruct("make it night")).rows)
        assert torch.equal(torch.from_numpy(arrays["negative_prompt_embeds"])[0], embedded.instruct("").rows)
        assert len(arrays) == 6


def test_a_pipeline_draws_from_the_npz_what_vii_apply_draws(tmp_path, embedded, night):
    export_npz(night, embedded, tmp_path / "night.npz")
    arrays = np.load(tmp_path / "night.npz", allow_pickle=False)
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(EMBEDDED_MODEL, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        image=picture(4, 128, 128)[None],
        **{name: torch.from_numpy(arrays[name]) for name in ("prompt_embeds", "negative_prompt_embeds")},
        num_inference_steps=4,
        guidance_scale=3.0,
        image_guidance_scale=1.2,
        generator=torch.Generator().manual_seed(2),
        output_type="pt",
    ).images[0]
    options = {"num_inference_steps": 4, "guidance_scale": 3.0, "image_guidance_scale": 1.2, "scheduler": "model"}
    ours = vii.apply(embedded, night, picture(4, 128, 128), seed=2, **options)
    assert (ours - theirs).abs().max() <= 1e-3


def test_export_refuses_another_model_and_another_name(tmp_path, tiny, embedded, night):
    with pytest.raises(EditorMismatch, match="Load the editor it was learned with"):
        export_npz(night, tiny, tmp_path / "x.npz")
    with pytest.raises(OutputError, match=r"named \*\.npz"):
        export_npz(night, embedded, tmp_path / "x.safetensors")
    with pytest.raises(OutputError, match="cannot be written"):
        export_npz(night, embedded, tmp_path / "none/x.npz")
    other = dataclasses.replace(night, space=dataclasses.replace(night.space, fingerprint="0" * 32))
    with pytest.raises(EditorMismatch):
        export_npz(other, embedded, tmp_path / "x.npz")
    export_npz(other, embedded, tmp_path / "x.npz", any_model=True)


def test_export_on_the_command_line(tmp_path, night, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vii.save_edit(night, "night.safetensors")
    assert json.loads(printed("export", "night.safetensors", "--format", "npz", "--json"))["path"] == "night.npz"
    assert printed("export", "night.safetensors", "--format", "npz", "-o", "n.npz").startswith("n.npz   ")
    first, second = np.load("night.npz"), np.load("n.npz")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert "named *.npz" in refused("export", "night.safetensors", "--format", "npz", "-o", "n.bin")
    assert "no such edit file" in refused("export", "none.safetensors", "--format", "npz")


@pytest.mark.parametrize("kind", sorted(TEXTUAL_INVERSION))
def test_textual_inversion_formats_are_refused_with_the_reason(tmp_path, night, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vii.editors.load_editor", None)  # refused before a model is loaded
    vii.save_edit(night, "night.safetensors")
    out = refused("export", "night.safetensors", "--format", kind)
    assert "input embeddings" in out
    assert "encoder output of CLIPTextModel" in out
    assert "--format npz" in out
    assert list(tmp_path.iterdir()) == [tmp_path / "night.safetensors"]


def test_every_format_of_the_command_is_known():
    assert set(FORMATS) == {"npz", "cube", "hald", *TEXTUAL_INVERSION}
    assert "is not one of" in refused("export", "x.safetensors", "--format", "onnx")


# --- into somebody's own pipeline


def test_printed_lines_for_a_pipeline_of_ones_own(tmp_path, monkeypatch, embedded, night):
    """As printed, with the embedded model in place of the large one: the same picture as `vii apply`."""
    page = (ROOT / "docs/formats.md").read_text("utf-8")
    block = re.search(r"```python\n(import diffusers.*?)```", page, re.S).group(1)
    for old, new in (('"timbrooks/instruct-pix2pix"', "MODEL, safety_checker=None"), ('"cat.png"', "CAT")):
        assert old in block
        block = block.replace(old, new)
    monkeypatch.chdir(tmp_path)
    chosen = dataclasses.asdict(embedded.settings)
    vii.save_edit(dataclasses.replace(night, settings=chosen), "watercolor.safetensors")
    vii.save_image(vii.load_image(DEMO_FOLDER / "photos/cat.jpg")[:, :128, :128], "cat.png")
    exec(block, names := {"MODEL": EMBEDDED_MODEL, "CAT": "cat.png"})
    theirs = torch.from_numpy(np.array(names["image"])).permute(2, 0, 1) / 255
    ours = vii.apply(embedded, night, vii.load_image("cat.png"), seed=1)
    assert (ours - theirs).abs().max() <= 1e-3 + 0.5 / 255


def test_a_controlnet_pipeline_gives_the_same_picture_too(controlnet_folders):
    pipeline = tiny_controlnet_pipeline()
    base, control = controlnet_folders
    pipeline = diffusers.StableDiffusionControlNetPipeline.from_pretrained(
        base, controlnet=diffusers.ControlNetModel.from_pretrained(control), safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    editor = vii.load_editor("controlnet", model=str(base), controlnet=str(control), clip="none", **EXACT)
    edit = vii.Edit(torch.randn(4, 32), editor.space, "controlnet", "make it red", 1, 512)
    image = picture(1, 64, 64)
    editor.resolution = 64
    ours = vii.apply(editor, edit, image, seed=1, num_inference_steps=4)
    embeds = prompt_embeds(edit, pipeline)
    generator = torch.Generator().manual_seed(1)
    options = {"prompt_embeds": embeds, "num_inference_steps": 4, "generator": generator, "output_type": "pt"}
    # With embeddings given this pipeline does not make the negative ones of its own accord in every version.
    theirs = pipeline(image=image[None], negative_prompt_embeds=editor.instruct("").rows[None], **options).images[0]
    assert (ours - theirs).abs().max() <= 1e-3
    without = diffusers.StableDiffusionPipeline(
        **{name: getattr(pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")},
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with pytest.raises(EditorMismatch):
        prompt_embeds(edit, without)


def test_pipelines_that_do_not_fit_are_refused(tiny_folder, night, tiny):
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(tiny_folder, safety_checker=None)
    with pytest.raises(EditorMismatch, match="Load the editor it was learned with"):
        prompt_embeds(night, pipeline)
    with pytest.raises(UsageError, match="expected a pipeline with tokenizer, text_encoder, unet, vae, got a Linear"):
        prompt_embeds(night, torch.nn.Linear(1, 1))
    edit = vii.Edit(torch.randn(4, 32), tiny.space, "ip2p", "make it red", 1, 512)
    assert prompt_embeds(edit, pipeline).shape == (1, 77, 32)
    half = pipeline.to(dtype=torch.bfloat16)
    assert prompt_embeds(edit, half).dtype == torch.bfloat16  # recognised in half precision too
    old = dataclasses.replace(edit, space=dataclasses.replace(tiny.space, fingerprint=tiny.space.version_1[0]))
    with pytest.raises(UsageError, match=r"format version 1.*any_model=True if it is the one"):
        prompt_embeds(old, half)
    assert prompt_embeds(old, half, any_model=True).dtype == torch.bfloat16
