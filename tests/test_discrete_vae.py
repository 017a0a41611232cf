"""The discrete VAE: its relaxed choice against the equation, its shapes, and what reaches its encoder."""

import pytest
import torch

from vii.methods.discrete_vae import DiscreteVae, gumbel_softmax


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_relaxed_choice_is_its_equation(temperature):
    logits = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    found = gumbel_softmax(logits, temperature, torch.Generator().manual_seed(1))
    uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)).double()
    probability = logits.double().exp() / logits.double().exp().sum(1, keepdim=True)
    score = ((probability.log() - (-uniform.log()).log()) / temperature).exp()
    torch.testing.assert_close(found.double(), score / score.sum(1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_a_cold_choice_is_one_code_drawn_as_often_as_it_is_likely():
    probability = torch.tensor([0.6, 0.3, 0.1])
    logits = probability.log().view(1, 3, 1).expand(1, 3, 20_000)
    found = gumbel_softmax(logits, 1e-3, torch.Generator().manual_seed(0))[0]
    assert (found.max(0).values > 0.99).float().mean() > 0.99
    torch.testing.assert_close(found.mean(1), probability, atol=0.02, rtol=0)


@pytest.mark.parametrize("patch", [4, 8])
def test_shapes_and_codes(patch):
    torch.manual_seed(0)
    vae = DiscreteVae(20, patch, channels=8)
    pictures = torch.rand(2, 3, 32, 32)
    logits = vae.encoder(pictures)
    side = 32 // patch
    assert logits.shape == (2, 20, side, side)
    codes = vae.encode(pictures)
    assert codes.shape == (2, side**2)
    assert int(codes[1, side + 2]) == int(logits[1, :, 1, 2].argmax())  # row by row
    decoded = vae.decode(codes)
    assert decoded.shape == pictures.shape
    chosen = torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1)
    torch.testing.assert_close(decoded, vae.decoder(chosen).clamp(0, 1))


def test_gradients_of_the_error_reach_the_encoder():
    torch.manual_seed(0)
    vae = DiscreteVae(12, 4, channels=8)
    pictures = torch.rand(2, 3, 16, 16)
    chosen = gumbel_softmax(vae.encoder(pictures), 0.5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(chosen.sum(1), torch.ones(2, 4, 4))
    (vae.decoder(chosen) - pictures).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in vae.encoder.parameters() if parameter.ndim > 1)


def test_plain_pictures_are_told_apart_by_their_brightness():
    torch.manual_seed(0)
    vae = DiscreteVae(30, 4)
    dark, light = (vae.encoder(torch.full((1, 3, 16, 16), value)) for value in (0.2, 0.7))
    assert (dark - light).abs().max() > 0.05
