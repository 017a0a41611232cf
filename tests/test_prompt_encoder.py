"""ImageBrush's visual prompt encoder: boxes by the formula, which token is which, the size of the paper's."""

import math

import pytest
import torch
from conftest import picture
from torch.nn import functional as F

from vii.libraries import load_weights
from vii.methods.prompt_encoder import WHOLE, VisualPromptEncoder, image_tokens
from vii.preprocessing import Preprocessing

SIZES = {"feature_width": 12, "width": 16, "layers": 2, "heads": 4, "expansion": 2, "frequencies": 3}
BOXES = torch.tensor([[[[0.1, 0.2, 0.7, 0.9], [0.0, 0.0, 1.0, 0.5]], [list(WHOLE), [0.3, 0.3, 0.4, 0.4]]]])


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    made = VisualPromptEncoder(**SIZES).eval()
    torch.nn.init.normal_(made.kinds)
    return made


def tokens(seed, *shape):
    return torch.randn(*shape, 12, generator=torch.Generator().manual_seed(seed))


INPUTS = tokens(1, 1, 2, 5), tokens(2, 1, 2, 5), tokens(3, 1, 5)


def read_by_the_transformer(encoder, *inputs):
    seen = []
    hook = encoder.transformer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        made = encoder(*inputs)
    hook.remove()
    return seen[0], made


def fourier(box, frequencies):
    """Section 3.2, eq. 7, as in GLIGEN (Li et al. 2023): sines, then cosines, of each of its frequencies."""
    return [
        wave(100 ** (k / frequencies) * edge)
        for k in range(frequencies)
        for wave in (math.sin, math.cos)
        for edge in box
    ]


def test_boxes_are_their_fourier_features_through_a_perceptron(encoder):
    read, _ = read_by_the_transformer(encoder, *INPUTS, BOXES)
    first, _, second = encoder.box.double()
    kinds = encoder.kinds.double()
    for index, (example, after) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        features = torch.tensor(fourier(BOXES[0, example, after].tolist(), 3), dtype=torch.float64)
        hidden = first.weight @ features + first.bias
        expected = second.weight @ (hidden / (1 + (-hidden).exp())) + second.bias + kinds[after]
        torch.testing.assert_close(read[0, 25 + index].double(), expected, atol=2e-5, rtol=0)


def test_image_tokens_are_told_apart_by_kind_and_come_first(encoder):
    before, after, photo = INPUTS
    read, made = read_by_the_transformer(encoder, *INPUTS, BOXES)
    norm, linear = encoder.project
    rows = torch.cat([before[0].flatten(0, 1), after[0].flatten(0, 1), photo[0]]).double()
    normal = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, keepdim=True, unbiased=False) + norm.eps).sqrt()
    kinds = encoder.kinds.double().repeat_interleave(torch.tensor([10, 10, 5]), 0)
    expected = normal @ linear.weight.double().T + linear.bias.double() + kinds
    torch.testing.assert_close(read[0, :25].double(), expected, atol=1e-5, rtol=0)
    assert made.shape == (1, 29, 16)


def test_every_token_hears_of_every_other(encoder):
    def made(boxes, photo):
        return read_by_the_transformer(encoder, *INPUTS[:2], photo, boxes)[1][0]

    plain, moved = made(BOXES, INPUTS[2]), BOXES.clone()
    moved[0, 1, 1, 0] = 0.35
    assert ((made(moved, INPUTS[2]) - plain).abs().amax(1) > 1e-6).all()
    assert ((made(BOXES, INPUTS[2] + tokens(4, 1, 5)) - plain).abs().amax(1) > 1e-4).all()


def test_image_tokens_are_means_over_squares_and_the_class_token_stays():
    states = torch.randn(2, 17, 6)

    def tower(pixel_values):
        seen.append(pixel_values)
        return type("Output", (), {"last_hidden_state": states})

    seen, preprocess = [], Preprocessing(32)
    pictures = torch.stack([picture(1, 24, 24), picture(2, 24, 24)])
    found = image_tokens(tower, preprocess, pictures, pool=2)
    assert torch.equal(seen[0], torch.stack([preprocess(one) for one in pictures]))
    assert found.shape == (2, 5, 6)
    assert torch.equal(found[:, 0], states[:, 0])
    patches = states[:, 1:].view(2, 4, 4, 6)
    torch.testing.assert_close(found[:, 2], patches[:, :2, 2:].mean((1, 2)))  # top right
    assert torch.equal(image_tokens(tower, preprocess, pictures, pool=1), states)


def test_it_is_kept_in_stock_files(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    again = load_weights(VisualPromptEncoder, tmp_path).eval()
    assert {name: again.config[name] for name in SIZES} == SIZES
    with torch.no_grad():
        assert torch.equal(again(*INPUTS, BOXES), encoder(*INPUTS, BOXES))


def test_the_size_of_the_papers():
    """Section 4.1: five layers, 768 wide; EVA-02's large model has tokens of 1024."""
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in VisualPromptEncoder().parameters())
    w, feature, waves = 768, 1024, 64
    layer = 4 * (w * w + w) + (w * 4 * w + 4 * w) + (4 * w * w + w) + 2 * 2 * w
    box = waves * w + w + w * w + w
    assert found == 5 * layer + 2 * w + 2 * feature + feature * w + w + box + 3 * w


def test_an_activation_of_the_transformer_is_gelu_before_a_residual(encoder):
    """One layer written out: pre-norm, softmax over all tokens, no mask."""
    layer = encoder.transformer.layers[0].double()
    x = torch.randn(1, 7, 16, dtype=torch.float64)

    def norm(values, by):
        return F.layer_norm(values, (16,)) * by.weight + by.bias

    def attention(values):
        q, k, v = (values @ part.T + bias for part, bias in zip(
            layer.self_attn.in_proj_weight.chunk(3), layer.self_attn.in_proj_bias.chunk(3), strict=True
        ))  # fmt: skip
        heads = [
            ((q[..., i : i + 4] @ k[..., i : i + 4].mT) / 2).softmax(-1) @ v[..., i : i + 4] for i in range(0, 16, 4)
        ]
        return torch.cat(heads, -1) @ layer.self_attn.out_proj.weight.T + layer.self_attn.out_proj.bias

    middle = x + attention(norm(x, layer.norm1))
    hidden = norm(middle, layer.norm2) @ layer.linear1.weight.T + layer.linear1.bias
    bent = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    with torch.no_grad():
        torch.testing.assert_close(layer(x), middle + bent @ layer.linear2.weight.T + layer.linear2.bias)
