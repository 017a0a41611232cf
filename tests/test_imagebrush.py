"""ImageBrush as a method: what the UNet is given, the loop written out, boxes, models in files, the command."""

import dataclasses
import json

import diffusers
import pytest
import torch
from conftest import EXACT, picture, saved, tiny_unet, tiny_vae
from test_methods import transfer

import vii
from vii.editors.loading import EMBEDDED_MODEL
from vii.editors.shared import shared_digests
from vii.errors import EditorError, UsageError
from vii.methods import load_method
from vii.methods.imagebrush import ImageBrushSettings, load_imagebrush
from vii.methods.prompt_encoder import WHOLE, VisualPromptEncoder

PAIR, PHOTO = vii.Pair(picture(1, 48, 64), 1 - picture(1, 48, 64)), picture(2, 60, 40)
OTHER = vii.Pair(picture(3), picture(4))
STEPS = 3


def encoder(**options):
    sizes = {"feature_width": 256, "width": 32, "layers": 1, "heads": 2, "expansion": 2, "pool": 4}
    return VisualPromptEncoder(**sizes | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in files, randomly initialised, but for the CLIP, which is the shipped editor's."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny-imagebrush"
    blocks = ("AttnDownBlock2D",) * 2, ("AttnUpBlock2D",) * 2
    tiny_unet(*blocks, in_channels=9, cross_attention_dim=32, attention_head_dim=4).save_pretrained(path / "unet")
    tiny_vae(16, scaling_factor=0.18215).save_pretrained(path / "vae")
    encoder().save_pretrained(path / "prompt_encoder")
    diffusers.DDIMScheduler(clip_sample=False, steps_offset=1).save_pretrained(path / "scheduler")
    named = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {part: ["diffusers", name] for part, name in named.items()}
    (path / "model_index.json").write_text(json.dumps(index))
    settings = {"num_inference_steps": STEPS, "guidance_scale": 2.0}
    manifest = {"resolution": 64, "settings": settings, "clip": "clip"}
    (path / "vii.json").write_text(json.dumps(manifest | {"shares": shared_digests(EMBEDDED_MODEL, ["clip"])}))
    return path


@pytest.fixture(scope="module")
def method(folder):
    return load_imagebrush(model=str(folder), size="cell", **EXACT)


def changed(folder, tmp_path, **parts):
    """A model folder with some of its parts replaced: networks, or the content of vii.json."""
    path = tmp_path / "changed"
    path.mkdir(exist_ok=True)
    for part in folder.iterdir():
        if part.name not in parts and not (path / part.name).exists():
            (path / part.name).symlink_to(part)
    for name, part in parts.items():
        if hasattr(part, "save_pretrained"):
            part.save_pretrained(path / name)
        elif part is not None:
            (path / name).write_text(json.dumps(part))
    return str(path)


def test_the_defaults_are_the_papers():
    assert ImageBrushSettings().guidance_scale == 7.5
    assert ImageBrushSettings().box == ""
    with pytest.raises(UsageError, match="num_inference_steps must be from 1 to 1000"):
        ImageBrushSettings(num_inference_steps=0)


@torch.no_grad()
def plainly(method, tokens, guidance, seed=0, photo_in_blank=False):
    """An inpainting loop with a UNet that reads `tokens` in place of words (Ho & Salimans 2022 for the guidance)."""
    parts, scheduler = method.parts, diffusers.DDIMScheduler(clip_sample=False, steps_offset=1)
    cells = [vii.images.resize(image, 32, 32) for image in (PAIR.before, PAIR.after, PHOTO)]
    blank = cells[2] if photo_in_blank else torch.full_like(cells[2], 0.5)
    given = torch.cat([torch.cat(cells[:2], 2), torch.cat([cells[2], blank], 2)], 1)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 32:, 32:] = 1
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 4, 32, 32, generator=generator)
    seen = 0.18215 * parts.vae.encode(given[None] * 2 - 1).latent_dist.sample(generator)
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        inputs = torch.cat([latents, mask[..., ::2, ::2], seen], 1)
        said = parts.unet(inputs, t, encoder_hidden_states=tokens[None]).sample
        unsaid = parts.unet(inputs, t, encoder_hidden_states=torch.zeros_like(tokens)[None]).sample
        latents = scheduler.step(unsaid + guidance * (said - unsaid), t, latents).prev_sample
    return (parts.vae.decode(latents / 0.18215).sample[0] / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("photo_in_blank", [False, True])
def test_without_a_prompt_it_is_a_plain_inpainting_loop(method, monkeypatch, photo_in_blank):
    monkeypatch.setattr(type(method), "prompt", lambda self, *given: torch.zeros(1, 32))
    settings = dataclasses.replace(method.settings, photo_in_blank=photo_in_blank)
    expected = plainly(method, torch.zeros(7, 32), 1.0, photo_in_blank=photo_in_blank)  # however many say nothing
    found = dataclasses.replace(method, settings=settings).canvas([PAIR], PHOTO)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("guidance", [1.0, 2.0, 7.5])
def test_the_whole_grid_is_denoised_along_the_prompt(method, guidance):
    guided = dataclasses.replace(
        method, settings=ImageBrushSettings(num_inference_steps=STEPS, guidance_scale=guidance)
    )
    grid = guided.grid(1)
    tokens = guided.prompt(grid, grid.draw([PAIR], PHOTO), [PAIR])
    expected = plainly(guided, tokens, guidance, seed=3)
    found = guided.canvas([PAIR], PHOTO, seed=3)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert torch.equal(guided([PAIR], PHOTO, seed=3), found[:, 32:, 32:])
    assert (plainly(guided, torch.zeros_like(tokens), 1.0, seed=3) - found).abs().max() > 1e-3


def test_the_prompt_is_what_stands_on_the_canvas(method):
    pairs, grid = [PAIR, OTHER], method.grid(2)
    found = method.prompt(grid, grid.draw(pairs, PHOTO), pairs)
    cells = [vii.images.resize(image, 32, 32) for pair in pairs for image in (pair.before, pair.after)]
    cells.append(vii.images.resize(PHOTO, 32, 32))
    tower = method.parts.tower
    with torch.no_grad():
        states = tower.model.vision_model(torch.stack([tower.preprocess(cell) for cell in cells])).last_hidden_state
    patches = states[:, 1:].view(5, 2, 4, 2, 4, 256).mean((2, 4)).flatten(1, 2)
    tokens = torch.cat([states[:, :1], patches], 1)[None]
    boxes = torch.tensor([WHOLE]).expand(1, 2, 2, 4)
    with torch.no_grad():
        expected = method.parts.prompt_encoder(tokens[:, [0, 2]], tokens[:, [1, 3]], tokens[:, 4], boxes)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_box_is_in_pixels_of_the_example(method, monkeypatch):
    seen, grid = [], method.grid(1)
    stock = method.parts.prompt_encoder.forward
    monkeypatch.setattr(method.parts.prompt_encoder, "forward", lambda *given: seen.append(given[3]) or stock(*given))

    def prompt(box):
        boxed = dataclasses.replace(method, settings=ImageBrushSettings(box=box))
        return boxed.prompt(grid, grid.draw([PAIR], PHOTO), [PAIR])

    assert torch.equal(prompt("0,0,64,48"), prompt(""))
    assert not torch.equal(prompt("16,12,32,12"), prompt(""))
    torch.testing.assert_close(seen[2], torch.tensor([[[[0.25, 0.25, 0.75, 0.5]] * 2]]))


def test_results_repeat_and_have_the_size_asked_for(method):
    made = method([PAIR], PHOTO, seed=1)
    assert made.shape == (3, 32, 32)
    assert torch.equal(method([PAIR], PHOTO, seed=1), made)
    assert not torch.equal(method([PAIR], PHOTO, seed=2), made)
    assert dataclasses.replace(method, size="photo")([PAIR], PHOTO, seed=1).shape == PHOTO.shape
    two = method([PAIR, OTHER], PHOTO)
    assert method.grid(2).shape == (96, 64)
    assert two.shape == (3, 32, 32)
    with pytest.raises(UsageError, match="at least one"):
        method([], PHOTO)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("40,30,20,10", None),
        ("40,30,10,5,1", "expected X,Y,W,H, four whole numbers of pixels"),
        ("40,30,-20,10", "expected X,Y,W,H, four whole numbers of pixels"),
        ("all", "box all: expected X,Y,W,H"),
        ("40,30,0,10", "does not lie inside the photo of 64 x 48"),
        ("40,30,30,10", "does not lie inside the photo of 64 x 48"),
    ],
)
def test_boxes_that_cannot_be(folder, box, message):
    def run():
        return load_imagebrush(model=str(folder), settings=[f"box={box}"], **EXACT)([PAIR], PHOTO)

    if message is None:
        assert run().shape == PHOTO.shape
    else:
        with pytest.raises(UsageError, match=message):
            run()


def test_what_cannot_be_loaded(folder, method, tmp_path, shipped):
    with pytest.raises(UsageError, match="'imagebrush' needs model"):
        load_method("imagebrush")
    with pytest.raises(UsageError, match="did you mean 'guidance_scale'"):
        load_method("imagebrush", model=str(folder), settings=["guidence_scale=1"], **EXACT)
    with pytest.raises(EditorError, match="no ImageBrush model: it has no prompt_encoder/"):
        load_imagebrush(model=str(EMBEDDED_MODEL), **EXACT)
    with pytest.raises(EditorError, match=r"no model_index\.json"):
        load_imagebrush(model=str(tmp_path), **EXACT)
    with pytest.raises(UsageError, match="leaves 4 pixels a side"):
        dataclasses.replace(method, resolution=8)([PAIR], PHOTO)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("prompt_encoder", {"width": 16}, "UNet's cross-attention reads: expected 32, got 16|expected 16, got 32"),
        ("prompt_encoder", {"feature_width": 12}, "width of the CLIP's image tokens: expected 12, got 256"),
        ("prompt_encoder", {"pool": 3}, "left over where image tokens are averaged: expected 0, got 2"),
        ("unet", {"in_channels": 8}, "channels that the UNet takes.*: expected 9, got 8"),
    ],
)
def test_parts_that_do_not_belong_together(folder, tmp_path, part, options, message):
    if part == "unet":
        blocks = ("AttnDownBlock2D",) * 2, ("AttnUpBlock2D",) * 2
        other = tiny_unet(*blocks, cross_attention_dim=32, attention_head_dim=4, **options)
    else:
        other = encoder(**options)
    with pytest.raises(EditorError, match=message) as error:
        load_imagebrush(model=changed(folder, tmp_path, **{part: other}), **EXACT)
    assert len(str(error.value).splitlines()) == 1


def test_files_that_are_not_whole(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    path = changed(folder, tmp_path, prompt_encoder=encoder())
    file = tmp_path / "changed/prompt_encoder/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    kinds = weights.pop("kinds")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(EditorError, match=r"not a complete ImageBrush model .*lacks 1 weights: kinds"):
        load_imagebrush(model=path, **EXACT)
    save_file({**weights, "kinds": kinds[:2].clone()}, file, {"format": "pt"})
    with pytest.raises(EditorError, match="not a complete ImageBrush model"):
        load_imagebrush(model=path, **EXACT)
    (tmp_path / "changed/vii.json").unlink()
    path = changed(folder, tmp_path, prompt_encoder=encoder(), **{"vii.json": {"clip": None}})
    with pytest.raises(EditorError, match=r"vii\.json names no CLIP of transformers"):
        load_imagebrush(model=path, **EXACT)


@pytest.mark.usefixtures("shipped")
def test_the_command(folder, tmp_path):
    paths = saved(tmp_path, before=PAIR.before, after=PAIR.after, photo=PHOTO)
    common = [*paths, "-o", tmp_path / "out.png", "--method", "imagebrush"]
    transfer(*common, "--model", folder, "--set", "guidance_scale=1", "--set", "box=0,0,20,20")
    assert vii.load_image(tmp_path / "out.png").shape == PHOTO.shape
    for extra, message in (
        ([], "needs weights; name a folder or a hub id with --model"),
        (["--model", folder, "--set", "box=20,20,9,0"], "the box 20,20,9,0 does not lie inside the photo of 64 x 48"),
        (["--model", folder, "--text", "red"], "--text: the method 'imagebrush' does not take it"),
        (["--model", tmp_path / "none"], "no such folder"),
    ):
        assert message in transfer(*common, "--overwrite", *extra, code=1)
