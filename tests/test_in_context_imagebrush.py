"""The recipe that trains ImageBrush's small model, in miniature."""

import dataclasses
import re

import pytest
import torch
from safetensors.torch import load_file
from small_groups import TINY, groups, photos, places  # noqa: F401 (two fixtures)

import vii
from recipes.embedded_model.data import to_tensor
from recipes.in_context import __main__ as recipe
from recipes.in_context import imagebrush
from recipes.in_context.config import ImageBrush
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.stable_diffusion import read_parts
from vii.methods import load_method
from vii.methods.grid import Grid
from vii.methods.prompt_encoder import WHOLE, VisualPromptEncoder


@pytest.fixture(autouse=True)
def _small_validation(monkeypatch):
    monkeypatch.setattr(imagebrush, "VALIDATION", 4)


@pytest.fixture(scope="module")
def prompted(groups):
    return imagebrush.encode(groups, EMBEDDED_MODEL, TINY)


@pytest.fixture(scope="module")
def painted(photos, tmp_path_factory):
    """A run to its end, and the method on what came of it."""
    output = tmp_path_factory.mktemp("imagebrush")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagebrush, "VALIDATION", 4)
        recipe.image_brush(TINY, places(photos, output))
    return output, load_method("imagebrush", model=str(output / "imagebrush"), device="cpu", dtype="float32")


def batch_of(data, chosen, example, photo, **others):
    clean, tokens = imagebrush.gather(data, *map(torch.tensor, (chosen, example, photo)))
    given = {
        "box": torch.tensor(WHOLE).expand(len(clean), -1),
        "prompted": torch.ones(len(clean), dtype=torch.bool),
        "t": torch.full((len(clean),), 999),
        "noise": torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)),
    }
    return imagebrush.Batch(clean, tokens, **given | others)


def answers(side):
    mask = torch.zeros(1, 2 * side, 2 * side)
    mask[:, side:, side:] = 1
    return mask


def test_groups_are_trained_on_as_they_are_and_mirrored(groups, prompted):
    assert len(prompted) == 2 * len(groups)
    for index, mirrored in ((5, False), (17, True)):
        pictures = [to_tensor(array[5]) for array in (groups.before, groups.after)]
        before, after = (picture.flip(-1) if mirrored else picture for picture in pictures)
        clean, _ = imagebrush.gather(prompted, *map(torch.tensor, ([index], [2], [0])))
        canvas = Grid(32).draw([vii.Pair(before[2], after[2])], before[0], after[0])
        vae = read_parts(EMBEDDED_MODEL, "embedded", "model")["vae"]
        with torch.no_grad():
            expected = vae.encode(canvas[None] * 2 - 1).latents * vae.config.scaling_factor
        torch.testing.assert_close(clean, expected, atol=0.02, rtol=0)


def test_boxes_hold_what_changes_and_no_more(groups, prompted):
    before, after = (to_tensor(array) for array in (groups.before, groups.after))
    for found, mirrored in ((prompted.boxes[:12], False), (prompted.boxes[12:], True)):
        for (left, top, right, bottom), old, new in zip(
            (found.flatten(0, 1) * 32).round().long().tolist(), before.flatten(0, 1), after.flatten(0, 1), strict=True
        ):
            moved = ((new - old).abs() > 0.05).any(0)
            moved = moved.flip(-1) if mirrored else moved
            ys, xs = moved.nonzero(as_tuple=True)
            if len(xs):
                assert (left, top, right, bottom) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            else:
                assert (left, top, right, bottom) == (0, 0, 32, 32)
    one = torch.zeros(2, 3, 8, 8)
    other = one.clone()
    other[0, 1, 2:5, 6] = 1
    assert imagebrush.changed_boxes(one, other).tolist() == [[0.75, 0.25, 0.875, 0.625], list(WHOLE)]


def test_prompts_and_boxes_are_dropped_as_configured(prompted):
    settings = ImageBrush(batch=3000, no_prompt=0.2, no_box=0.3, high_noise=1.5)
    marked = dataclasses.replace(prompted, boxes=torch.full_like(prompted.boxes, 0.5))
    known = torch.tensor([1, 3, 20])
    batch = imagebrush.draw(marked, settings, known, torch.Generator().manual_seed(0))
    assert float(batch.prompted.float().mean()) == pytest.approx(0.8, abs=0.03)
    whole = (batch.box == torch.tensor(WHOLE)).all(1)
    assert ((batch.box == 0.5).all(1) ^ whole).all()
    assert float(whole.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float((batch.t > 500).float().mean()) == pytest.approx(0.5 ** (1 / 1.5), abs=0.04)
    side = prompted.before.shape[-1]
    cells = batch.clean.unflatten(3, (2, side)).unflatten(2, (2, side))  # (b, c, row, s, column, s)
    for row, column, latents in ((0, 0, prompted.before), (0, 1, prompted.after), (1, 0, prompted.before)):
        shown, of = cells[:200, :, row, :, column], latents[known].float().flatten(0, 1)
        nearest = torch.cdist(shown.flatten(1), of.flatten(1))
        assert nearest.amin(1).max() < 0.1  # rounding
    assert (cells[:, :, 0, :, 0] != cells[:, :, 1, :, 0]).flatten(1).any(1).all()  # never the same photo twice


def test_the_painter_sees_the_grid_without_its_answer_and_the_prompt_where_it_is_given(painted, prompted):
    parts = painted[1].parts
    painter, mask = imagebrush.Painter(parts.unet, parts.prompt_encoder), answers(4)
    nothing = torch.zeros(1000)  # no signal in the noisy latents

    @torch.no_grad()
    def made(batch):
        return painter(batch, nothing, mask)

    batch = batch_of(prompted, [1, 2], [0, 1], [1, 2], prompted=torch.tensor([True, False]))
    plain = made(batch)
    answered = dataclasses.replace(batch, clean=batch.clean + mask)
    assert torch.equal(made(answered), plain)
    assert not torch.equal(made(dataclasses.replace(batch, clean=batch.clean + 1 - mask)), plain)
    told = made(dataclasses.replace(batch, tokens=tuple(one + torch.randn_like(one) for one in batch.tokens)))
    assert not torch.equal(told[0], plain[0])
    assert torch.equal(told[1], plain[1])


def test_one_step_of_the_method_is_what_was_trained(painted, groups, prompted):
    """The noise-free end of a schedule whose last step is noise alone: v = -x_0 (Lin et al. 2023)."""
    method = dataclasses.replace(painted[1], size="cell")
    parts = method.parts
    before, after = (to_tensor(array[3]) for array in (groups.before, groups.after))
    canvas = method.canvas([vii.Pair(before[0], after[0])], before[2], seed=0)
    batch = batch_of(prompted, [3], [0], [2])
    alpha_bar = imagebrush.scheduler().alphas_cumprod
    painter = imagebrush.Painter(parts.unet, parts.prompt_encoder)
    with torch.no_grad():
        expected = parts.decode(-painter(batch, alpha_bar, answers(4)))[0]
    torch.testing.assert_close(canvas, expected, atol=0.02, rtol=0)  # groups are kept in half precision
    assert canvas.std() > 0.01


def test_a_run_makes_an_imagebrush_that_is_small_and_not_made_again(painted, photos, capsys):
    output, method = painted
    assert {path.name for path in (output / "imagebrush").iterdir()} == {
        *("unet", "prompt_encoder", "scheduler", "model_index.json", "vii.json")
    }  # the embedded editor has the rest
    assert (method.resolution, method.settings.num_inference_steps, method.settings.guidance_scale) == (64, 1, 1.0)
    photo = vii.load_image(photos / "a.png")
    assert method([vii.Pair(photo, 1 - photo)], photo).shape == photo.shape
    file = output / "imagebrush/prompt_encoder/diffusion_pytorch_model.safetensors"
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    first = file.read_bytes()
    recipe.image_brush(TINY, places(photos, output))
    told = capsys.readouterr().out
    assert file.read_bytes() == first
    assert "ImageBrush:" in told
    assert "unseen groups" not in told


def test_training_says_what_the_prompt_is_worth(prompted, tmp_path, capsys):
    imagebrush.train_imagebrush(prompted, TINY, tmp_path)
    told = capsys.readouterr().out
    assert re.search(
        r"the prompt [\d.]+, its box [\d.]+, no prompt [\d.]+, a wrong prompt [\d.]+, no edit [\d.]+", told
    )
    side = prompted.before.shape[-1]
    clean, _ = imagebrush.gather(prompted, *map(torch.tensor, ([8, 9, 10, 11], [0] * 4, [1] * 4)))
    still = (clean[..., side:, :side] - clean[..., side:, side:]).square().mean()
    assert f"no edit {float(still):.4f}" in told


def test_the_small_model_has_at_most_five_million_weights():
    settings = ImageBrush()
    with torch.device("meta"):
        unet = imagebrush.build(32, settings)
        encoder = VisualPromptEncoder(
            256, settings.prompt_width, settings.prompt_layers, settings.prompt_heads, expansion=2
        )
    assert sum(p.numel() for net in (unet, encoder) for p in net.parameters()) < 5e6


def test_the_unet_of_the_papers_size_has_the_weights_of_its_parts():
    """Stable Diffusion's widths, self-attention at every level, cross-attention in the middle (section 4.1)."""
    widths, time, text = (320, 640, 1280, 1280), 1280, 768
    settings = ImageBrush(channels=widths, layers=2, head_width=40, prompt_width=text)
    with torch.device("meta"):
        unet = imagebrush.build(4, settings)

    def resnet(read, width):
        shortcut = read * width + width if read != width else 0
        convolutions = 9 * read * width + 9 * width * width + 2 * width
        return convolutions + 2 * read + 2 * width + time * width + width + shortcut

    def attention(width):
        return 2 * width + 4 * (width * width + width)

    def block(width):
        own, across = 3 * width * width, width * width + 2 * text * width
        feed_forward = width * 8 * width + 8 * width + 4 * width * width + width
        return own + across + 2 * (width * width + width) + feed_forward + 6 * width

    expected = 9 * 9 * 320 + 320 + 9 * 320 * 4 + 4 + 2 * 320  # into the UNet, and out of it
    expected += 320 * time + time + time * time + time
    left = [320]
    for level, width in enumerate(widths):
        for read in (left[-1], width):
            expected += resnet(read, width) + attention(width)
            left.append(width)
        if level < 3:
            expected += 9 * width * width + width
            left.append(width)
    middle = 1280
    expected += 2 * resnet(middle, middle) + 2 * middle + 2 * (middle * middle + middle)
    expected += settings.prompt_blocks * block(middle)
    current = middle
    for level, width in enumerate(reversed(widths)):
        for _ in range(3):
            expected += resnet(current + left.pop(), width) + attention(width)
            current = width
        if level < 3:
            expected += 9 * width * width + width
    assert not left
    assert sum(parameter.numel() for parameter in unet.parameters()) == expected
    reading = {name.split(".")[0] for name, module in unet.named_modules() if name.endswith("attn2")}
    assert reading == {"mid_block"}
    with torch.device("meta"):
        made = unet(torch.empty(1, 9, 64, 64), torch.tensor(1), torch.empty(1, 5, text)).sample
    assert made.shape == (1, 4, 64, 64)
