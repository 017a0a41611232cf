"""The library: a folder of edit files that are found by name, and the commands around it."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import strange_file
from test_cli import refused, run

import vii
from vii.errors import EditFileError, OutputError, UsageError
from vii.library import add_edits, edit_files, find_edit, library_folder, read_folder, remove_edits


@pytest.fixture
def toy_file(tmp_path, toy_edit):
    """An edit file for the toy editor with everything in its header that people look for."""
    labels = {"title": "Bands", "description": "Coloured bands.", "author": "Ada", "tags": ["Colour", "test"]}
    path = tmp_path / "bands.safetensors"
    vii.save_edit(dataclasses.replace(toy_edit, **labels), path)
    return path


def other(toy_edit, path):
    """An edit file with other tokens."""
    vii.save_edit(dataclasses.replace(toy_edit, tokens=torch.zeros(2, 3)), path)
    return path


def test_an_edit_is_kept_byte_for_byte_and_found_by_name(library, toy_file, photo_file, tmp_path):
    assert not library.exists()
    out, _ = run("library", "add", toy_file)
    assert out.split() == ["bands", str(library / "bands.safetensors")]
    assert (library / "bands.safetensors").read_bytes() == toy_file.read_bytes()
    assert [path.name for path in library.iterdir()] == ["bands.safetensors"]
    assert run("library", "path")[0].strip() == str(library)

    shown = json.loads(run("show", "bands", "--json")[0])
    assert shown["title"] == "Bands"
    run("apply", "bands:0.5", "bands", photo_file, "-o", tmp_path / "by_name.png")
    run("apply", f"{toy_file}:0.5", toy_file, photo_file, "-o", tmp_path / "by_path.png")
    assert (tmp_path / "by_name.png").read_bytes() == (tmp_path / "by_path.png").read_bytes()

    assert run("library", "remove", "bands")[0].strip() == f"removed {library / 'bands.safetensors'}"
    assert list(library.iterdir()) == []
    assert toy_file.exists()


def test_nothing_is_overwritten(library, toy_file, toy_edit, tmp_path):
    add_edits([toy_file])
    add_edits([toy_file])  # the same file again changes nothing
    (tmp_path / "more").mkdir()
    twin = other(toy_edit, tmp_path / "more" / "bands.safetensors")
    line = refused("library", "add", twin)
    assert "holds another edit called 'bands'" in line
    assert "--name" in line
    with pytest.raises(UsageError, match="called 'bands'"):
        add_edits([other(toy_edit, tmp_path / "more" / "BANDS.safetensors")])  # one file on a Mac and on Windows
    assert (library / "bands.safetensors").read_bytes() == toy_file.read_bytes()
    assert run("library", "add", twin, "--name", "zero bands")[0].startswith("zero bands ")
    assert list(edit_files(library)) == ["bands", "zero bands"]


def test_adding_several_is_all_or_nothing(library, toy_file, toy_edit, tmp_path):
    good = other(toy_edit, tmp_path / "good.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(toy_file.read_bytes()[:-3])
    with pytest.raises(EditFileError, match="damaged"):
        add_edits([good, broken])
    (tmp_path / "more").mkdir()
    with pytest.raises(UsageError, match=r"another of the files to add is called 'good'"):
        add_edits([good, Path(toy_file).rename(tmp_path / "more" / "good.safetensors")])
    with pytest.raises(UsageError, match="one by one"):
        add_edits([good, good], name="x")
    assert not library.exists()


UNSAFE = ["", ".", "..", "../up", "a/b", "a\\b", "a:0.5", "-o", " x", "x ", "x.", "CON", "nul.txt", "x\n", "x\x1b[2J"]


@pytest.mark.parametrize("name", [*UNSAFE, "a" * 81, "x.safetensors", "a*", "e|f"])
def test_names_are_safe_file_names(library, toy_file, name):
    with pytest.raises(UsageError, match="cannot be the name of an edit"):
        add_edits([toy_file], name)
    assert not library.exists()


@pytest.mark.parametrize("name", ["v1.2", "night market", "Akvarell-blå", "水彩", "_x", "a+b"])
def test_names_people_choose(library, toy_file, name):
    assert add_edits([toy_file], name)[0].name == name
    assert find_edit(name) == library / f"{name}.safetensors"


def test_accents_are_one_however_they_are_spelled(toy_file):
    add_edits([toy_file], "bla\u030a")
    assert find_edit("bl\u00e5").name == "bl\u00e5.safetensors"


def test_a_path_that_exists_wins(library, toy_file, toy_edit, photo_file, tmp_path, monkeypatch):
    add_edits([toy_file])
    monkeypatch.chdir(tmp_path)
    assert find_edit("bands") == library / "bands.safetensors"
    other(toy_edit, tmp_path / "zero.safetensors").rename("bands")
    assert find_edit("bands") == Path("bands")
    assert vii.load_edit("bands").tokens.abs().max() == 0
    Path("bands").unlink()
    (tmp_path / "bands").mkdir()
    vii.save_image(vii.load_image(photo_file), tmp_path / "bands" / "one.png")
    run("apply", toy_file, "bands", "-o", "out")  # the folder's photo, edited by the file
    assert (tmp_path / "out" / "one.png").exists()
    assert "nothing to apply" in refused("apply", "bands", photo_file, "-o", "out2")


def test_unknown_names_say_what_was_near(toy_file, photo_file, tmp_path):
    empty = refused("apply", "bands", photo_file, "-o", tmp_path / "x.png")
    assert "is empty" in empty
    assert "vii library add" in empty
    add_edits([toy_file])
    for arguments in (["apply", "band", photo_file], ["apply", "band:0.5", photo_file]):
        line = refused(*arguments, "-o", tmp_path / "x.png")
        assert "unknown edit 'band'; did you mean 'bands'?" in line
        assert "no file or folder" in line
    assert "did you mean 'bands'" in refused("show", "Bnds")
    assert "did you mean 'bands'" in refused("library", "remove", "bands", "band")
    assert find_edit("bands").exists()
    assert "no such file" in refused("apply", "bands", tmp_path / "none.jpg", "-o", tmp_path / "x.png")
    assert "no such edit file" in refused("show", "bands.safetensors")
    assert "EDIT:WEIGHT" in refused("apply", "bands:strong", photo_file, "-o", tmp_path / "x.png")


def test_only_edits_of_the_library_can_be_removed(library, toy_file, tmp_path):
    add_edits([toy_file])
    (library / "notes.txt").write_text("mine")
    for name in ("../bands", str(toy_file), "notes", "notes.txt", "bands.safetensors", ""):
        with pytest.raises(UsageError, match="unknown edit"):
            remove_edits([name])
    assert remove_edits(["bands", "bands"]) == [library / "bands.safetensors"]
    assert (library / "notes.txt").exists()


def test_listing_and_searching(library, toy_file, toy_edit, tmp_path):
    out, err = run("library", "list")
    assert out == ""
    assert str(library) in err
    add_edits([toy_file])
    add_edits([other(toy_edit, tmp_path / "zero.safetensors")])
    (library / "broken.safetensors").write_text("junk")
    (library / "._bands.safetensors").write_text("what macOS leaves behind")

    listed = json.loads(run("library", "list", "--json")[0])
    assert listed["library"] == str(library)
    assert [edit["name"] for edit in listed["edits"]] == ["bands", "broken", "zero"]
    bands, broken, _ = listed["edits"]
    assert (bands["title"], bands["tags"], bands["problem"]) == ("Bands", ["Colour", "test"], "")
    assert "not a safetensors file" in broken["problem"]
    text = run("library", "list")[0]
    assert "Coloured bands." in text
    assert "cannot be used" in text

    def names(*arguments):
        return [edit["name"] for edit in json.loads(run("library", *arguments, "--json")[0])["edits"]]

    assert names("list", "--tag", "colour") == ["bands"]
    assert names("list", "--tag", "colour", "--tag", "none") == []
    assert names("search", "RED") == ["bands", "zero"]  # of the starting text
    assert names("search", "red", "ada") == ["bands"]
    assert names("search", "brok") == ["broken"]
    assert names("search", "nothing") == []
    run("library", "remove", "broken")
    assert "broken" not in edit_files(library)


def test_texts_of_strangers_do_not_reach_the_terminal_as_they_are(toy_edit, tmp_path):
    evil = {"modelspec__description": "a\x1b[2Jb\nc", "vii__format_version": "1"}
    add_edits([strange_file(toy_edit, tmp_path / "evil.safetensors", **evil)])
    for command in (["library", "list"], ["show", "evil"]):
        assert "\x1b" not in run(*command)[0]
    with pytest.raises(EditFileError, match="control characters"):
        vii.save_edit(dataclasses.replace(toy_edit, description="a\x1b[2Jb"), tmp_path / "e.safetensors")
    assert len(run("library", "list")[0].splitlines()) == 1


def test_a_library_that_cannot_be_written_to(toy_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VII_LIBRARY", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="expected a folder"):
        add_edits([toy_file])
    monkeypatch.setenv("VII_LIBRARY", str(tmp_path / "file" / "inside"))
    with pytest.raises((OutputError, UsageError), match=r"VII_LIBRARY|expected a folder"):
        add_edits([toy_file])


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of Linux; platformdirs knows the others")
def test_the_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("VII_LIBRARY", "~/mine")
    assert library_folder() == Path.home() / "mine"
    monkeypatch.setenv("VII_LIBRARY", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert library_folder() == tmp_path / "xdg" / "vii" / "library"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert library_folder() == tmp_path / ".local" / "share" / "vii" / "library"


def test_reading_a_folder_that_is_none(tmp_path, photo_file):
    assert read_folder(tmp_path / "none") == []
    with pytest.raises(UsageError, match="expected a folder of edit files"):
        read_folder(photo_file)


def test_groups_without_a_command_show_their_help():
    for arguments in ([], ["library"]):
        out, err = run(*arguments)
        assert "Commands:" in out
        assert err == ""
