"""Visual prompting: 49 patches of 196 are masked and made in one pass, and nothing else is touched."""

import shutil

import pytest
import torch
from conftest import picture, saved
from published import MaskedAutoencoder, Vqgan
from test_cli import run
from test_methods import transfer

import vii
from vii.errors import EditorError, UsageError
from vii.methods import load_method
from vii.methods.masked_codes import code_loss, decode_codes, masking
from vii.methods.published_codes import save_published
from vii.methods.visual_prompting import PromptingSettings, load_visual_prompting

PAIR, PHOTO = vii.Pair(picture(1), 1 - picture(1)), picture(2, 60, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the published size, 224 pixels in patches of 16, but for its widths."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("prompting")
    vq = Vqgan()
    with torch.no_grad():  # else every code decodes to nearly the same
        vq.decoder.conv_out.weight.mul_(20)
    save_published(MaskedAutoencoder(224).state_dict(), vq.state_dict(), path, heads=4, decoder_heads=4)
    return path


@pytest.fixture(scope="module")
def method(folder):
    return load_visual_prompting(model=str(folder), device="cpu", size="cell")


def test_147_patches_are_seen_and_49_masked(method):
    hidden = method.hidden(method.grid(1))
    rows, columns = torch.arange(14).view(-1, 1), torch.arange(14)
    assert torch.equal(hidden, (rows >= 7) & (columns >= 7))
    with masking(method.parts.mae, int(hidden.sum())):
        _, mask = method.parts.mae(picture(3, 224, 224)[None], noise=hidden.flatten()[None].float())
    assert int(mask.sum()) == 49
    assert torch.equal(mask[0].view(14, 14).bool(), hidden)
    assert method.parts.mae.config.mask_ratio == 0.75  # as in training, afterwards


@pytest.mark.parametrize("count", range(1, 196, 13))
def test_any_number_of_patches_can_be_masked(method, count):
    with masking(method.parts.mae, count):
        assert int(method.parts.mae(picture(3, 224, 224)[None])[1].sum()) == count


def test_the_answer_is_the_decoded_argmax_of_one_pass_and_the_rest_is_untouched(method):
    grid = method.grid(1)
    drawn = grid.draw([PAIR], PHOTO)
    canvas = method.canvas([PAIR], PHOTO)
    with torch.no_grad(), masking(method.parts.mae, 49):
        logits, _ = method.parts.mae(drawn[None], noise=method.hidden(grid).flatten()[None].float())
        expected = decode_codes(method.parts.vq, logits.argmax(-1))[0]
    assert torch.equal(canvas[:, 112:, 112:], expected[:, 112:, 112:])
    assert torch.equal(canvas[:, :112], drawn[:, :112])
    assert torch.equal(canvas[:, :, :112], drawn[:, :, :112])
    assert torch.equal(method([PAIR], PHOTO, seed=1), canvas[:, 113:, 113:])


def test_the_mean_of_the_codes_is_decoded_where_that_is_asked_for(method, folder):
    logits = torch.randn(1, 49, 8)
    codes = torch.randn(8, 5)
    sure = torch.nn.functional.one_hot(logits.argmax(-1), 8) * 1e4
    assert torch.equal(sure.softmax(-1) @ codes, codes[logits.argmax(-1)])  # one and the same where a model is sure
    grid = method.grid(1)
    drawn = grid.draw([PAIR], PHOTO)
    asked = load_visual_prompting(model=str(folder), device="cpu", settings=["mean_codes=true"], size="cell")
    with torch.no_grad(), masking(method.parts.mae, 49):
        logits, _ = method.parts.mae(drawn[None], noise=method.hidden(grid).flatten()[None].float())
        weights = (logits - logits.amax(-1, keepdim=True)).exp()
        weights = weights / weights.sum(-1, keepdim=True)
        mean = sum(weights[..., [k]] * code for k, code in enumerate(method.parts.vq.quantize.embedding.weight))
        expected = method.parts.vq.decode(mean.mT.unflatten(2, (14, 14)), force_not_quantize=True).sample[0]
    found = asked.canvas([PAIR], PHOTO)[:, 112:, 112:]
    torch.testing.assert_close(found, (expected / 2 + 0.5).clamp(0, 1)[:, 112:, 112:], atol=1e-4, rtol=0)
    assert (found - method.canvas([PAIR], PHOTO)[:, 112:, 112:]).abs().max() > 0.01


def test_pairs_apart_are_the_mean_of_their_answers(method, folder):
    other = vii.Pair(picture(3), picture(4))
    asked = load_visual_prompting(model=str(folder), device="cpu", settings=["apart=true"], size="cell")
    assert torch.equal(asked([PAIR], PHOTO), method([PAIR], PHOTO))
    expected = (method([PAIR], PHOTO) + method([other], PHOTO)) / 2
    torch.testing.assert_close(asked([PAIR, other], PHOTO), expected)
    assert asked([PAIR, other], PHOTO).shape == (3, 111, 111)  # as large as with one


def test_a_model_may_name_settings_of_its_own(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "vii.json").write_text('{"settings": {"mean_codes": true, "background": 0}}')
    settings = load_visual_prompting(model=str(own), device="cpu", settings=["background=0.5"]).settings
    assert settings == PromptingSettings(mean_codes=True, background=0.5)
    (own / "vii.json").write_text('{"settings": {"shadow": 1}}')
    with pytest.raises(EditorError, match=r"vii.json: .*shadow"):
        load_visual_prompting(model=str(own), device="cpu")


def test_the_answer_cell_is_not_looked_at(method):
    grid = method.grid(1)
    one, other = (grid.draw([PAIR], PHOTO, answer)[None] for answer in (picture(5), picture(6)))
    noise = method.hidden(grid).flatten()[None].float()
    with torch.no_grad(), masking(method.parts.mae, 49):
        assert torch.equal(method.parts.mae(one, noise=noise)[0], method.parts.mae(other, noise=noise)[0])


def test_three_rows_flips_and_sizes(method, folder):
    two = method([PAIR, vii.Pair(picture(3), picture(4))], PHOTO)
    assert two.shape == (3, 74, 74)
    whole = load_visual_prompting(model=str(folder), device="cpu")([PAIR], PHOTO)
    assert whole.shape == PHOTO.shape
    plain = load_visual_prompting(model=str(folder), device="cpu", settings=["detail=false"])([PAIR], PHOTO)
    torch.testing.assert_close(plain, vii.images.resize(method([PAIR], PHOTO), *PHOTO.shape[1:]))
    flipped = load_visual_prompting(model=str(folder), device="cpu", settings=["flips=true"], size="cell")
    made = []
    for axes in ((), (2,), (1,)):
        pair = vii.Pair(PAIR.before.flip(axes), PAIR.after.flip(axes))
        made.append(method([pair], PHOTO.flip(axes)).flip(axes))
    torch.testing.assert_close(flipped([PAIR], PHOTO), torch.stack(made).mean(0))
    black = load_visual_prompting(model=str(folder), device="cpu", settings=["background=0"])
    assert not black.canvas([PAIR], PHOTO)[:, 111:113, :112].any()


def test_the_loss_is_the_mean_cross_entropy_of_masked_patches():
    logits = torch.randn(2, 5, 7, dtype=torch.float64)
    codes = torch.randint(7, (2, 5))
    mask = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 1, 1]], dtype=torch.float64)
    terms = [
        -float(logits[b, n].exp()[codes[b, n]].log() - logits[b, n].exp().sum().log())
        for b in range(2)
        for n in range(5)
        if mask[b, n]
    ]
    assert float(code_loss(logits, codes, mask)) == pytest.approx(sum(terms) / 4)


@pytest.mark.usefixtures("shipped")
def test_the_command_and_what_it_refuses(folder, tmp_path):
    paths = saved(tmp_path, before=PAIR.before, after=PAIR.after, photo=PHOTO)
    common = [*paths, "-o", tmp_path / "out.png", "--method", "visual-prompting"]
    transfer(*common, "--model", folder)
    for extra, message in (
        ([], "needs weights; name a folder or a hub id with --model"),
        (["--model", tmp_path], "expected a folder with mae/ and vq/"),
        (["--model", folder, "--text", "red"], "--text: the method 'visual-prompting' does not take it"),
        (["--model", folder, "--set", "flips=maybe"], "flips must be of type bool"),
    ):
        assert message in transfer(*common, "--overwrite", *extra, code=1)
    with pytest.raises(UsageError, match="at least one"):
        load_method("visual-prompting", model=str(folder), device="cpu")([], PHOTO)
    assert PromptingSettings().background == 1


def test_a_small_model_that_ships_needs_not_be_named(folder, tmp_path, shipped):
    from vii.evaluation.methods import methods_for

    shutil.copytree(folder, shipped / "visual-prompting")
    paths = saved(tmp_path, before=PAIR.before, after=PAIR.after, photo=PHOTO)
    common = [*paths, "--method", "visual-prompting", "--device", "cpu"]
    for name, options in (("named", ["--model", folder]), ("own", []), ("embedded", ["--model", "embedded"])):
        transfer(*common, "-o", tmp_path / f"{name}.png", *options)
    named = vii.load_image(tmp_path / "named.png")
    assert torch.equal(vii.load_image(tmp_path / "own.png"), named)
    assert torch.equal(vii.load_image(tmp_path / "embedded.png"), named)
    listed = run("methods")[0]
    assert "needs: pairs; a small model ships, --model names others" in listed
    assert "needs: pairs, weights (--model)" in listed  # of the methods of which none ships
    row = methods_for(methods=["visual-prompting"])[-1]
    assert row.options == {"model": "embedded"}  # where it lies on this machine is in no report
    first = row.learning()
    (shipped / "visual-prompting/mae/config.json").touch()
    assert row.learning() != first
    assert row.prepare(None, "", [PAIR], 0).transfer([PAIR], PHOTO).shape == PHOTO.shape
    with pytest.raises(UsageError, match="no model ships with vii for the method 'analogist'"):
        load_method("analogist", model="embedded")
    told = transfer(*paths, "-o", tmp_path / "x.png", "--method", "analogist", "--model", "embedded", code=1)
    assert "no model ships with vii for the method 'analogist'; name a folder or a hub id" in told
