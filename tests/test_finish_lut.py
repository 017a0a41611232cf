"""Look-up tables, against interpolation written out, Pillow's own, and files as other programs write them."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from vii.errors import ImageError, OutputError, UsageError
from vii.finish import ColorTransform, Lut, bake, from_hald, hald, read_cube, write_cube
from vii.finish.terms import Terms

RNG = np.random.default_rng(6)
PHOTO = RNG.random((20, 30, 3), dtype=np.float32)
TABLE = RNG.random((5, 5, 5, 3), dtype=np.float32)


def looked_up(table, color):
    """Tetrahedral interpolation: the six tetrahedra of a cell, each by its barycentric coordinates."""
    n = len(table)
    at = np.asarray(color, np.float64) * (n - 1)
    base = np.minimum(np.floor(at), n - 2).astype(int)
    for order in itertools.permutations(range(3)):
        corners = [base]
        for channel in order:
            corners.append(corners[-1] + np.eye(3, dtype=int)[channel])
        system = np.vstack([np.array(corners).T, np.ones(4)])
        shares = np.linalg.solve(system, np.append(at, 1))
        if (shares > -1e-9).all():
            return sum(share * table[tuple(corner)] for share, corner in zip(shares, corners, strict=True))
    raise AssertionError(color)


def test_interpolation_is_tetrahedral():
    expected = np.array([[looked_up(TABLE, color) for color in row] for row in PHOTO[:8]])
    np.testing.assert_allclose(Lut(TABLE)(PHOTO[:8]), expected, atol=1e-5)


def test_points_of_the_table_come_back_exactly():
    levels = np.linspace(0, 1, 5, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(25, 5, 3)
    np.testing.assert_allclose(Lut(TABLE)(cube).reshape(TABLE.shape), TABLE, atol=1e-6)


def test_a_domain_is_where_the_points_lie():
    table = bake(lambda x: x, 9).table
    np.testing.assert_allclose(Lut(table, (0, 0, 0), (2, 1, 1))(PHOTO), PHOTO * (0.5, 1, 1), atol=1e-5)
    np.testing.assert_allclose(
        Lut(table, (0.5, 0, 0), (1, 1, 1))(PHOTO)[..., 0], np.clip(2 * PHOTO[..., 0] - 1, 0, 1), atol=1e-5
    )


def test_weights_fade():
    lut = Lut(TABLE)
    np.testing.assert_allclose(lut(PHOTO, 0.4), PHOTO + 0.4 * (lut(PHOTO) - PHOTO), atol=1e-6)


def test_a_baked_transform_is_close_to_the_transform():
    terms = Terms(3)
    transform = ColorTransform(terms, RNG.normal(size=(len(terms), 3)).astype(np.float32) * 0.01)
    assert np.abs(bake(transform)(PHOTO) - transform(PHOTO)).max() < 2 / 255
    affine = ColorTransform(Terms(1), np.float32([[0.1, 0, 0], [-0.1, 0, 0], [0, -0.2, 0], [0, 0, 0]]))
    np.testing.assert_allclose(bake(affine, 17)(PHOTO), affine(PHOTO), atol=1e-5)


def test_a_cube_file_read_by_pillow_is_the_transform(tmp_path):
    """Pillow takes a table as the file has it, red running fastest; the file is parsed here by numpy alone."""
    transform = ColorTransform(Terms(2), RNG.normal(size=(10, 3)).astype(np.float32) * 0.02)
    write_cube(bake(transform), tmp_path / "look.cube", title='a "look"')
    lines = (tmp_path / "look.cube").read_text().splitlines()
    assert lines[:3] == ["# made with vii", 'TITLE "a look"', "LUT_3D_SIZE 33"]
    values = np.loadtxt(lines[3:])
    picture = Image.fromarray((PHOTO * 255).round().astype(np.uint8))
    by_pillow = np.asarray(picture.filter(ImageFilter.Color3DLUT(33, values.ravel().tolist())), np.float32) / 255
    assert np.abs(by_pillow - transform(np.asarray(picture, np.float32) / 255)).max() < 2.5 / 255


def test_a_cube_file_comes_back(tmp_path):
    for lut in (Lut(TABLE), Lut(TABLE, (-1.0, 0.0, 0.25), (1.0, 2.0, 4.0))):
        write_cube(lut, tmp_path / "a.cube")
        back = read_cube(tmp_path / "a.cube")
        np.testing.assert_allclose(back.table, lut.table, atol=1e-6)
        assert (back.low, back.high) == (lut.low, lut.high)


def test_a_file_as_other_programs_write_it(tmp_path):
    path = tmp_path / "resolve.cube"
    path.write_bytes(
        b'\xef\xbb\xbf# made by hand\r\nTITLE "Two 2 # points"\r\n\r\nLUT_3D_SIZE 2\r\nLUT_3D_INPUT_RANGE 0.0 1.0\r\n'
        b"0 0 0\r\n1 0 0\r\n0 1 0\r\n1 1 0\r\n0 0 1\r\n1 0 1  # blue\r\n\t0 1e0 1\r\n1 1 1\r\n"
    )
    np.testing.assert_allclose(read_cube(path)(PHOTO), PHOTO, atol=1e-6)


def test_a_comment_in_any_encoding_is_no_reason_to_refuse(tmp_path):
    (tmp_path / "latin.cube").write_bytes(b"# \xa9 Andr\xe9\n" + GOOD.encode())
    assert not read_cube(tmp_path / "latin.cube").table.any()


def test_a_table_of_one_dimension_is_three_curves(tmp_path):
    path = tmp_path / "curve.cube"
    at = np.linspace(0, 1, 33)
    path.write_text("LUT_1D_SIZE 33\n" + "\n".join(f"{1 - v} {v * v} {v}" for v in at))
    expected = np.stack([1 - PHOTO[..., 0], np.interp(PHOTO[..., 1], at, at * at), PHOTO[..., 2]], -1)
    np.testing.assert_allclose(read_cube(path)(PHOTO), expected, atol=1e-5)


GOOD = "LUT_3D_SIZE 2\n" + "0 0 0\n" * 8
BAD = {
    "empty": ("", "LUT_3D_SIZE or LUT_1D_SIZE"),
    "no table": ("LUT_3D_SIZE 2\n", "expected 8 colours for the size that it gives, got 0"),
    "one row short": (GOOD[:-6], "got 7"),
    "one row more": (GOOD + "0 0 0\n", "line 10: expected 8 colours .* got more"),
    "a row of two": (GOOD.replace("0 0 0\n", "0 0\n", 1), "line 2: expected three finite numbers"),
    "nan": (GOOD.replace("0 0 0\n", "0 nan 0\n", 1), "line 2"),
    "infinite": (GOOD.replace("0 0 0\n", "0 1e999 0\n", 1), "line 2: expected three finite numbers"),
    "words": (GOOD.replace("0 0 0\n", "0 0 zero\n", 1), "line 2: expected numbers"),
    "unknown keyword": ("MAGIC 3\n" + GOOD, "line 1: expected one of LUT_3D_SIZE"),
    "twice": ("LUT_3D_SIZE 2\n" + GOOD, "line 2: LUT_3D_SIZE stands twice"),
    "a line without end": ("0 " * 5000, "line 1: not a text file, or a line of more than"),
    "comments without end": ("#\n" * 20_000 + GOOD, "line 10001: more than 10,000 lines of comments"),
    "both": ("LUT_1D_SIZE 8\n" + GOOD, "not both"),
    "size of one": ("LUT_3D_SIZE 1\n0 0 0\n", "expected a size of 2 to 129"),
    "size of a thousand": ("LUT_3D_SIZE 1000\n", "expected a size of 2 to 129"),
    "half a size": ("LUT_3D_SIZE 2.5\n", "expected a size"),
    "infinite size": ("LUT_3D_SIZE inf\n", "expected a size"),
    "domain upside down": ("DOMAIN_MIN 1 1 1\nDOMAIN_MAX 0 0 0\n" + GOOD, "a domain that grows"),
    "domain of two": ("DOMAIN_MIN 0 0\n" + GOOD, "line 1"),
    "domain nan": ("DOMAIN_MAX nan 1 1\n" + GOOD, "domain"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_break_the_specification_are_refused(name, tmp_path):
    text, reason = BAD[name]
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(ImageError, match=reason) as error:
        read_cube(path)
    assert str(path) in str(error.value)


def test_what_is_no_text_or_no_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_cube(tmp_path / "missing.cube")
    (tmp_path / "binary.cube").write_bytes(bytes(range(256)))
    with pytest.raises(ImageError, match="no valid"):
        read_cube(tmp_path / "binary.cube")
    with pytest.raises(OutputError):
        write_cube(Lut(TABLE), tmp_path / "no folder" / "a.cube")
    with pytest.raises(UsageError, match="2 to 129"):
        bake(lambda x: x, 1)
    with pytest.raises(UsageError, match="2 to 16"):
        hald(lambda x: x, 99)


def test_a_hald_image_holds_every_colour_with_red_fastest():
    """Read as its users read it: the colour at number i has the red i % n, the green i // n % n, the blue i // n^2."""
    image = hald(lambda x: 1 - x, 4)
    assert image.shape == (64, 64, 3)
    flat, n = image.reshape(-1, 3), 16
    for i in (0, 1, 17, 255, 256, 4095):
        np.testing.assert_allclose(flat[i], 1 - np.array([i % n, i // n % n, i // n**2]) / (n - 1), atol=1e-6)
    np.testing.assert_allclose(from_hald(image)(PHOTO), 1 - PHOTO, atol=1e-5)
    for other in (image[:63], image[:, :63], image[:63, :63], np.zeros((1, 1, 3)), np.zeros((17**3, 1, 3))):
        with pytest.raises(ImageError, match="expected a Hald CLUT"):
            from_hald(other)
