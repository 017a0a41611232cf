"""Which finish is chosen: on pairs whose edit, and whose editor, are made up and known."""

import numpy as np
import pytest

from vii.finish import Example, fit_finish, fitting
from vii.finish.tiles import blurred, scaled

RNG = np.random.default_rng(8)


def photo(seed, height=120, width=160):
    rng = np.random.default_rng(seed)
    image = sum(scaled(rng.random((n, n + 3, 3)), height, width) / n**0.3 for n in (4, 11, 31, 77))
    return ((image - image.min()) / (image.max() - image.min())).astype(np.float32)


BEFORE, OTHER = photo(1), photo(2)


def editor(before, edit, noise=0.04):
    """What an editor of a third of the size, which blurs and is noisy, makes of a photo: seen and made."""
    seen = scaled(before, 40, 52).clip(0, 1)
    made = blurred(edit(seen), 0.7) + noise * np.random.default_rng(0).normal(size=seen.shape)
    return seen, made.clip(0, 1).astype(np.float32)


def example(edit, before=BEFORE, noise=0.04):
    after = np.round(edit(before) * 255).astype(np.float32) / 255
    return Example(before, after, *editor(before, edit, noise))


def psnr(image, truth):
    return -10 * np.log10(max(np.mean((image.astype(np.float64) - truth) ** 2), 1e-10))


def gray(x):
    return np.repeat(x @ np.float32([[0.299], [0.587], [0.114]]), 3, -1)


def vignette(x):
    height, width, _ = x.shape
    down, across = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    return (x * (1 - 0.6 * np.clip(np.hypot(down, across) - 0.4, 0, 1))).astype(np.float32)


def framed(x):
    height, width, _ = x.shape
    result, a, b = x.copy(), round(0.1 * height), round(0.1 * width)
    result[:a], result[-a:], result[:, :b], result[:, -b:] = ((0.1, 0.2, 0.9),) * 4
    return result


def drawn(x):
    """Something in the middle that no rule of colour and place tells of."""
    height, width, _ = x.shape
    result = x.copy()
    rows, columns = np.arange(height)[:, None] / height, np.arange(width)[None] / width
    for at in ((0.3, 0.2), (0.6, 0.7), (0.2, 0.8), (0.75, 0.3), (0.5, 0.45)):
        result[np.hypot(rows - at[0], columns - at[1]) < 0.1] = (0.9, 0.1, 0.1)
    return result


def test_a_colour_edit_is_a_colour_transform():
    finish = fit_finish([example(gray)])
    assert finish.kind == "color"
    assert finish.is_color_map
    assert not finish.needs_editor
    assert psnr(finish.color(OTHER), gray(OTHER)) > 50
    assert finish.errors["color"] > finish.errors["editor"] + 15


@pytest.mark.parametrize("edit", [vignette, framed])
def test_light_and_frames_are_transforms_by_place(edit):
    finish = fit_finish([example(edit)])
    assert finish.kind == "color"
    assert not finish.is_color_map
    assert psnr(finish.color(OTHER), edit(OTHER)) > 28


def test_drawn_things_are_carried_over_with_the_residual():
    finish = fit_finish([example(drawn, noise=0.01)])
    assert finish.kind == "detail"
    assert finish.residual == 0
    result = finish.finish(OTHER, *editor(OTHER, drawn, 0.01))
    assert (
        psnr(result, drawn(OTHER)) > psnr(scaled(editor(OTHER, drawn, 0.01)[1], *OTHER.shape[:2]), drawn(OTHER)) + 0.5
    )


def luma(x):
    return x @ np.float32([[0.2126], [0.7152], [0.0722]])


SHARPNESS = {
    "clarity": lambda x: np.clip(x + 0.7 * (luma(x) - blurred(luma(x), 0.02 * len(x))), 0, 1),
    "sepia, blurred": lambda x: 0.8 * blurred(x, len(x) / 50) + np.float32([0.15, 0.1, 0.02]),
}


@pytest.mark.parametrize("name", SHARPNESS)
def test_what_sharpens_or_blurs_needs_no_editor_and_holds_at_another_size(name):
    edit = SHARPNESS[name]
    finish = fit_finish([example(edit)])
    assert finish.describe() == "colours and sharpness, no editor needed"
    assert not finish.is_color_map
    other = OTHER[:, :120]
    assert psnr(finish.color(other), edit(other)) > 35
    large = scaled(other, 300, 300).clip(0, 1)
    assert psnr(finish.color(large), edit(large)) > 35


def test_what_is_blurred_by_place_is_found():
    def edit(x):
        down = np.linspace(0, 1, len(x), dtype=np.float32)[:, None, None]
        return down * blurred(x, len(x) / 50) + (1 - down) * x

    finish = fit_finish([example(edit)])
    assert finish.describe() == "colours and sharpness and light by place, no editor needed"
    assert psnr(finish.color(OTHER), edit(OTHER)) > 35


def test_what_no_transform_does_is_left_to_the_editor():
    def turned(x):
        return x[::-1, ::-1].copy()

    finish = fit_finish([example(turned, noise=0.003)])
    assert finish.kind == "editor"
    assert finish.errors["editor"] == max(finish.errors.values())


def test_an_editor_with_a_cast_is_corrected():
    """It draws what no transform knows of, all of it with one wrong cast."""
    before, after = BEFORE, drawn(BEFORE)
    seen, made = editor(before, drawn, 0.005)
    finish = fit_finish([Example(before, after, seen, made * np.float32([0.7, 0.8, 0.75]) + 0.1)])
    assert finish.correction is not None
    seen, made = editor(OTHER, drawn, 0.005)
    made = made * np.float32([0.7, 0.8, 0.75]) + np.float32(0.1)
    with_it, without = (psnr(finish.finish(OTHER, seen, made, correct=c), drawn(OTHER)) for c in (True, False))
    assert with_it > without + 2


@pytest.mark.parametrize("edit", [gray, vignette, framed, drawn])
def test_nothing_is_chosen_that_did_worse_than_the_editor(edit):
    finish = fit_finish([example(edit, noise=0.0)])
    chosen = {"editor": ["editor"], "color": ["color", "color by place"]}.get(
        finish.kind, [name for name in finish.errors if "detail" in name]
    )
    assert max(finish.errors[name] for name in chosen) >= finish.errors["editor"]


def test_noise_as_of_jpeg_does_not_hide_a_colour_edit():
    """4 x 4 blocks of noise without a mean, in both pictures: all candidates are alike at each pixel."""
    noise = RNG.normal(size=(30, 40, 4, 4, 3))
    noise = (noise - noise.mean((2, 3), keepdims=True)).swapaxes(1, 2).reshape(120, 160, 3) * 0.05
    after = np.clip(gray(BEFORE) * 0.8 + 0.1 + noise, 0, 1).astype(np.float32)
    seen, made = editor(BEFORE, lambda x: gray(x) * 0.8 + 0.1, noise=0.01)
    finish = fit_finish([Example(BEFORE, after, seen, made)])
    assert finish.kind == "color"
    assert psnr(finish.color(OTHER), gray(OTHER) * 0.8 + 0.1) > 38


def test_a_pair_that_is_shifted_gives_the_same_colours():
    wide = photo(5, 130, 170)
    finish = fit_finish([Example(wide[5:-5, 5:-5], (1 - gray(wide))[7:-3, 6:-4])])
    assert finish.kind == "color"
    assert psnr(finish.color(OTHER), 1 - gray(OTHER)) > 40


def test_a_large_pair_gives_what_becomes_of_its_own_colours_and_not_of_their_mixtures(monkeypatch):
    rng = np.random.default_rng(3)
    grainy = [(image + 0.3 * rng.normal(size=image.shape)).clip(0, 1).astype(np.float32) for image in (BEFORE, OTHER)]
    pair = Example(grainy[0], grainy[0] ** 3)
    exact = psnr(fit_finish([pair]).color(grainy[1]), grainy[1] ** 3)
    monkeypatch.setattr(fitting, "MOST_PIXELS", 1200)
    assert psnr(fit_finish([pair]).color(grainy[1]), grainy[1] ** 3) > exact - 0.3
    monkeypatch.setattr(fitting, "_at_own_size", lambda examples, color: color)
    assert psnr(fit_finish([pair]).color(grainy[1]), grainy[1] ** 3) < exact - 3


def test_pairs_without_an_editor_give_a_colour_transform():
    finish = fit_finish([Example(BEFORE, gray(BEFORE)), Example(OTHER, gray(OTHER))])
    assert finish.kind == "color"
    assert set(finish.errors) == {"color", "color and sharpness", "color by place"}


def test_what_does_not_belong_together_is_refused():
    full = example(gray)
    with pytest.raises(ValueError, match="one or more examples"):
        fit_finish([])
    with pytest.raises(ValueError, match="all with or all without"):
        fit_finish([full, Example(full.before, full.after)])
    with pytest.raises(ValueError, match="one size"):
        Example(BEFORE, BEFORE[1:])
    with pytest.raises(ValueError, match="belong together"):
        Example(BEFORE, BEFORE, seen=full.seen)
