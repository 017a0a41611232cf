"""The authors' checkpoints, in the layout of their code, give what their networks give."""

import argparse
import fractions
import json

import pytest
import torch
from conftest import picture
from published import MaskedAutoencoder, Vqgan

from vii.errors import EditorError
from vii.methods.masked_codes import MEAN, STD, decode_codes, encode_codes, masking, read_prompting
from vii.methods.published_codes import mae_from_published, read_published, save_published, vq_from_published


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return MaskedAutoencoder().eval(), Vqgan().eval()


@pytest.fixture(scope="module")
def parts(networks, tmp_path_factory):
    mae, vq = networks
    folder = tmp_path_factory.mktemp("published")
    inside = {f"vae.{name}": value for name, value in vq.state_dict().items()}  # as they save it
    lost = {"loss.discriminator.main.0.weight": torch.zeros(1)}
    save_published({**mae.state_dict(), **inside}, {**vq.state_dict(), **lost}, folder, heads=4, decoder_heads=4)
    return read_prompting(str(folder), torch.device("cpu"))


@torch.no_grad()
def test_the_masked_autoencoder_is_the_authors(networks, parts):
    pictures = torch.stack([picture(1), picture(2)])
    masked = torch.zeros(16, dtype=torch.bool)
    masked[[3, 7, 10, 11, 15]] = True
    normal = (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with masking(parts.mae, 5):
        logits, mask = parts.mae(pictures, noise=masked.float()[None].expand(2, -1))
    torch.testing.assert_close(logits, networks[0](normal, masked), atol=1e-4, rtol=1e-4)
    assert torch.equal(mask.bool(), masked[None].expand(2, -1))


@torch.no_grad()
def test_the_vqgan_is_the_authors(networks, parts):
    pictures = torch.stack([picture(3), picture(4)])
    codes = encode_codes(parts.vq, pictures)
    assert torch.equal(codes, networks[1].codes(pictures * 2 - 1))
    drawn = torch.randint(24, (2, 16))
    expected = (networks[1].pictures(drawn, 4) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decode_codes(parts.vq, drawn), expected, atol=1e-4, rtol=1e-4)


def test_the_published_sizes_are_read_off_the_weights(networks):
    config, _ = mae_from_published(networks[0].state_dict())
    assert {name: config[name] for name in ("image_size", "patch_size", "num_codes", "hidden_size")} == {
        "image_size": 64,
        "patch_size": 16,
        "num_codes": 24,
        "hidden_size": 32,
    }
    vq = vq_from_published(networks[1].state_dict())
    assert tuple(vq.config.block_out_channels) == (32, 32, 32, 32, 64)
    assert vq.config.down_block_types[-1] == "AttnDownEncoderBlock2D"


def test_what_is_no_such_checkpoint(networks, tmp_path):
    with pytest.raises(EditorError, match="no checkpoint of visual prompting's masked autoencoder"):
        mae_from_published(networks[1].state_dict())
    with pytest.raises(EditorError, match="no checkpoint of a VQGAN"):
        vq_from_published(networks[0].state_dict())
    smaller = {**networks[1].state_dict(), "conv": torch.zeros(1)}
    with pytest.raises(EditorError, match="no checkpoint of a VQGAN"):
        vq_from_published(smaller)
    path = tmp_path / "x.pth"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=1), "epoch": 3}, path)
    assert read_published(path)["a"].tolist() == [1, 1]
    torch.save({"model": fractions.Fraction(1, 2)}, path)
    with pytest.raises(EditorError, match="no checkpoint of weights alone"):
        read_published(path)
    path.write_bytes(b"nothing")
    with pytest.raises(EditorError, match="no checkpoint of weights alone"):
        read_published(path)


def test_parts_that_do_not_fit_together(networks, tmp_path):
    save_published(networks[0].state_dict(), Vqgan(codes=9).state_dict(), tmp_path, heads=4, decoder_heads=4)
    with pytest.raises(EditorError, match="predicts 24 codes of patches of 16 pixels, and vq/ has 9 of 16"):
        read_prompting(str(tmp_path), torch.device("cpu"))
    with pytest.raises(EditorError, match="expected a folder with mae/ and vq/"):
        read_prompting(str(tmp_path / "mae"), torch.device("cpu"))
    config = json.loads((tmp_path / "mae/config.json").read_text())
    (tmp_path / "mae/config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(EditorError, match="not a complete visual prompting model"):
        read_prompting(str(tmp_path), torch.device("cpu"))
