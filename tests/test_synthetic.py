import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from vii.errors import UsageError
from vii.evaluation.synthetic import (
    DESCRIBABLE,
    FAMILIES,
    INDESCRIBABLE,
    PLACES,
    SyntheticEdit,
    compose,
    make,
    phrases,
    sample,
)
from vii.evaluation.synthetic.edits import CLASHES

# Parameters that have to be said; the rest have a default.
SAY: dict[str, float | str] = {"c": 198, "c2": 345, "pos": "top left", "side": "left", "shape": "heart"}
SIZES = [(128, 128), (96, 150), (61, 47), (16, 40), (1, 1)]


def plain(name: str, **params: float | str) -> SyntheticEdit:
    needed = {key: SAY[key] for key, parameter in FAMILIES[name].parameters.items() if parameter.words or key == "c"}
    return make(name, **(needed | params))


def photo(height: int = 96, width: int = 128, seed: int = 0) -> Tensor:
    """Coloured blobs with edges and texture, `(3, height, width)` in [0, 1]."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.random((3, height, width)), (0, 6, 6), mode="wrap")
    blobs = (blobs - blobs.min()) / max(np.ptp(blobs), 1e-9)
    return torch.from_numpy(np.clip(blobs + 0.15 * rng.random((3, height, width)), 0, 1)).float()


def luma(image: Tensor) -> Tensor:
    return 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]


# --- every family


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FAMILIES)
def test_any_size_in_range_and_repeatable(name: str, size: tuple[int, int]) -> None:
    image = photo(*size)
    before = image.clone()
    edited = plain(name).apply(image)
    assert edited.shape == (3, *size)
    assert edited.dtype == torch.float32
    assert edited.is_contiguous()
    assert bool(torch.isfinite(edited).all())
    assert 0 <= edited.min() <= edited.max() <= 1
    assert torch.equal(edited, plain(name).apply(image))
    assert torch.equal(image, before), "the photo itself was changed"


@pytest.mark.parametrize("name", FAMILIES)
def test_it_changes_a_photo(name: str) -> None:
    assert (plain(name).apply(photo()) - photo()).abs().mean() > 0.002


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in FAMILIES for key in FAMILIES[name].parameters])
def test_every_parameter_changes_the_picture(name: str, key: str) -> None:
    parameter = FAMILIES[name].parameters[key]
    nearly_high = 0.1 * parameter.low + 0.9 * parameter.high  # a hue of 360 is that of 0 again
    values = parameter.words[:2] if parameter.word_share == 1 else (parameter.low, nearly_high)
    first, second = (plain(name, **{key: value}).apply(photo()) for value in values)
    assert (first - second).abs().max() > 0.02


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_drawn_can_be_made_and_its_words_are_filled_and_name_the_subject(name: str) -> None:
    rng = np.random.default_rng(0)
    assert any(caption.startswith("{subject}") for caption in FAMILIES[name].captions), "to be said after another"
    assert 2 <= len(FAMILIES[name].captions) <= 3
    for _ in range(40):
        drawn = {key: parameter.draw(rng) for key, parameter in FAMILIES[name].parameters.items()}
        edit = make(name, **drawn)
        assert edit.params == drawn
        captions = [edit.caption("an old dog", rng), edit.caption("an old dog")]
        assert [text.count("an old dog") for text in captions] == [1, 1]
        for text in (edit.instruction(rng), *captions):
            assert text == " ".join(text.split()).strip()
            assert not set("{}") & set(text)
            assert "a orange" not in text


# --- formulas, each against one written independently


def test_grayscale_is_rec_601_luma_in_three_channels() -> None:
    image = photo().mul(255).round().div(255)
    pixels = image.mul(255).round().byte().permute(1, 2, 0).numpy()
    pillow = torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("L"), np.float32) / 255)
    edited = make("grayscale").apply(image)
    assert torch.equal(edited[0], edited[1])
    assert torch.equal(edited[0], edited[2])
    assert (edited[0] - pillow).abs().max() <= 0.51 / 255  # Pillow rounds to 8 bits


def test_invert_twice_is_the_photo() -> None:
    torch.testing.assert_close(compose(make("invert"), make("invert")).apply(photo()), photo())


def test_channel_swap_exchanges_red_and_blue_and_darkens() -> None:
    edited = make("channel_swap").apply(photo())
    torch.testing.assert_close(edited, photo().flip(0) ** 1.3)


@pytest.mark.parametrize(
    ("edit", "level", "color"),
    [  # by hand, on a flat gray picture
        (make("sepia", s=1), 0.5, (0.61, 0.47, 0.31)),
        (make("sepia", s=0), 0.5, (0.566, 0.482, 0.386)),
        (make("warm", s=1), 0.5, (0.675, 0.515, 0.25)),
        (make("warm", s=0), 0.5, (0.56125, 0.50525, 0.4125)),
        (make("cool", s=1), 0.5, (0.25, 0.475, 0.73)),
        (make("cool", s=0), 0.5, (0.4125, 0.49125, 0.5805)),
        (make("night", s=0), 0.5, (0.189, 0.2625, 0.483)),
        (make("night", s=1), 0.5, (0.108, 0.15, 0.276)),
        (make("brighter", s=1), 0.25, (0.25 ** (1 / 2.3) + 0.06,) * 3),
        (make("brighter", s=0), 0.25, (0.25 ** (1 / 1.325) + 0.015,) * 3),
        (make("faded", s=1), 0.9, (0.78,) * 3),
        (make("faded", s=0), 0.9, (0.858,) * 3),
        (make("sketch"), 0.5, ((0.5 / 0.52) ** 1.6 * 0.95 + 0.03,) * 3),
        (make("oil"), 0.4, (0.42,) * 3),
        (make("watercolor", s=0), 0.6, (0.7,) * 3),
        (make("watercolor", s=1), 0.6, (0.8,) * 3),
        (make("fog", s=1), 0.5, (0.74, 0.756, 0.772)),
        (make("fog", s=0), 0.5, (0.605, 0.612, 0.619)),
        (make("rainbow", s=1), 0.5, (0.1313, 0.59, 0.36045)),
        (make("rainbow", s=0), 0.5, (0.336, 0.54, 0.438)),
        (make("tint", c="white", s=0), 0.5, (0.521,) * 3),
        (make("spotlight", pos="center", s=1), 0.5, (0.5 * (0.22 + 1 / (1 + math.exp(-4.5))),) * 3),
        (make("spotlight", pos="center", s=0), 0.5, (0.5 * (0.22 + 1 / (1 + math.exp(-7.5))),) * 3),
    ],
)
def test_colour_in_the_middle_of_a_flat_picture(edit: SyntheticEdit, level: float, color: tuple[float, ...]) -> None:
    middle = edit.apply(torch.full((3, 101, 101), level))[:, 50, 50]
    assert middle.tolist() == pytest.approx(color, abs=2e-3)


@pytest.mark.parametrize(("s", "factor"), [(0.0, 0.75), (0.5, 0.515), (1.0, 0.28)])
def test_darker_multiplies(s: float, factor: float) -> None:
    torch.testing.assert_close(make("darker", s=s).apply(photo()), photo() * factor)


def test_faded_halves_the_saturation_and_lifts_the_dark() -> None:
    flat = torch.tensor([0.8, 0.2, 0.4]).view(3, 1, 1).expand(3, 8, 8)
    edited = make("faded", s=1).apply(flat)[:, 0, 0]  # the luma is 0.4022
    torch.testing.assert_close(edited, torch.tensor([0.6455, 0.5105, 0.5555]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("s", "top", "bottom"),
    [(1, (0.68, 0.344, 0.17), (0.4, 0.204, 0.29)), (0, (0.49, 0.322, 0.235), (0.35, 0.252, 0.295))],
)
def test_sunset_glows_orange_above_and_purple_below(s: float, top: tuple[float], bottom: tuple[float]) -> None:
    edited = make("sunset", s=s).apply(torch.full((3, 1001, 4), 0.3))
    assert edited[:, 0, 0].tolist() == pytest.approx(top, abs=1e-3)
    assert edited[:, -1, 0].tolist() == pytest.approx(bottom, abs=1e-3)


@pytest.mark.parametrize(("s", "factor"), [(0, 1.4), (1, 2.8)])
def test_contrast_turns_around_the_middle(s: float, factor: float) -> None:
    muted = 0.5 + 0.1 * (photo() - 0.5)
    torch.testing.assert_close(make("contrast", s=s).apply(muted) - 0.5, factor * (muted - 0.5))


@pytest.mark.parametrize(("s", "factor"), [(0, 1.5), (1, 3.2)])
def test_vivid_multiplies_the_distance_to_gray_and_keeps_luma(s: float, factor: float) -> None:
    muted = 0.5 + 0.1 * (photo() - 0.5)
    edited = make("vivid", s=s).apply(muted)
    torch.testing.assert_close(edited - luma(muted), factor * (muted - luma(muted)))
    torch.testing.assert_close(luma(edited), luma(muted))


@pytest.mark.parametrize("hue", [0, 95, 198, 300])
def test_full_tint_leaves_only_its_hue(hue: int) -> None:
    gray = torch.full((3, 4, 4), 0.5)
    color = make("tint", c=hue, s=1).apply(gray)[:, 0, 0].tolist()
    found, saturation, value = colorsys.rgb_to_hsv(*color)
    assert found * 360 == pytest.approx(hue, abs=0.01)
    assert saturation == pytest.approx(0.85, abs=1e-4)
    assert value == pytest.approx(0.5 * 0.9 + 0.12, abs=1e-4)


def test_duotone_lies_between_its_two_colours() -> None:
    ramp = torch.linspace(0, 1, 64).expand(3, 2, 64)
    edited = make("duotone", c=30, c2=260).apply(ramp)
    dark, light = edited[:, 0, 0], edited[:, 0, -1]
    torch.testing.assert_close(dark, torch.tensor(colorsys.hsv_to_rgb(30 / 360, 0.9, 0.4)), atol=1e-5, rtol=0)
    torch.testing.assert_close(light, torch.tensor(colorsys.hsv_to_rgb(260 / 360, 0.6, 1.0)), atol=1e-5, rtol=0)
    share = ((ramp[0, 0] - 0.1) / 0.8).clamp(0, 1)
    torch.testing.assert_close(edited[:, 0], dark[:, None] + (light - dark)[:, None] * share, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("s", "colors_per_channel"), [(0.0, 4), (0.5, 3), (1.0, 2)])
def test_posterize_leaves_a_few_levels(s: float, colors_per_channel: int) -> None:
    ramp = torch.linspace(0, 1, 128).expand(3, 128, 128)
    assert make("posterize", s=s).apply(ramp).unique().numel() == colors_per_channel


@pytest.mark.parametrize(("s", "block"), [(0.1, 4), (0.5, 8), (0.9, 16)])
def test_pixelate_makes_flat_squares_of_the_mean_colour(s: float, block: int) -> None:
    image = photo(128, 128)
    edited = make("pixelate", s=s).apply(image)
    means = torch.nn.functional.avg_pool2d(image, block)
    expected = means.repeat_interleave(block, 1).repeat_interleave(block, 2)
    assert (edited - expected).abs().max() < 1.6 / 255  # Pillow works in 8 bits


def test_blur_is_a_gaussian_of_four_pixels_at_full_strength() -> None:
    point = torch.zeros(3, 128, 128)
    point[:, 64, 64] = 1.0
    row = make("blur", s=1).apply(point)[0].sum(0).double()
    distances = torch.arange(128) - 64
    assert float(row.sum()) == pytest.approx(1, abs=1e-3)
    assert float((row * distances**2).sum()) ** 0.5 == pytest.approx(4, rel=0.003)


@pytest.mark.parametrize(("s", "lost", "kept"), [(0, 3, 4), (1, 6, 7)])
def test_oil_loses_what_is_smaller_than_half_its_brush(s: float, lost: int, kept: int) -> None:
    """The brush is 5 pixels wide at strength 0 and 9 at strength 1."""
    for side, remains in ((lost, False), (kept, True)):
        patch = torch.zeros(3, 128, 128)
        patch[:, 60 : 60 + side, 60 : 60 + side] = 0.8
        assert bool(make("oil", s=s).apply(patch).any()) == remains


def test_what_pillow_draws_keeps_eight_bit_values() -> None:
    for level in range(0, 256, 15):
        flat = torch.full((3, 16, 16), level / 255)
        torch.testing.assert_close(make("pixelate").apply(flat), flat)


def test_flat_pictures_have_nothing_to_draw() -> None:
    flat = torch.full((3, 32, 32), 0.5)
    assert float(make("neon", c=120).apply(flat).max()) == 0
    torch.testing.assert_close(make("emboss").apply(flat), flat)


def test_ink_is_black_below_the_threshold_and_white_above() -> None:
    halves = torch.full((3, 64, 64), 0.2)
    halves[:, :, 32:] = 0.8
    edited = make("ink", t=0.5).apply(halves)
    assert edited[:, :, :28].max() < 0.01
    assert edited[:, :, 36:].min() > 0.99


def test_thermal_rises_from_violet_to_yellow_white() -> None:
    palette = make("thermal", s=0).apply(torch.linspace(0, 1, 256).expand(3, 9, 256))[:, 4]
    torch.testing.assert_close(palette[:, 0], torch.tensor([0.05, 0.0, 0.3]), atol=0.01, rtol=0)
    torch.testing.assert_close(palette[:, 128], torch.tensor([0.85, 0.2, 0.35]), atol=0.01, rtol=0)
    torch.testing.assert_close(palette[:, -1], torch.tensor([1.0, 1.0, 0.8]), atol=0.01, rtol=0)
    assert bool((palette[0].diff() >= -1e-6).all()), "red never falls"


@pytest.mark.parametrize(("size", "w"), [((128, 128), 0.08), ((100, 200), 0.13), ((256, 192), 0.04)])
def test_frame_is_as_wide_as_its_share_of_each_side(size: tuple[int, int], w: float) -> None:
    height, width = size
    image = torch.full((3, height, width), 0.5)
    edited = make("frame", c=222, w=w).apply(image)
    color = torch.tensor(colorsys.hsv_to_rgb(222 / 360, 0.9, 1.0))
    torch.testing.assert_close(edited[:, 0, 0], color, atol=1e-5, rtol=0)
    covered = (edited[0] - 0.5) / (color[0] - 0.5)  # 1 on the frame, 0 inside
    # Only the shorter side fades over one whole pixel, so the fraction of a pixel is exact there.
    top, left = covered[: height // 2, width // 2], covered[height // 2, : width // 2]
    assert float((top if height <= width else left).sum()) == pytest.approx(w * min(size), abs=0.01)
    assert round(float(top.sum())) == pytest.approx(w * height, abs=1)
    assert round(float(left.sum())) == pytest.approx(w * width, abs=1)
    torch.testing.assert_close(edited, edited.flip(1, 2), atol=1e-4, rtol=0)
    assert torch.equal(edited[:, height // 4 : -height // 4, width // 4 : -width // 4].unique(), torch.tensor([0.5]))


@pytest.mark.parametrize("name", ["circle", "square", "triangle", "star", "heart"])
@pytest.mark.parametrize("place", PLACES)
def test_shape_lies_at_its_place(name: str, place: str) -> None:
    height, width = 120, 200
    edited = make("shape", c="white", shape=name, pos=place, r=0.1).apply(torch.zeros(3, height, width))[0]
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    across, down = PLACES[place]
    weight = edited.sum()
    assert float((edited * columns).sum() / weight) == pytest.approx(across * width, abs=0.5)
    assert float((edited * rows).sum() / weight) == pytest.approx(down * height, abs=3)  # a triangle is not balanced


def test_circle_has_the_area_of_its_radius() -> None:
    edited = make("shape", c="white", shape="circle", pos="center", r=0.2).apply(torch.zeros(3, 200, 300))
    assert float(edited[0].sum()) == pytest.approx(math.pi * (0.2 * 200) ** 2, rel=0.01)


def test_spotlight_is_brightest_at_its_place() -> None:
    edited = make("spotlight", pos="bottom right").apply(torch.full((3, 100, 200), 0.5))[0]
    lit = (edited == edited.max()).nonzero().float().mean(0)
    assert lit.tolist() == pytest.approx([78, 156], abs=2)
    assert float(edited[0, 0]) == pytest.approx(0.5 * 0.22, abs=1e-3)


def test_vignette_leaves_the_centre_and_darkens_the_corners() -> None:
    white = torch.ones(3, 90, 160)
    edited = make("vignette", s=1).apply(white)[0]
    assert float(edited[45, 80]) == 1
    assert float(edited[0, 0]) < 0.05
    assert bool((edited[45, 80:].diff() <= 0).all()), "never brighter further out"


def test_fog_is_thickest_at_the_top() -> None:
    edited = make("fog").apply(torch.zeros(3, 64, 64))
    assert bool((edited[0].mean(1).diff() < 0).all())
    assert edited[2].max() > edited[0].max(), "a little blue"


# --- edits


def test_parts_are_applied_in_order() -> None:
    image = photo()
    frame, gray = make("frame", c=0), make("grayscale")
    framed_last, framed_first = compose(gray, frame).apply(image), compose(frame, gray).apply(image)
    assert torch.equal(framed_last, frame.apply(gray.apply(image)))
    assert framed_last[0, 0, 0] > framed_last[1, 0, 0], "the frame is red"
    assert framed_first[0, 0, 0] == framed_first[1, 0, 0], "the frame has lost its colour"


def test_compositions_are_flat_and_said_with_and() -> None:
    edit = compose(compose(make("sepia"), make("fog")), make("frame", c=222))
    assert [part.name for part in edit.parts] == ["sepia", "fog", "frame"]
    assert edit.name == "sepia+fog+frame"
    assert edit.instruction() == "make it sepia and add thick fog and add a blue frame"


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (make("grayscale"), "make it black and white"),
        (make("blur", s=0.32), "blur it a little"),
        (make("blur", s=0.34), "blur it"),
        (make("blur", s=0.68), "blur it a lot"),
        (make("warm", s=0.9), "make it much warmer"),
        (make("frame", c=30, w=0.08), "add an orange frame"),
        (make("frame", c="white", w=0.04), "add a thin white frame"),
        (make("frame", c=350, w=0.13), "add a thick red frame"),
        (make("frame", c=350, w=0.06), "add a red frame"),
        (make("frame", c=350, w=0.105), "add a red frame"),
        (make("shape", c=0, shape="star", pos="top", r=0.2), "add a red star in the top"),
        (make("shape", c=0, shape="star", pos="top", r=0.14), "add a red star in the top"),
        (make("spotlight", pos="center"), "shine a spotlight in the center"),
        (make("spotlight", pos="left"), "shine a spotlight in the left"),
        (make("bar", c=222, side="top", w=0.27), "add a thick blue bar at the top"),
        (make("half_dark", side="right", s=0.9), "make the right half much darker"),
        (make("porthole", c="black", r=0.3), "show it through a small round window in black"),
        (make("shape", c=280, shape="star", pos="top left", r=0.22), "add a big purple star in the top left corner"),
    ],
)
def test_plainest_instruction(edit: SyntheticEdit, text: str) -> None:
    assert edit.instruction() == text


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (make("sketch"), "a pencil sketch of a dog"),
        (make("night"), "a dog at night"),
        (make("frame", c=30, w=0.08), "a dog with an orange frame"),
        (make("bar", c=222, side="bottom", w=0.12), "a dog with a thin blue bar at the bottom"),
        (compose(make("sketch"), make("frame", c=0)), "a pencil sketch of a dog with a red frame"),
        (compose(make("frame", c=0), make("sketch")), "a dog with a red frame drawn with a pencil"),
        (
            compose(make("oil"), make("half_gray", side="left"), make("vignette")),
            "an oil painting of a dog with the left half in black and white and a dark vignette",
        ),
        (
            compose(make("cartoon"), make("grid", c=0), make("night")),
            "a cartoon of a dog with a red grid over it at night",
        ),
    ],
)
def test_plainest_caption(edit: SyntheticEdit, text: str) -> None:
    assert edit.caption("a dog") == text


def test_random_words_vary_with_the_generator_only() -> None:
    sepia, tint, seeds = make("sepia"), make("tint", c=198), range(60)
    captions, again = ([sepia.caption("a dog", np.random.default_rng(seed)) for seed in seeds] for _ in range(2))
    assert captions == again
    assert len(set(captions)) == len(FAMILIES["sepia"].captions)
    texts, again = ([tint.instruction(np.random.default_rng(seed)) for seed in seeds] for _ in range(2))
    assert texts == again
    assert len(set(texts)) == 2 * len(FAMILIES["tint"].phrasings), "each with one colour word and with two"
    assert {"make it teal", "make it teal blue"} <= set(texts)


def test_values_outside_the_range_are_clipped_and_precision_does_not_matter() -> None:
    wild = photo() * 1.5 - 0.25
    assert torch.equal(make("brighter").apply(wild), make("brighter").apply(wild.clamp(0, 1)))
    assert make("brighter").apply(photo().double().requires_grad_()).dtype == torch.float32


@pytest.mark.parametrize("image", [torch.zeros(8, 8, 3), torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8).byte()])
def test_what_is_no_image_is_refused(image: Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected a float tensor \(3, h, w\)"):
        make("invert").apply(image)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("sepai", {}, "unknown edit 'sepai'; did you mean 'sepia'"),
        ("sepia", {"strength": 1}, "unknown parameter of 'sepia' 'strength'"),
        ("invert", {"s": 1}, "unknown parameter of 'invert' 's'"),
        ("sepia", {"s": 1.2}, "'sepia' takes s = a number from 0 to 1; got 1.2"),
        ("sepia", {"s": float("nan")}, "got nan"),
        ("sepia", {"s": "strong"}, "'sepia' takes s = a number from 0 to 1; got 'strong'"),
        ("tint", {}, "'tint' needs c = a number from 0 to 360 or white or black or gray"),
        ("tint", {"c": "mauve"}, "got 'mauve'"),
        ("tint", {"c": 400}, "got 400"),
        ("neon", {"c": "black"}, "got 'black'"),
        ("spotlight", {"pos": "middle"}, "'spotlight' takes pos = top left or top or"),
        ("spotlight", {"pos": 3}, "got 3"),
        ("half_gray", {}, "'half_gray' needs side = left or right or top or bottom"),
        ("half_gray", {"side": "middle"}, "got 'middle'"),
        ("color_pop", {"c": "gray"}, "got 'gray'"),
    ],
)
def test_errors_say_what_is_wrong(name: str, params: dict[str, float | str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        make(name, **params)
    assert message in str(error.value)


def test_a_composition_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        compose()


# --- drawing


def test_samples_repeat_with_their_seed_and_use_every_trained_family() -> None:
    def draw(seed: int) -> list[SyntheticEdit]:
        rng = np.random.default_rng(seed)
        return [sample(rng) for _ in range(800)]

    edits = draw(3)
    assert edits == draw(3)
    assert edits != draw(4)
    names = {part.name for edit in edits for part in edit.parts or (edit,)}
    assert names == {name for name in FAMILIES if name != "channel_swap"}, "the unseen family is never drawn"


def test_samples_keep_the_share_of_compositions() -> None:
    rng = np.random.default_rng(0)
    shares = [np.mean([bool(sample(rng, share).parts) for _ in range(500)]) for share in (0.0, 0.2, 1.0)]
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.2, abs=0.06)
    assert shares[2] == 1


def test_sampled_compositions_change_the_picture_and_then_lay_something_over_it() -> None:
    rng, steps = np.random.default_rng(0), []
    on_top = {"overlay", "weather", "local"}
    for edit in (sample(rng, compositions=1) for _ in range(600)):
        first, second, *third = (FAMILIES[part.name].group for part in edit.parts)
        assert first in {"color", "light", "style"}
        assert second in (on_top if not third else {"overlay", "local"})
        assert set(third) <= {"overlay", "weather", "light"}
        steps.append(len(edit.parts))
    assert set(steps) == {2, 3}
    assert steps.count(3) / 600 == pytest.approx(0.25, abs=0.05)


def test_sampled_compositions_have_no_two_steps_that_hide_each_other() -> None:
    for name in {name for row in CLASHES for name in row}:
        assert name in FAMILIES
    rng, image, flat = np.random.default_rng(1), photo(), 0
    for edit in (sample(rng, compositions=1) for _ in range(400)):
        names = [part.name for part in edit.parts]
        assert len(set(names)) == len(names)
        assert all(len(row.intersection(names)) <= 1 for row in CLASHES), names
        flat += bool(edit.apply(image).std() < 0.05)
    assert flat <= 8, "hardly ever a blank picture"


def test_heavier_families_are_drawn_more_often() -> None:
    rng = np.random.default_rng(0)
    names = [sample(rng, compositions=0).name for _ in range(3000)]
    total = sum(family.weight for family in FAMILIES.values())
    for name in ("shape", "tint", "invert"):
        assert names.count(name) / 3000 == pytest.approx(FAMILIES[name].weight / total, rel=0.35)


def test_phrases_are_distinct_sorted_and_grow() -> None:
    few, many = phrases(50), phrases(200)
    assert (len(few), len(many)) == (50, 200)
    assert few == sorted(set(few))
    assert many == sorted(set(many))
    assert set(few) < set(many)
    assert phrases(50, seed=1) != few
    assert phrases(0) == []


# --- the edits to be judged by


def test_said_edits_are_said_exactly() -> None:
    for name, (edit, words) in DESCRIBABLE.items():
        assert words == edit.instruction(), name


def test_indescribable_edits_have_words_that_someone_could_say_of_them() -> None:
    """The closest words are a phrasing of the edit with two-word colours, except where no family is named by them."""
    rng = np.random.default_rng(0)
    for name, (edit, words) in INDESCRIBABLE.items():
        if name != "channel swap":
            assert words in {edit.instruction(rng) for _ in range(2000)}, name


def test_no_name_is_both_describable_and_indescribable() -> None:
    assert len(DESCRIBABLE) >= 14
    assert len(INDESCRIBABLE) >= 14
    assert not set(DESCRIBABLE) & set(INDESCRIBABLE)


@pytest.mark.parametrize("name", [*DESCRIBABLE, *INDESCRIBABLE])
def test_edits_to_be_judged_by_change_a_photo(name: str) -> None:
    edit, _ = (DESCRIBABLE | INDESCRIBABLE)[name]
    assert (edit.apply(photo()) - photo()).abs().mean() > 0.02
