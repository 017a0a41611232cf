"""Formulas of the newer families, each against one written independently: in float64, by another route."""

import colorsys
import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from test_synthetic import luma, photo, plain
from torch import Tensor

from vii.evaluation.synthetic import FAMILIES, SIDES, make


def double(image: Tensor) -> np.ndarray:
    return image.double().numpy()


def gray(image: np.ndarray) -> np.ndarray:
    return 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]


def blurred(plane: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian by convolution with a kernel, four sigmas wide, of the plane mirrored at its borders."""
    reach = int(4 * sigma + 0.5)
    kernel = np.array([math.exp(-0.5 * (i / sigma) ** 2) for i in range(-reach, reach + 1)])
    mirrored = np.pad(plane, reach, mode="symmetric")
    return signal.convolve2d(mirrored, np.outer(kernel, kernel) / kernel.sum() ** 2, mode="valid")


def expect(edited: Tensor, truth: np.ndarray, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(double(edited), np.broadcast_to(np.clip(truth, 0, 1), edited.shape), atol=atol)


# --- looks


def test_cyanotype_runs_from_prussian_blue_over_sky_blue_to_white() -> None:
    colors = np.array([(0.02, 0.1, 0.32), (0.26, 0.48, 0.72), (0.94, 0.98, 1)])
    image = photo()
    position = 2 * np.minimum(1.1 * gray(double(image)), 1)
    low = np.minimum(position.astype(int), 1)
    share = (position - low)[..., None]
    expect(make("cyanotype").apply(image), ((1 - share) * colors[low] + share * colors[low + 1]).transpose(2, 0, 1))


@pytest.mark.parametrize(("s", "strength"), [(0, 0.8), (1, 1.6)])
def test_teal_orange_moves_the_dark_to_teal_and_the_bright_to_orange(s: float, strength: float) -> None:
    image = double(photo())
    bright = gray(image)
    moves = [-0.24 + 0.44 * bright, np.full_like(bright, 0.03), 0.13 - 0.39 * bright]
    expect(make("teal_orange", s=s).apply(photo()), image + strength * np.stack(moves))


def test_color_pop_keeps_its_hue_and_grays_the_others() -> None:
    for hue in (0, 40, 120, 222, 300):
        for apart, kept in ((0, 1.4), (20, 1.4), (-55, 0), (180, 0)):
            color = torch.tensor(colorsys.hsv_to_rgb((hue + apart) % 360 / 360, 0.4, 0.6)).float().view(3, 1, 1)
            edited = make("color_pop", c=hue).apply(color)
            torch.testing.assert_close(edited, luma(color) + (color - luma(color)) * kept, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("s", "strength"), [(0, 0.6), (1, 1.0)])
def test_solarize_reverses_what_is_brighter_than_the_middle(s: float, strength: float) -> None:
    image = double(photo())
    reversed_ = np.where(image < 0.5, 2 * image, 2 - 2 * image)
    expect(make("solarize", s=s).apply(photo()), image + strength * (reversed_ - image))


def test_infrared_makes_plants_pink_white_and_the_sky_dark() -> None:
    def shown(*color: float) -> list[float]:
        return make("infrared").apply(torch.tensor(color).view(3, 1, 1)).flatten().tolist()

    plants, sky = shown(0.3, 0.55, 0.2), shown(0.3, 0.5, 0.9)
    bright = 0.299 * 0.3 + 0.587 * 0.55 + 0.114 * 0.2
    assert plants == pytest.approx([min(1, share * (0.55 + 0.6 * bright)) for share in (1, 0.72, 0.84)], abs=1e-5)
    assert max(sky) < 0.35
    assert shown(0.5, 0.5, 0.5) == pytest.approx(  # 0.525 of the way: 0.05 from the middle colour towards the last
        [0.55 + 0.05 * 0.45, 0.42 + 0.05 * 0.48, 0.55 + 0.05 * 0.37], abs=1e-5
    )


@pytest.mark.parametrize(("s", "strength"), [(0, 0.4), (1, 1.0)])
def test_high_key_lifts_everything_towards_white(s: float, strength: float) -> None:
    lifted = 1 - (1 - double(photo())) ** (1 + 1.7 * strength)
    muted = gray(lifted) + (1 - 0.35 * strength) * (lifted - gray(lifted))
    expect(make("high_key", s=s).apply(photo()), muted + 0.22 * strength * (1 - muted))


# --- styles


def test_dreamy_screens_the_photo_with_its_blur() -> None:
    image = photo(128, 128)
    soft, glow = (np.stack([blurred(plane, sigma) for plane in double(image)]) for sigma in (1, 5))
    expect(make("dreamy", s=1).apply(image), soft + 0.95 * glow - 0.95 * soft * glow, atol=1e-4)


def test_pop_art_has_four_colours_by_brightness() -> None:
    for level, color in (
        (0.1, (0.16, 0.08, 0.5)),
        (0.35, (0.95, 0.12, 0.5)),
        (0.57, (1, 0.8, 0.08)),
        (0.9, (0.55, 0.95, 0.95)),
    ):
        edited = make("pop_art").apply(torch.full((3, 9, 9), level))[:, 4, 4]
        assert edited.tolist() == pytest.approx(color, abs=0.01)


def test_halftone_is_darker_where_the_photo_is_in_dots_six_pixels_apart() -> None:
    image = photo(128, 128)
    down, across = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5, indexing="ij")
    # The sum of two cosines is a product of two.
    screen = 0.5 + 0.5 * np.cos(np.pi * (down + across) / 6) * np.cos(np.pi * (down - across) / 6)
    expect(
        make("halftone").apply(image),
        0.5 + 0.5 * np.tanh(4.5 * (1.15 * blurred(gray(double(image)), 1) - 0.18 - 0.8 * screen)),
        atol=1e-4,
    )
    inks = [float(make("halftone").apply(torch.full((3, 126, 126), level))[0].mean()) for level in (0.1, 0.3, 0.6, 0.9)]
    assert inks == sorted(inks)
    assert inks[0] < 0.1
    assert inks[-1] > 0.8


def test_line_drawing_draws_what_is_steep_for_its_brightness() -> None:
    image = photo(128, 128)
    bright = blurred(gray(double(image)), 1)
    inside = np.pad(bright, 1, mode="edge")
    right = inside[:, 2:] - inside[:, :-2]
    below = inside[2:] - inside[:-2]
    across = right[:-2] + 2 * right[1:-1] + right[2:]
    down = below[:, :-2] + 2 * below[:, 1:-1] + below[:, 2:]
    steep = np.sqrt(across**2 + down**2) / (blurred(gray(double(image)), 8) + 0.2)
    expect(make("line_drawing").apply(image), 1 - 0.95 * np.clip(1.1 * steep - 0.35, 0, 1), atol=1e-4)


def test_drawings_of_a_flat_picture_are_empty_paper() -> None:
    flat = torch.full((3, 40, 40), 0.5)
    assert float(make("line_drawing").apply(flat).min()) == 1
    for name, color in (
        ("blueprint", (0.05 * 0.975, 0.2 * 0.975, 0.55 * 0.975)),
        ("chalk", (0.09 * 1.15, 0.2 * 1.15, 0.15 * 1.15)),
    ):
        paper = plain(name).apply(flat)[:, 20, 20].tolist()
        assert paper == pytest.approx(color, abs=1e-4), name


def test_drawings_have_lines_at_edges() -> None:
    halves = torch.full((3, 64, 64), 0.45)
    halves[:, :, 32:] = 0.9
    for name, darker in (
        ("line_drawing", True),
        ("charcoal", True),
        ("cartoon", True),
        ("blueprint", False),
        ("chalk", False),
    ):
        bright = luma(plain(name, **({"c": "white"} if name == "chalk" else {})).apply(halves))[32]
        line, beside = bright[31:33].mean(), bright[[20, 44]]
        assert bool((line < beside - 0.1).all() if darker else (line > beside + 0.3).all()), name


def test_cartoon_has_flat_tones_a_quarter_apart() -> None:
    ramp = torch.linspace(0, 1, 128).expand(3, 128, 128)
    tones = (make("cartoon").apply(ramp)[0, 64] * 4).mul(1e3).round().div(1e3).unique()
    assert tones.tolist() == pytest.approx([0, 1, 2, 3, 4], abs=1e-4)


# --- weather


@pytest.mark.parametrize(("s", "flakes"), [(0, 45), (1, 150)])
def test_snow_has_as_many_flakes_as_its_strength(s: float, flakes: int) -> None:
    edited = make("snow", s=s).apply(torch.zeros(3, 256, 256))[0]
    area = float((edited - 0.1).sum()) / (0.9 * 0.95) / 4  # in pixels of 128
    assert float(edited.median()) == pytest.approx(0.1, abs=0.01)
    mean_area = math.pi * (3.4**3 - 1.6**3) / (3 * 1.8)
    assert area == pytest.approx(flakes * mean_area, rel=0.2), "some lie over each other or over the border"


def test_rain_falls_slanted_and_grays_the_picture() -> None:
    edited = make("rain", s=1).apply(torch.zeros(3, 128, 128))[0].numpy()
    shifted = [np.mean(edited[8:] * np.roll(edited[:-8], -right, 1)) for right in range(-8, 9)]
    assert int(np.argmax(shifted)) - 8 in (1, 2, 3), "eight pixels lower is two to three to the left"
    vivid = make("rain", s=1).apply(torch.tensor([0.9, 0.2, 0.1]).view(3, 1, 1).expand(3, 64, 64))
    assert float((vivid.amax(0) - vivid.amin(0)).max()) < 0.25


@pytest.mark.parametrize(("s", "strength"), [(0, 0.6), (1, 1.0)])
def test_overcast_is_flat_and_gray_with_clouds_at_the_top(s: float, strength: float) -> None:
    image = double(photo())
    muted = gray(image) + 0.3 * (image - gray(image))
    flat = (0.32 + 0.5 * muted) * np.array([0.78, 0.9, 1.02]).reshape(3, 1, 1)
    height = 1 - (np.arange(96) + 0.5).reshape(1, -1, 1) / 96
    clouded = flat * (1 - height / 2) + np.array([0.62, 0.67, 0.73]).reshape(3, 1, 1) * height / 2
    expect(make("overcast", s=s).apply(photo()), (1 - strength) * image + strength * clouded)


def test_underwater_is_deeper_blue_further_down() -> None:
    column = make("underwater", s=1).apply(torch.full((3, 101, 4), 0.5))[:, :, 0]
    assert bool((column.diff(dim=1)[:2] < 0).all()), "red and green fade"
    assert float(column[2].min()) > float(column[:2, -1].max())
    middle = [
        0.6 * 0.5 * share * (1 - 0.175) + 0.4 * water for share, water in ((0.3, 0.11), (0.75, 0.44), (0.85, 0.58))
    ]
    assert column[:, 50].tolist() == pytest.approx(middle, abs=1e-4)


# --- overlays


@pytest.mark.parametrize("w", [0.08, 0.125, 0.2])
def test_letterbox_covers_its_share_of_the_height_twice(w: float) -> None:
    edited = make("letterbox", w=w).apply(torch.ones(3, 200, 90))
    torch.testing.assert_close(edited, edited.flip(1))
    assert float(edited[0, :, 0].sum()) == pytest.approx(200 * (1 - 2 * w), abs=1e-3)


@pytest.mark.parametrize("size", [(200, 200), (150, 240)])
def test_porthole_leaves_a_circle(size: tuple[int, int]) -> None:
    edited = make("porthole", c="black", r=0.3).apply(torch.ones(3, *size))[0]
    assert float(edited.sum()) == pytest.approx(math.pi * (0.3 * min(size)) ** 2, rel=0.005)
    torch.testing.assert_close(edited, edited.flip(0, 1))


def test_grid_has_lines_at_every_eighth() -> None:
    edited = make("grid", c="white").apply(torch.zeros(3, 256, 256))[0]
    row = edited[16]  # between two lines
    assert row.sum() == pytest.approx(8 * 5, abs=0.5), "2.5 pixels of 128, and two halves at the borders"
    assert (row[31:33].tolist(), row[16].item()) == ([1, 1], 0)
    assert torch.equal(edited, edited.T)


def test_stripes_are_diagonal_and_cover_half() -> None:
    edited = make("stripes", c="white").apply(torch.zeros(3, 128, 128))[0]
    torch.testing.assert_close(edited[1:, :-1], edited[:-1, 1:], atol=1e-5, rtol=0)
    assert float(edited.max()) == pytest.approx(0.7)
    assert float(edited.mean()) == pytest.approx(0.35, abs=0.03)


# --- sides, halves and places


def part_at(image: Tensor, side: str, start: float, stop: float) -> Tensor:
    """The picture from a share of the way in from a side to another."""
    axis = 2 if side in ("left", "right") else 1
    turned = image.flip(axis) if side in ("right", "bottom") else image
    length = image.shape[axis]
    return turned.narrow(axis, round(start * length), round((stop - start) * length))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["half_gray", "half_dark", "half_tint"])
def test_a_half_changes_and_the_other_stays(name: str, side: str) -> None:
    image = photo(60, 84)
    edited = plain(name, side=side).apply(image)
    assert torch.equal(part_at(edited, side, 0.5, 1), part_at(image, side, 0.5, 1))
    whole = {
        "half_gray": make("grayscale").apply(image),
        "half_dark": image * 0.3,
        "half_tint": make("tint", c=198, s=1).apply(image),
    }[name]
    torch.testing.assert_close(part_at(edited, side, 0, 0.5), part_at(whole, side, 0, 0.5))


@pytest.mark.parametrize("side", SIDES)
def test_bar_covers_its_share_at_its_side(side: str) -> None:
    edited = make("bar", c="white", side=side, w=0.2).apply(torch.zeros(3, 100, 150))
    assert float(part_at(edited, side, 0, 0.2).min()) == 1
    assert float(part_at(edited, side, 0.2, 1).max()) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", ["gradient", "sunbeams"])
def test_what_comes_from_a_side_is_strongest_there(name: str, side: str) -> None:
    params = {"c": "white"} if name == "gradient" else {}
    edited = plain(name, side=side, s=1, **params).apply(torch.full((3, 80, 80), 0.2))
    depth = [float(part_at(edited, side, start / 8, start / 8 + 0.125).mean()) for start in range(8)]
    assert depth == sorted(depth, reverse=True)
    assert depth[0] > depth[-1] + 0.3
    if name == "gradient":
        share = np.clip(1.1 - 1.4 * 20.5 / 80, 0, 1)
        assert part_at(edited, side, 0.25, 0.2625).flatten().tolist() == pytest.approx(
            [0.2 + 0.8 * share] * 240, abs=1e-5
        )


def test_tilt_shift_keeps_the_middle_band() -> None:
    image = 0.5 + 0.3 * (photo(120, 90) - 0.5)
    edited = make("tilt_shift", s=1).apply(image)
    gray_distance = luma(image) + (image - luma(image)) * 1.5
    torch.testing.assert_close(edited[:, 50:70], gray_distance[:, 50:70])
    assert edited[:, :20].diff(dim=2).abs().mean() < 0.2 * gray_distance[:, :20].diff(dim=2).abs().mean()


def test_color_center_is_gray_outside_its_circle() -> None:
    image = photo(128, 160)
    edited = make("color_center", r=0.2).apply(image)
    torch.testing.assert_close(edited[:, :30], (0.8 * luma(image)).expand(3, -1, -1)[:, :30])
    middle = image[:, 60:68, 76:84]
    torch.testing.assert_close(edited[:, 60:68, 76:84], (luma(middle) + (middle - luma(middle)) * 1.3).clamp(0, 1))


def test_censor_is_a_mosaic_at_its_place_only() -> None:
    image = photo(128, 128)
    edited = make("censor", pos="bottom right").apply(image)
    assert torch.equal(edited[:, :64], image[:, :64])
    assert torch.equal(edited[:, :, :64], image[:, :, :64])
    block = edited[:, 96:112, 96:112]
    torch.testing.assert_close(
        block, image[:, 96:112, 96:112].mean((1, 2), keepdim=True).expand_as(block), atol=3e-3, rtol=0
    )


# --- every size


# The steepness of an edge counts per pixel here, and so does a step of one and a half pixels.
DIFFERENT_WHEN_LARGER = {"neon", "emboss", "watercolor"}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in DIFFERENT_WHEN_LARGER])
@pytest.mark.parametrize("size", [(128, 128), (96, 144)])
def test_a_large_picture_shows_the_same_edit(name: str, size: tuple[int, int]) -> None:
    """Lengths and patterns grow with the picture, so that scaling and editing may change places."""
    smooth = ndimage.gaussian_filter(double(photo(2 * size[0], 2 * size[1])), (0, 3, 3))
    large = torch.from_numpy(np.clip(0.5 + 2.5 * (smooth - smooth.mean()), 0, 1)).float()
    shrunk = torch.nn.functional.avg_pool2d(plain(name).apply(large), 2)
    assert (shrunk - plain(name).apply(torch.nn.functional.avg_pool2d(large, 2))).abs().mean() < 0.02


@pytest.mark.parametrize("name", ["snow", "rain", "grid", "stripes", "halftone", "sunbeams", "charcoal"])
def test_patterns_are_the_same_in_every_photo_and_at_every_size(name: str) -> None:
    small, large = (plain(name).apply(torch.full((3, side, side), 0.3)) for side in (128, 256))
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01
    assert small.std() > 0.03


# --- what photographers do


@pytest.mark.parametrize(("s", "strength"), [(0, 0.6), (1, 1.6)])
def test_local_contrast_adds_what_a_wide_blur_of_the_brightness_takes_away(s: float, strength: float) -> None:
    image = double(photo(128, 128))
    expect(
        make("local_contrast", s=s).apply(photo(128, 128)), image + strength * (gray(image) - blurred(gray(image), 3))
    )


def test_sharpen_is_an_unsharp_mask_of_every_channel() -> None:
    image = double(photo(128, 128))
    soft = np.stack([blurred(plane, 0.8) for plane in image])
    expect(make("sharpen", s=1).apply(photo(128, 128)), 3 * image - 2 * soft, atol=1e-4)


@pytest.mark.parametrize("side", SIDES)
def test_dodge_burn_is_a_gradient_of_exposure_in_stops(side: str) -> None:
    flat = torch.full((3, 64, 64), 0.25)
    edited = make("dodge_burn", side=side, s=0).apply(flat)[0]
    line = edited[:, 0] if side in ("top", "bottom") else edited[0]
    stops = torch.log2(line / 0.25)
    expected = torch.tensor([0.6 * (1 - 2 * (i + 0.5) / 64) for i in range(64)])
    torch.testing.assert_close(stops, expected if side in ("top", "left") else expected.flip(0), atol=1e-4, rtol=0)


def test_background_blur_keeps_the_middle_and_blurs_the_corners() -> None:
    image = photo(128, 128)
    edited = double(make("background_blur", r=0.2, s=1).apply(image))
    np.testing.assert_allclose(edited[:, 50:78, 50:78], double(image)[:, 50:78, 50:78], atol=1e-6)
    soft = np.stack([blurred(plane, 5) for plane in double(image)])
    np.testing.assert_allclose(edited[:, :20, :20], soft[:, :20, :20], atol=1e-4)


def test_grain_is_the_same_at_every_call_gray_and_strongest_in_the_middle_tones() -> None:
    spread = {}
    for level in (0.1, 0.5, 0.9):
        flat = torch.full((3, 128, 192), level)
        noise = make("grain", s=0).apply(flat) - flat
        torch.testing.assert_close(noise[0], noise[2])
        torch.testing.assert_close(noise, make("grain", s=0).apply(flat) - flat)
        spread[level] = float(noise.std())
    assert spread[0.5] / spread[0.1] == pytest.approx(math.sqrt(0.25 / 0.09), rel=0.02)
    assert spread[0.9] == pytest.approx(spread[0.1], rel=0.02)


@pytest.mark.parametrize("side", SIDES)
def test_a_light_leak_screens_its_colour_in_from_its_side(side: str) -> None:
    image = double(photo(32, 32))
    edited = make("light_leak", c=0, side=side, s=1).apply(photo(32, 32))
    share = (np.arange(32) + 0.5) / 32
    depth = share if side in ("top", "left") else 1 - share
    across, along = np.exp(-((depth / 0.3) ** 2)), np.exp(-(((share - 0.4) / 0.5) ** 2))
    glow = np.outer(across, along) if side in ("top", "bottom") else np.outer(along, across)
    color = np.array(colorsys.hsv_to_rgb(0, 0.85, 1))[:, None, None]
    expect(edited, image + glow * color * (1 - image))


@pytest.mark.parametrize("place", ["top left", "top right", "bottom left", "bottom right"])
def test_a_date_stamp_is_orange_and_stays_in_its_corner(place: str) -> None:
    stamped = make("date_stamp", pos=place).apply(torch.zeros(3, 128, 128))
    rows, columns = (stamped[0].amax(axis).nonzero().flatten() for axis in (1, 0))
    assert (rows.max() < 64) == ("top" in place)
    assert (columns.min() < 32) == ("left" in place)
    solid = stamped[:, stamped[0] > 0.95]
    assert solid.shape[1] > 20
    assert torch.allclose(solid[0], torch.ones(1), atol=0.05)
    assert (solid[2] < 0.15).all()


@pytest.mark.parametrize(("s", "strength"), [(0, 0.5), (1, 0.9)])
def test_a_double_exposure_screens_the_photo_with_its_mirror_image(s: float, strength: float) -> None:
    image = double(photo())
    mirrored = strength * image[:, :, ::-1]
    expect(make("double_exposure", s=s).apply(photo()), image + mirrored - image * mirrored)
