"""Pictures in and out, and pairs."""

import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

import vii
from vii.errors import ImageError, OutputError, UsageError
from vii.images import as_image
from vii.pictures import find_pictures
from vii.region import check_region
from vii.sizes import fitted_size


def test_pixels_survive_a_round_trip(tmp_path):
    image = torch.randint(0, 256, (3, 20, 31)).float() / 255
    vii.save_image(image, tmp_path / "a.png")
    assert torch.equal(vii.load_image(tmp_path / "a.png"), image)


def test_values_outside_the_range_are_clipped_and_rounded(tmp_path):
    image = torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1).expand(3, 16, 16)
    vii.save_image(image, tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, 0].tolist() == [0, 128, 255]


def test_exif_orientation_is_honoured(tmp_path):
    upright = Image.fromarray((picture(1, 20, 40) * 255).byte().permute(1, 2, 0).numpy())
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    assert torch.equal(vii.load_image(tmp_path / "turned.png"), vii.load_image(tmp_path / "upright.png"))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    array = np.linspace(0, 65535, 20 * 20).reshape(20, 20).astype(np.uint16)
    source = Image.fromarray(array) if mode == "I;16" else Image.fromarray((array / 257).astype(np.uint8)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    source.save(path)
    image = vii.load_image(path)
    assert image.shape == (3, 20, 20)
    assert image.dtype == torch.float32
    assert (image[:, 0, 0] <= 0.01).all()
    assert (image[:, -1, -1] >= 0.99).all()


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert torch.equal(vii.load_image(tmp_path / "clear.png"), torch.ones(3, 16, 16))


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just some text", "not a picture"),
        (b"", "not a picture"),
        (png_header(40_000, 40_000), "limit is 256,000,000"),
        (png_header(16_001, 16_001), "limit is 256,000,000"),
        (png_header(64, 64), "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        vii.load_image(path)


def test_sizes_that_cannot_be_used(tmp_path):
    for size, message in (((1, 1), "too small"), ((15, 400), "too small"), ((16, 400), "8 times")):
        Image.new("RGB", size).save(tmp_path / "a.png")
        with pytest.raises(ImageError, match=message):
            vii.load_image(tmp_path / "a.png")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        vii.load_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="found a folder"):
        vii.load_image(tmp_path)


def test_writing_is_whole_or_not_at_all(tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.png"):
        vii.save_image(picture(1), tmp_path / "a.gif")
    with pytest.raises(OutputError, match="cannot be written"):
        vii.save_image(picture(1), tmp_path / "none" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_text_chunks(tmp_path):
    vii.save_image(picture(1), tmp_path / "a.png", text={"parameters": "Steps: 5, ü"})
    assert Image.open(tmp_path / "a.png").text["parameters"] == "Steps: 5, ü"


def test_folders_stand_for_their_pictures(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "inner").mkdir()
    assert [path.name for path in find_pictures([tmp_path, tmp_path / "b.png"]).paths] == ["a.JPG", "b.png", "b.png"]
    with pytest.raises(ImageError, match="no pictures in this folder"):
        find_pictures([tmp_path / "inner"])
    with pytest.raises(ImageError, match="no such file"):
        find_pictures([tmp_path / "none.png"])


@pytest.mark.parametrize("size", [(480, 480), (321, 481), (481, 321), (100, 780), (16, 16)])
@pytest.mark.parametrize(("resolution", "multiple"), [(128, 8), (512, 8)])
def test_fitted_size_keeps_area_and_shape(size, resolution, multiple):
    height, width = fitted_size(*size, resolution, multiple)
    assert height % multiple == width % multiple == 0
    assert height * width == pytest.approx(resolution**2, rel=0.12)
    assert height / width == pytest.approx(size[0] / size[1], rel=0.12)


def test_pair_of_two_scales_is_brought_to_one(tmp_path):
    vii.save_image(picture(1, 60, 90), tmp_path / "before.png")
    vii.save_image(picture(1, 120, 180), tmp_path / "after.png")
    pair = vii.Pair.open(tmp_path / "before.png", tmp_path / "after.png")
    assert pair.before.shape == pair.after.shape == (3, 60, 90)
    assert (pair.before - pair.after).abs().max() < 0.05


def test_pair_of_two_shapes_is_refused(tmp_path):
    vii.save_image(picture(1, 60, 90), tmp_path / "before.png")
    vii.save_image(picture(1, 60, 60), tmp_path / "after.png")
    with pytest.raises(ImageError, match=r"90 x 60.*60 x 60.*crop them alike"):
        vii.Pair.open(tmp_path / "before.png", tmp_path / "after.png")
    with pytest.raises(ImageError, match="one size"):
        vii.Pair(picture(1, 60, 90), picture(1, 60, 60))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.zeros(60, 90, 3), r"before: expected a float tensor .*\(60, 90, 3\).* give image\.permute\(2, 0, 1\)"),
        (torch.zeros(60, 90), r"got \(60, 90\) of float32"),
        (torch.zeros(1, 60, 90), r"got \(1, 60, 90\)"),
        (torch.zeros(3, 60, 90, dtype=torch.int64), r"got int64; give image\.float\(\) / 255"),
        (torch.full((3, 60, 90), 128.0), r"got 128 to 128; divide it by 255"),
        (torch.full((3, 60, 90), -1.0), r"expected values in \[0, 1\], got -1 to -1"),
        (torch.full((3, 60, 90), float("nan")), r"expected values in \[0, 1\], got nan"),
        (torch.zeros(3, 0, 90), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(bad, words):
    with pytest.raises(UsageError, match=words):
        vii.Pair(bad, bad)


def test_large_pairs_can_be_read_small(tmp_path):
    for name in ("before.jpg", "after.jpg"):
        vii.save_image(picture(1, 600, 900), tmp_path / name)
    assert vii.Pair.open(tmp_path / "before.jpg", tmp_path / "after.jpg", around=60_000).before.shape == (3, 300, 450)


def test_pair_hash_names_the_pixels():
    one, two = picture(1), picture(2)
    assert vii.Pair(one, two).sha256() == vii.Pair(one.clone(), two.clone()).sha256()
    assert len({vii.Pair(one, two).sha256(), vii.Pair(two, one).sha256(), vii.Pair(one, one).sha256()}) == 3


def test_pictures_as_people_hold_them_are_taken():
    eight = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    expected = torch.from_numpy(eight).permute(2, 0, 1).float() / 255
    sixteen, floats = eight.astype(np.uint16) * 257, eight.astype(np.float64) / 255
    for held in (eight, sixteen, floats, Image.fromarray(eight), torch.from_numpy(eight).permute(2, 0, 1), expected):
        torch.testing.assert_close(as_image(held), expected, atol=1e-7, rtol=0)
    grey = as_image(eight[..., 0])
    assert torch.equal(grey, as_image(Image.fromarray(eight[..., 0])))
    assert torch.equal(grey, as_image(eight[..., :1]))
    alpha = np.dstack([eight, eight[..., :1]]).astype(np.float32) / 255
    torch.testing.assert_close(as_image(alpha)[1], torch.from_numpy(alpha[..., 1] * alpha[..., 3] + 1 - alpha[..., 3]))
    image = picture(1)
    assert as_image(image) is image


@pytest.mark.parametrize(
    ("held", "match"),
    [
        ("cat.png", "vii.load_image"),
        (None, "got NoneType"),
        (torch.rand(20, 24, 3), "permute"),
        (torch.rand(1, 3, 20, 24), r"\(1, 3, 20, 24\)"),
        (torch.rand(3, 20, 24) * 255, "divide it by 255"),
        (torch.full((3, 20, 24), torch.nan), "nan"),
        (torch.ones(3, 20, 24, dtype=torch.int64), "int64"),
        (torch.rand(3, 0, 24), "no pixels"),
        (np.zeros((3, 20, 24)), "torch.from_numpy"),
        (np.full((20, 24, 3), 200.0), "divide it by 255"),
        (np.zeros((20, 24, 3), dtype=np.int32), "int32"),
        (np.zeros((20, 24, 3), dtype=bool), "bool"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(held, match):
    with pytest.raises(UsageError, match=match) as refused:
        as_image(held, "photo")
    assert str(refused.value).startswith("photo: ")


def test_pairs_are_given_as_people_hold_pictures():
    array = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    wanted = torch.from_numpy(array).permute(2, 0, 1) / 255
    for held in (array, Image.fromarray(array), torch.from_numpy(array).permute(2, 0, 1), wanted.double()):
        pair = vii.Pair(held, wanted)
        assert pair.before.dtype == torch.float32
        assert torch.allclose(pair.before, wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 255.0, -3.0])
def test_what_is_no_picture_is_not_written(tmp_path, value):
    image = picture(1, 20, 20)
    image[1, 2, 3] = value
    with pytest.raises(UsageError, match=r"expected values in \[0, 1\]"):
        vii.save_image(image, tmp_path / "a.png")
    with pytest.raises(UsageError, match="mask: expected values"):
        check_region(image[1])
    assert not list(tmp_path.iterdir())
