"""What results say about how they were made, and reading it back."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import picture
from PIL import Image, PngImagePlugin
from test_cli import refused, run

import vii
from vii.errors import ImageError
from vii.record import MAX_TEXT, SCHEMA, chunks, read_record, record

FIELDS = {
    "schema",
    "versions",
    "editor",
    "base_model",
    "base_model_revision",
    "base_model_fingerprint",
    "edits",
    "text",
    "join_text",
    "settings",
    "seed",
    "reuse_noise",
    "region",
    "finish",
    "size",
    "editors_size",
    "resolution",
    "precision",
    "source",
    "writing",
}


@pytest.fixture
def toy_file(tmp_path, toy_edit):
    path = tmp_path / "secret-folder" / "bands.safetensors"
    path.parent.mkdir()
    vii.save_edit(toy_edit, path)
    return path


def test_every_field_of_a_record_is_specified():
    page = (Path(__file__).parent.parent / "docs/formats.md").read_text(encoding="utf-8")
    specified = page[page.index("## What a result says") : page.index("## Other programs")]
    for field in FIELDS:
        assert f"`{field}`" in specified, field


def made_by(out):
    return json.loads(run("show", out, "--json")[0])


def test_show_reads_back_what_apply_did(tmp_path, toy, toy_edit, toy_file, photo_file):
    out = tmp_path / "out.png"
    run(
        "apply",
        f"{toy_file}:0.5",
        toy_file,
        photo_file,
        "-o",
        out,
        "--seed",
        "7",
        "--text",
        "red",
        "--box",
        "1,2,30,40",
    )
    made = made_by(out)
    assert set(made) == FIELDS
    told = "tokens; the editor's result is scaled up"
    digest, of_file = toy_edit.sha256(), hashlib.sha256(toy_file.read_bytes()).hexdigest()
    common = {"name": "bands", "sha256": digest, "file_sha256": of_file, "consists_of": told}
    assert made["edits"] == [common | {"weight": 0.5}, common | {"weight": 1.0}]
    assert made["source"] == {"sha256": hashlib.sha256(photo_file.read_bytes()).hexdigest(), "size": [80, 60]}
    assert (made["resolution"], made["writing"]) == (32, {"keep_metadata": False, "keep_location": False})
    assert (made["editor"], made["base_model"], made["seed"], made["text"]) == ("toy", toy.space.model, 7, "red")
    assert made["base_model_fingerprint"] == toy.space.fingerprint
    assert (made["region"], made["join_text"], made["finish"], made["reuse_noise"]) == (
        [1, 2, 30, 40],
        False,
        "auto",
        False,
    )
    assert made["versions"] == {"vii": vii.__version__, "torch": version("torch"), "diffusers": version("diffusers")}
    assert made["schema"] == SCHEMA
    with Image.open(out) as image:
        assert made["size"] == list(image.size)
    shown = run("show", out)[0]
    assert f"name bands, weight 0.5, sha256 {digest}, file_sha256 {of_file}" in shown
    assert "seed  7" in shown


def test_every_option_that_changes_a_result_is_recorded(tmp_path, toy_file, photo_file):
    out = tmp_path / "out.png"
    vii.save_image(picture(1, 60, 80)[:1].expand(3, -1, -1), tmp_path / "mask.png")
    options = ["--mask", tmp_path / "mask.png", "--finish", "none", "--text", "red", "--join-text"]
    run("apply", toy_file, photo_file, "-o", out, *options)
    made = made_by(out)
    assert (made["region"], made["finish"], made["join_text"], made["size"]) == ("mask", "none", True, [80, 60])
    assert made["mask_sha256"] == hashlib.sha256((tmp_path / "mask.png").read_bytes()).hexdigest()


def test_no_path_of_this_machine_is_in_a_result(tmp_path, toy_file, photo_file):
    out = tmp_path / "out.png"
    run("apply", toy_file, photo_file, "-o", out)
    with Image.open(out) as image:
        text = " ".join(image.text.values())
    for part in (*tmp_path.parts[1:], "secret-folder", photo_file.stem, "photo", "/", "\\\\"):
        assert part not in text, part


def test_parameters_are_one_line_that_other_tools_split(embedded, toy_edit):
    made = record(embedded, [('a "b", c', 1.0, toy_edit)], embedded.settings, text="in\nred: yes", seed=3, size=(4, 5))
    *words, line = chunks(made, embedded.settings)["parameters"].split("\n")
    assert words == ["in", "red: yes"]
    assert line.startswith("Steps: 1, Sampler: ddim, CFG scale: ")
    assert f', Seed: 3, Size: 4x5, Model: {embedded.space.model}, Edits: "a \\"b\\", c:1", Version: vii ' in line
    assert json.loads(chunks(made, embedded.settings)["vii"]) == made


def test_pictures_of_other_tools_show_their_parameters_alone(tmp_path):
    vii.save_image(picture(1), tmp_path / "a.png", text={"parameters": "a cat\nSteps: 20, Seed: 1", "workflow": "{}"})
    assert made_by(tmp_path / "a.png") == {"parameters": "a cat\nSteps: 20, Seed: 1"}
    assert "a cat Steps: 20" in run("show", tmp_path / "a.png")[0]


@pytest.mark.parametrize(
    ("stored", "match"),
    [
        ("{", "not valid JSON"),
        ("[" * 20_000, "not valid JSON"),
        ("[1]", "no schema number"),
        ('{"schema": "1"}', "no schema number"),
        (f'{{"schema": {SCHEMA + 1}}}', "update vii"),
        ("x" * (MAX_TEXT + 1), "at most 64,000"),
    ],
)
def test_records_that_cannot_be_read_are_refused_in_one_line(tmp_path, stored, match):
    vii.save_image(picture(1), tmp_path / "a.png", text={"vii": stored})
    with pytest.raises(ImageError, match=match):
        read_record(tmp_path / "a.png")
    assert match in refused("show", tmp_path / "a.png")


def test_files_that_are_no_png_or_unpack_to_too_much_are_refused(tmp_path, toy_file):
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    (tmp_path / "short.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    info = PngImagePlugin.PngInfo()
    info.add_text("vii", "x" * 3_000_000, zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "bomb.png", pnginfo=info)
    assert (tmp_path / "bomb.png").stat().st_size < 10_000
    assert "found a GIF; save it as PNG" in refused("show", tmp_path / "a.png")
    assert "damaged or cannot be read" in refused("show", tmp_path / "short.png")
    assert "a.png: no such file" in refused("show", tmp_path / "none" / "a.png")
    assert "vii: " in refused("show", tmp_path / "bomb.png")
    assert "is for edit files" in refused("show", tmp_path / "a.png", "--thumbnail", tmp_path / "t.png")


def test_what_a_record_says_is_not_obeyed_by_the_terminal(tmp_path):
    evil = json.dumps({"schema": 1, "text": "\x1b[2Jred", "settings": {"a\x1b[1m": ["\x07"]}})
    vii.save_image(picture(1), tmp_path / "a.png", text={"vii": evil})
    out, _ = run("show", tmp_path / "a.png")
    assert out.replace("\n", "").isprintable()
    assert "red" in out
