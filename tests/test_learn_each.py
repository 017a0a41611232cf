"""Many edits from one folder: which they are, the same as learned alone, going on, what fails."""

import json
import shutil

import numpy as np
import pytest
from conftest import picture
from test_cli import refused, run

import vii
from vii.errors import ImageError
from vii.pairs import pair_name
from vii.runs.learning import DIGEST, lessons_in

TOY = ("--editor", "toy", "--init", "none", "--tokens", "4", "--set", "steps=12", "--set", "batch_size=2")


@pytest.fixture
def folder(tmp_path):
    """Three edits: of a pair that lies in the folder, of a sub-folder, and of a sub-folder of two pairs."""
    folder = tmp_path / "pairs"
    for name in ("warm_before.png", "cool/before.png", "frame/before/1.png", "frame/before/2.png"):
        before = 0.3 + 0.4 * picture(len(name), 32, 32)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name.replace("before", "after")).parent.mkdir(parents=True, exist_ok=True)
        vii.save_image(before, folder / name)
        vii.save_image(before * 0.6, folder / name.replace("before", "after"))
    return folder


def learned(*arguments, code=0):
    """`vii learn --each ... --json`: the lines of edits by name, and the report."""
    out, _ = run("learn", *arguments, *TOY, "--json", code=code)
    *lines, report = map(json.loads, out.splitlines())
    return {line["name"]: line for line in lines}, report


@pytest.mark.parametrize(
    ("before", "name"),
    [("cat_before.png", "cat"), ("cat.start.jpg", "cat"), ("12_0.png", "12"), ("before.png", "edit"),
     ("before/10_0.png", "10_0"), ("a/before.png", "edit"), ("10.png", "10")],
)  # fmt: skip
def test_names_of_pairs(before, name):
    assert pair_name(before) == name


def test_sub_folders_and_pairs_are_edits(folder):
    found = {lesson.name: len(lesson.pairs) for lesson in lessons_in(folder)}
    assert found == {"warm": 1, "cool": 1, "frame": 2}
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "warm_before.png", folder / ".hidden")
    (folder / "notes").mkdir()
    (folder / "notes" / "read.txt").write_text("no picture")
    assert {lesson.name for lesson in lessons_in(folder)} == set(found)
    for name in ("before", "after"):
        (folder / name).mkdir()
    with pytest.raises(ImageError, match="no pictures"):
        lessons_in(folder / "notes")
    shutil.copy(folder / "warm_before.png", folder / "odd.png")
    with pytest.raises(ImageError, match=r"odd\.png"):
        lessons_in(folder)


def test_each_is_the_edit_that_is_learned_alone(tmp_path, folder):
    lines, report = learned("--each", folder, "-o", tmp_path / "edits", "--tag", "many", "--title", "")
    assert sorted(lines) == ["cool", "frame", "warm"]
    assert report["paths"] == [lines[name]["path"] for name in lines]
    assert (report["failed"], report["kept"]) == (0, 0)
    alone = {
        "warm": (folder / "warm_before.png", folder / "warm_after.png"),
        "cool": (folder / "cool" / "before.png", folder / "cool" / "after.png"),
        "frame": ("--pairs", folder / "frame"),
    }
    for name, pairs in alone.items():
        run("learn", *pairs, *TOY, "--tag", "many", "-o", tmp_path / f"{name}.safetensors")
        expected, found = vii.load_edit(tmp_path / f"{name}.safetensors"), vii.load_edit(lines[name]["path"])
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        assert found.sha256() == expected.sha256()
        assert (found.title, found.pairs, found.tags) == (name, expected.pairs, expected.tags)
        assert {key: value for key, value in found.training.items() if key != DIGEST} == dict(expected.training)
        assert lines[name]["explained"] == found.training["explained"]


def test_it_goes_on_where_it_was_and_learns_again_what_has_changed(tmp_path, folder):
    command = ("--each", folder, "-o", tmp_path / "edits")
    learned(*command)
    before = {path.name: path.read_bytes() for path in (tmp_path / "edits").iterdir()}

    def again(*options):
        lines, report = learned(*command, *options, "--resume")
        assert report["kept"] == sum(line["kept"] for line in lines.values())
        return sorted(name for name, line in lines.items() if not line["kept"])

    assert again() == []
    (tmp_path / "edits" / "cool.safetensors").unlink()
    (tmp_path / "edits" / "warm.safetensors").write_bytes(before["warm.safetensors"][:500])
    # No longer known for one of vii's: the user is asked.
    assert "--overwrite" in refused("learn", *command, *TOY, "--resume", "--json")
    assert again("--overwrite") == ["cool", "warm"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "edits").iterdir()} == before
    vii.save_image(picture(9, 32, 32), folder / "cool" / "after.png")
    assert again() == ["cool"]
    assert again("--seed", "1") == ["cool", "frame", "warm"]
    assert again("--seed", "1", "--set", "learning_rate=0.02") == ["cool", "frame", "warm"]
    assert again("--seed", "1", "--set", "learning_rate=0.02", "--author", "Ada") == ["cool", "frame", "warm"]


def test_a_pair_that_fails_costs_no_other(tmp_path, folder):
    (folder / "cool" / "after.png").write_bytes(b"no picture")
    (folder / "frame" / "after" / "2.png").unlink()
    lines, report = learned("--each", folder, "-o", tmp_path / "edits", code=1)
    assert "not a picture" in lines["cool"]["error"]
    assert "2.png" in lines["frame"]["error"]
    assert report["failed"] == 2
    assert [path.name for path in (tmp_path / "edits").iterdir()] == ["warm.safetensors"]


def test_the_table_says_how_well_each_was_learned_the_worst_first(tmp_path, folder):
    vii.save_image(picture(50, 32, 32), folder / "cool" / "after.png")  # another picture
    out, err = run("learn", "--each", folder, "-o", tmp_path / "edits", *TOY, "--set", "steps=200")
    header, _, *rows = out.splitlines()
    assert [cell.strip() for cell in header.split("|")[1:3]] == ["edit", "explained (%)"]
    shares = [int(row.split("|")[2]) for row in rows]
    assert len(rows) == 3
    assert shares == sorted(shares)
    assert rows[0].split("|")[1].strip() == "cool"
    assert "3 edits: 3 learned; " in err
    assert "little was explained of cool" in err
    assert "cool: These do not look like one picture" in err


def test_what_is_of_one_edit_is_refused(tmp_path, folder):
    pair = (folder / "warm_before.png", folder / "warm_after.png")
    many = ("--each", folder, "-o", tmp_path / "edits")
    assert "BEFORE, AFTER is of one" in refused("learn", *pair, *many)
    assert "--preview is of one" in refused("learn", *many, "--preview")
    assert "needs a folder" in refused("learn", "--each", folder, "-o", tmp_path / "x.safetensors")
    assert "for many edits; give --each too" in refused("learn", *pair, "-o", tmp_path / "x.safetensors", "--resume")
    assert "no-such" in refused("learn", "--each", tmp_path / "no-such", "-o", tmp_path / "edits")
