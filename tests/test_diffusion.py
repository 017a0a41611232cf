"""The shared formulas against diffusers' own schedulers and in float64."""

import diffusers
import pytest
import torch

from vii.diffusion import Noise, add_noise, guidance_weights, training_target
from vii.errors import EditorError

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("timestep", [0, 10, 500, 900, 999])
def test_add_noise_is_right_at_every_timestep_in_any_order(timestep):
    """Asked for after another timestep: the trap is a scheduler that keeps the sigma of the first one."""
    scheduler = diffusers.DDPMScheduler(**SCHEDULE)
    sample, noise = torch.randn(1, 4, 8, 8), torch.randn(2, 4, 8, 8)
    for t in (999, timestep):
        alpha_bar = scheduler.alphas_cumprod[torch.tensor([t, t])]
        ours = add_noise(sample, noise, alpha_bar)
    expected = scheduler.add_noise(sample.expand(2, -1, -1, -1), noise, torch.tensor([timestep, timestep]))
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha = torch.cumprod(1 - betas, 0)[timestep]
    by_hand = alpha.sqrt() * sample.double() + (1 - alpha).sqrt() * noise.double()
    torch.testing.assert_close(ours.double(), by_hand, atol=1e-5, rtol=1e-5)


def test_add_noise_equals_what_euler_ancestral_would_feed_its_unet():
    """The authors noise with Euler's sigmas and rescale: the same picture as the DDPM formula."""
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**SCHEDULE)
    sample, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    for t in (10, 500, 900):
        alpha_bar = scheduler.alphas_cumprod[[t]]
        sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
        torch.testing.assert_close(
            add_noise(sample, noise, alpha_bar), (sample + sigma * noise) / (sigma**2 + 1).sqrt(), atol=1e-5, rtol=1e-5
        )


def test_targets():
    scheduler = diffusers.DDPMScheduler(**SCHEDULE)
    sample, noise, t = torch.randn(1, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([3, 500, 990])
    alpha_bar = scheduler.alphas_cumprod[t]
    velocity = scheduler.get_velocity(sample.expand(3, -1, -1, -1), noise, t)
    torch.testing.assert_close(training_target("v_prediction", sample, noise, alpha_bar), velocity)
    assert torch.equal(training_target("epsilon", sample, noise, alpha_bar), noise)
    assert torch.equal(training_target("sample", sample, noise, alpha_bar), sample.expand(3, -1, -1, -1))
    with pytest.raises(EditorError, match="epsilon, v_prediction, sample"):
        training_target("flow", sample, noise, alpha_bar)


@pytest.mark.parametrize("weights", [[1.0], [0.3, -2.0], []])
def test_guidance_weights_are_the_formula(weights):
    e_u, e_i, *rest = torch.randn(2 + len(weights), 5, dtype=torch.float64)
    s_t, s_i = 7.5, 1.5
    expected = e_u + s_i * (e_i - e_u) + s_t * sum(w * (e - e_i) for w, e in zip(weights, rest, strict=True))
    c_u, c_i, c = guidance_weights(s_t, s_i, weights)
    torch.testing.assert_close(c_u * e_u + c_i * e_i + sum(w * e for w, e in zip(c, rest, strict=True)), expected)
    assert c_u + c_i + sum(c) == pytest.approx(1)


def test_guidance_of_one_leaves_the_instruction_alone():
    assert guidance_weights(1.0, 1.0, [1.0]) == (0.0, 0.0, [1.0])


def test_sequential_noise_is_one_generator():
    noise = Noise(3)
    for _ in range(2):  # a run more begins anew
        generators, generator = noise.generators(), torch.Generator().manual_seed(3)
        for timestep in (999, 3, 999):
            ours = torch.randn(2, 2, generator=generators(timestep))
            assert torch.equal(ours, torch.randn(2, 2, generator=generator))


def test_banked_noise_belongs_to_its_timestep():
    def drawn(timestep, seed=3, shape=(4, 8, 8)):
        return torch.randn(*shape, generator=Noise(seed, bank=True).generators()(timestep))

    first = drawn(10)
    bank = Noise(3, bank=True).generators()
    torch.randn(4, 8, 8, generator=bank(11))
    assert torch.equal(first, torch.randn(4, 8, 8, generator=bank(10)))
    assert not torch.equal(first, drawn(11))
    assert not torch.equal(first, drawn(10, seed=4))
    many = torch.stack([drawn(t, shape=(64,)) for t in range(300)])
    assert many.mean().abs() < 0.03
    assert many.std() == pytest.approx(1, abs=0.03)
    assert torch.corrcoef(many)[~torch.eye(300, dtype=bool)].abs().mean() < 0.15
