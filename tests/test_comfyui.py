"""The node for ComfyUI, without ComfyUI: what it is given and must give back are plain Python and tensors."""

import dataclasses
import importlib.util
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import diffusers
import pytest
import torch
from tiny_flows import klein_pipeline, kontext_pipeline
from tiny_sdxl import sdxl_pipeline

import vii
from vii.errors import EditFileError, EditorMismatch, UsageError
from vii.interop import comfyui
from vii.interop.comfyui import LoadViiEdit, available_edits, conditioning
from vii.interop.prompt_embeds import prompt_embeds


class Clip:
    """ComfyUI's CLIP object as nodes see it, on the parts of a diffusers pipeline.

    `tokenize` gives chunks of 77 (token, weight) with words in brackets weighted by 1.1 and brackets after a backslash
    taken as they are; `encode_from_tokens_scheduled` gives `[[rows, options]]`.
    """

    def __init__(self, pipeline):
        self.tokenizer, self.text_encoder = pipeline.tokenizer, pipeline.text_encoder
        self.length = self.tokenizer.model_max_length

    def tokenize(self, text):
        weighted = []
        for part in re.findall(r"(?:\\.|[^()])+|[()]", text) or [""]:
            if part in "()":
                continue
            weight = 1.1 if f"({part})" in text else 1.0
            plain = re.sub(r"\\([()])", r"\1", part)
            weighted += [(token, weight) for token in self.tokenizer(plain).input_ids[1:-1]]
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        chunks, room = [], self.length - 2
        for at in range(0, max(1, len(weighted)), room):
            chunk = [(begin, 1.0), *weighted[at : at + room], (end, 1.0)]
            chunks.append(chunk + [(end, 1.0)] * (self.length - len(chunk)))
        return {"l": chunks}

    @torch.no_grad()
    def encode_from_tokens_scheduled(self, tokens):
        rows = []
        for chunk in tokens["l"]:
            hidden = self.text_encoder(torch.tensor([[token for token, _ in chunk]])).last_hidden_state
            rows.append(hidden * torch.tensor([weight for _, weight in chunk])[None, :, None])
        return [[torch.cat(rows, 1), {"pooled_output": torch.ones(1, 3)}]]


@pytest.fixture(scope="module")
def pipeline(tiny_folder):
    return diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(tiny_folder, safety_checker=None)


@pytest.fixture
def night(tiny):
    return vii.Edit(torch.randn(4, 32), tiny.space, "ip2p", "make it (very) dark", 1, 512)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """ComfyUI's folder of models, and the module that tells where it is."""
    module = types.ModuleType("folder_paths")
    module.models_dir = str(tmp_path / "ComfyUI" / "models")
    monkeypatch.setitem(sys.modules, "folder_paths", module)
    return Path(module.models_dir)


def test_the_conditioning_is_what_a_pipeline_is_given(pipeline, night):
    ((rows, options),) = conditioning(night, Clip(pipeline))
    assert torch.equal(rows, prompt_embeds(night, pipeline))
    assert set(options) == {"pooled_output"}


def test_words_follow_the_tokens_as_in_vii(pipeline, night, tiny):
    ((rows, _),) = conditioning(night, Clip(pipeline), "at (night)")

    ((expected, _),) = vii.Application(tiny, night, text="at (night)", join_text=True).branches
    assert torch.equal(rows[0], expected.rows)


def test_a_node_as_comfyui_runs_it(pipeline, night, models, library):
    """From the list of names that is shown to what the next node is given."""
    assert available_edits() == {}
    assert (models / "vii_edits").is_dir()
    vii.save_edit(night, models / "vii_edits" / "night.safetensors")
    library.mkdir(parents=True)
    vii.save_edit(dataclasses.replace(night, init_text=""), library / "night.safetensors")
    vii.save_edit(night, library / "mine.safetensors")

    node = comfyui.NODE_CLASS_MAPPINGS["LoadViiEdit"]
    assert set(comfyui.NODE_DISPLAY_NAME_MAPPINGS) == {"LoadViiEdit"}
    inputs = node.INPUT_TYPES()
    assert inputs["required"] == {"edit": (["mine", "night"],), "clip": ("CLIP",)}
    assert set(inputs["optional"]) == {"text"}
    first, name = getattr(node(), node.FUNCTION)(edit="night", clip=Clip(pipeline))
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS) == 2
    assert node.RETURN_TYPES == ("CONDITIONING", "STRING")
    assert torch.equal(first[0][0], prompt_embeds(night, pipeline))  # ComfyUI's folder before the library
    assert name == night.space.model

    before = node.IS_CHANGED(edit="night", clip=None)
    vii.save_edit(dataclasses.replace(night, title="new"), models / "vii_edits" / "night.safetensors")
    assert node.IS_CHANGED(edit="night", clip=None) != before
    with pytest.raises(UsageError, match=r"no edit called '\.\./night'"):
        node().load("../night", Clip(pipeline))
    (models / "vii_edits" / "bad.safetensors").write_bytes(b"PK")
    with pytest.raises(EditFileError, match="pickle"):
        node().load("bad", Clip(pipeline))


def test_a_copy_of_the_folder_is_a_custom_node(tmp_path, pipeline, night, models, monkeypatch):
    """Loaded from `custom_nodes` the way ComfyUI loads a folder, under a module name made of its path."""
    folder = tmp_path / "ComfyUI" / "custom_nodes" / "vii_edits"
    shutil.copytree(Path(comfyui.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "__init__.py"]
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    (models / "vii_edits").mkdir(parents=True)
    vii.save_edit(night, models / "vii_edits" / "night.safetensors")
    node = module.NODE_CLASS_MAPPINGS["LoadViiEdit"]
    assert node is not LoadViiEdit
    assert torch.equal(node().load("night", Clip(pipeline))[0][0][0], prompt_embeds(night, pipeline))


def test_what_does_not_fit_is_refused(pipeline, night, embedded):
    other = vii.Edit(torch.randn(4, embedded.space.width), embedded.space, "embedded", "make it dark", 1, 128)
    with pytest.raises(EditorMismatch, match=r"learned for 'embedded'.*Connect the CLIP of the checkpoint"):
        conditioning(other, Clip(pipeline))
    with pytest.raises(UsageError, match="too long, there are 75 tokens"):
        conditioning(night, Clip(pipeline), "red " * 90)
    with pytest.raises(UsageError, match="do not fit"):
        conditioning(night, Clip(pipeline), "red " * 73)
    for text in ("embedding:cat", "a embedding:cat b"):
        with pytest.raises(UsageError, match="would load another file"):
            conditioning(dataclasses.replace(night, init_text=text), Clip(pipeline))


def test_the_node_loads_nothing_that_comfyui_lacks():
    code = "import sys, vii.interop.comfyui; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"diffusers", "transformers", "huggingface_hub", "open_clip", "click", "rich"}.isdisjoint(loaded)


def test_nothing_of_comfyui_is_needed_to_list_the_library(library, night):
    library.mkdir(parents=True)
    vii.save_edit(night, library / "night.safetensors")
    assert available_edits() == {"night": library / "night.safetensors"}
    assert LoadViiEdit.IS_CHANGED(edit="gone", clip=None) == ""


class LargeClip(Clip):
    """ComfyUI's CLIP of FLUX.2 klein, of FLUX.1 or of SDXL: its rows and pooled vector are those of an editor's text.

    T5 is padded to 256 tokens unless the option asks for more, as in ComfyUI's `T5XXLTokenizer`.
    """

    def __init__(self, editor, key):
        self.editor, self.key, self.options = editor, key, {}

    def clone(self):
        return LargeClip(self.editor, self.key)

    def set_tokenizer_option(self, name, value):
        self.options[name] = value

    def tokenize(self, text):
        return {"l": text, self.key: text.replace("\\(", "(").replace("\\)", ")")}

    def encode_from_tokens_scheduled(self, tokens):
        words = self.editor.instruct(tokens[self.key])
        rows = words.rows[: self.options.get("t5xxl_min_length", 256)] if self.key == "t5xxl" else words.rows
        return [[rows[None], {"pooled_output": None if words.pooled is None else words.pooled[None]}]]


@pytest.mark.parametrize(
    ("name", "key", "build"),
    [
        ("klein", "qwen3_4b", lambda: klein_pipeline(False)),
        ("kontext", "t5xxl", kontext_pipeline),
        ("sdxl", "g", sdxl_pipeline),
    ],
)
def test_larger_models(name, key, build, tmp_path):
    """The rows are those that a pipeline is given; the pooled vector is the starting text's, or the learned one."""
    build().save_pretrained(tmp_path)
    editor = vii.load_editor(name, model=str(tmp_path), device="cpu", dtype="float32", clip="none")
    start = editor.instruct("make it (very) dark")
    edit = vii.Edit(torch.randn(4, editor.space.width), editor.space, name, "make it (very) dark", start.free[0], 512)
    ((rows, options),) = conditioning(edit, LargeClip(editor, key))
    expected = edit.instruction(start)
    assert torch.equal(rows[0], expected.rows)
    assert start.pooled is None or torch.equal(options["pooled_output"][0], start.pooled)
    if start.pooled is not None:
        learned = dataclasses.replace(edit, pooled=torch.randn_like(start.pooled))
        ((_, options),) = conditioning(learned, LargeClip(editor, key))
        assert torch.equal(options["pooled_output"][0], learned.pooled)
    if name != "sdxl":
        with pytest.raises(UsageError, match="leave the text empty"):
            conditioning(edit, LargeClip(editor, key), "at night")
