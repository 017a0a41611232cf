"""Picture files out: four formats read by other libraries, what travels with them, and what must not."""

import struct

import numpy as np
import pytest
import torch
import torchvision
from conftest import picture
from PIL import Image, ImageCms
from test_pictures import DEEP, EIGHT, SPACES, icc, light_of, rgb_to_xyz, to_srgb_by_formula

import vii
from vii.errors import OutputError, UsageError
from vii.files import made_by_vii
from vii.pictures import output_format, read_picture, read_text, write_picture
from vii.pictures.metadata import SOFTWARE

tifffile = pytest.importorskip("tifffile")
TEXT = {"parameters": 'at night, <Ünïcode> & "夜"\nSteps: 5, Seed: 1', "vii": '{"schema": 1, "text": "a\\tb"}'}
NAMES = ["a.png", "a.jpg", "a.webp", "a.tif", "A.JPEG"]
SMOOTH = np.asarray(Image.fromarray(EIGHT).resize((4, 3)).resize((96, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", NAMES)
def test_results_come_back_with_what_they_say(tmp_path, name, bits):
    path = tmp_path / name
    pixels = SMOOTH.astype(np.uint16) * 257 + (7 if bits == 16 else 0) * (SMOOTH < 250)
    pixels = pixels.astype(np.uint16) if bits == 16 else SMOOTH
    write_picture(pixels, path, text=TEXT)
    assert read_text(path) == TEXT | ({"Software": SOFTWARE} if name == "a.png" else {})
    assert made_by_vii(path)
    with Image.open(path) as found:
        found.load()
        assert found.format == output_format(path)
        assert found.size == (96, 64)
        tagged = "srgb" in found.info or "sRGB" in ImageCms.getProfileDescription(
            ImageCms.ImageCmsProfile(__import__("io").BytesIO(found.info["icc_profile"]))
        )
        assert tagged
    back = read_picture(path)
    assert back.notes == ()
    lossless = output_format(path) in ("PNG", "TIFF")
    assert back.bits == (bits if lossless else 8)
    if lossless:
        assert np.array_equal(back.pixels, pixels)
    else:
        assert np.abs(back.pixels - SMOOTH.astype(float)).mean() < 2


def test_sixteen_bits_as_other_libraries_read_them(tmp_path):
    write_picture(DEEP, tmp_path / "a.png", text=TEXT)
    read = torchvision.io.decode_png(
        torchvision.io.read_file(str(tmp_path / "a.png")), mode=torchvision.io.ImageReadMode.UNCHANGED
    )
    assert np.array_equal(read.permute(1, 2, 0).numpy(), DEEP)
    write_picture(DEEP, tmp_path / "a.tif", text=TEXT)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), DEEP)
    tall = np.tile(DEEP, (60, 8, 1))  # more than one band
    write_picture(tall, tmp_path / "tall.png")
    assert np.array_equal(read_picture(tmp_path / "tall.png").pixels, tall)


def test_the_same_picture_is_the_same_bytes(tmp_path):
    for name in NAMES:
        write_picture(SMOOTH, tmp_path / name, text=TEXT)
        first = (tmp_path / name).read_bytes()
        write_picture(SMOOTH, tmp_path / name, text=TEXT)
        assert (tmp_path / name).read_bytes() == first


def test_tensors_are_rounded_and_clipped(tmp_path):
    image = torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1).expand(3, 16, 16)
    vii.save_image(image, tmp_path / "a.png", bits=16)
    assert read_picture(tmp_path / "a.png").pixels[0, 0].tolist() == [0, 32768, 65535]
    vii.save_image(image, tmp_path / "a.jpg", quality=100)
    assert np.abs(read_picture(tmp_path / "a.jpg").pixels[0, 0].astype(int) - [0, 128, 255]).max() <= 2


def test_quality_weighs(tmp_path):
    for kind in ("jpg", "webp"):
        sizes = []
        for quality in (20, 90):
            vii.save_image(picture(1, 200, 200), tmp_path / f"a.{kind}", quality=quality)
            sizes.append((tmp_path / f"a.{kind}").stat().st_size)
        assert sizes[0] < 0.7 * sizes[1]


def photo_with_exif(tmp_path, name="photo.jpg", profile=b""):
    exif = Image.Exif()
    exif[271], exif[306], exif[274], exif[33432] = "Maker", "2024:05:06 07:08:09", 6, "Somebody"
    inner = exif.get_ifd(0x8769)
    inner[0x829A], inner[0x8827], inner[0x927C], inner[0xA002] = 0.005, 200, b"maker's note 48.8566", 640
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (48.0, 51.0, 24.0), "E", (2.0, 21.0, 8.0)
    if name.endswith(".tif"):
        exif.update({0x8769: dict(inner), 0x8825: dict(gps)})  # by these keys Pillow writes them
    Image.fromarray(SMOOTH).save(tmp_path / name, exif=exif, icc_profile=profile or None, quality=95)
    return read_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("source", ["photo.jpg", "photo.tif"])
def test_metadata_is_carried_over_on_request_and_location_never_unasked(tmp_path, name, source):
    photo, path = photo_with_exif(tmp_path, source), tmp_path / name
    write_picture(photo.pixels, path, text=TEXT, photo=photo)
    with Image.open(path) as found:
        assert found.getexif().get(271) is None
    write_picture(photo.pixels, path, text=TEXT, photo=photo, keep_metadata=True)
    with Image.open(path) as found:
        exif = found.getexif()
        assert (exif[271], exif[306], exif[33432]) == ("Maker", "2024:05:06 07:08:09", "Somebody")
        assert 274 not in exif
        assert dict(exif.get_ifd(0x8825)) == {}
        inner = exif.get_ifd(0x8769)
        assert float(inner[0x829A]) == pytest.approx(0.005)
        assert 0x927C not in inner
        assert 0xA002 not in inner
    assert b"48.8566" not in path.read_bytes()
    assert read_text(path)["parameters"] == TEXT["parameters"]
    assert read_picture(path).size == photo.size
    write_picture(photo.pixels, path, photo=photo, keep_metadata=True, keep_location=True)
    with Image.open(path) as found:
        assert found.getexif().get_ifd(0x8825)[2] == (48.0, 51.0, 24.0)


def test_exif_that_pillow_can_read_and_not_write_costs_its_own_tag_alone(tmp_path):
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 3)
    block += struct.pack("<HHI4s", 271, 2, 3, b"Me\0\0") + struct.pack("<HHI4s", 274, 3, 1, b"\6\0\0\0")
    block += struct.pack("<HHI4s", 306, 5, 1, b"\xff\xff\xff\x7f") + bytes(4)
    Image.fromarray(SMOOTH).save(tmp_path / "photo.jpg", exif=block)
    photo = read_picture(tmp_path / "photo.jpg")
    write_picture(photo.pixels, tmp_path / "a.jpg", photo=photo, keep_metadata=True)
    with Image.open(tmp_path / "a.jpg") as found:
        assert found.getexif()[271] == "Me"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("space", SPACES)
def test_the_profile_is_carried_over_with_the_colours_that_it_stands_for(tmp_path, space, bits):
    path = tmp_path / "photo.tif"
    tifffile.imwrite(path, EIGHT if bits == 8 else DEEP, photometric="rgb", iccprofile=icc(space))
    photo = read_picture(path)
    for name in ("a.png", "a.tif"):
        write_picture(photo.pixels, tmp_path / name, photo=photo, keep_metadata=True)
        with Image.open(tmp_path / name) as found:
            assert found.info["icc_profile"] == icc(space)
            stored = np.asarray(found.convert("RGB"))
        primaries, curve = SPACES[space]
        light = light_of(photo.pixels / (255 if bits == 8 else 65535), "srgb")
        light = (
            light @ (np.linalg.inv(rgb_to_xyz(primaries)) @ rgb_to_xyz(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)))).T
        )
        assert np.abs(light_of(stored / 255, curve) - light).max() < 0.02
        again = read_picture(tmp_path / name)
        assert again.bits == bits
        assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < (0.5 if bits == 8 else 20)
    assert to_srgb_by_formula(np.ones(3), space) == pytest.approx(1, abs=1e-6)


def test_what_cannot_be_written_is_said(tmp_path):
    good = picture(1)
    for name in ("a.gif", "a", "a.png.txt"):
        with pytest.raises(UsageError, match=r"expected a name that ends in \.png"):
            vii.save_image(good, tmp_path / name)
    for quality in (0, 101, True, 90.5):
        with pytest.raises(UsageError, match="quality: expected a whole number from 1 to 100"):
            vii.save_image(good, tmp_path / "a.jpg", quality=quality)
    with pytest.raises(UsageError, match="bits: expected 8 or 16"):
        vii.save_image(good, tmp_path / "a.png", bits=12)
    with pytest.raises(UsageError, match=r"height first; give image\.permute"):
        vii.save_image(good.permute(1, 2, 0), tmp_path / "a.png")
    with pytest.raises(UsageError, match="at most 16,383 pixels a side"):
        write_picture(np.zeros((2, 16_400, 3), np.uint8), tmp_path / "a.webp")
    with pytest.raises(OutputError, match="cannot be written"):
        vii.save_image(good, tmp_path / "none" / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_texts_that_no_format_can_hold_do_not_lose_the_picture(tmp_path):
    odd = {"parameters": "a\x00b\x1b[2J\udcff" + "x" * 100_000, "vii": "y" * 100_000, "not a name": "z"}
    for name in NAMES:
        write_picture(SMOOTH, tmp_path / name, text=odd)
        assert read_picture(tmp_path / name).size == (96, 64)
