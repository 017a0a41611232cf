"""Editors and captioners of other packages, found by entry points and used from the command line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import picture
from test_cli import run

import vii
from vii import captions, editors
from vii.plugins import plugins

PHOTO = Path(vii.__file__).parent / "demo/before.png"
POINTS = """[vii.editors]
tint = vii_tint:ENTRY
toy = vii_tint:ENTRY
absent = vii_absent:ENTRY
odd = vii_tint:Tint
raising = vii_raising:ENTRY
[vii.captioners]
brighter = vii_tint:caption
broken = vii_absent:caption
"""


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A package `vii-tint` is installed."""
    information = tmp_path / "site/vii_tint-1.0.dist-info"
    information.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "vii_tint.py", tmp_path / "site")
    (tmp_path / "site/vii_raising.py").write_text("import sys\nsys.exit('no\\nlicence')")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: vii-tint\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path / "site")
    tables = (editors.EDITORS, captions.INITS)
    for table in tables:
        table.__dict__.pop("_rows", None)
    yield tmp_path
    for table in tables:
        table.__dict__.pop("_rows", None)


def refused(*arguments) -> str:
    """What a command that must fail says, which is one line."""
    message = run(*arguments, code=1)[1]
    assert len(message.strip().splitlines()) == 1
    return message


def test_an_editor_of_another_package_learns_and_applies(offered, tmp_path):
    before, edit, out = 0.4 * picture(1, 32, 32), tmp_path / "e.safetensors", tmp_path / "out.png"
    vii.save_image(before, tmp_path / "before.png")
    vii.save_image(before + torch.tensor([0.3, 0.1, 0.0])[:, None, None], tmp_path / "after.png")
    options = ["--editor", "tint", "--init", "brighter", "--tokens", "2", "--set", "max_train_steps=200", "--json"]
    learned = json.loads(run("learn", tmp_path / "before.png", tmp_path / "after.png", "-o", edit, *options)[0])
    assert learned["explained"] > 0.99
    assert learned["init_text"] == "brighter"
    run("apply", edit, tmp_path / "before.png", "-o", out)
    assert (vii.load_image(out) - vii.load_image(tmp_path / "after.png")).abs().max() < 0.02


def test_broken_ones_are_named_in_a_line_and_disturb_no_other(offered):
    rows = json.loads(run("editors", "--json")[0])
    assert rows["tint"]["description"] == "adds one colour to the whole picture"
    assert "moves the colours" in rows["toy"]["description"]  # the names of our own stay our own
    for name, reason in (
        ("absent", "'vii_absent:ENTRY' of vii-tint cannot be loaded (ModuleNotFoundError"),
        ("odd", "must be a vii.editors.EditorEntry, got a type"),
        ("raising", "cannot be loaded (SystemExit: no licence)"),
    ):
        assert reason in rows[name]["description"]
        message = refused("apply", PHOTO, "--text", "red", "--editor", name, "-o", offered / "y.png")
        assert reason in message
    options = ["--editor", "toy", "--tokens", "2", "--init", "broken", "-o", offered / "e.safetensors"]
    assert "'vii_absent:caption' of vii-tint" in refused("learn", PHOTO, PHOTO.with_name("after.png"), *options)


def test_a_group_without_entry_points_is_empty():
    assert list(plugins("vii.nothing")) == []
