"""The loop: what it recovers, that it is faithful where it says so, and that it can be repeated and stopped."""

import dataclasses
import itertools
import math

import pytest
import torch
from conftest import picture

import vii
from vii.diffusion import banked_generator
from vii.edit_file import to_bytes
from vii.editor import stack
from vii.errors import UsageError
from vii.inversion import InversionSettings, learning_rate_at
from vii.inversion.examples import CROPS, LEAST, Examples, views
from vii.losses import direction_term, edit_direction

FAST = {"init": "none", "tokens": 4, "probe_size": 8, "batch_size": 4, "timestep_density": 1.0, "weight_decay": 0.0}


def test_the_toy_instruction_is_recovered(toy, toy_pair, toy_edit):
    settings = InversionSettings(**{**FAST, "max_train_steps": 400, "learning_rate": 0.05})
    edit = vii.invert(toy, [toy_pair], settings)
    assert (edit.tokens - toy_edit.tokens).abs().max() <= 1e-3
    assert edit.training["explained"] > 0.999
    result = vii.apply(toy, edit, toy_pair.before)
    assert (result - toy_pair.after).abs().max() <= 1e-3


def test_several_pairs_recover_the_same_instruction(toy, toy_edit):
    offsets = torch.zeros(8, 3)
    offsets[1:5] = toy_edit.tokens
    pairs = []
    for seed in (11, 12, 13):
        before = 0.35 + 0.3 * picture(seed, 32, 32)
        pairs.append(vii.Pair(before, before + offsets.T.repeat_interleave(4, 1)[:, :, None]))
    edit = vii.invert(toy, pairs, InversionSettings(**{**FAST, "max_train_steps": 400}))
    assert (edit.tokens - toy_edit.tokens).abs().max() <= 1e-3
    assert edit.pairs == tuple(pair.sha256() for pair in pairs)


@pytest.mark.parametrize("timesteps", ["stratified", "permutation"])
@pytest.mark.parametrize("augment", ["none", "flip"])
def test_pair_and_view_are_drawn_independently_of_the_noise_level(toy, toy_pair, timesteps, augment):
    """Chi-square over view x tenth of the noise levels: the authors' `t % n` would fail it by a factor of hundreds."""
    settings = InversionSettings(
        **{**FAST, "max_train_steps": 250, "batch_size": 16, "timesteps": timesteps, "augment": augment}
    )
    examples = Examples(toy, [toy_pair] * 3, augment)
    batches = list(examples.draws(settings, seed=0))
    which, t = torch.cat([batch.which for batch in batches]), torch.cat([batch.t for batch in batches])
    kinds = 3 * examples.views
    counts = torch.zeros(kinds, 10).index_put_((which, (t * 10).long()), torch.ones(len(t)), accumulate=True)
    expected = len(t) / counts.numel()
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    freedom = counts.numel() - 1
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5
    # Within one level too: `t % n` is as independent of coarse levels as it is dependent on the timestep.
    timestep = (t * 1000).long()
    for residue in range(3):
        shares = torch.bincount(which[timestep % 3 == residue], minlength=kinds) / (timestep % 3 == residue).sum()
        assert shares.tolist() == pytest.approx([1 / kinds] * kinds, rel=0.2)


def test_timestep_density_puts_the_levels_where_it_says(toy, toy_pair):
    """`t = 1 - u^4`: half of all samples lie above 1 - 0.5^4, and every batch has one in each sixteenth of u."""
    settings = {**FAST, "max_train_steps": 200, "batch_size": 16, "timestep_density": 4.0}
    batches = list(Examples(toy, [toy_pair]).draws(InversionSettings(**settings), seed=0))
    t = torch.cat([batch.t for batch in batches])
    assert ((t >= 0) & (t < 1)).all()
    levels = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(torch.quantile(t, levels), 1 - (1 - levels) ** 4, atol=0.02, rtol=0)
    for batch in batches[:5]:
        assert sorted(((1 - batch.t) ** 0.25 * 16).floor().tolist()) == list(range(16))
    probes = Examples(toy, [toy_pair]).probes(InversionSettings(probe_size=4, timestep_density=4.0))
    torch.testing.assert_close(probes.t, 1 - torch.tensor([0.125, 0.375, 0.625, 0.875]) ** 4)


def test_timestep_density_leaves_a_permutation_alone(toy, toy_pair):
    """Every level once is what a permutation promises."""
    settings = {**FAST, "max_train_steps": 50, "timesteps": "permutation", "timestep_density": 4.0}
    t = torch.cat([batch.t for batch in Examples(toy, [toy_pair]).draws(InversionSettings(**settings), seed=0)])
    torch.testing.assert_close(t.sort().values, (torch.arange(200) + 0.5) / 200)
    probes = Examples(toy, [toy_pair]).probes(InversionSettings(**settings))
    torch.testing.assert_close(probes.t, (torch.arange(8) + 0.5) / 8)


def test_a_step_asked_late_answers_as_it_would_have_at_once(toy, toy_pair):
    settings = InversionSettings(**{**FAST, "max_train_steps": 12, "probe_every": 3})
    at_once, steps = [], []
    for step in vii.invert_steps(toy, [toy_pair], settings, seed=0):
        at_once.append(step.best())
        steps.append(step)
    for early, late in zip(at_once, (step.best() for step in steps), strict=True):
        assert torch.equal(early.tokens, late.tokens)
        assert early.training == late.training
    assert len({edit.training["loss"] for edit in at_once}) > 2


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_timestep_density_must_be_positive(value):
    with pytest.raises(vii.ViiError, match="timestep_density"):
        InversionSettings(timestep_density=value)


def test_every_pair_counts_the_same_in_the_probe_set(toy, toy_pair):
    other = vii.Pair(picture(5, 32, 32), picture(6, 32, 32))
    pairs, instruction = [toy_pair, other, toy_pair], toy.instruct("red green")
    examples = Examples(toy, pairs, "crop-flip")
    settings = InversionSettings(**{**FAST, "probe_size": 16})
    probes = examples.probes(settings)
    assert len(probes.t) == 18
    assert torch.equal(probes.which, torch.tensor([0, 8, 16] * 6))  # the pairs as they are, no other view
    torch.testing.assert_close(probes.t, (torch.arange(18) + 0.5) / 18)
    losses = examples.loss(probes, instruction)
    encoded = [(toy.encode(pair.before), toy.encode(pair.after)) for pair in pairs]
    alone = [
        toy.loss(*encoded[pair], instruction, probes.t[pair::3], torch.stack(probes.noise[pair::3]))
        for pair in range(3)
    ]
    assert examples.mean_loss(probes, instruction) == pytest.approx(losses.mean().item(), rel=1e-5)
    assert examples.mean_loss(probes, instruction) == pytest.approx(torch.stack(alone).mean(1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("sizes", [[(32, 32), (32, 32)], [(32, 32), (24, 48), (32, 32)]])
def test_a_batch_mixes_pairs_of_one_size_in_one_pass_and_others_in_a_pass_a_size(tiny, sizes):
    pairs = [vii.Pair(picture(i, *size), picture(i + 9, *size)) for i, size in enumerate(sizes)]
    examples = Examples(tiny, pairs)
    batch = next(examples.draws(InversionSettings(batch_size=12, max_train_steps=1), seed=2))
    assert set(batch.which.tolist()) == set(range(len(pairs)))
    instruction, passed = tiny.instruct("red"), []
    hook = tiny.parts.unet.register_forward_pre_hook(lambda _module, args: passed.append(tuple(args[0].shape[-2:])))
    try:
        with torch.no_grad():
            losses = examples.loss(batch, instruction)
    finally:
        hook.remove()
    assert len(passed) == len(set(passed)) == len(set(sizes))
    for index, view in enumerate(batch.which.tolist()):
        before, after = examples.encoded[view]
        with torch.no_grad():
            alone = tiny.loss(before, after, instruction, batch.t[index : index + 1], batch.noise[index][None])
        assert losses[index].item() == pytest.approx(alone.item(), rel=1e-3, abs=1e-5)


def test_pairs_of_several_aspect_ratios_are_learned_together(tiny):
    pairs = [vii.Pair(picture(i, *size), picture(i + 9, *size)) for i, size in enumerate([(32, 32), (24, 48)])]
    settings = InversionSettings(
        init="text", init_text="red", tokens=4, max_train_steps=4, batch_size=4, probe_size=3, probe_every=2
    )
    edit = vii.invert(tiny, pairs, settings)
    assert edit.pairs == tuple(pair.sha256() for pair in pairs)
    assert edit.training["samples"] == 4 * 4 + 4 * (1 + 1 + 2)  # the probe set is made even: four samples


@pytest.mark.parametrize(("augment", "count"), [("none", 1), ("flip", 2), ("crop-flip", 2 + CROPS)])
def test_views_are_the_same_for_before_and_after(augment, count):
    """The after picture is twice the before picture, so that every view shows whether both were treated alike."""
    before = 0.5 * picture(3, 40, 60)
    pair = vii.Pair(before, 2 * before)
    made = views(pair, augment, torch.Generator().manual_seed(4))
    assert len(made) == count
    assert made[0] is pair
    for view in made:
        assert torch.equal(view.after, 2 * view.before)
        height, width = view.before.shape[1:]
        assert LEAST * 40 - 0.5 <= height <= 40
        assert width / height == pytest.approx(1.5, rel=0.03)
    if count > 1:
        assert torch.equal(made[1].before, before.flip(2))
    again, other = (views(pair, augment, torch.Generator().manual_seed(seed)) for seed in (4, 5))
    assert all(torch.equal(one.before, two.before) for one, two in zip(made, again, strict=True))
    differ = [one.before.shape != two.before.shape for one, two in zip(made, other, strict=True)]
    assert any(differ) == (augment == "crop-flip")


def test_views_are_encoded_once_and_a_step_costs_the_same(tiny, monkeypatch):
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    encoded, original = [], tiny.encode
    monkeypatch.setattr(tiny, "encode", lambda image: encoded.append(image) or original(image))
    settings = InversionSettings(
        init="text", init_text="red", tokens=4, max_train_steps=3, batch_size=4, probe_size=2, probe_every=3
    )
    runs = {}
    for augment in ("none", "crop-flip"):
        encoded.clear()
        passed = []
        hook = tiny.parts.unet.register_forward_pre_hook(lambda _module, args, to=passed: to.append(len(args[0])))
        *_, last = vii.invert_steps(tiny, [pair], dataclasses.replace(settings, augment=augment))
        hook.remove()
        assert len(encoded) == 2 * (1 if augment == "none" else 2 + CROPS)
        assert last.best().training.get("augment", "none") == augment
        runs[augment] = passed
    assert runs["none"] == runs["crop-flip"]


def test_stacking_puts_encodings_of_one_size_side_by_side(toy):
    one, two = toy.encode(picture(1)), toy.encode(picture(2))
    assert torch.equal(stack([one, two, one]).pixels, torch.cat([one.pixels, two.pixels, one.pixels]))
    assert torch.equal(stack([one]).pixels, one.pixels)


def test_every_timestep_is_visited_once_and_keeps_its_noise(tiny):
    settings = dataclasses.replace(
        vii.load_recipe("visii"), init="text", init_text="red", probe_size=2, clip_weight=0.0
    )
    examples = Examples(tiny, [vii.Pair(picture(1, 32, 32), picture(2, 32, 32))])
    draws = list(examples.draws(settings, seed=3))
    visited = [int(batch.t.item() * tiny.num_timesteps) for batch in draws]
    assert sorted(visited) == list(range(1000))
    assert visited != sorted(visited)
    shape = examples.encoded[0][1].noise_shape
    for timestep, batch in zip(visited, draws, strict=True):
        assert torch.equal(batch.noise[0], torch.randn(shape, generator=banked_generator(3, timestep)))


def test_one_visii_step_is_the_authors_update_written_out(tiny, monkeypatch):
    """Guided loss, 4 MSE - 0.1 min(cos, 0.5) with the mean of all rows, one AdamW step, as in the authors' train.py."""

    class Joint:
        matrix = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))

        def image_features(self, images):
            return torch.stack([image.mean((1, 2)).repeat(2) for image in images])

        def project(self, rows):
            return rows.mean(0) @ self.matrix

    joint = Joint()
    tiny.parts.__dict__["joint"] = joint
    try:
        visii = vii.load_recipe("visii")
        settings = dataclasses.replace(visii, init="text", init_text="make it red", probe_size=2, probe_every=1)
        pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
        losses = itertools.count(9, -1)
        monkeypatch.setattr(Examples, "mean_loss", lambda *_args, **_options: float(next(losses)))  # each is the best
        batch = next(Examples(tiny, [pair]).draws(settings, seed=0))
        step = next(itertools.islice(vii.invert_steps(tiny, [pair], settings, seed=0), 1, None))
    finally:
        tiny.parts.__dict__["joint"] = None

    timestep = int(batch.t.item() * 1000)
    zx = tiny.parts.vae.encode(pair.before[None] * 2 - 1).latent_dist.mode()
    zy = 0.18215 * tiny.parts.vae.encode(pair.after[None] * 2 - 1).latent_dist.mode()
    alpha, noise = tiny.parts.levels.alpha_bar[timestep], torch.randn(zy.shape, generator=banked_generator(0, timestep))
    zt = alpha.sqrt() * zy + (1 - alpha).sqrt() * noise
    row0, null = tiny.instruct("make it red").rows, tiny.instruct("").rows
    eos = tiny.instruct("make it red").free[1]
    p = row0[1:eos].clone().requires_grad_(True)
    row = torch.cat([row0[:1], p, row0[eos:]])

    def unet(rows, condition):
        inputs = torch.cat([zt, condition], 1)
        return tiny.parts.unet(inputs, torch.tensor([timestep]), encoder_hidden_states=rows[None]).sample

    with torch.no_grad():
        e_i, e_u = unet(null, zx), unet(null, 0 * zx)
    mse = ((e_u + 7.5 * (unet(row, zx) - e_i) + 1.5 * (e_i - e_u) - noise) ** 2).mean()
    d = (pair.after.mean((1, 2)) - pair.before.mean((1, 2))).repeat(2)
    u = row.mean(0) @ Joint.matrix
    cos = (u @ d) / (u.norm() * d.norm())
    loss = 4 * mse - 0.1 * cos.clamp(-1, 0.5)
    loss.backward()
    torch.optim.AdamW([p], lr=1e-3, weight_decay=1e-2).step()

    assert step.mse == pytest.approx(mse.item(), rel=1e-4)
    assert step.clip == pytest.approx(min(cos.item(), 0.5), rel=1e-4)
    assert step.loss == pytest.approx(loss.item(), rel=1e-4)
    torch.testing.assert_close(step.best().tokens, p.detach(), atol=1e-5, rtol=1e-4)


def test_frozen_rows_never_change(tiny):
    settings = InversionSettings(
        init="text", init_text="make it red", tokens=3, max_train_steps=5, batch_size=2, probe_size=2, probe_every=1
    )
    *_, last = vii.invert_steps(tiny, [vii.Pair(picture(1, 32, 32), picture(2, 32, 32))], settings)
    edit, start = last.best(), tiny.instruct("make it red")
    rows = edit.instruction(start).rows
    assert torch.equal(rows[:1], start.rows[:1])
    assert torch.equal(rows[4:], start.rows[4:])
    assert edit.tokens.shape == (3, 32)


def test_visii_learns_the_words_between_bos_and_eos(tiny):
    settings = dataclasses.replace(
        vii.load_recipe("visii"),
        init="text",
        init_text="make it red",
        max_train_steps=2,
        probe_size=2,
        clip_weight=0.0,
        probe_every=1,
    )
    edit = vii.invert(tiny, [vii.Pair(picture(1, 32, 32), picture(2, 32, 32))], settings)
    start, stop = tiny.instruct("make it red").free
    assert (edit.start, len(edit.tokens)) == (start, stop - start)
    assert edit.settings["guidance_scale"] == 7.5
    assert edit.settings["image_guidance_scale"] == 1.5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tiny):
    pair = vii.Pair(picture(1, 32, 32), picture(2, 32, 32))
    settings = InversionSettings(
        init="text", init_text="red", tokens=4, max_train_steps=4, batch_size=2, probe_size=2, probe_every=1
    )
    first, second, other = (to_bytes(vii.invert(tiny, [pair], settings, seed=seed)) for seed in (5, 5, 6))
    assert first == second
    assert first != other


def test_the_probe_set_does_not_depend_on_the_seed(toy, toy_pair):
    steps = [next(vii.invert_steps(toy, [toy_pair], InversionSettings(**FAST), seed=seed)) for seed in (0, 1, 2)]
    losses = {step.best().training["loss_null"] for step in steps}
    assert len(losses) == 1


def test_explained_is_one_minus_the_ratio_of_probe_losses(toy, toy_pair):
    settings = InversionSettings(**{**FAST, "max_train_steps": 30, "probe_every": 10})
    steps = list(vii.invert_steps(toy, [toy_pair], settings))
    null_loss = steps[0].best().training["loss_null"]
    assert steps[0].explained == pytest.approx(0, abs=1e-6)  # init "none" is no instruction
    best = min(step.probe for step in steps if step.probe is not None)
    assert steps[-1].explained == pytest.approx(1 - best / null_loss, abs=1e-5)
    assert steps[-1].best().training["explained"] == pytest.approx(steps[-1].explained, abs=1e-4)
    assert [step.step for step in steps if step.probe is not None] == [0, 10, 20, 30]


def test_the_best_step_is_kept_and_not_the_last(toy, toy_pair):
    """A learning rate so high that the loss rises again: the kept tokens are those with the least probe loss."""
    settings = InversionSettings(
        **{**FAST, "max_train_steps": 40, "probe_every": 1, "learning_rate": 3.0, "lr_scheduler": "constant"}
    )
    steps = list(vii.invert_steps(toy, [toy_pair], settings))
    probes = [step.probe for step in steps]
    edit = steps[-1].best()
    assert edit.training["best_step"] == probes.index(min(probes))
    examples, learned = Examples(toy, [toy_pair]), edit.instruction(toy.instruct(""))
    assert examples.mean_loss(examples.probes(settings), learned) == pytest.approx(min(probes), rel=1e-5)


def test_early_stop(toy, toy_pair):
    settings = InversionSettings(
        **{**FAST, "max_train_steps": 1000, "probe_every": 5, "patience": 3, "min_improvement": 0.5}
    )
    *_, last = vii.invert_steps(toy, [toy_pair], settings)
    assert last.step < 1000
    assert last.step % 5 == 0


def test_interrupt_keeps_the_best_so_far(toy, toy_pair, monkeypatch):
    calls, original = itertools.count(), toy.loss

    def loss(*args, **options):
        if next(calls) == 60:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(toy, "loss", loss)
    edit = vii.invert(toy, [toy_pair], InversionSettings(**{**FAST, "max_train_steps": 1000, "probe_every": 5}))
    assert 0 < edit.training["steps"] < 1000
    assert edit.training["explained"] > 0


def test_samples_count_every_image_through_the_unet(tiny):
    passed = []
    hook = tiny.parts.unet.register_forward_pre_hook(lambda _module, args: passed.append(len(args[0])))
    settings = dataclasses.replace(
        vii.load_recipe("visii"),
        init="text",
        init_text="red",
        max_train_steps=4,
        batch_size=2,
        probe_size=3,
        probe_every=2,
        clip_weight=0.0,
    )
    try:
        *_, last = vii.invert_steps(tiny, [vii.Pair(picture(1, 32, 32), picture(2, 32, 32))], settings)
    finally:
        hook.remove()
    assert last.samples == sum(passed) == 3 * (4 * 2 + 3 * (1 + 1 + 2))


def test_learning_rate_rises_then_falls():
    settings = InversionSettings(max_train_steps=100, learning_rate=2.0, lr_warmup_steps=10, lr_scheduler="cosine")
    rates = [learning_rate_at(step, settings) for step in range(100)]
    assert rates[4] == pytest.approx(2.0 * 0.5 * (0.5 + 0.5 * math.cos(math.pi * 0.04)))
    assert rates[50] == pytest.approx(1.0)
    assert rates[99] < 0.002
    constant = dataclasses.replace(settings, lr_scheduler="constant", lr_warmup_steps=0)
    assert {learning_rate_at(step, constant) for step in range(100)} == {2.0}


def test_direction_is_the_normalised_mean_difference():
    before, after = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 3.0], [11.0, 3.0]])
    torch.testing.assert_close(edit_direction(before, after), torch.tensor([4.0, 3.0]) / 5)


def test_direction_term_gives_no_gradient_above_its_cap():
    direction = torch.tensor([1.0, 0.0])
    for angle, expected in ((0.2, 0.0), (1.4, 1.0)):  # cos 0.98 and 0.17 around a cap of 0.5
        projected = torch.tensor([math.cos(angle), math.sin(angle)], requires_grad=True)
        direction_term(projected, direction, 0.5).backward()
        assert (projected.grad.abs().sum() > 0) == bool(expected)
    assert direction_term(torch.tensor([-2.0, 0.0]), direction, 0.5).item() == pytest.approx(-1)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("init_text", "make it red"),
        ("init", "none"),
        ("tokens", 3),
        ("max_train_steps", 3),
        ("batch_size", 3),
        ("learning_rate", 0.01),
        ("lr_scheduler", "constant"),
        ("lr_warmup_steps", 0),
        ("weight_decay", 0.5),
        ("timesteps", "permutation"),
        ("timestep_density", 2.0),
        ("noise", "bank"),
        ("augment", "flip"),
        ("mse_weight", 0.01),
        ("clip_weight", 5.0),
        ("clip_cap", -0.9),
        ("guided_loss", True),
        ("guidance_scale", 3.0),
        ("image_guidance_scale", 2.0),
        ("probe_size", 3),
        ("probe_every", 4),
        ("patience", 1),
        ("min_improvement", 0.9),
        ("finish", "auto"),
        ("recipe", "mine"),
    ],
)
def test_every_setting_changes_the_edit_file(embedded, change, value):
    """A setting that no line reads would leave the bytes as they are."""
    base = {
        "init": "text",
        "init_text": "make it night",
        "tokens": 4,
        "max_train_steps": 5,
        "batch_size": 2,
        "probe_size": 2,
        "probe_every": 1,
        "finish": "none",
    }
    base |= {"clip_weight": 1.0, "clip_cap": 0.9, "lr_warmup_steps": 2, "patience": 1, "weight_decay": 0.01}
    base |= {"guidance_scale": 1.5, "image_guidance_scale": 1.2}
    base |= {"patience": 0} if change != "min_improvement" else {"min_improvement": 0.0}
    if change == "patience":
        base |= {"min_improvement": 0.9}
    pair = vii.Pair(picture(1, 64, 64), picture(1, 64, 64) * 0.4)
    reference = vii.invert(embedded, [pair], InversionSettings(**base))
    base |= {"init_text": ""} if change == "init" else {}
    changed = vii.invert(embedded, [pair], InversionSettings(**{**base, change: value}))
    assert to_bytes(reference) != to_bytes(changed)


def test_every_setting_is_covered_by_the_test_above():
    marks = test_every_setting_changes_the_edit_file.pytestmark
    tested = {change for change, _ in marks[0].args[1]} | {"init_candidates"}  # tested with retrieval, in test_clip.py
    tested |= {"captioner", "pez_tokens", "pez_steps", "pez_target"}  # tested in test_captions.py
    tested |= {"learn_pooled"}  # tested in test_kontext.py
    assert tested == {field.name for field in dataclasses.fields(InversionSettings)}


@pytest.mark.parametrize(
    "bad",
    [
        {"max_train_steps": 0},
        {"batch_size": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"tokens": -1},
        {"noise": "pink"},
        {"augment": "rotate"},
        {"timesteps": "random"},
        {"lr_scheduler": "linear"},
        {"clip_cap": 2.0},
        {"mse_weight": float("nan")},
        {"weight_decay": float("nan")},
        {"clip_weight": float("inf")},
        {"guidance_scale": 1e9},
        {"max_train_steps": 2.5},
        {"tokens": True},
        {"init": "make it red"},
        {"init": "pez", "init_text": "make it red"},
        {"init": "text", "init_text": "a\0b"},
    ],
)
def test_settings_that_cannot_run_are_refused(bad):
    with pytest.raises(UsageError):
        InversionSettings(**bad)


def test_bad_calls_are_refused_before_any_work(toy, toy_pair):
    with pytest.raises(UsageError, match="at least one"):
        vii.invert_steps(toy, [])
    with pytest.raises(UsageError, match="seed"):
        vii.invert_steps(toy, [toy_pair], seed=-1)
    with pytest.raises(UsageError, match="room for 1 to 6"):
        vii.invert_steps(toy, [toy_pair], InversionSettings(init="none", tokens=9))
    with pytest.raises(UsageError, match="7 words are too long"):
        vii.invert_steps(toy, [toy_pair], InversionSettings(init="text", init_text="a b c d e f g", tokens=2))
    with pytest.raises(UsageError, match="it is empty"):
        list(vii.invert_steps(toy, [toy_pair], InversionSettings(init="none", tokens=0)))


def test_arguments_are_checked_at_once_and_the_work_waits_for_the_first_step(toy, toy_pair, monkeypatch):
    encoded, original = [], toy.encode
    monkeypatch.setattr(toy, "encode", lambda image: encoded.append(1) or original(image))
    steps = vii.invert_steps(toy, [toy_pair], InversionSettings(**FAST))
    assert not encoded
    next(steps)
    assert len(encoded) == 2


@pytest.mark.parametrize(("pairs", "density"), [(39, 7.0), (1, 1000.0)])
def test_no_level_is_1(toy, toy_pair, pairs, density):
    """`1 - u^p` rounds to 1 in float32, and the timestep after the last one is an index out of bounds."""
    settings = InversionSettings(**{**FAST, "max_train_steps": 2, "probe_size": 39, "timestep_density": density})
    examples = Examples(toy, [toy_pair] * pairs)
    batches = [examples.probes(settings), *examples.draws(settings, seed=0)]
    t = torch.cat([batch.t for batch in batches])
    assert t.max() < 1
    assert (t * toy.num_timesteps).long().max() == toy.num_timesteps - 1
    *_, last = vii.invert_steps(toy, [toy_pair] * pairs, settings)
    assert last.step == 2


@pytest.mark.parametrize("text", ["caption", "none", "text", "retrieve"])
def test_any_text_can_be_learned_from(toy, toy_pair, text):
    settings = InversionSettings(**{**FAST, "init": "text", "init_text": text, "max_train_steps": 1})
    edit = vii.invert(toy, [toy_pair], settings)
    assert (edit.init_text, edit.training["init"]) == (text, "text")
