"""The methods by name, what each of them does, one of another package, and `vii transfer`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import picture, saved
from test_cli import refused, run

import vii
from vii.errors import UsageError
from vii.images import resize
from vii.methods import METHODS, Learned, find_method, load_method, prepare

FAST = vii.InversionSettings(
    recipe="fast", init="none", tokens=3, max_train_steps=4, probe_size=2, batch_size=2, probe_every=2
)
PAIR = vii.Pair(picture(1, 32, 32), 1 - picture(1, 32, 32))
PHOTO = picture(2, 40, 24)


def test_pixel_delta_is_its_formula_at_the_size_of_the_photo():
    other = vii.Pair(picture(3, 48, 60), picture(4, 48, 60))
    found = load_method("pixel-delta")([PAIR, other], PHOTO, seed=3)
    deltas = [resize(pair.after, 40, 24) - resize(pair.before, 40, 24) for pair in (PAIR, other)]
    torch.testing.assert_close(found, (PHOTO + (deltas[0] + deltas[1]) / 2).clamp(0, 1))
    square = picture(2, 32, 32)
    expected = (square + PAIR.after - PAIR.before).clamp(0, 1)
    torch.testing.assert_close(load_method("pixel-delta")([PAIR], square), expected)
    with pytest.raises(UsageError, match="at least one"):
        load_method("pixel-delta")([], PHOTO)


def test_words_and_no_edit_do_not_look_at_the_pairs(toy):
    words = load_method("words", editor=toy, text="make it red")
    assert torch.equal(words([], PHOTO, seed=1), vii.apply(toy, None, PHOTO, text="make it red", seed=1))
    assert load_method("no-edit")([], PHOTO) is PHOTO
    assert not find_method("words").pairs
    assert not find_method("no-edit").pairs


def test_inversion_learns_and_applies_as_the_library_does(toy):
    method = load_method("inversion", editor=toy, recipe=FAST, text="make it red")
    edit = vii.invert(toy, [PAIR], FAST, seed=2)
    expected = vii.apply(toy, edit, PHOTO, text="make it red", seed=2)
    assert torch.equal(method([PAIR], PHOTO, seed=2), expected)
    notes = []
    learned = prepare(method, [PAIR], seed=2, watch=notes.append)
    assert torch.equal(learned.transfer([], PHOTO, seed=2), expected)
    assert learned.edit.sha256() == edit.sha256()
    assert learned.samples == edit.training["samples"]
    assert notes[-1].startswith("step 4 of 4, explained ")
    assert [moment.samples for moment in learned.moments] == sorted(moment.samples for moment in learned.moments)
    assert len(learned.moments) == 2  # the start and the look after two updates


def test_what_does_not_learn_is_ready_as_it_is():
    delta = load_method("pixel-delta")
    assert prepare(delta, [PAIR]) == Learned(delta)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inverson", {}, "did you mean 'inversion'"),
        ("words", {"editor": 1}, "'words' needs text; got editor"),
        ("inversion", {"editor": None}, "'inversion' needs editor; got nothing"),
        ("pixel-delta", {"recipe": FAST}, "'pixel-delta' does not take recipe; it takes nothing"),
    ],
)
def test_methods_that_cannot_be_built(name, options, message):
    with pytest.raises(UsageError, match=message):
        load_method(name, **options)


# The command


def transfer(*arguments, code=0):
    """Run `vii transfer`; stdout, or the one line of the error."""
    return refused("transfer", *arguments) if code else run("transfer", *arguments)[0]


@pytest.fixture
def files(tmp_path):
    """A pair, two photos in a folder, a recipe."""
    saved(tmp_path, before=PAIR.before, after=PAIR.after)
    (tmp_path / "photos").mkdir()
    saved(tmp_path / "photos", p0=picture(5, 40, 30), p1=picture(6, 40, 30))
    (tmp_path / "fast.toml").write_text('[inversion]\ninit = "none"\ntokens = 3\nsteps = 4\nprobe_size = 2\n')
    return tmp_path


def test_transfer_is_learn_and_apply_in_one(files):
    out = files / "out"
    pair, editor = [files / "before.png", files / "after.png"], ["--editor", "toy"]
    options = [*editor, "--recipe", files / "fast.toml", "--seed", "3", "--text", "make it red"]
    text = transfer(*pair, files / "photos", "-o", out, *options)
    assert text.split() == [str(out / "p0.png"), str(out / "p1.png")]
    run("learn", *pair, "-o", files / "e.safetensors", *options[:-2])
    applying = [*editor, "--seed", "3", *options[-2:]]
    run("apply", files / "e.safetensors", files / "photos", "-o", files / "applied", *applying)
    for name in ("p0.png", "p1.png"):
        assert torch.equal(vii.load_image(out / name), vii.load_image(files / "applied" / name))


def test_transfer_by_a_method_without_an_editor_reports_as_json(files):
    pair, photo = [files / "before.png", files / "after.png"], files / "photos/p0.png"
    found = json.loads(transfer(*pair, photo, "-o", files / "r.png", "--method", "pixel-delta", "--json"))
    assert (found["paths"], found["method"], found["explained"]) == ([str(files / "r.png")], "pixel-delta", None)
    loaded = vii.Pair.open(*pair)
    expected = load_method("pixel-delta")([loaded], vii.load_image(photo))
    assert (vii.load_image(files / "r.png") - expected).abs().max() < 1 / 255


def test_transfer_refuses_in_one_line_and_writes_nothing(files):
    pair, photos = [files / "before.png", files / "after.png"], files / "photos"
    (files / "photos/broken.png").write_bytes(b"no picture")
    for arguments, message in (
        ([photos, "--method", "invresion"], "did you mean 'inversion'"),
        ([photos, "--method", "words", "--editor", "toy"], "say the edit with --text"),
        (
            [photos, "--method", "pixel-delta", "--recipe", "default"],
            "--recipe: the method 'pixel-delta' does not take",
        ),
        ([photos, "--method", "pixel-delta", "--editor", "toy"], "--editor: the method 'pixel-delta' does not take"),
        ([photos, "--method", "pixel-delta"], "broken.png: not a picture"),
        ([photos, "--recipe", "defualt", "--editor", "toy"], "broken.png: not a picture"),
        ([files / "none.png"], "no such file"),
        ([photos / "p0.png", "--seed", "-1"], "--seed"),
    ):
        line = transfer(*pair, *arguments, "-o", files / "out", code=1)
        assert message in line, line
        assert not list((files / "out").glob("*")) if (files / "out").exists() else True
    line = transfer(*pair, photos / "p0.png", "-o", pair[1], "--method", "pixel-delta", code=1)
    assert "would be overwritten" in line


def test_methods_are_listed():
    text = run("methods")[0]
    assert all(name in text for name in METHODS)
    rows = json.loads(run("methods", "--json")[0])
    assert rows["inversion"]["learns"]
    assert rows["words"]["needs"] == ["editor", "text"]


# A package of somebody else's

PACKAGE = '''
import torch

from vii.methods import MethodEntry


class MeanColour:
    """Moves the mean colour of the photo as that of the pairs moved, `strength` of the way."""

    def __init__(self, model="1.0", device="cpu"):
        self.strength, self.device = float(model), device

    def __call__(self, pairs, photo, *, seed=0):
        moved = torch.stack([(pair.after - pair.before).mean((1, 2)) for pair in pairs]).mean(0)
        return (photo + self.strength * moved[:, None, None]).clamp(0, 1)


ENTRY = MethodEntry(MeanColour, "moves the mean colour", takes=("model", "device"))
'''
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: mean-colour\nVersion: 1.0\n",
    "entry_points.txt": "[vii.methods]\nmean-colour = mean_colour:ENTRY\nbroken = no_such:ENTRY\nodd = json:dumps\n",
}


@pytest.fixture
def package(tmp_path):
    """An installed package with a method, in fewer than 40 lines, and what a Python that sees it needs."""
    site = tmp_path / "site"
    (site / "mean_colour-1.0.dist-info").mkdir(parents=True)
    (site / "mean_colour.py").write_text(PACKAGE)
    for name, text in METADATA.items():
        (site / "mean_colour-1.0.dist-info" / name).write_text(text)
    assert len(PACKAGE.splitlines()) < 40
    return site


def test_a_method_of_another_package_is_used_from_the_command_line(files, package, monkeypatch):
    """In a process of its own, as its user does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), str(Path(vii.__file__).parents[1])]))
    arguments = ["before.png", "after.png", "photos", "-o", "out", "--method", "mean-colour", "--model", "0.5"]
    done = subprocess.run(
        [sys.executable, "-m", "vii", "transfer", *arguments], cwd=files, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    pair = vii.Pair.open(files / "before.png", files / "after.png")
    moved = (pair.after - pair.before).mean((1, 2)) / 2
    expected = (vii.load_image(files / "photos/p1.png") + moved[:, None, None]).clamp(0, 1)
    assert (vii.load_image(files / "out/p1.png") - expected).abs().max() < 1 / 255


def test_a_package_that_cannot_be_loaded_says_so_and_hides_no_other_method(package, monkeypatch):
    """In a process of its own: the table is made when the methods are imported."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), str(Path(vii.__file__).parents[1])]))
    done = subprocess.run([sys.executable, "-m", "vii", "methods", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert set(rows) == {*METHODS, "broken", "mean-colour", "odd"}
    assert rows["mean-colour"]["description"] == "moves the mean colour"
    assert "not usable: 'no_such:ENTRY' of mean-colour cannot be loaded" in rows["broken"]["description"]
    assert "must be a vii.methods.MethodEntry, got a function" in rows["odd"]["description"]
