"""Which pictures of a folder are pairs: every layout, and what fits none."""

import re

import pytest
import torch
from click.testing import CliRunner
from conftest import picture

import vii
from vii.cli import main
from vii.demo import FOLDER as DEMO
from vii.errors import ImageError
from vii.evaluation.synthetic import make
from vii.pairs import LAYOUTS, doubts, find_pairs, likeness, match_pairs

CASES = {
    "N_0 and N_1": (
        ["10_0.png", "10_1.png", "2_0.png", "2_1.jpg", "0_0.PNG", "0_1.png"],
        [("0_0.PNG", "0_1.png"), ("2_0.png", "2_1.jpg"), ("10_0.png", "10_1.png")],
    ),
    "NAME_before and NAME_after": (
        ["cat_after.png", "cat_before.png", "dog-Before.webp", "dog-after.png"],
        [("cat_before.png", "cat_after.png"), ("dog-Before.webp", "dog-after.png")],
    ),
    "NAME_start and NAME_end": (
        ["b_end.png", "b_start.png", "a_1_start.png", "a_1_end.png"],
        [("a_1_start.png", "a_1_end.png"), ("b_start.png", "b_end.png")],
    ),
    "before/NAME and after/NAME": (
        ["before/x_0.png", "before/x_1.png", "after/x_0.jpg", "after/x_1.png"],
        [("before/x_0.png", "after/x_0.jpg"), ("before/x_1.png", "after/x_1.png")],
    ),
}


@pytest.mark.parametrize("layout", CASES)
def test_each_layout_is_known_by_its_names(layout):
    names, expected = CASES[layout]
    found = match_pairs(reversed(names))
    assert found.pairs == expected
    assert found.layout == layout
    assert found.photos == []


def test_every_layout_is_tested():
    assert set(CASES) == set(LAYOUTS)


def test_one_pair_needs_no_name_of_its_own():
    assert match_pairs(["after.png", "before.png"]).pairs == [("before.png", "after.png")]
    assert match_pairs(["start.png", "end.png"]).pairs == [("start.png", "end.png")]


def test_the_authors_test_photo_is_no_half_of_a_pair():
    found = match_pairs(["0_0.png", "0_1.png", "1_0.png"])
    assert found.pairs == [("0_0.png", "0_1.png")]
    assert found.photos == ["1_0.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found no pictures"),
        (["cat.png", "dog.png"], "expected N_0 and N_1; NAME_before.*found cat.png, dog.png"),
        ([f"photo{i}.png" for i in range(20)], "photo0.png, photo1.png, photo2.png.* and 12 more"),
        (["1_0.png"], "no before/after pairs.*found 1_0.png"),
        (["0_0.png", "0_1.png", "1_1.png"], "without a partner.*N_0 and N_1: 1_1.png; complete or remove"),
        (["0_0.png", "0_1.png", "cover.png"], "without a partner.*cover.png"),
        (["a_before.png", "a_after.png", "b_before.png"], "without a partner.*b_before.png"),
        (["before/a.png", "after/a.png", "after/b.png"], "without a partner.*after/b.png"),
        (["0_0.png", "0_1.png", "0_0.jpg"], "0_0.jpg and 0_0.png would be the same half"),
        (
            ["0_0.png", "0_1.png", "a_start.png", "a_end.png"],
            "named in 2 ways: N_0 and N_1 .*; NAME_start and NAME_end",
        ),
    ],
)
def test_what_fits_no_layout_is_named(names, message):
    with pytest.raises(ImageError) as caught:
        match_pairs(names)
    assert re.search(message, str(caught.value)), caught.value


def test_a_folder_on_disk(tmp_path):
    for half in ("Before", "after"):
        (tmp_path / half).mkdir()
        (tmp_path / half / "._a.png").write_bytes(b"other programs' business")
        (tmp_path / half / "notes.txt").write_text("not a picture")
        for name in ("a", "b"):
            vii.save_image(picture(1, 20, 20), tmp_path / half / f"{name}.png")
    pairs = find_pairs(tmp_path).pairs
    assert pairs == [(str(tmp_path / "Before" / name), str(tmp_path / "after" / name)) for name in ("a.png", "b.png")]
    assert [vii.Pair.open(*pair).before.shape for pair in pairs] == [(3, 20, 20)] * 2


def test_names_in_two_unicode_forms_are_a_pair():
    composed, apart = "caf\u00e9_before.png", "cafe\u0301_after.png"
    assert match_pairs([composed, apart]).pairs == [(composed, apart)]


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ImageError, match=r"none: expected a folder of pairs, found nothing"):
        find_pairs(tmp_path / "none")
    (tmp_path / "file.png").write_bytes(b"")
    with pytest.raises(ImageError, match="found a file"):
        find_pairs(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"empty: no before/after pairs.*found no pictures"):
        find_pairs(tmp_path / "empty")


def test_pairs_are_told_from_two_pictures():
    photos = {path.stem: vii.load_image(path) for path in sorted((DEMO / "photos").glob("*.jpg"))}
    edits = [
        make(name) for name in ("grayscale", "invert", "night", "thermal", "sketch", "watercolor", "fog", "cartoon")
    ]
    for photo in photos.values():
        for edit in edits:
            pair = vii.Pair(photo, edit.apply(photo))
            assert doubts(pair) == "", edit
        for other in photos.values():
            if other is not photo:
                pair = vii.Pair(photo, torch.nn.functional.interpolate(other[None], photo.shape[-2:])[0])
                assert "edge" in doubts(pair)
                assert "edge" in doubts(vii.Pair(pair.before, edits[1].apply(pair.after)))
    assert "the same" in doubts(vii.Pair(photo, photo.clone()))
    assert likeness(torch.zeros(3, 20, 20), torch.ones(3, 20, 20)) == (0.0, 0.0)


def test_the_command_says_which_pair_is_none_and_learns_all_the_same(tmp_path):
    before, after, other = (str(tmp_path / f"{name}.png") for name in ("before", "after", "other"))
    photo = vii.load_image(DEMO / "before.png")
    vii.save_image(photo, before)
    vii.save_image(make("sepia").apply(photo), after)
    vii.save_image(vii.load_image(DEMO / "photos/cat.jpg")[:, :256, :256], other)
    few = [part for setting in ("steps=2", "init=none", "tokens=4") for part in ("--set", setting)]
    options = ["--editor", "toy", *few, "-o", str(tmp_path / "a.safetensors")]
    good = CliRunner().invoke(main, ["learn", before, after, *options])
    assert "warning: These" not in good.output
    told = CliRunner().invoke(main, ["learn", before, after, "--pair", before, other, *options])
    assert told.exit_code == 0, told.output
    assert "warning: pair 2 of 2: These do not look like one picture before and after an edit" in told.output
