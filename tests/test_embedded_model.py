"""The recipe that trains the embedded editor, in miniature: every stage, interrupted and resumed."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vii
from recipes.embedded_model import __main__ as recipe
from recipes.embedded_model import autoencoder, clip, config, data, evaluate, loop, unet
from recipes.embedded_model.targets import Targets
from vii.errors import RecipeError
from vii.evaluation.synthetic import FAMILIES, PLACES, compose, make, sample
from vii.evaluation.synthetic.family import HUES

TINY = config.Config(
    data=config.Data(crops=40, edits=2, phrasings=2, shard=20, workers=2),
    autoencoder=config.Autoencoder(channels=12, width=8, blocks=(1, 1, 1, 1), crops=16, batch=4, crop_size=32),
    clip=config.Clip(width=32, layers=1, texts=64, text_batch=16, pairs=64, batch=16, vocabulary=600),
    unet=config.Unet(channels=(16, 32), attention=(True, False), samples=32, batch=8, compile=False),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two smooth photos and one that is upright and small."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, size in (("n01_red_fox", (300, 260)), ("bsds_1", (256, 300)), ("n02_cup", (130, 200))):
        rough = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        rough.resize(size, Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def pairs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> data.Pairs:
    return data.make_pairs(photos, tmp_path_factory.mktemp("pairs"), TINY.data, seed=0)


@pytest.fixture(autouse=True)
def _small_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "VALIDATION", 16)
    monkeypatch.setattr(unet, "VALIDATION", 16)


def test_pairs_hold_the_right_answers(pairs: data.Pairs) -> None:
    assert pairs.before.shape == (40, 128, 128, 3)
    assert len(pairs) == 80
    for i in (0, 33, 79):
        truth = pairs.edit[i].apply(data.to_tensor(pairs.before[i // 2]))
        assert (truth - data.to_tensor(pairs.after[i])).abs().max() <= 0.51 / 255
    assert pairs.subjects[:3] == ["a scene", "a red fox", "a cup"]
    assert all(len(texts) == 2 and all(texts) for texts in pairs.texts)


def test_an_interrupted_rendering_gives_the_same_pairs(photos: Path, pairs: data.Pairs, tmp_path: Path) -> None:
    data.make_pairs(photos, tmp_path, dataclasses.replace(TINY.data, crops=20, workers=1), seed=0)
    first = (tmp_path / "pairs-0000.npz").stat().st_mtime_ns
    again = data.make_pairs(photos, tmp_path, TINY.data, seed=0)
    assert (tmp_path / "pairs-0000.npz").stat().st_mtime_ns == first
    np.testing.assert_array_equal(again.after, pairs.after)
    assert again.texts == pairs.texts
    assert again.edit == pairs.edit


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(vii.ViiError, match="no pictures"):
        data.photo_paths(tmp_path)


def test_the_stock_encoder_is_the_principal_components(pairs: data.Pairs) -> None:
    components = autoencoder.fit_components(pairs, channels=32, whitening=0.4, pictures=80)
    vae = autoencoder.build(components, 8, (1, 1, 1, 1))
    pictures = data.to_tensor(pairs.after[:6])
    torch.testing.assert_close(vae.encode(pictures * 2 - 1).latents, components.encode(pictures), atol=1e-4, rtol=0)
    latents = components.encode(data.to_tensor(np.concatenate([pairs.before, pairs.before, pairs.after])))
    assert float(latents.square().mean().sqrt()) * vae.config.scaling_factor == pytest.approx(0.9, rel=0.01)


def test_principal_components_reconstruct_as_numpy_says(pairs: data.Pairs) -> None:
    """A least-squares decoder of the latents leaves exactly the variance of the components left out."""
    components = autoencoder.fit_components(pairs, channels=12, whitening=0.4, pictures=40)
    pictures = np.concatenate(
        [pairs.before[np.linspace(0, 39, 40).astype(int)], pairs.after[np.linspace(0, 79, 40).astype(int)]]
    )
    patches = pictures.reshape(80, 16, 8, 16, 8, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 192) / 255
    centered = patches - patches.mean(0)
    z = components.encode(data.to_tensor(pictures)).permute(0, 2, 3, 1).reshape(-1, 12).double().numpy()
    rest = centered - z @ np.linalg.lstsq(z, centered, rcond=None)[0]
    variances = np.linalg.svd(centered, compute_uv=False) ** 2
    assert (rest**2).sum() == pytest.approx(variances[12:].sum(), rel=1e-3)


def test_the_auxiliary_targets_name_what_an_edit_does() -> None:
    targets = Targets()
    edit = compose(make("tint", c=90, s=1.0), make("shape", c="white", shape="star", pos="top left", r=0.17))
    values, weights = targets.of(edit)
    assert [targets.families[i] for i in values[: len(FAMILIES)].nonzero().flatten()] == sorted(
        ["tint", "shape"], key=targets.families.index
    )
    read = {key: (float(values[i]), float(weights[i])) for key, i in targets.columns.items()}
    assert read[(False, "c", "sin")] == pytest.approx((math.sin(math.pi / 2), 1))
    assert read[(False, "s", "number")] == (1, 1)
    assert read[(True, "c", "white")] == (1, 1)
    assert read[(True, "c", "sin")] == (0, 0)
    assert read[(True, "shape", "star")] == (1, 1)
    assert read[(True, "shape", "heart")] == (0, 1)
    assert read[(True, "r", "number")] == pytest.approx((0, 1), abs=1e-6)


def test_every_random_edit_has_targets() -> None:
    targets, rng = Targets(), np.random.default_rng(0)
    for _ in range(300):
        values, weights = targets.of(sample(rng, 0.5))
        assert values.abs().max() <= 1.001
        assert weights.sum() >= len(FAMILIES)


def test_the_tokenizer_takes_any_text(pairs: data.Pairs) -> None:
    tokenizer = clip.make_tokenizer(pairs, TINY.clip, seed=0)
    for text in (pairs.texts[0][0], "Zebra @ 7!", "naïve 雪"):
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids[1:-1]
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == tokenizer.eos_token_id


def _line(seed: int) -> tuple[loop.Trainee, object]:
    torch.manual_seed(seed)
    net = nn.Linear(4, 1)

    def losses(generator: torch.Generator) -> dict[str, torch.Tensor]:
        x = torch.randn(16, 4, generator=generator)
        return {"loss": (net(x) - x.sum(1, keepdim=True)).square().mean()}

    return loop.Trainee(net, torch.optim.AdamW(net.parameters(), lr=0.05), average=0.9), losses


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    straight, losses = _line(0)
    loop.train(straight, losses, 60, tmp_path / "a.pt", config.Run(1, checkpoint_seconds=1e9), stage=0)
    killed, losses = _line(0)

    def dies(generator: torch.Generator) -> dict[str, torch.Tensor]:
        if killed.step == 31:
            raise KeyboardInterrupt
        return losses(generator)

    with pytest.raises(KeyboardInterrupt):
        loop.train(killed, dies, 60, tmp_path / "b.pt", config.Run(1, checkpoint_seconds=0.0), stage=0)
    resumed, losses = _line(5)  # other initial weights: all must come from the checkpoint
    loop.train(resumed, losses, 60, tmp_path / "b.pt", config.Run(1, checkpoint_seconds=0.0), stage=0)
    assert torch.equal(straight.networks.weight, resumed.networks.weight)
    assert all(torch.equal(a, b) for a, b in zip(straight.averaged, resumed.averaged, strict=True))


def test_a_run_is_not_gone_on_with_networks_of_another_shape(tmp_path: Path) -> None:
    trainee, losses = _line(1)
    loop.train(trainee, losses, 2, tmp_path / "d.pt", config.Run(1), stage=0)
    other = nn.Linear(7, 5)
    changed = loop.Trainee(other, torch.optim.AdamW(other.parameters()))
    with pytest.raises(RecipeError, match=r"d\.pt: was begun with networks of another shape .* in another folder"):
        changed.load(tmp_path / "d.pt")
    assert changed.step == 0


def test_a_step_with_a_broken_gradient_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainee, losses = _line(0)
    before = trainee.networks.weight.detach().clone()

    def broken(generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": losses(generator)["loss"] * math.nan}

    loop.train(trainee, broken, 3, tmp_path / "c.pt", config.Run(0, checkpoint_seconds=1e9), stage=0, every=1)
    assert torch.equal(trainee.networks.weight, before)
    assert "3 skipped" in capsys.readouterr().out


@pytest.mark.parametrize("able", [True, False])
def test_a_processor_without_bfloat16_trains_in_float32(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "computes_in_bfloat16", lambda device: able)
    x = torch.ones(2, 2)
    with loop.fast(torch.device("cpu")):
        assert (x @ x).dtype == (torch.bfloat16 if able else torch.float32)
    assert (x @ x).dtype == torch.float32


def _latents() -> unet.Latents:
    """Pairs whose before is full of 1, after full of 4 and more, texts full of their number."""
    texts = torch.arange(5.0).view(5, 1, 1).expand(5, 3, 2)
    after = torch.arange(4.0, 12).view(8, 1, 1, 1).expand(8, 2, 4, 4)
    said = torch.tensor([[1, 2], [3, 4]] * 4)
    return unet.Latents(torch.ones(4, 2, 4, 4), after, texts, said, scaling_factor=3.0, weights=torch.ones(2))


def test_conditioning_is_dropped_as_configured() -> None:
    data = _latents()
    settings = config.Unet(batch=4000, no_text=0.3, no_photo=0.2, no_both=0.1, high_noise=1.5)
    sample, texts, photo, t, noise = unet.draw(data, settings, 6, torch.Generator().manual_seed(0))
    silent, blind = texts[:, 0, 0] == 0, photo[:, 0, 0, 0] == 0
    assert float((silent & ~blind).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float((blind & ~silent).float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float((blind & silent).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert (sample[silent & ~blind] == 3).all()  # the photo, on the scale of what is denoised
    assert (sample[~silent | blind] >= 4).all()
    assert sample.max() == 9  # the last two pairs are left out
    odd = (sample[:, 0, 0, 0] % 2 == 1) & ~silent
    assert set(texts[odd, 0, 0].tolist()) == {3, 4}
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert float((t > 500).float().mean()) == pytest.approx(0.5 ** (1 / 1.5), abs=0.03)


def test_channels_count_by_what_their_errors_are_worth_in_pixels(pairs: data.Pairs) -> None:
    components = autoencoder.fit_components(pairs, channels=12, whitening=0.4, pictures=40)
    decode = torch.linalg.pinv(components.weight.flatten(1))  # (192, 12)
    worth = torch.stack([(decode @ error).square().sum() for error in torch.eye(12)])
    torch.testing.assert_close(unet.channel_weights(components, 1.0), worth / worth.mean(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(unet.channel_weights(components, 0.0), torch.ones(12))


def test_configurations_are_checked(tmp_path: Path) -> None:
    folder = Path(recipe.__file__).parent
    assert config.load(folder / "cpu.toml").device == "cpu"
    assert config.load(folder / "gpu.toml").unet.channels == (128, 192, 256)
    path = tmp_path / "x.toml"
    for text, complaint in (
        ("[unet]\nsample = 3", "samples"),
        ('[unet]\nsamples = "many"', "type int"),
        ("seed = [", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(vii.ViiError, match=complaint):
            config.load(path)


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a complete run in miniature."""
    output = tmp_path_factory.mktemp("run")
    patch = pytest.MonkeyPatch()
    patch.setattr(clip, "VALIDATION", 16)
    patch.setattr(unet, "VALIDATION", 16)
    recipe.run(TINY, photos, photos, output, "tiny")
    patch.undo()
    return output


def test_a_run_makes_a_model_that_plain_libraries_load(trained: Path, photos: Path) -> None:
    from diffusers import StableDiffusionInstructPix2PixPipeline
    from transformers import CLIPModel

    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(trained / "model")
    pipeline.set_progress_bar_config(disable=True)
    photo = Image.fromarray(data.center_crop(data.open_photo(photos / "bsds_1.png")))
    assert pipeline("make it sepia", image=photo, num_inference_steps=2).images[0].size == (128, 128)
    assert CLIPModel.from_pretrained(trained / "model/clip").config.projection_dim == 32


def test_a_run_makes_a_model_that_vii_learns_with(trained: Path, photos: Path) -> None:
    editor = vii.load_editor("embedded", model=str(trained / "model"))
    photo = data.to_tensor(data.center_crop(data.open_photo(photos / "bsds_1.png")))
    settings = dataclasses.replace(vii.load_recipe("default"), max_train_steps=2, batch_size=2, probe_size=2)
    edit = vii.invert(editor, [vii.Pair(photo, 1 - photo)], settings, seed=0)
    assert vii.apply(editor, edit, photo, num_inference_steps=2).shape == photo.shape


def test_a_finished_run_is_not_trained_again(trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in sorted((trained / "model/unet").iterdir())}
    recipe.run(TINY, photos, photos, trained, "tiny")
    assert {path.name: path.read_bytes() for path in sorted((trained / "model/unet").iterdir())} == before
    assert "steps/s" not in capsys.readouterr().out


PHOTO = (
    torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).repeat_interleave(16, 1).repeat_interleave(16, 2)
)


def _editor_that_knows(**wrong: str) -> evaluate.ByWords:
    """Does every drawn object that it is asked for, apart from what it gets wrong."""
    words = {"pos": tuple(PLACES), "shape": FAMILIES["shape"].parameters["shape"].words, "c": tuple(HUES)}
    asked = [dict(zip(words, chosen, strict=True)) for chosen in itertools.product(*words.values())]
    edits = {evaluate._object(what).instruction(): evaluate._object({**what, **wrong}) for what in asked}
    return lambda text, photo: edits[text].apply(photo)


def test_objects_are_judged_by_place_shape_and_colour() -> None:
    assert set(evaluate.objects(_editor_that_knows(), [PHOTO], 6).values()) == {1.0}
    misplaced = evaluate.objects(_editor_that_knows(pos="top right"), [PHOTO], 12)
    assert misplaced["place"] < 0.5
    assert misplaced["all three"] <= misplaced["place"]
    assert evaluate.objects(_editor_that_knows(c="teal"), [PHOTO], 12)["colour"] < 0.5
    assert evaluate.objects(lambda text, photo: photo, [PHOTO], 6)["place"] == 0


def test_swaps_are_judged_by_the_nearest_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    words, edit = evaluate.SWAPS["frame: colour"]
    monkeypatch.setattr(evaluate, "SWAPS", {"frame: colour": (words, edit)})
    edits = {edit(word).instruction(): edit(word) for word in words}
    assert evaluate.swaps(lambda text, photo: edits[text].apply(photo), [PHOTO], 1) == {"frame: colour": 1.0}
    assert evaluate.swaps(lambda text, photo: edits["add a red frame"].apply(photo), [PHOTO], 1)["frame: colour"] < 0.2


def test_the_table_of_families_has_every_family_and_the_right_gain() -> None:
    rows = evaluate.families(*[lambda text, photo: photo] * 2, lambda picture: picture, [PHOTO], [PHOTO], each=1)
    assert {row["family"] for row in rows} == {n for n, f in FAMILIES.items() if f.weight} | {"two or three steps"}
    assert all(row["gain"] == 0 and row["ceiling"] == 100 for row in rows)
