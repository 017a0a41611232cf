"""Applying: weights, words, several edits, regions, sizes, noise."""

import dataclasses
import hashlib

import pytest
import torch
from conftest import picture
from test_arrangement import DARK, SWAP

import vii
from vii.application import Application
from vii.errors import EditorMismatch, UsageError
from vii.finish import Finish
from vii.finish.detail import transfer
from vii.inversion.examples import Examples
from vii.methods.inversion import Inversion


@pytest.fixture
def edits(tiny):
    """Two edits for the tiny model with random tokens."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(4, 32, generator=generator) for _ in range(2)]
    settings = {"num_inference_steps": 3, "guidance_scale": 5.0, "image_guidance_scale": 1.5, "scheduler": "ddim"}
    return [vii.Edit(tokens, tiny.space, "ip2p", "make it red", 1, 32, settings) for tokens in made]


def test_toy_weights_fade_stack_and_subtract(toy, toy_edit):
    image = torch.full((3, 32, 32), 0.5)
    offset = vii.apply(toy, toy_edit, image) - image
    assert offset.abs().max() == pytest.approx(0.3, abs=1e-5)
    for weights, factor in (([0.5], 0.5), ([-1.0], -1.0), ([0.25, 0.5], 0.75), ([1.0, -1.0], 0.0)):
        result = vii.apply(toy, [(toy_edit, weight) for weight in weights], image)
        torch.testing.assert_close(result, (image + factor * offset).clamp(0, 1), atol=1e-6, rtol=0)


def test_one_edit_with_weight_one_is_the_edit_alone(tiny, edits):
    image = picture(1, 32, 32)
    assert torch.equal(vii.apply(tiny, edits[0], image), vii.apply(tiny, [(edits[0], 1.0)], image))
    together = vii.apply(tiny, [(edits[0], 1.0), (edits[1], 0.0)], image)
    torch.testing.assert_close(vii.apply(tiny, edits[0], image), together, atol=1e-5, rtol=0)


def test_order_of_edits_does_not_matter_but_their_weights_do(tiny, edits):
    image, (one, two) = picture(1, 32, 32), edits
    there = vii.apply(tiny, [(one, 0.7), (two, 0.4)], image)
    back = vii.apply(tiny, [(two, 0.4), (one, 0.7)], image)
    torch.testing.assert_close(there, back, atol=1e-5, rtol=0)
    assert not torch.allclose(there, vii.apply(tiny, [(one, 0.4), (two, 0.7)], image), atol=1e-3)


def test_words_are_one_more_branch(tiny, edits):
    image, learned = picture(1, 32, 32), edits[0].instruction(tiny.instruct("make it red"))
    both = [(learned, 0.6), (tiny.instruct("at night"), 1.0)]
    expected = tiny.edit(tiny.encode(image), both, Application(tiny, edits[0]).settings, vii.diffusion.Noise(0))[0]
    assert torch.equal(vii.apply(tiny, [(edits[0], 0.6)], image, text="at night", finish="none"), expected)


def test_joined_words_follow_the_tokens(tiny, edits):
    image = picture(1, 32, 32)
    words = tiny.instruct("at night")
    rows = torch.cat([words.rows[:1], edits[0].tokens, words.rows[1:]])[:77]
    by_hand = vii.instruction.Instruction(rows, (1, 5 + len(words.tokens)))
    settings = Application(tiny, edits[0]).settings
    expected = tiny.edit(tiny.encode(image), [(by_hand, 1.0)], settings, vii.diffusion.Noise(0))[0]
    assert torch.equal(vii.apply(tiny, edits[0], image, text="at night", join_text=True, finish="none"), expected)
    finished = vii.apply(tiny, edits[0], image, text="at night", join_text=True)  # at this size, all that was made
    torch.testing.assert_close(finished, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(vii.apply(tiny, edits[0], image), expected, atol=1e-4)


def test_words_that_do_not_fit_are_refused(tiny, edits):
    with pytest.raises(UsageError, match=r"4 tokens and 75 tokens of text do not fit.*75 together"):
        vii.apply(tiny, edits[0], picture(1, 32, 32), text="red " * 75, join_text=True)
    vii.apply(tiny, edits[0], picture(1, 32, 32), text="red " * 71, join_text=True, num_inference_steps=1)


def test_settings_come_from_the_caller_then_the_edit_then_the_model(tiny, edits):
    assert Application(tiny, text="red").settings == tiny.settings
    assert Application(tiny, edits).settings.guidance_scale == 5.0
    chosen = Application(tiny, edits[0], guidance_scale=2.0).settings
    assert (chosen.guidance_scale, chosen.num_inference_steps, chosen.scheduler) == (2.0, 3, "ddim")
    with pytest.raises(UsageError, match="did you mean 'guidance_scale'"):
        Application(tiny, edits[0], guidence_scale=2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_inference_steps", "many"),
        ("num_inference_steps", -5),
        ("num_inference_steps", 1001),
        ("num_inference_steps", 10**9),
        ("num_inference_steps", True),
        ("guidance_scale", [1]),
        ("guidance_scale", 1e20),
        ("guidance_scale", 10**400),
        ("guidance_scale", float("inf")),
        ("guidance_scale", float("nan")),
        ("scheduler", "\x1b[2J" * 1000),
    ],
)
def test_what_a_file_recommends_beyond_the_limits_is_said_and_what_the_caller_asks_is_refused(tiny, edits, name, value):
    plan = Application(tiny, dataclasses.replace(edits[0], settings={"image_guidance_scale": 2.0, name: value}))
    assert plan.settings == dataclasses.replace(tiny.settings, image_guidance_scale=2.0)
    (warning,) = plan.warnings
    assert warning.startswith(f"the edit recommends {name}")
    assert len(warning) < 300
    with pytest.raises(UsageError, match=name):
        Application(tiny, edits[0], **{name: value})
    # Nothing is said of what the caller has decided otherwise.
    good = {"num_inference_steps": 2, "guidance_scale": 3.0, "scheduler": "ddim"}[name]
    assert not Application(tiny, dataclasses.replace(edits[0], settings={name: value}), **{name: good}).warnings


def test_many_steps_are_the_users_own_word(tiny, edits):
    edit = dataclasses.replace(edits[0], settings={"num_inference_steps": 101})
    assert "by itself gets at most 100" in Application(tiny, edit).warnings[0]
    assert Application(tiny, edit, num_inference_steps=101).settings.num_inference_steps == 101
    assert not Application(tiny, dataclasses.replace(edit, settings={"num_inference_steps": 100})).warnings


def test_an_unknown_setting_of_a_file_is_no_setting_of_this_editor(tiny, edits):
    plan = Application(tiny, dataclasses.replace(edits[0], settings={"unknown": 1}))
    assert (plan.settings, plan.warnings) == (tiny.settings, ())


def test_apply_warns_of_what_it_does_not_do(tiny, edits):
    edit = dataclasses.replace(edits[0], settings={"num_inference_steps": 10**9})
    with pytest.warns(UserWarning, match="recommends num_inference_steps"):
        vii.apply(tiny, edit, picture(1, 32, 32), num_inference_steps=None)


def test_seed_decides_the_picture(tiny, edits):
    image = picture(1, 32, 32)
    same = [vii.apply(tiny, edits[0], image, seed=4) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.allclose(same[0], vii.apply(tiny, edits[0], image, seed=5), atol=1e-3)


def test_mask_and_box_keep_the_photo_elsewhere(toy, toy_edit):
    image = 0.2 + 0.6 * picture(2, 32, 32)
    mask = vii.box_mask((4, 8, 10, 12), 32, 32)
    assert mask.sum() == 120
    whole, part = vii.apply(toy, toy_edit, image), vii.apply(toy, toy_edit, image, mask=mask)
    inside = mask[0] > 0
    assert torch.equal(part[:, inside], whole[:, inside])
    assert torch.equal(part[:, ~inside], image[:, ~inside])
    assert not torch.equal(part[:, inside], image[:, inside])
    torch.testing.assert_close(vii.apply(toy, toy_edit, image, mask=0.5 * torch.ones(32, 32)), (whole + image) / 2)


def test_a_mask_of_another_size_is_scaled(toy, toy_edit):
    image, left = torch.full((3, 64, 48), 0.5), torch.zeros(8, 6)
    left[:, :3] = 1
    result = vii.apply(toy, toy_edit, image, mask=left)
    assert result.shape == (3, 64, 48)
    assert torch.equal(result[:, :, 40:], image[:, :, 40:])
    assert not torch.equal(result[:, 10:, :8], image[:, 10:, :8])


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (30, 30, 5, 5)])
def test_boxes_outside_the_photo_are_refused(box):
    with pytest.raises(UsageError, match="32 x 32"):
        vii.box_mask(box, 32, 32)


def euler_ancestral_written_out(tiny, edit, image, bank_seed, steps):
    """Karras et al. 2022 as k-diffusion's ancestral sampler; every noise from the bank of its timestep."""

    def noise(timestep):
        digest = hashlib.sha256(f"{bank_seed}:{int(timestep)}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.randn(4, 16, 16, generator=generator)[None]

    parts = tiny.parts
    zx = parts.vae.encode(image[None] * 2 - 1).latent_dist.mode()
    learned, null = edit.instruction(tiny.instruct(edit.init_text)).rows, tiny.instruct("").rows
    timesteps = torch.linspace(999, 0, steps, dtype=torch.float64)
    levels = ((1 - parts.levels.alpha_bar) / parts.levels.alpha_bar).sqrt().double()
    floor = timesteps.floor().long()
    sigmas = torch.lerp(levels[floor], levels[(floor + 1).clamp(max=999)], timesteps - floor)
    x = (sigmas[0] * noise(999)).float()
    for i, (t, sigma) in enumerate(zip(timesteps, sigmas, strict=True)):

        def unet(rows, condition, x=x, sigma=sigma, t=t):
            inputs = torch.cat([x / (sigma**2 + 1).sqrt().float(), condition], 1)
            return parts.unet(inputs, t.float(), encoder_hidden_states=rows[None]).sample

        e_u, e_i, e_t = unet(null, 0 * zx), unet(null, zx), unet(learned, zx)
        epsilon = e_u + 5.0 * (e_t - e_i) + 1.5 * (e_i - e_u)
        if i + 1 == steps:
            x = x - sigma.float() * epsilon
            break
        up = (sigmas[i + 1] ** 2 * (sigma**2 - sigmas[i + 1] ** 2) / sigma**2).sqrt()
        down = (sigmas[i + 1] ** 2 - up**2).sqrt()
        x = x + (down - sigma).float() * epsilon + up.float() * noise(timesteps[i + 1])
    return (parts.vae.decode(x / 0.18215).sample[0] / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def test_reused_noise_is_that_of_training_at_the_start_and_at_each_ancestral_step(tiny, edits):
    image, bank_seed = picture(1, 32, 32), 9
    banked = dataclasses.replace(edits[0], training={"noise": "bank", "seed": bank_seed})
    options = {"scheduler": "euler_ancestral", "num_inference_steps": 4}
    result = vii.apply(tiny, banked, image, reuse_noise=True, seed=1, **options)
    assert torch.equal(result, vii.apply(tiny, banked, image, reuse_noise=True, seed=2, **options))
    torch.testing.assert_close(
        result, euler_ancestral_written_out(tiny, banked, image, bank_seed, 4), atol=1e-4, rtol=0
    )
    other = euler_ancestral_written_out(tiny, banked, image, bank_seed + 1, 4)
    assert (result - other).abs().max() > 0.01


@pytest.mark.parametrize(("spacing", "drawn"), [("linspace", [999, 666, 333, 0]), ("leading", [750, 500, 250, 0])])
def test_noises_are_asked_for_by_the_timestep_whose_level_they_make(tiny, edits, monkeypatch, spacing, drawn):
    """A scheduler may start below the last timestep, and so must its noise: training put that of 750 on it at 750."""
    asked = []

    class Bank(vii.diffusion.Noise):
        def generators(self):
            generators = super().generators()
            return lambda timestep: asked.append(timestep) or generators(timestep)

    scheduler = type(tiny.parts.scheduler).from_config(tiny.parts.scheduler.config, timestep_spacing=spacing)
    monkeypatch.setattr(tiny, "parts", dataclasses.replace(tiny.parts, scheduler=scheduler))
    settings = Application(tiny, text="red", num_inference_steps=4).settings
    branches = [(edits[0].instruction(tiny.instruct("make it red")), 1.0)]
    tiny.edit(tiny.encode(picture(1, 32, 32)), branches, settings, Bank(9, bank=True))
    assert asked[:4] == drawn


def test_sampling_and_training_take_the_same_noise_of_a_timestep(tiny):
    """The whole of the claim: learned with bank[t] at timestep t, sampled with bank[t] where the sampler is at t."""
    settings = vii.InversionSettings(noise="reuse", timesteps="permutation", max_train_steps=1000, batch_size=1)
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    batches = Examples(tiny, [pair]).draws(settings, seed=5)
    trained = {int(batch.t.item() * 1000): batch.noise[0] for batch in batches}
    bank = vii.diffusion.Noise(5, bank=True).generators()
    for timestep in (999, 666, 333, 0):
        generator = bank(timestep)  # what an ancestral step is given
        assert torch.equal(torch.randn(1, *trained[timestep].shape, generator=generator)[0], trained[timestep])


def test_an_edit_learned_for_it_reuses_its_noise_unless_told_otherwise(tiny, edits):
    image = picture(1, 32, 32)
    made = {kind: dataclasses.replace(edits[0], training={"noise": kind, "seed": 9}) for kind in ("bank", "reuse")}
    reused = vii.apply(tiny, made["bank"], image, reuse_noise=True)
    assert torch.equal(vii.apply(tiny, made["reuse"], image, seed=3), reused)
    assert not torch.equal(vii.apply(tiny, made["bank"], image, seed=3), reused)
    new = vii.apply(tiny, made["reuse"], image, seed=3, reuse_noise=False)
    assert torch.equal(new, vii.apply(tiny, edits[0], image, seed=3))
    both = [(made["reuse"], 1.0), (edits[1], 0.5)]  # with several edits the noise is the first one's
    assert torch.equal(vii.apply(tiny, both, image, seed=1), vii.apply(tiny, both, image, seed=2))
    both.reverse()
    assert not torch.equal(vii.apply(tiny, both, image, seed=1), vii.apply(tiny, both, image, seed=2))


def test_the_benchmark_applies_an_edit_as_it_was_learned_to_be(tiny):
    pair, photo = vii.Pair(picture(1, 32, 32), picture(2, 32, 32)), picture(3, 32, 32)
    for noise, fixed in (("reuse", True), ("bank", False)):
        settings = vii.InversionSettings(
            init="text",
            init_text="red",
            noise=noise,
            tokens=4,
            max_train_steps=1,
            batch_size=1,
            probe_size=1,
            finish="none",
        )
        transfer = Inversion(tiny, settings).learn([pair]).transfer
        assert torch.equal(transfer([pair], photo, seed=1), transfer([pair], photo, seed=2)) == fixed


def test_noise_that_was_not_banked_cannot_be_reused(tiny, edits):
    with pytest.raises(UsageError, match="noise=bank"):
        vii.apply(tiny, edits[0], picture(1, 32, 32), reuse_noise=True)
    for bad in (
        {"noise": "fresh", "seed": 1},
        {"noise": "bank"},
        {"noise": "bank", "seed": 2**80},
        {"noise": "bank", "seed": -1},
    ):
        with pytest.raises(UsageError, match="noise=bank"):
            vii.apply(tiny, dataclasses.replace(edits[0], training=bad), picture(1, 32, 32), reuse_noise=True)


def test_nothing_to_apply(toy):
    with pytest.raises(UsageError, match="nothing to apply"):
        vii.apply(toy, None, picture(1))


def test_edits_of_another_space_are_refused_with_the_way_out(toy, tiny, edits, toy_edit):
    with pytest.raises(EditorMismatch, match=r"editor 'ip2p'.*Load the editor it was learned with"):
        vii.apply(toy, edits[0], picture(1))
    other = dataclasses.replace(edits[0], space=dataclasses.replace(tiny.space, fingerprint="0" * 32))
    with pytest.raises(EditorMismatch, match="any_model=True"):
        vii.apply(tiny, other, picture(1, 32, 32))
    accepted = vii.apply(tiny, other, picture(1, 32, 32), any_model=True)
    assert torch.equal(accepted, vii.apply(tiny, edits[0], picture(1, 32, 32)))
    with pytest.raises(EditorMismatch):
        vii.apply(tiny, toy_edit, picture(1), any_model=True)


def with_kind(edit, kind, **parts):
    return dataclasses.replace(edit, finish=Finish(kind, **parts))


def enlarged(image, size):
    """What an editor made, at the photo's size, by torch."""
    return torch.nn.functional.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)


SIZES = [(90, 160), (101, 67), (32, 32), (33, 31)]


@pytest.mark.parametrize("size", SIZES)
def test_without_a_finish_the_editors_picture_is_scaled_to_the_photo(toy, toy_edit, size):
    """So are edits of format version 1, and so is everything where the finish is turned off."""
    photo = 0.2 + 0.6 * picture(3, *size)
    made = vii.apply(toy, toy_edit, photo, size="editor")
    assert made.shape == (3, 32, 32)
    offsets = toy.edit(
        toy.encode(photo), [(toy_edit.instruction(toy.instruct("make it red")), 1.0)], toy.settings, None
    )
    assert torch.equal(made, offsets[0])
    for edit in (toy_edit, with_kind(toy_edit, "editor")):
        torch.testing.assert_close(vii.apply(toy, edit, photo), enlarged(made, size), atol=2e-6, rtol=0)
    detailed = with_kind(toy_edit, "detail", residual=0.0)
    assert torch.equal(vii.apply(toy, detailed, photo, finish="none"), vii.apply(toy, toy_edit, photo))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("residual", [None, 0.1, 0.0])
def test_detail_comes_from_the_photo_itself(toy, toy_edit, size, residual):
    photo = 0.2 + 0.6 * picture(3, *size)
    seen, made = vii.images.resize(photo, 32, 32), vii.apply(toy, toy_edit, photo, finish="none", size="editor")
    arrays = [image.permute(1, 2, 0).numpy() for image in (photo, seen, made)]
    edit = with_kind(toy_edit, "detail", residual=residual)
    expected = torch.from_numpy(transfer(*arrays, residual)).permute(2, 0, 1)
    torch.testing.assert_close(vii.apply(toy, edit, photo), expected, atol=1e-6, rtol=0)
    small = torch.from_numpy(transfer(arrays[1], *arrays[1:], residual)).permute(2, 0, 1)
    torch.testing.assert_close(vii.apply(toy, edit, photo, size="editor"), small, atol=1e-6, rtol=0)


def test_between_weight_0_and_1_the_result_is_faded_and_beyond_the_editor_is_asked(toy, toy_edit):
    photo = 0.2 + 0.6 * picture(3, 50, 70)
    edit = with_kind(toy_edit, "editor")
    whole = vii.apply(toy, edit, photo)
    for weight in (0, 0.25, 1):
        torch.testing.assert_close(vii.apply(toy, [(edit, weight)], photo), torch.lerp(photo, whole, weight))
    for weight in (-1.0, 1.5):
        made = vii.apply(toy, [(toy_edit, weight)], photo, finish="none", size="editor")
        torch.testing.assert_close(vii.apply(toy, [(edit, weight)], photo), enlarged(made, (50, 70)), atol=2e-6, rtol=0)


def test_weight_0_gives_the_photo_in_memory_of_its_own(toy, toy_edit):
    photo = picture(3, 50, 70)
    result = vii.apply(toy, [(with_kind(toy_edit, "editor"), 0.0)], photo)
    assert torch.equal(result, photo)
    result.zero_()
    assert photo.any()


def test_colours_before_the_editor_are_what_it_sees_and_after_it_what_it_made(toy, toy_edit):
    """Red and blue swapped, and half of the light; each is a step of its own."""
    swap, dark = (vii.Edit(finish=Finish("color", transform)) for transform in (SWAP, DARK))
    edit, photo = with_kind(toy_edit, "editor"), 0.2 + 0.6 * picture(3, 50, 70)
    expected = vii.apply(toy, edit, photo.flip(0)) / 2
    torch.testing.assert_close(vii.apply(toy, [swap, edit, dark], photo), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(vii.apply(toy, [swap, dark], photo), photo.flip(0) / 2, atol=1e-6, rtol=0)


def test_photos_of_one_run_keep_their_order_whether_an_editor_has_a_part_or_not(toy, toy_edit):
    photos = [picture(seed, *size) for seed, size in enumerate(SIZES)]
    for edit in (with_kind(toy_edit, "detail"), vii.Edit(finish=Finish("color", SWAP))):
        plan = Application(toy, edit)
        for photo, result in zip(photos, plan.many(photos, batch=3), strict=True):
            torch.testing.assert_close(result, plan(photo), atol=1e-6, rtol=0)


def test_edits_that_need_no_editor_go_with_any_and_with_none(toy, tiny, edits, toy_edit):
    photo, swap = picture(3, 32, 48), dataclasses.replace(edits[0], finish=Finish("color", SWAP))
    assert torch.equal(vii.apply(None, swap, photo), vii.apply(toy, swap, photo))
    Application(toy, [swap, toy_edit])  # learned for two spaces
    with pytest.raises(EditorMismatch):
        Application(toy, swap, finish="none")
    for options in ({"text": "red"}, {"size": "editor"}, {"finish": "none"}):
        with pytest.raises(UsageError, match="expected an editor"):
            Application(None, swap, **options)
    made = Application(None, swap).record(photo)
    assert (made["editor"], made["edits"][0]["consists_of"]) == ("", "colours, no editor needed")


@pytest.mark.parametrize(("name", "value"), [("finish", "some"), ("size", "large"), ("size", None)])
def test_finishes_and_sizes_that_are_none_are_refused(toy, toy_edit, name, value):
    with pytest.raises(UsageError, match=name):
        Application(toy, toy_edit, **{name: value})


def test_a_hard_mask_is_exact_at_the_photos_size(toy, toy_edit):
    edit, photo = with_kind(toy_edit, "detail", residual=0.0), picture(3, 50, 70)
    mask = (picture(4, 50, 70)[0] > 0.5).float()
    whole, part = vii.apply(toy, edit, photo), vii.apply(toy, edit, photo, mask=mask)
    assert torch.equal(part, torch.where(mask > 0, whole, photo))
