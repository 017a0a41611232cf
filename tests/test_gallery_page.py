"""The gallery: every edit on the same photos, on one page that holds whatever the edit files say."""

import base64
import dataclasses
import html
import io
import json
import re

import pytest
import torch
from conftest import picture, strange_file
from pages import Page, complete
from PIL import Image
from test_cli import refused, run

import vii
from vii.errors import ImageError
from vii.library import add_edits, read_folder
from vii.rendering.gallery import contact_sheets, gallery_page, gallery_photos, show_edits
from vii.rendering.sheets import DATA_URL, thumbnail_image, thumbnail_of

LABELS = {
    "title": "Coloured bands",
    "description": "Bands of colour.",
    "author": "Ada",
    "license": "CC0-1.0",
    "tags": ["colour", "test"],
    "training": {"explained": 0.634},
}


@pytest.fixture
def folder(tmp_path, toy_edit, toy_pair):
    """Two good edits for the toy editor, one with its picture, and three that cannot be shown."""
    path = tmp_path / "edits"
    path.mkdir()
    vii.save_edit(dataclasses.replace(toy_edit, **LABELS, thumbnail=thumbnail_of(toy_pair)), path / "bands.safetensors")
    vii.save_edit(toy_edit, path / "plain.safetensors")
    elsewhere = dataclasses.replace(toy_edit.space, fingerprint="0" * 32)
    vii.save_edit(dataclasses.replace(toy_edit, space=elsewhere), path / "elsewhere.safetensors")
    vii.save_edit(dataclasses.replace(toy_edit, editor="unheard"), path / "unheard.safetensors")
    (path / "broken.safetensors").write_text("junk")
    (path / "notes.txt").write_text("not an edit file")
    return path


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos, and one file that is none."""
    path = tmp_path / "photos"
    path.mkdir()
    for index, size in enumerate([(40, 60), (64, 64), (90, 50)]):
        vii.save_image(picture(index, *size), path / f"photo{index}.png")
    (path / "photo9.png").write_text("not a picture")
    return path


def text_of(source):
    """What is read on the page, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", source.split("</style>")[1]))


def test_a_folder_becomes_a_page_and_a_sheet(tmp_path, folder, photos):
    out = tmp_path / "out"
    printed, warned = run("gallery", folder, "-o", out, "--photos", photos)
    assert printed.split() == [str(out / "index.html"), str(out / "contact-sheet-1.png")]
    assert sorted(path.name for path in out.iterdir()) == ["contact-sheet-1.png", "index.html"]
    for name in ("elsewhere.safetensors", "unheard.safetensors", "broken.safetensors", "photo9.png"):
        assert f"vii: not shown: {name}: " in warned

    source = (out / "index.html").read_text(encoding="utf-8")
    # Two edits, three photos, before and after; and one example.
    page, text = complete(source, pictures=2 * 3 * 2 + 1), html.unescape(text_of(source))
    for image in page.of("img"):
        opened = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        assert opened.size == (int(image["width"]), int(image["height"]))
    assert "bands: photo photo2 after" in [image["alt"] for image in page.of("img")]
    for told in (*LABELS["tags"], "Coloured bands", "Bands of colour.", "Ada", "CC0-1.0", "63%", "make it red", "toy"):
        assert told in text, told
    assert "vii apply bands.safetensors photo.jpg -o bands.png" in text
    assert "not stated" in text
    for reason in ("with other weights", "unknown editor 'unheard'", "not a safetensors file", "not a picture"):
        assert reason in text, reason

    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")
    anchors, ids = page.of("a"), [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert [anchor["href"][1:] for anchor in anchors] == ids[:-1]
    assert ids[-1] == "not-shown"
    assert [section["aria-labelledby"] for section in page.of("section")] == ids
    assert str(tmp_path) not in source  # nobody's folders
    sheet = vii.load_image(out / "contact-sheet-1.png")
    assert sheet.shape == (3, 3 * (160 + 20 + 8) + 8, 3 * (160 + 8) + 8)


def test_json_and_the_library(tmp_path, folder):
    assert "no edit files" in refused("gallery")
    add_edits([folder / "bands.safetensors"], "my bands")
    report = json.loads(run("gallery", "-o", tmp_path / "out", "--json")[0])
    assert (report["photos"], report["problems"]) == (["cat", "coffee", "rocket"], {})
    assert [(edit["name"], edit["problem"]) for edit in report["edits"]] == [("my bands", "")]
    source = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "vii apply 'my bands' photo.jpg -o 'my bands.png'" in html.unescape(text_of(source))


def test_the_pictures_are_what_apply_makes(folder, toy, toy_edit):
    entries = [entry for entry in read_folder(folder) if entry.name == "plain"]
    photo = picture(3, 60, 80)
    (shown,) = show_edits(entries, {"a": photo}, lambda edit: toy, seed=4)
    assert torch.equal(shown.results["a"], vii.apply(toy, toy_edit, photo, seed=4))


def test_an_editor_is_loaded_once_for_all_its_edits(folder, toy):
    loaded = []

    def load(edit):
        loaded.append(edit.editor)
        return vii.load_editor(edit.editor)

    shown = list(show_edits(read_folder(folder), {"a": picture(3)}, load))
    assert sorted(loaded) == ["toy", "unheard"]
    assert {item.entry.name for item in shown if item.problem} == {"broken", "elsewhere", "unheard"}
    any_model = list(show_edits(read_folder(folder), {"a": picture(3)}, load, any_model=True))
    assert {item.entry.name for item in any_model if item.problem} == {"broken", "unheard"}


def test_many_edits_take_several_sheets(folder, toy):
    photos = {"a": picture(3), "b": picture(4)}
    shown = list(show_edits(read_folder(folder), photos, lambda edit: toy))
    good = [item for item in shown if item.results]
    assert len(good) == 3
    assert [sheet.shape[1] for sheet in contact_sheets(photos, good * 5)] == [13 * 188 + 8, 4 * 188 + 8]
    assert contact_sheets(photos, []) == []


def test_what_an_edit_file_says_stays_text(tmp_path, toy_edit, photos):
    folder = tmp_path / "evil"
    folder.mkdir()
    evil = '"><script>alert(1)</script><img src=x onerror=y>'
    said = {"title": evil, "description": evil + "x" * 5000, "author": evil, "license": evil, "tags": [evil]}
    edit = dataclasses.replace(toy_edit, **said, init_text="a&b<c>", training={"explained": [evil]})
    vii.save_edit(edit, folder / "-o $(touch x)'<b>.safetensors")
    for index, thumbnail in enumerate(["https://example.org/track.gif", DATA_URL + evil, "javascript:alert(1)"]):
        for version in ("1", "2"):  # the first is shown without its picture, the second refused
            fields = {"modelspec__thumbnail": thumbnail, "vii__format_version": version}
            strange_file(toy_edit, folder / f"picture{version}{index}.safetensors", **fields)
    for index, explained in enumerate([10**39, "1e999", True, None]):
        vii.save_edit(dataclasses.replace(toy_edit, training={"explained": explained}), folder / f"{index}.safetensors")
    run("gallery", folder, "-o", tmp_path / "out", "--photos", photos)
    source = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    page = Page(source)
    assert source.count("thumbnail must be a data: URL") == 3
    assert page.open == []
    assert not page.of("script")
    assert not page.of("b")
    assert all(image["src"].startswith(DATA_URL) and "onerror" not in image for image in page.of("img"))
    assert "example.org" not in source
    assert "x" * 1000 not in source
    command = """vii apply './-o $(touch x)'"'"'<b>.safetensors' photo.jpg"""
    assert command in html.unescape(source)


def test_a_page_without_one_edit_says_why_and_fails(tmp_path, folder, photos):
    for path in folder.glob("*.safetensors"):
        if path.stem != "broken":
            path.unlink()
    _, err = run("gallery", folder, "-o", tmp_path / "out", "--photos", photos, code=1)
    assert "not one of the 1 edit files could be shown" in err
    source = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "not a safetensors file" in source
    assert not Page(source).of("nav")
    assert Page(source).open == []


def test_bad_input_is_refused_in_one_line(tmp_path, folder, photos):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("not a picture")
    (tmp_path / "file").write_text("")
    cases = [
        ([tmp_path / "none"], "expected a folder of edit files"),
        ([folder / "bands.safetensors"], "expected a folder of edit files"),
        ([tmp_path / "empty"], "no edit files"),
        ([folder, "--photos", tmp_path / "empty"], "no pictures in this folder"),
        ([folder, "--photos", tmp_path / "none"], "no such file"),
        ([folder, "--photos", tmp_path / "bad"], "not one photo that can be used"),
        ([folder, "--count", "0"], "0 is not in the range"),
    ]
    for arguments, message in cases:
        assert message in refused("gallery", *arguments, "-o", tmp_path / "out"), arguments
    assert not (tmp_path / "out").exists()
    assert "cannot be written" in refused("gallery", folder, "--photos", photos, "-o", tmp_path / "file" / "inside")


def test_photos_are_spread_and_large_ones_scaled(tmp_path):
    for index in range(5):
        vii.save_image(picture(index, 32, 1500 if index == 4 else 40)[:, :, :256], tmp_path / f"{index}.png")
    vii.save_image(torch.zeros(3, 700, 1400), tmp_path / "4.png")
    chosen, problems = gallery_photos(tmp_path, 3)
    assert list(chosen) == ["0", "2", "4"]
    assert chosen["4"].shape == (3, 512, 1024)
    assert problems == {}
    Image.new("RGB", (20, 20)).save(tmp_path / "4.jpg")
    assert len(gallery_photos(tmp_path, 9)[0]) == 6


def test_a_thumbnail_that_would_fill_the_memory_is_refused():
    for side in (3000, 20_000):
        buffer = io.BytesIO()
        Image.new("1", (side, 16)).convert("L").save(buffer, "JPEG")
        data = bytearray(buffer.getvalue())
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 7] = (side).to_bytes(2, "big")  # the height that the header claims
        with pytest.raises(ImageError, match="damaged or too large"):
            thumbnail_image(DATA_URL + base64.b64encode(bytes(data)).decode())
    for text in ("", "https://example.org/x.jpg", "data:image/png;base64,AAAA", DATA_URL + "AAAA"):
        with pytest.raises(ImageError):
            thumbnail_image(text)


def test_the_page_of_nothing_is_a_page():
    assert Page(gallery_page("<Nothing>", {}, [])).open == []
