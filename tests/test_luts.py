"""Look-up tables out and in: against interpolation by scipy, and formulas."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import RegularGridInterpolator
from test_cli import printed as run

import vii
from vii.color_plan import ColorApplication
from vii.demo import photo_files
from vii.errors import UsageError
from vii.finish import ColorTransform, Finish, Lut, bake, write_cube
from vii.finish.terms import Terms
from vii.interop.luts import export_lut, import_lut
from vii.pictures import read_picture, write_picture

PHOTO = np.asarray(Image.open(photo_files()[0]).convert("RGB"))
LUMA = np.array([0.299, 0.587, 0.114])


def warm(image):
    """A look, written out: half of the colour goes, red rises, blue falls."""
    grey = (image @ LUMA)[..., None]
    return np.clip(0.5 * image + 0.5 * grey + np.array([0.08, 0.0, -0.06]), 0, 1)


@pytest.fixture(scope="module")
def look():
    """An edit that does what `warm` does: an affine transform of `2 x - 1`."""
    matrix = 0.5 * np.eye(3) + 0.5 * LUMA[:, None] - np.eye(3)
    constant = np.array([0.08, 0.0, -0.06]) + matrix.sum(0) / 2
    color = ColorTransform(Terms(1), np.vstack([constant, matrix / 2]).astype(np.float32))
    return vii.Edit(finish=Finish("color", color, errors={"color": 50.0}), title="Warm")


def read_by_scipy(path):
    """What another program makes of a .cube file: its lines parsed here, red running fastest, linear in between."""
    lines = [line for line in path.read_text().splitlines() if line[:1].isdigit() or line[:1] == "-"]
    size = round(len(lines) ** (1 / 3))
    table = np.loadtxt(lines).reshape(size, size, size, 3).transpose(2, 1, 0, 3)
    return RegularGridInterpolator([np.linspace(0, 1, size)] * 3, table)


@pytest.mark.parametrize("weight", [1.0, 0.5, -0.5])
def test_an_exported_cube_does_in_another_program_what_the_edit_does(tmp_path, look, weight):
    vii.save_edit(look, tmp_path / "warm.safetensors")
    options = [] if weight == 1 else ["--weight", weight]
    path = tmp_path / "out.cube"
    report = json.loads(
        run("export", tmp_path / "warm.safetensors", "--format", "cube", *options, "-o", path, "--json")
    )
    image = PHOTO / 255.0
    expected = np.clip(image + weight * (warm(image) - image), 0, 1)
    wrong = np.abs(read_by_scipy(path)(image) - expected)
    # No table holds the bend where a channel begins to be clipped.
    assert np.quantile(wrong, 0.99) < 0.1 / 255
    assert wrong.max() < 3 / 255
    # The figures that are told are of all shipped photos, and by tetrahedra.
    assert report["psnr"] > 60
    assert report["largest"] < 3
    assert report["bytes"] == path.stat().st_size
    assert 'TITLE "Warm"' in path.read_text()


def test_the_error_that_is_told_is_that_of_the_file(tmp_path, look):
    """A look with a corner that no table of 33 points holds: told and measured here agree."""
    terms = Terms(1, ("red",), 129)
    bent = np.zeros((len(terms), 3), np.float32)
    bent[4 + 64 :, 0] = 0.3  # a step in red
    edit = vii.Edit(finish=Finish("color", ColorTransform(terms, bent)))
    error = export_lut(edit, tmp_path / "step.cube", "cube")
    application, read = ColorApplication(edit), read_by_scipy(tmp_path / "step.cube")
    squares, largest = [], 0.0
    for file in photo_files():
        image = np.asarray(Image.open(file).convert("RGB")) / np.float32(255)
        wrong = read(image.astype(np.float64)) - application(image)
        squares.append(np.square(wrong).ravel())
        largest = max(largest, 255 * np.abs(wrong).max())
    assert error.psnr == pytest.approx(-10 * np.log10(np.concatenate(squares).mean()), abs=0.05)
    assert error.largest == pytest.approx(largest, rel=0.02)
    assert error.largest > 10


def test_an_exported_hald_clut_holds_what_becomes_of_every_colour(tmp_path, look):
    for name in ("h.png", "h.tif"):
        error = export_lut(look, tmp_path / name, "hald")
        assert error.psnr > 60
        pixels = read_picture(tmp_path / name).pixels
        assert pixels.shape == (512, 512, 3)
        assert pixels.dtype == np.uint16
        for red, green, blue in [(0, 0, 0), (63, 0, 0), (10, 40, 20), (63, 63, 63)]:
            found = pixels.reshape(-1, 3)[red + 64 * green + 4096 * blue] / 65535
            np.testing.assert_allclose(found, warm(np.array([red, green, blue]) / 63), atol=2e-5)


def test_what_no_table_can_hold_is_refused_with_the_reason(tmp_path, look, toy_edit):
    terms = Terms(1, place="middle", place_knots=3)
    by_place = Finish("color", ColorTransform(terms, np.zeros((len(terms), 3), np.float32)))
    vii.save_edit(vii.Edit(finish=by_place), tmp_path / "place.safetensors")
    vii.save_edit(toy_edit, tmp_path / "tokens.safetensors")
    vii.save_edit(look, tmp_path / "warm.safetensors")
    before = sorted(tmp_path.iterdir())
    for kind in ("cube", "hald"):
        out = run("export", tmp_path / "place.safetensors", "--format", kind, code=1)
        assert "no colour map (colours and light by place, no editor needed)" in out
        assert "its place in the picture" in out
        out = run("export", tmp_path / "tokens.safetensors", "--format", kind, code=1)
        assert "no colour map (tokens" in out
        assert "what the picture shows" in out
    bad = [
        (["cube", "-o", tmp_path / "x.png"], "named *.cube"),
        (["hald", "-o", tmp_path / "x.jpg"], "named *.png, *.tif"),
        (["cube", "-o", tmp_path / "none" / "x.cube"], "cannot be written"),
        (["cube", "--weight", "nan", "-o", tmp_path / "x.cube"], "weight"),
        (["cube", "--weight", "1e9", "-o", tmp_path / "x.cube"], "weight"),
        (["cube", "--token-name", "a", "-o", tmp_path / "x.cube"], "--token-name is for --format diffusers-ti"),
        (["npz", "--weight", "2", "-o", tmp_path / "x.npz"], "--weight is for --format cube"),
    ]
    for options, reason in bad:
        assert reason in run("export", tmp_path / "warm.safetensors", "--format", *options, code=1)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(UsageError, match="named"):
        export_lut(look, tmp_path / "x.png", "cube")


def test_an_imported_table_is_an_edit_that_stacks_with_learned_ones(tmp_path, look):
    vii.save_edit(look, tmp_path / "warm.safetensors")
    gamma = bake(lambda image: image**1.5, 17)
    write_cube(gamma, tmp_path / "Dark Film.cube")
    out, photo = tmp_path / "dark.safetensors", tmp_path / "photo.png"
    told = run("import", tmp_path / "Dark Film.cube", "-o", out)
    assert "17 points a side, as they were" in told
    edit = vii.load_edit(out)
    assert (edit.title, edit.num_tokens, edit.needs_editor) == ("Dark Film", 0, False)
    assert out.stat().st_size < 12 * 17**3 + 2000
    assert run("show", out).splitlines()[1].split("  ")[-1] == "colours, no editor needed"
    Image.fromarray(PHOTO).save(photo)
    run("apply", f"{out}:0.5", tmp_path / "warm.safetensors", photo, "-o", tmp_path / "result.png")
    image = PHOTO / 255.0
    darker = read_by_scipy(tmp_path / "Dark Film.cube")(image)
    expected = warm(image + 0.5 * (darker - image))
    found = np.asarray(Image.open(tmp_path / "result.png")) / 255.0
    assert np.abs(found - expected).max() < 1.5 / 255
    # Out again with its own points: the file that came in.
    run("export", out, "--format", "cube", "-o", tmp_path / "again.cube")
    again, first = (
        np.loadtxt(path.read_text().splitlines()[3 - k :])
        for k, path in [(0, tmp_path / "again.cube"), (1, tmp_path / "Dark Film.cube")]
    )
    np.testing.assert_array_equal(again, first)


def test_a_hald_clut_of_another_program_is_an_edit(tmp_path):
    """Level 4 by numbers, 8 bits, as ImageMagick's `hald:4` lays it out."""
    index = np.arange(16**3)
    colors = np.stack([index % 16, index // 16 % 16, index // 256], -1) / 15
    Image.fromarray(np.round(255 * warm(colors)).astype(np.uint8).reshape(64, 64, 3)).save(tmp_path / "warm.png")
    edit, error = import_lut(tmp_path / "warm.png")
    assert error is None
    wrong = np.abs(ColorApplication(edit)(PHOTO) / 255.0 - warm(PHOTO / 255.0))
    assert np.quantile(wrong, 0.99) < 1.1 / 255
    assert wrong.max() < 6 / 255  # where a channel begins to be clipped, between 16 points
    write_picture(np.zeros((60, 64, 3), np.uint8), tmp_path / "photo.png")
    assert "expected a Hald CLUT" in run("import", tmp_path / "photo.png", "-o", tmp_path / "e.safetensors", code=1)


def test_a_table_that_does_not_fit_is_sampled_anew_and_says_so(tmp_path):
    levels = np.linspace(0, 1, 90, dtype=np.float32)
    table = np.stack(np.meshgrid(levels, levels**2, levels, indexing="ij"), -1)
    write_cube(Lut(table), tmp_path / "large.cube")
    report = json.loads(run("import", tmp_path / "large.cube", "-o", tmp_path / "e.safetensors", "--json"))
    assert report["points"] == 65
    assert report["psnr"] > 60
    assert report["largest"] < 0.2
    assert report["bytes"] < 3_400_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("LUT_3D_SIZE 2\n" + "0 nan 0\n" * 8, "line 2"),
        ("LUT_3D_SIZE 1\n0 0 0\n", "a size of 2 to 129"),
        ("LUT_3D_SIZE 2\n" + "0 0 0\n" * 9, "got more"),
        ("LUT_3D_SIZE 100000\n", "a size of 2 to 129"),
        ("\x1b[2J\x07\n", "line 1"),
        ("", "LUT_3D_SIZE"),
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(tmp_path, text, reason):
    (tmp_path / "bad.cube").write_text(text)
    out = run("import", tmp_path / "bad.cube", "-o", tmp_path / "e.safetensors", code=1)
    assert reason in out
    assert len(out.splitlines()) == 1
    assert "\x1b" not in out
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.cube"]


def test_import_does_not_write_over_what_it_reads_nor_take_options_for_nothing(tmp_path):
    write_cube(bake(lambda image: image, 2), tmp_path / "same.cube")
    run("import", tmp_path / "none.cube", "-o", tmp_path / "e.safetensors", code=1)
    assert "named *.safetensors" in run("import", tmp_path / "same.cube", "-o", tmp_path / "same.cube", code=1)
    out = run("import", tmp_path / "same.cube", "-o", tmp_path / "e.safetensors", "--caption", "a look", code=1)
    assert "--caption is for files of the paper's code" in out
    out = run("import", tmp_path / "same.cube", "-o", tmp_path / "e.safetensors", "--editor", "ip2p", code=1)
    assert "--editor is for files of the paper's code" in out
    (tmp_path / "e.safetensors").write_text("mine")
    out = run("import", tmp_path / "same.cube", "-o", tmp_path / "e.safetensors", code=1)
    assert "--overwrite" in out
    assert (tmp_path / "e.safetensors").read_text() == "mine"
