"""Picture files in: against independent readers, colour formulas written out, and files that nobody should open."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

import vii
from vii.errors import ImageError
from vii.pictures import find_pictures, read_picture
from vii.pictures import png as own_png
from vii.pictures.colour import matrix_profile, srgb_profile
from vii.pictures.formats import MAX_SCANS, count_scans, readable
from vii.pictures.reading import pixels_of

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (40, 60, 3), dtype=np.uint16)
GREY = DEEP[..., 0].copy()
EIGHT = (DEEP >> 8).astype(np.uint8)


def grey3(array):
    return np.repeat(array[..., None], 3, 2)


# --- colour -----------------------------------------------------------------------------------------------------------

# Chromaticities of the primaries, and what a sample means as light; all relative to D65.
SPACES = {
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.19921875),
    "Display P3": (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), "srgb"),
}
D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


def rgb_to_xyz(primaries, white=D65):
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    x, y = white
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])


def light_of(value, curve):
    if curve == "srgb":
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return value**curve


def to_srgb_by_formula(value, space):
    """`(..., 3)` in [0, 1] in float64."""
    primaries, curve = SPACES[space]
    light = light_of(value, curve) @ (np.linalg.inv(rgb_to_xyz(SRGB)) @ rgb_to_xyz(primaries)).T
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def bradford(white, wanted):
    """What brings XYZ relative to one white to another."""
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    return np.linalg.inv(cones) @ np.diag((cones @ wanted) / (cones @ white)) @ cones


D50_FROM_D65 = bradford((D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]), (0.9642, 1, 0.8249))


def icc(space):
    """A version 2 profile of curves and a matrix, written by hand."""
    primaries, curve = SPACES[space]
    matrix = D50_FROM_D65 @ rgb_to_xyz(primaries)

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    if curve == "srgb":
        table = np.round(light_of(np.linspace(0, 1, 4096), curve) * 65535).astype(">u2")
        trc = b"curv\0\0\0\0" + struct.pack(">I", 4096) + table.tobytes()
    else:
        trc = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(curve * 256)) + b"\0\0"
    name = space.encode()
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" + bytes(78)
    tags = {b"desc": desc, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz((0.9642, 1, 0.8249))}
    tags |= {key: xyz(matrix[:, index]) for index, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc)
    return profile_of(b"RGB ", b"XYZ ", tags)


def profile_of(kind, connection, tags):
    table, body, place = b"", b"", 132 + 12 * len(tags)
    for key, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", key, place + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", 0x02400000, b"mntr", kind, connection)
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_eight_bits_are_converted_as_the_formulas_say(tmp_path, space, name):
    Image.fromarray(EIGHT).save(tmp_path / name, icc_profile=icc(space), lossless=True)
    found = read_picture(tmp_path / name)
    expected = to_srgb_by_formula(EIGHT / 255, space) * 255
    assert np.abs(found.pixels - expected).max() < 1.6  # LittleCMS computes at 8 bits with tables of its own
    assert np.abs(EIGHT - expected).mean() > 4
    assert found.notes == (f"colours converted from {space} to sRGB",)
    assert found.profile == icc(space)


@pytest.mark.parametrize("space", SPACES)
def test_sixteen_bits_are_converted_at_sixteen(tmp_path, space):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", iccprofile=icc(space))
    found = read_picture(tmp_path / "a.tif")
    assert found.pixels.dtype == np.uint16
    off = np.abs(found.pixels - to_srgb_by_formula(DEEP / 65535, space) * 65535)
    assert off.max() < 128  # half a level of 8 bits, in the dark, where a profile's own rounding weighs most
    assert off.mean() < 10
    assert found.notes == (f"colours converted from {space} to sRGB",)
    profile = matrix_profile(icc(space))
    back = profile.from_srgb(profile.to_srgb(DEEP // 4 + 24000))
    assert np.abs(back.astype(int) - (DEEP // 4 + 24000)).max() < 40


def test_srgb_under_any_name_changes_nothing(tmp_path):
    for profile in (srgb_profile(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        Image.fromarray(EIGHT).save(tmp_path / "a.png", icc_profile=profile)
        tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", iccprofile=profile)
        assert np.array_equal(read_picture(tmp_path / "a.png").pixels, EIGHT)
        assert np.array_equal(read_picture(tmp_path / "a.tif").pixels, DEEP)
        assert read_picture(tmp_path / "a.tif").notes == ()
    assert srgb_profile() == srgb_profile()


def test_profiles_that_are_damaged_or_of_another_kind_are_said(tmp_path):
    for name, image, profile, words in (
        ("a.png", EIGHT, b"no profile at all", "is damaged"),
        ("a.png", EIGHT, icc("Adobe RGB")[:200], "is damaged"),
        ("a.tif", EIGHT[..., 0], icc("Adobe RGB"), "converted from Adobe RGB"),
    ):
        Image.fromarray(image).save(tmp_path / name, icc_profile=profile)
        assert words in read_picture(tmp_path / name).notes[0]
    Image.fromarray(EIGHT).convert("CMYK").save(tmp_path / "a.tif")
    assert "approximate" in read_picture(tmp_path / "a.tif").notes[0]
    Image.fromarray(EIGHT).convert("CMYK").save(tmp_path / "a.tif", icc_profile=icc("Adobe RGB"))
    assert "is for RGB pictures, this one is CMYK" in read_picture(tmp_path / "a.tif").notes[0]


def test_adobe_rgb_that_a_camera_names_in_exif_alone(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: "R03", 2: b"0100"}
    Image.fromarray(EIGHT).save(tmp_path / "a.webp", lossless=True, exif=exif)
    found = read_picture(tmp_path / "a.webp")
    assert found.notes == ("colours converted from Adobe RGB (named in EXIF) to sRGB",)
    assert np.abs(found.pixels - to_srgb_by_formula(EIGHT / 255, "Adobe RGB") * 255).max() < 1


INKS = {
    (0, 0, 0, 0): (100, 0, 0),
    (255, 0, 0, 0): (60, -30, -40),
    (0, 255, 0, 0): (50, 60, 0),
    (0, 0, 255, 0): (90, -5, 80),
}


def cmyk_icc():
    """A version 2 profile of a press: a table of 2 x 2 x 2 x 2 colours in Lab; every mixture not in INKS is black."""
    ramp = bytes(range(256))
    corners = [tuple(255 * (index >> shift & 1) for shift in (3, 2, 1, 0)) for index in range(16)]
    lab = [INKS.get(corner, (0, 0, 0)) for corner in corners]
    colours = bytes(value for light, a, b in lab for value in (round(light * 2.55), a + 128, b + 128))
    identity = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + colours + ramp * 3
    desc = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"Press\0" + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    return profile_of(b"CMYK", b"Lab ", {b"desc": desc, b"cprt": b"text\0\0\0\0none\0", b"wtpt": white, b"A2B0": table})


def lab_to_srgb(lightness, a, b):
    """CIE 15:2004 and IEC 61966-2-1, from D50 by the linear Bradford transform; 0 to 255."""
    f = np.array([lightness + 16, lightness + 16, lightness + 16]) / 116 + np.array([a / 500, 0, -b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    light = np.linalg.solve(D50_FROM_D65 @ rgb_to_xyz(SRGB), xyz).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_converted_by_its_profile(tmp_path, name):
    inks = np.repeat(np.repeat(np.array(list(INKS), np.uint8).reshape(2, 2, 4), 16, 0), 16, 1)
    Image.fromarray(inks, "CMYK").save(tmp_path / name, icc_profile=cmyk_icc(), quality=100)
    found = read_picture(tmp_path / name)
    assert found.notes == ("colours converted from Press to sRGB",)
    for place, lab in zip(((8, 8), (8, 24), (24, 8), (24, 24)), INKS.values(), strict=True):
        assert np.abs(found.pixels[place] - lab_to_srgb(*lab)).max() < 4, lab


def test_lab_is_read(tmp_path):
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(EIGHT), transform).save(tmp_path / "a.tif")
    assert np.abs(read_picture(tmp_path / "a.tif").pixels.astype(int) - EIGHT).mean() < 2


# --- samples ----------------------------------------------------------------------------------------------------------


def tiff12(values):
    """A TIFF of 12 bits a pixel, packed, which no library here writes."""
    height, width = values.shape
    bits = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[:, :, 4:]
    data = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


ALPHA = DEEP[..., 1].copy()
ON_WHITE = DEEP * (ALPHA[..., None] / 65535) + 65535 * (1 - ALPHA[..., None] / 65535)
TIFFS = {
    "16 bits": (DEEP, {"photometric": "rgb"}, DEEP),
    "big endian": (DEEP, {"photometric": "rgb", "byteorder": ">"}, DEEP),
    "packed": (DEEP, {"photometric": "rgb", "compression": "zlib", "predictor": True}, DEEP),
    "packed, big endian": (DEEP, {"photometric": "rgb", "compression": "zlib", "byteorder": ">"}, DEEP),
    "tiles": (DEEP, {"photometric": "rgb", "tile": (16, 16)}, DEEP),
    "grey": (GREY, {"photometric": "minisblack"}, grey3(GREY)),
    "white is 0": (GREY, {"photometric": "miniswhite"}, 65535 - grey3(GREY)),
    "8 bits, white is 0": (EIGHT[..., 0], {"photometric": "miniswhite"}, 255 - grey3(EIGHT[..., 0])),
    "32 bits": (GREY.astype(np.uint32) * 65537, {"photometric": "minisblack"}, grey3(GREY)),
    "floats": ((GREY / 65535).astype(np.float32), {"photometric": "minisblack"}, grey3(GREY)),
    "alpha": (np.dstack([DEEP, ALPHA]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, np.round(ON_WHITE)),
    "a fourth channel": (np.dstack([DEEP, ALPHA]), {"photometric": "rgb", "extrasamples": ["unspecified"]}, DEEP),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_tiffs_that_tifffile_wrote(tmp_path, kind):
    array, options, expected = TIFFS[kind]
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    found = read_picture(tmp_path / "a.tif").pixels
    assert found.shape == expected.shape
    assert np.abs(found - expected.astype(float)).max() <= (kind == "alpha")


def test_twelve_bits_are_scaled_by_their_own_range(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff12(GREY >> 4))
    expected = np.round((GREY >> 4) / 4095 * 65535)
    assert np.array_equal(read_picture(tmp_path / "a.tif").pixels, grey3(expected).astype(np.uint16))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GREY.view(np.int16), "signed whole numbers"),
        (EIGHT[..., 0].view(np.int8), "signed whole numbers"),
        (GREY.astype(np.int32), "signed whole numbers"),
        (GREY.astype(np.float32), "floating-point samples from .* expected 0 to 1"),
        (np.full((20, 20), np.nan, np.float32), "floating-point samples from nan"),
        ((GREY / 65535), "samples of a kind that is not read"),
        ((DEEP / 65535).astype(np.float32), "samples of a kind that is not read"),
        (np.moveaxis(DEEP, 2, 0), "in planes"),
    ],
)
def test_samples_that_are_refused_by_name(tmp_path, array, words):
    options = {"photometric": "minisblack"} if array.ndim == 2 else {"photometric": "rgb"}
    options |= {"planarconfig": "separate"} if array.shape[0] == 3 else {}
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    with pytest.raises(ImageError, match=words):
        read_picture(tmp_path / "a.tif")


def png(header, lines, *chunks):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = b"".join(b"\0" + line for line in lines)
    head = (b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    parts = [head, *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_pngs_of_sixteen_bits(tmp_path):
    path = tmp_path / "a.png"
    rows = [row.astype(">u2").tobytes() for row in DEEP]
    path.write_bytes(png((60, 40, 16, 2), rows))
    assert np.array_equal(read_picture(path).pixels, DEEP)
    assert vii.load_image(path).mul(65535).round().permute(1, 2, 0).numpy().astype(np.uint16).tolist() == DEEP.tolist()
    path.write_bytes(png((60, 40, 16, 2), rows, (b"tRNS", DEEP[3, 7].astype(">u2").tobytes())))
    found = read_picture(path)
    assert found.has_alpha
    assert (found.pixels[3, 7] == 65535).all()
    assert (found.pixels == DEEP).mean() > 0.99
    path.write_bytes(png((60, 40, 16, 0), [row.astype(">u2").tobytes() for row in GREY]))
    assert np.array_equal(read_picture(path).pixels, grey3(GREY))
    path.write_bytes(png((60, 40, 16, 4), [row.astype(">u2").tobytes() for row in np.dstack([GREY, ALPHA])]))
    expected = GREY * (ALPHA / 65535) + 65535 - ALPHA
    assert np.abs(read_picture(path).pixels - grey3(expected)).max() <= 1
    path.write_bytes(png((60, 40, 16, 6), [row.astype(">u2").tobytes() for row in np.dstack([DEEP, ALPHA])]))
    assert np.abs(read_picture(path).pixels - ON_WHITE).max() <= 1


def bmp32(pixels):
    """32 bits a pixel with a mask for transparency, as some programs write it, all of it 0."""
    height, width, _ = pixels.shape
    body = np.dstack([pixels[::-1, :, ::-1], np.zeros((height, width), np.uint8)]).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(body), 0, 0, 0, 0) + masks + bytes(52)
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(body), 0, 0, 14 + 108) + info + body


def test_a_bitmap_without_transparency_is_not_white(tmp_path):
    (tmp_path / "a.bmp").write_bytes(bmp32(EIGHT))
    assert np.array_equal(read_picture(tmp_path / "a.bmp").pixels, EIGHT)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA"])
def test_modes_of_eight_bits_on_white(tmp_path, mode):
    source = Image.fromarray(np.dstack([EIGHT, EIGHT[..., 0]]), "RGBA").convert(mode)
    source.save(tmp_path / ("a.tif" if mode == "PA" else "a.png"))
    rgba = np.asarray(source.convert("RGBA")).astype(float)
    cover = rgba[..., 3:] / 255
    found = read_picture(tmp_path / ("a.tif" if mode == "PA" else "a.png"))
    assert np.abs(found.pixels - (rgba[..., :3] * cover + 255 * (1 - cover))).max() <= 1
    assert found.has_alpha == (mode.endswith("A") or mode == "P")  # the palette is made from colours with transparency


# --- orientation, metadata, damage ------------------------------------------------------------------------------------

TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "packed.tif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(EIGHT)
    options = {"compression": "tiff_lzw"} if name == "packed.tif" else {}
    image.save(tmp_path / name, exif=exif, lossless=True, **options)
    turn = TURNS[orientation]
    expected = image.transpose(turn) if turn is not None else image
    found = read_picture(tmp_path / name)
    assert np.array_equal(found.pixels, np.asarray(expected))
    assert found.size == expected.size


def test_exif_that_pillow_cannot_write_anew_still_turns_the_photo(tmp_path):
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + struct.pack("<HHI4s", 256, 2, 4, b"160\0")
    block += struct.pack("<HHI4s", 274, 3, 1, b"\6\0\0\0") + bytes(4)
    Image.fromarray(EIGHT).save(tmp_path / "a.jpg", exif=block)
    assert read_picture(tmp_path / "a.jpg").pixels.shape == (60, 40, 3)


def test_texts_of_any_size_are_not_damage(tmp_path):
    for packed in (True, False):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=packed)
        info.add_text("note", "y" * 3_000_000, zip=packed)
        for _ in range(80):
            info.add_text("many", "z" * 990_000, zip=True)
        Image.fromarray(EIGHT).save(tmp_path / "a.png", pnginfo=info)
        assert np.array_equal(read_picture(tmp_path / "a.png").pixels, EIGHT)


def scans(jpeg, count):
    """A progressive JPEG whose last scan is there many times."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + jpeg[-2:]


def test_scan_bombs_are_refused_before_decoding(tmp_path):
    data = io.BytesIO()
    Image.fromarray(EIGHT).save(data, "JPEG", progressive=True, quality=90)
    jpeg = data.getvalue()
    normal = count_scans(jpeg)
    assert 6 <= normal <= 12
    assert count_scans(jpeg + jpeg * 20) == normal  # what follows the end is another picture
    (tmp_path / "a.jpg").write_bytes(scans(jpeg, 5000))
    with pytest.raises(ImageError, match="scans of 60 x 40 would take too long"):
        read_picture(tmp_path / "a.jpg")
    hidden = jpeg[:2] + b"\xff\xfe\x00\x04\xff\xd9" + scans(jpeg, 5000)[2:]
    assert count_scans(hidden) > MAX_SCANS
    (tmp_path / "b.jpg").write_bytes(jpeg)
    assert read_picture(tmp_path / "b.jpg").pixels.shape == EIGHT.shape


def test_whatever_a_library_raises_is_one_line(tmp_path):
    """Bytes of sound files changed at random: read, or an ImageError of one line."""
    seeds = []
    exif = Image.Exif()
    exif[274] = 6
    exif[271] = "maker"
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        data = io.BytesIO()
        options = {} if kind == "BMP" else {"exif": exif, "icc_profile": icc("Adobe RGB")}
        Image.fromarray(EIGHT).save(data, kind, **options)
        seeds.append(data.getvalue())
    rng, path, refused = np.random.default_rng(1), tmp_path / "a.bin", 0
    failed = 0
    # VII_FUZZ: how many, for whoever wants to know more.
    for number in range(int(os.environ.get("VII_FUZZ", 300))):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(int(rng.integers(1, 8))):
            place = int(rng.integers(0, len(data) if number % 2 else min(len(data), 900)))
            data[place] = int(rng.integers(0, 256))
        path.write_bytes(data[: int(rng.integers(20, len(data)))] if number % 7 == 0 else data)
        try:
            assert read_picture(path).pixels.shape[2] == 3
        except ImageError as error:
            lines = str(error).count("\n")
            refused += lines == 0
            failed += 1
    assert refused > 30
    assert refused == failed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GIF89a" + bytes(40), "found a GIF; save it as PNG"),
        (b"8BPS" + bytes(40), "found a Photoshop document"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "found a camera's raw file"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "found a camera's raw file"),
        (b"%PDF-1.7" + bytes(40), "found a PDF"),
    ],
)
def test_what_is_no_picture_here_is_named(tmp_path, content, words):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_picture(tmp_path / "a.png")


def test_the_thumbnail_of_a_raw_file_is_not_the_photo(tmp_path):
    for name, extra in (
        ("a.tif", [(254, 4, 1, 1, True)]),
        ("b.tif", [(50706, 1, 4, b"\1\4\0\0", True)]),
        ("c.NEF", []),
    ):
        tifffile.imwrite(tmp_path / name, EIGHT, photometric="rgb", extratags=extra)
        with pytest.raises(ImageError, match="raw file"):
            read_picture(tmp_path / name)


def test_heic_and_avif(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    smooth = np.asarray(Image.fromarray(EIGHT).resize((4, 3)).resize((96, 64)))
    heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / "a.heic", quality=100)
    found = read_picture(tmp_path / "a.heic")
    assert found.format == "HEIF"
    assert np.abs(found.pixels.astype(int) - smooth).mean() < 6
    avif = not readable(".avif")  # Pillow's own, from 11.3 on
    if avif:
        Image.fromarray(smooth).save(tmp_path / "a.avif", quality=100)
        assert np.abs(read_picture(tmp_path / "a.avif").pixels.astype(int) - smooth).mean() < 6
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError, match=r"pip install 'vii\[photos\]'"):
        read_picture(tmp_path / "a.heic")
    Image.fromarray(smooth).save(tmp_path / "a.png")
    found = find_pictures([tmp_path])
    assert [path.name for path in found.paths] == ["a.avif"] * avif + ["a.png"]
    assert "a.heic" in found.sentence()


# --- large photos, folders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "deep.tif"])
def test_reduced_decoding_shows_the_same_photo(tmp_path, name):
    image = Image.fromarray(EIGHT).resize((12, 8)).resize((960, 640), Image.Resampling.BICUBIC)
    if name == "deep.tif":
        tifffile.imwrite(tmp_path / name, np.asarray(image).astype(np.uint16) * 257, photometric="rgb")
    else:
        image.save(tmp_path / name, quality=95)
    small = read_picture(tmp_path / name, around=20_000)
    height, width, _ = small.pixels.shape
    assert 20_000 <= height * width <= 60_000
    assert small.size == (960, 640)
    assert width / height == pytest.approx(1.5, rel=0.02)
    expected = np.asarray(image.resize((width, height), Image.Resampling.BOX)).astype(float)
    assert np.abs(small.pixels / (257 if name == "deep.tif" else 1) - expected).mean() < 2
    assert read_picture(tmp_path / name, around=10_000_000).pixels.shape == (640, 960, 3)
    assert vii.load_image(tmp_path / name, around=20_000).shape == (3, height, width)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_strips_of_a_png_are_the_picture(tmp_path, monkeypatch, mode):
    """Whatever filters its rows have, and with transparency as every mode has it; see `vii.pictures.png.strips`."""
    picture, clear = Image.fromarray(EIGHT).resize((203, 149)), {"L": 5, "P": 5, "RGB": (200, 200, 200)}.get(mode)
    picture = picture.convert("RGB").convert(mode)
    if "A" in mode:
        picture.putalpha(Image.effect_noise(picture.size, 90))
    exif = Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "a.png", exif=exif, transparency=clear)
    for rows in (8, 64):
        with open(tmp_path / "a.png", "rb") as file:
            strips = [np.asarray(strip) for strip in own_png.strips(file, rows)]
        assert [len(strip) for strip in strips[:-1]] == [rows] * (len(strips) - 1)
        assert np.array_equal(np.concatenate(strips), np.asarray(picture))
    found = read_picture(tmp_path / "a.png", around=2500)
    monkeypatch.setattr(own_png, "can_be_read_in_strips", lambda file: False)
    whole = read_picture(tmp_path / "a.png", around=2500)
    assert np.array_equal(found.pixels, whole.pixels)
    assert found.pixels.shape == (68, 50, 3)
    assert (found.size, found.has_alpha, found.exif) == (whole.size, whole.has_alpha, whole.exif)
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:-2000])
    monkeypatch.undo()
    with pytest.raises(ImageError, match="truncated"):
        read_picture(tmp_path / "cut.png", around=2500)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_pillow_pictures_at_the_border(tmp_path, name):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(EIGHT).save(tmp_path / name, exif=exif, icc_profile=icc("Display P3"))
    with Image.open(tmp_path / name) as picture:
        assert np.array_equal(pixels_of(picture), read_picture(tmp_path / name).pixels)
    with pytest.raises(ImageError, match="damaged"), Image.open(cut(tmp_path / name)) as picture:
        pixels_of(picture)


def cut(path):
    path.write_bytes(path.read_bytes()[:-400])
    return path


def test_plain_photos_are_read_as_before(tmp_path):
    Image.fromarray(EIGHT).save(tmp_path / "a.jpg", quality=95)
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"), dtype=np.float32) / 255
    assert torch.equal(vii.load_image(tmp_path / "a.jpg"), torch.from_numpy(expected).permute(2, 0, 1))


def test_a_folder_says_what_it_leaves_out(tmp_path):
    for name in ("b.PNG", "a.jpg", "._a.jpg", ".hidden.png", "c.gif", "d.NEF", "e.dng", "notes.txt", "a.xmp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = find_pictures([tmp_path])
    assert [path.name for path in found.paths] == ["a.jpg", "b.PNG"]
    assert {path.name for path in found.left_out} == {"c.gif", "d.NEF", "e.dng"}
    assert found.sentence() == (
        "3 files left out (GIF, not read here: c.gif; raw files, to be developed first: d.NEF, e.dng)"
    )
    assert find_pictures([tmp_path / "a.jpg"]).sentence() == ""
    for name in ("a.jpg", "b.PNG"):
        (tmp_path / name).unlink()
    with pytest.raises(ImageError, match=r"no pictures in this folder .* 3 files left out"):
        find_pictures([tmp_path])
    for bad in (tmp_path / "none.png", tmp_path / ("n" * 300), "a\0b.png"):
        with pytest.raises(ImageError):
            find_pictures([bad])
