"""Photos in and results out of `vii apply`: formats, depth, what is carried over, what is told, what needs no torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from test_cli import refused, run

import vii
from vii.finish import ColorTransform, Finish
from vii.finish.terms import Terms
from vii.pictures import read_picture, write_picture

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(30, 220, (40, 56, 3), dtype=np.uint8)
GPS = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}


@pytest.fixture
def dim(tmp_path):
    """An edit that halves every value, and needs no editor."""
    halved = np.vstack([np.full(3, -0.25), -0.25 * np.eye(3)]).astype(np.float32)
    path = tmp_path / "dim.safetensors"
    finish = Finish("color", ColorTransform(Terms(1), halved), errors={"color": 48.0, "editor": 21.5})
    vii.save_edit(vii.Edit(finish=finish, title="Dim"), path)
    return path


@pytest.fixture
def bands(tmp_path, toy_edit):
    """An edit that needs the toy editor."""
    vii.save_edit(toy_edit, tmp_path / "bands.safetensors")
    return tmp_path / "bands.safetensors"


@pytest.mark.parametrize("kind", ["dim", "bands"])
@pytest.mark.parametrize(
    ("name", "format"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP"), ("a.tif", "TIFF")]
)
def test_the_name_of_the_result_says_its_format(tmp_path, request, kind, name, format):
    edit = request.getfixturevalue(kind)
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    run("apply", edit, tmp_path / "photo.png", "-o", tmp_path / name)
    with Image.open(tmp_path / name) as result:
        assert (result.format, result.size) == (format, (56, 40))
        found = np.asarray(result, np.float64)
    if kind == "dim":
        wrong = found - PIXELS / 2
        assert np.abs(wrong).max() <= 0.51 if format in ("PNG", "TIFF") else np.abs(wrong.mean((0, 1))).max() < 4
    # And it says how it was made, which `show` reads.
    shown = json.loads(run("show", tmp_path / name, "--json")[0])
    assert shown["edits"][0]["name"] == kind
    assert shown["size"] == [56, 40]


@pytest.mark.parametrize("kind", ["dim", "bands"])
def test_results_have_16_bits_where_the_photo_has(tmp_path, request, kind):
    edit, deep = request.getfixturevalue(kind), PIXELS.astype(np.uint16) * 200 + 77
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    for name in ("r.png", "r.tif"):
        out, err = run("apply", edit, tmp_path / "deep.tif", "-o", tmp_path / name, "--json")
        found = read_picture(tmp_path / name).pixels
        assert found.dtype == np.uint16
        assert len(np.unique(found & 255)) > 50
        assert json.loads(out)["notes"] == {}
        if kind == "dim":
            assert np.abs(found.astype(int) - deep / 2).max() <= 1
    out, err = run("apply", edit, tmp_path / "deep.tif", "-o", tmp_path / "r.jpg", "--json")
    (told,) = json.loads(out)["notes"][str(tmp_path / "deep.tif")]
    assert "of 16 bits a channel a JPEG keeps 8" in told
    assert f"deep.tif: {told}" in err


def test_results_in_a_folder_have_their_photos_formats_or_one(tmp_path, dim):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("one.jpg", "two.png", "three.webp", "four.tif", "five.bmp", "six.JPG"):
        Image.fromarray(PIXELS).save(photos / name)
    run("apply", dim, photos, "-o", tmp_path / "same")
    assert sorted(path.name for path in (tmp_path / "same").iterdir()) == sorted(
        ["one.jpg", "two.png", "three.webp", "four.tif", "five.png", "six.JPG"]
    )
    run("apply", dim, photos, "-o", tmp_path / "webp", "--format", "webp", "--quality", "40")
    results = sorted((tmp_path / "webp").iterdir())
    assert [path.suffix for path in results] == [".webp"] * 6
    assert {Image.open(path).format for path in results} == {"WEBP"}
    Image.fromarray(PIXELS).save(photos / "one.png")
    line = refused("apply", dim, photos, "-o", tmp_path / "clash", "--format", "png")
    assert "would both be written to" in line
    run("apply", dim, photos, "-o", tmp_path / "same")  # made by vii, so it is replaced


def test_quality(tmp_path, dim):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    sizes = []
    for quality in (20, 90):
        run("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "r.jpg", "--quality", quality)
        sizes.append((tmp_path / "r.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    for quality in ("0", "101", "high"):
        line = refused("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "x.jpg", "--quality", quality)
        assert "--quality" in line
    line = refused("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "x.png", "--quality", "80")
    assert "--quality is for JPEG and WebP" in line
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("kind", ["dim", "bands"])
def test_metadata_on_request_and_location_never_unless_asked(tmp_path, request, kind):
    edit, photo = request.getfixturevalue(kind), tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[271], exif[274], exif[0x8825] = "Canon", 6, GPS
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PIXELS).save(photo, exif=exif, icc_profile=profile, quality=95)
    for options, kept, placed in [
        ([], False, False),
        (["--keep-metadata"], True, False),
        (["--keep-location"], True, True),
    ]:
        for name in ("r.jpg", "r.png", "r.webp", "r.tif"):
            run("apply", edit, photo, "-o", tmp_path / name, *options)
            with Image.open(tmp_path / name) as result:
                found = result.getexif()
                assert (found.get(271) == "Canon", bool(found.get_ifd(0x8825))) == (kept, placed), (name, options)
                assert found.get(274, 1) == 1  # results are upright
                assert result.size == (40, 56)


def test_what_was_converted_or_lost_is_told_once_for_all_photos_it_happened_to(tmp_path, dim):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        alpha = np.full((40, 56, 1), 100, np.uint8)
        Image.fromarray(np.concatenate([PIXELS, alpha], 2)).save(photos / f"{number}.png")
    (photos / "raw.cr2").write_bytes(b"raw")
    out, err = run("apply", dim, photos, "-o", tmp_path / "out", "--json")
    *lines, report = map(json.loads, out.splitlines())
    assert [line["notes"] for line in lines] == [["transparency was laid on white"]] * 5
    assert report["notes"] == {str(photos / f"{number}.png"): ["transparency was laid on white"] for number in range(5)}
    assert "0.png, 1.png, 2.png and 2 more: transparency was laid on white" in err
    assert "raw.cr2" in err
    assert str(photos / "raw.cr2") in report["skipped"]
    on_white = 255 - (255 - PIXELS.astype(np.float64)) * 100 / 255
    assert np.abs(np.asarray(Image.open(tmp_path / "out" / "3.png")) - on_white / 2).max() <= 1.1


def test_masks_and_boxes_without_an_editor(tmp_path, dim):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    mask = np.zeros((40, 56), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for option, region in ((["--mask", tmp_path / "mask.png"], "mask"), (["--box", "0,0,20,40"], [0, 0, 20, 40])):
        run("apply", dim, tmp_path / "photo.png", *option, "-o", tmp_path / "r.png")
        found = np.asarray(Image.open(tmp_path / "r.png"))
        np.testing.assert_array_equal(found[:, 20:], PIXELS[:, 20:])
        assert np.abs(found[:, :20] - PIXELS[:, :20] / 2).max() <= 0.51
        assert json.loads(run("show", tmp_path / "r.png", "--json")[0])["region"] == region


@pytest.mark.parametrize("kind", ["dim", "bands"])
def test_a_mask_of_another_shape_costs_that_photo_alone(tmp_path, request, kind):
    edit, photos = request.getfixturevalue(kind), tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(PIXELS).save(photos / "wide.png")
    Image.fromarray(PIXELS[:, :30]).save(photos / "tall.png")
    Image.new("L", (112, 80), 255).save(tmp_path / "mask.png")
    out, err = run("apply", edit, photos, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out", "--json", code=1)
    report = json.loads(out.splitlines()[-1])
    assert report["paths"] == [str(tmp_path / "out" / "wide.png")]
    assert "the mask is 112 x 80 and the photo 30 x 40" in report["skipped"][str(photos / "tall.png")]
    assert "1 of 2 photos could not be edited" in err


def test_a_result_never_lands_on_a_photo(tmp_path, dim):
    photo = tmp_path / "photo.jpg"
    Image.fromarray(PIXELS).save(photo)
    (tmp_path / "link.jpg").symlink_to(photo)
    before = photo.read_bytes()
    for out in (photo, tmp_path, tmp_path / "." / "photo.jpg", tmp_path / "link.jpg"):
        for consent in ([], ["--overwrite"]):
            assert "would be overwritten" in refused("apply", dim, photo, "-o", out, *consent)
    assert photo.read_bytes() == before
    (tmp_path / "mine.jpg").write_bytes(before)  # somebody's, though nothing that this run reads
    assert "--overwrite" in refused("apply", dim, photo, "-o", tmp_path / "mine.jpg")
    run("apply", dim, photo, "-o", tmp_path / "mine.jpg", "--overwrite")


def test_names_of_results(tmp_path, dim):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    for name in ("r.gif", "r.jpgg", "r.tar.gz"):
        assert "expected a name that ends in .png, .jpg" in refused("apply", dim, tmp_path / "photo.png", "-o", name)
    line = refused("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "r.png", "--format", "jpg")
    assert "--format jpg and" in line
    assert "ask for two formats" in line
    run("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "r.jpeg", "--format", "jpg")
    run("apply", dim, tmp_path / "photo.png", "-o", f"{tmp_path}/version 1.2/")
    assert (tmp_path / "version 1.2" / "photo.png").exists()


def test_colours_alone_load_neither_an_editor_nor_torch(tmp_path, dim):
    Image.fromarray(PIXELS).save(tmp_path / "photo.jpg")
    photo, result = (str(tmp_path / name) for name in ("photo.jpg", "r.jpg"))
    commands = [
        ["apply", f"{dim}:0.5", str(dim), photo, "-o", result, "--keep-metadata"],
        ["show", str(dim)],
        ["show", result],
        ["export", str(dim), "--format", "cube", "-o", str(tmp_path / "dim.cube")],
        ["import", str(tmp_path / "dim.cube"), "-o", str(tmp_path / "back.safetensors")],
    ]
    code = (
        "import json, sys\nfrom vii.cli import main\n"
        "for command in json.load(sys.stdin):\n    main(command, standalone_mode=False)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'scipy', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(commands), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back.safetensors").exists()


def test_options_that_need_an_editor_are_said_to_change_nothing_without_one(tmp_path, dim):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    out, err = run(
        "apply", dim, tmp_path / "photo.png", "-o", tmp_path / "r.png", "--steps", "5", "--seed", "3", "--json"
    )
    assert json.loads(out)["warnings"] == ["no editor is needed, so --steps, --seed changes nothing"]
    assert "no editor is needed" in err


def test_finish_and_size_reach_the_plan(tmp_path, toy, bands, dim):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    photo, edit = vii.load_image(tmp_path / "photo.png"), vii.load_edit(bands)
    for options in ({"size": "editor"}, {"finish": "none"}, {}):
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        run("apply", bands, tmp_path / "photo.png", *given, "-o", tmp_path / "r.png")
        expected = vii.apply(toy, edit, photo, **options)
        found = vii.load_image(tmp_path / "r.png")
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 0.5 / 255 + 1e-6
    assert "--size" in refused("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "r.png", "--size", "huge")
    # An edit without tokens has nothing for an editor.
    line = refused("apply", dim, tmp_path / "photo.png", "-o", tmp_path / "r.png", "--finish", "none")
    assert "no tokens" in line


def test_show_says_what_an_edit_consists_of(tmp_path, dim, bands):
    assert "consists of  colours, no editor needed" in run("show", dim)[0]
    assert "consists of  tokens" in run("show", bands)[0]
    shown = json.loads(run("show", dim, "--json")[0])
    assert shown["consists_of"] == "colours, no editor needed"
    assert shown["finish"]["errors"] == {"color": 48.0, "editor": 21.5}


def test_an_arrays_shape_is_upright_as_a_pillow_picture_is():
    """A picture of Pillow's whose EXIF turns it, as a camera held upright leaves it."""
    picture = Image.fromarray(PIXELS)
    picture.getexif()[274] = 6
    expected = np.rot90(PIXELS, -1)
    found = (vii.images.as_image(picture).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(found, expected)


def test_transfer_writes_as_apply_does(tmp_path):
    write_picture(PIXELS, tmp_path / "before.png")
    write_picture(PIXELS // 2, tmp_path / "after.png")
    tifffile.imwrite(tmp_path / "photo.tif", PIXELS.astype(np.uint16) * 257, photometric="rgb")
    common = ["transfer", tmp_path / "before.png", tmp_path / "after.png", tmp_path / "photo.tif", "--method"]
    run(*common, "pixel-delta", "-o", tmp_path / "out")
    found = read_picture(tmp_path / "out" / "photo.tif").pixels
    assert (found.dtype, found.shape) == (np.uint16, (40, 56, 3))
    _, err = run(*common, "pixel-delta", "-o", tmp_path / "r.jpg", "--quality", "50", "--json")
    assert "a JPEG keeps 8" in err
    assert Image.open(tmp_path / "r.jpg").format == "JPEG"
