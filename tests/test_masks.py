"""What a mask file means."""

import numpy as np
import pytest
from PIL import Image

from vii.errors import ImageError
from vii.pictures import read_mask

tifffile = pytest.importorskip("tifffile")
SIZE = (40, 60)
SHAPE = np.zeros(SIZE, bool)
SHAPE[10:30, 15:45] = True
WANTED = SHAPE.astype(np.float32)


def rgba(colour, alpha):
    return Image.fromarray(np.dstack([np.broadcast_to(np.uint8(colour), (*SIZE, 3)), alpha]).astype(np.uint8), "RGBA")


def palette():
    image = Image.fromarray(SHAPE.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    return image


GOOD = {
    "grey": Image.fromarray(SHAPE.astype(np.uint8) * 255),
    "colour": Image.fromarray(SHAPE.astype(np.uint8) * 255).convert("RGB"),
    "one bit": Image.fromarray(SHAPE),
    "0 and 1": Image.fromarray(SHAPE.astype(np.uint8)),
    "0 and 1 in colour": Image.fromarray(np.repeat(SHAPE.astype(np.uint8)[..., None], 3, 2)),
    "16 bits": Image.fromarray(SHAPE.astype(np.uint16) * 65535),
    "0 and 1 of 16 bits": Image.fromarray(SHAPE.astype(np.uint16)),
    "palette": palette(),
    "white, the rest transparent": rgba(255, SHAPE * 255),
    "white on black, opaque": rgba(np.repeat(SHAPE[..., None], 3, 2) * 255, np.full(SIZE, 255)),
    "grey with transparency": rgba(255, SHAPE * 255).convert("LA"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_white_and_opaque_is_edited(tmp_path, kind):
    GOOD[kind].save(tmp_path / "mask.png")
    assert np.abs(read_mask(tmp_path / "mask.png", SIZE) - WANTED).max() < 1e-6


def test_levels_between_and_scales_and_turns(tmp_path):
    Image.fromarray(np.full(SIZE, 128, np.uint8)).save(tmp_path / "half.png")
    assert np.allclose(read_mask(tmp_path / "half.png", SIZE), 128 / 255)
    rgba(255, np.full(SIZE, 64)).save(tmp_path / "thin.png")
    assert np.allclose(read_mask(tmp_path / "thin.png", SIZE), 64 / 255)
    GOOD["grey"].save(tmp_path / "small.png")
    large = read_mask(tmp_path / "small.png", (80, 120))
    assert large.shape == (80, 120)
    assert large.mean() == pytest.approx(WANTED.mean(), abs=0.01)
    exif = Image.Exif()
    exif[274] = 8
    GOOD["grey"].transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_mask(tmp_path / "turned.png", SIZE), WANTED)


def test_floats_and_twelve_bits_are_scaled_by_their_range(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", WANTED * 0.5, photometric="minisblack")
    assert np.abs(read_mask(tmp_path / "a.tif", SIZE) - WANTED * 0.5).max() < 1e-4


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(np.zeros((40, 40), np.uint8)), "60 x 40: a mask must show the photo's frame"),
        (rgba(0, SHAPE * 255), "black wherever it is not transparent; paint white"),
        (
            Image.fromarray(np.stack([SHAPE * 0, SHAPE * 0, SHAPE * 255], -1).astype(np.uint8)),
            "has colours; paint white",
        ),
        (Image.fromarray(SHAPE.astype(np.uint8) * 3), "brightest level is 3 of 255; paint white"),
    ],
)
def test_what_is_no_mask_is_said(tmp_path, image, words):
    image.save(tmp_path / "mask.png")
    with pytest.raises(ImageError, match=words):
        read_mask(tmp_path / "mask.png", SIZE)


def test_a_black_mask_edits_nothing(tmp_path):
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png", SIZE).any()
