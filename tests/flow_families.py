"""The families of flow editors, as tiny random models beside diffusers' own pipelines: what the tests of all need."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from conftest import EXACT, picture, saved
from test_cli import run
from tiny_flows import dev_pipeline, klein_pipeline, kontext_pipeline, qwen_pipeline

import vii
from vii.images import from_pil, to_pil

TEXT = "make it snow"
LAYERS = {"text_encoder_out_layers": (1, 2, 3)}
# The editor's own picture.
BARE = {"finish": "none", "size": "editor", "num_inference_steps": 3}
OPTIONS = {**EXACT, "clip": "none", "resolution": 64}
# Without a finish, which may find that the tokens of a random model are better not used.
QUICK = vii.InversionSettings(
    init="text", init_text=TEXT, tokens=0, max_train_steps=8, probe_every=4, probe_size=4, finish="none"
)


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        editor: name of the editor.
        make: builds the tiny pipeline.
        folder: as the real model is called.
        shapes: heights and widths that the stock pipeline takes as they are.
        sampled: options of the stock pipeline, and settings of the editor that mean the same.
        ordered: whether the order of rows means something.
    """

    editor: str
    make: Callable[[], Any]
    folder: str
    shapes: tuple[tuple[int, int], ...] = ((96, 96), (64, 144))
    stock: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    ordered: bool = True

    @property
    def is_qwen(self) -> bool:
        return self.editor == "qwen"

    @property
    def is_plus(self) -> bool:
        return "-25" in self.folder

    def rows(self, pipeline, text, photo):
        """What the pipeline's own `encode_prompt` makes of a text, beside a PIL picture."""
        if self.is_qwen:
            return {"prompt_embeds": pipeline.encode_prompt(text or " ", image=[photo] if self.is_plus else photo)[0]}
        if self.editor == "kontext":
            rows, pooled, _ = pipeline.encode_prompt(text, prompt_2=text)
            return {"prompt_embeds": rows, "pooled_prompt_embeds": pooled}
        return {"prompt_embeds": pipeline.encode_prompt(text, **LAYERS)[0]}

    def told(self, editor, words, image):
        """What the editor gives its transformer, in the pipelines' terms."""
        conditions = editor.conditions(1, (1, 1), image, words, None)
        told = {"prompt_embeds": conditions["encoder_hidden_states"]}
        return told | ({"pooled_prompt_embeds": words.pooled[None]} if words.pooled is not None else {})

    def picture(self, pipeline, editor, photo, image, seed, monkeypatch):
        """A picture by the stock pipeline, given our rows."""
        told = self.told(editor, editor.instruct(TEXT), image)
        if self.folder != "FLUX.2-dev":
            null = self.told(editor, editor.instruct(""), image)
            told |= {f"negative_{name}": rows for name, rows in null.items()}
        width, height = photo.size
        size = {"height": height, "width": width}
        if self.editor == "klein":
            size |= LAYERS
        elif self.editor == "kontext":
            size |= {"max_area": height * width, "_auto_resize": False}
        else:
            self.at_size(monkeypatch, height, width)
        options = {"output_type": "pt", "num_inference_steps": 3, "generator": torch.Generator().manual_seed(seed)}
        return pipeline(image=[photo] if self.is_plus else photo, **told, **size, **self.stock, **options).images

    def at_size(self, monkeypatch, height, width):
        """The Qwen pipelines scale every photo to a megapixel, by constants of their modules."""
        from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as edit
        from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as plus

        monkeypatch.setattr(plus, "VAE_IMAGE_SIZE", height * width)
        monkeypatch.setattr(edit, "calculate_dimensions", lambda area, ratio: (width, height, None))


QWEN_SHAPES = ((96, 96), (64, 128))
CFG = {"stock": {"guidance_scale": 3.0}, "settings": {"guidance_scale": 3.0}}
TRUE_CFG = {"stock": {"true_cfg_scale": 3.0}, "settings": {"guidance_scale": 3.0}, "shapes": QWEN_SHAPES}
FAMILIES = {
    "klein": Family("klein", lambda: klein_pipeline(False), "FLUX.2-klein-base-4B", **CFG),
    "dev": Family("klein", dev_pipeline, "FLUX.2-dev", **CFG),
    "kontext": Family(
        "kontext",
        kontext_pipeline,
        "FLUX.1-Kontext-dev",
        stock={"true_cfg_scale": 3.0, "guidance_scale": 2.5},
        settings={"true_cfg_scale": 3.0},
        ordered=False,
    ),
    "qwen": Family("qwen", lambda: qwen_pipeline(False), "Qwen-Image-Edit", **TRUE_CFG),
    "qwen-2509": Family("qwen", lambda: qwen_pipeline(True), "Qwen-Image-Edit-2509", **TRUE_CFG),
    "qwen-2511": Family("qwen", lambda: qwen_pipeline(True, True), "Qwen-Image-Edit-2511", **TRUE_CFG),
}


@dataclass(frozen=True)
class Tiny:
    """A family, its model on disk, and that as pipeline and as editor."""

    family: Family
    folder: Any
    pipeline: Any
    editor: Any

    @classmethod
    def made(cls, family, home):
        folder, pipeline = home / family.folder, family.make()
        pipeline.save_pretrained(folder)
        if family.is_qwen:
            # 64 tokens of the real tokenizer; and what the pipelines forget to pass on to transformers 5.
            encoder = pipeline.text_encoder
            before, _, _ = pipeline.prompt_template_encode.partition("{}" if family.is_plus else "<|vision_start|>")
            pipeline.prompt_template_encode_start_idx = len(pipeline.tokenizer(before).input_ids)
            forward, photo = encoder.forward, encoder.config.image_token_id

            def with_kinds(input_ids, **options):
                return forward(input_ids, **{"mm_token_type_ids": (input_ids == photo).int()} | options)

            encoder.forward = with_kinds
        return cls(family, folder, pipeline, vii.load_editor(family.editor, model=str(folder), **OPTIONS))

    def photo(self, seed, height, width, monkeypatch):
        """A photo of whole numbers at a size that is its own fitted one, and its encoding."""
        monkeypatch.setattr(self.editor, "resolution", round(math.sqrt(height * width)))
        photo = to_pil(picture(seed, height, width))
        return photo, self.editor.encode(from_pil(photo))


def learn_and_apply(name, folder, home):
    """By the command line: learns, applies and stacks; what learning reports, and the edit."""
    shown = saved(home, before=picture(0), after=picture(1), photo=picture(2))
    paths = [*shown, home / "one.png", home / "two.png"]
    model = ["--editor", name, "--model", folder, "--device", "cpu", "--dtype", "float32"]
    model += ["--clip", "none", "--resolution", "64"]
    edit = str(home / "snow.safetensors")
    quick = {"max_train_steps": 4, "probe_size": 2, "batch_size": 2, "finish": "none"}
    sets = [f"--set={name}={value}" for name, value in quick.items()]
    learn = ["learn", *paths[:2], "-o", edit, "--init", TEXT, "--tokens", "4", *sets, "--json", *model]
    report = json.loads(run(*learn)[0])
    run("apply", edit, paths[2], "-o", paths[3], "--steps", "2", *model)
    run("apply", f"{edit}:0.5", f"{edit}:0.4", "--text", "at night", paths[2], "-o", paths[4], "--steps", "2", *model)
    made = [vii.load_image(path) for path in paths[2:]]
    assert {image.shape for image in made} == {(3, 64, 64)}
    assert not any(torch.equal(made[i], made[i - 1]) for i in range(3))
    return report, vii.load_edit(edit)
