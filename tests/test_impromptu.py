"""Im-Promptu as a method, its training in miniature, and its tables."""

import dataclasses
import shutil

import pytest
import torch
from click.testing import CliRunner
from conftest import picture, saved
from safetensors.torch import load_file
from test_methods import transfer

import vii
from recipes.embedded_model.config import load
from recipes.in_context import __main__ as recipe
from recipes.in_context import analogies, impromptu, scenes
from recipes.in_context.config import Config, DiscreteVae, ImPromptu, Places
from vii.errors import UsageError
from vii.images import resize
from vii.methods import load_method
from vii.methods.agents import AGENTS, AgentConfig, build
from vii.methods.full_size import at_full_size
from vii.methods.impromptu import load_impromptu

SHAPE = AgentConfig(codes=16, channels=8, width=16, heads=2, context_blocks=1, decoder_blocks=1, slots=3)
TINY = Config(
    impromptu=ImPromptu(shape=SHAPE, vae=DiscreteVae(samples=24, batch=8), samples=12, batch=4),
)
PAIR, PHOTO = vii.Pair(picture(1), 1 - picture(1)), picture(2, 60, 40)


def places(output):
    return Places(output, output, output, output)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """All three agents, hardly trained."""
    output = tmp_path_factory.mktemp("impromptu")
    for name in ("impromptu", "impromptu-patch", "impromptu-monolithic"):
        recipe.METHODS[name](TINY, places(output))
    return [output / name for name in ("impromptu", "impromptu-patch", "impromptu-monolithic")]


def test_the_method_shows_the_agent_squeezed_pictures(folders):
    method = load_impromptu(model=str(folders[0]), device="cpu", size="cell")
    made = method([PAIR, PAIR], PHOTO, seed=5)
    assert made.shape == (3, 48, 48)
    shown = torch.stack([resize(one, 48, 48) for one in (PAIR.before, PAIR.after)])
    support, query = torch.stack([shown, shown])[None], resize(PHOTO, 48, 48)[None]
    expected = method.agent.answer(support, query, torch.Generator().manual_seed(5))[0]
    torch.testing.assert_close(made, expected)
    whole = load_method("impromptu", model=str(folders[0]), device="cpu")([PAIR, PAIR], PHOTO, seed=5)
    assert torch.equal(whole, at_full_size(PHOTO, made))


@pytest.mark.usefixtures("shipped")
def test_the_command_and_what_it_refuses(folders, tmp_path):
    paths = saved(tmp_path, before=PAIR.before, after=PAIR.after, photo=PHOTO)
    common = [*paths, "-o", tmp_path / "out.png", "--method", "impromptu"]
    for folder in folders:
        transfer(*common, "--overwrite", "--model", folder)
        assert vii.load_image(tmp_path / "out.png").shape == PHOTO.shape
    more = [arg for _ in range(2) for arg in ("--pair", *paths[:2])]
    for extra, message in (
        ([], "needs weights; name a folder or a hub id with --model"),
        (["--model", tmp_path], "expected a folder with config.json and model.safetensors"),
        (["--model", folders[0], "--text", "red"], "--text: the method 'impromptu' does not take it"),
        (["--model", folders[0], *more], "expected from one to 2 before/after pairs, got 3"),
    ):
        assert message in transfer(*common, "--overwrite", *extra, code=1)
    with pytest.raises(UsageError, match="from one to 2"):
        load_method("impromptu", model=str(folders[1]), device="cpu")([], PHOTO)


# The recipe


def test_a_run_tells_how_it_goes_and_is_not_repeated(folders, capsys):
    output = folders[0].parent
    files = {folder: (folder / "model.safetensors").read_bytes() for folder in folders}
    capsys.readouterr()
    for folder in folders:
        recipe.METHODS[folder.name](TINY, places(output))
        assert (folder / "model.safetensors").read_bytes() == files[folder]
    assert "steps/s" not in capsys.readouterr().out
    told = impromptu.report(load_impromptu(model=str(folders[2]), device="cpu").agent, torch.device("cpu"))
    assert told.startswith("errors a picture: primitive ")
    assert "unseen objects" in told
    assert "no edit" in told


def test_agents_differ_as_in_the_paper():
    shapes = {name: impromptu.shape_of(name, Config()) for name in AGENTS}
    assert shapes["patch"].patch == 2 * shapes["object-centric"].patch
    assert [shape.agent for shape in shapes.values()] == list(AGENTS)


def test_the_loss_is_the_mean_cross_entropy_of_the_answers_codes():
    torch.manual_seed(0)
    agent = build(dataclasses.replace(SHAPE, agent="patch", side=16))
    drawn = scenes.KINDS["color"].draw(2, 1, torch.Generator().manual_seed(0))
    support, query = (resize_all(one) for one in drawn.pictures(48))
    loss, right = impromptu.token_loss(agent, support, query, torch.Generator()).values()
    with torch.no_grad():
        codes = agent.vae.encode(query[:, 1])
        shown = [agent.embed(agent.vae.encode(one))[:, 1:] for one in (support[:, 0, 0], support[:, 0, 1], query[:, 0])]
        prompt = agent.prompt(torch.stack(shown[:2], 1)[:, None], shown[2])
        probability = agent.logits(agent.embed(codes[:, :-1]), prompt).double().softmax(-1)
    own = [-float(probability[b, n, codes[b, n]].log()) for b in range(2) for n in range(16)]
    assert float(loss.detach()) == pytest.approx(sum(own) / 32, abs=0.03)  # in bfloat16
    assert float(right) == pytest.approx(float((probability.argmax(-1) == codes).double().mean()), abs=0.1)


def resize_all(pictures):
    flat = torch.nn.functional.interpolate(pictures.flatten(0, -4), (16, 16), mode="area")
    return flat.unflatten(0, pictures.shape[:-3])


def test_the_answer_is_not_shown_to_the_agent():
    torch.manual_seed(0)
    agent = build(SHAPE)
    seen = []
    agent.represent = lambda embedded, generator: seen.append(embedded) or embedded[:, 1:4]
    support, query = scenes.KINDS["shape"].draw(2, 2, torch.Generator().manual_seed(0)).pictures(48)
    impromptu.token_loss(agent, support, query, torch.Generator())
    expected = torch.cat([support.flatten(1, 2), query[:, :1]], 1).flatten(0, 1)
    assert torch.equal(seen[0], agent.embed(agent.vae.encode(expected)))


def test_codes_that_are_left_out_change_nothing_but_what_is_told():
    torch.manual_seed(0)
    agent = build(dataclasses.replace(SHAPE, agent="patch", side=16))
    drawn = scenes.KINDS["color"].draw(2, 1, torch.Generator().manual_seed(0))
    support, query = (resize_all(one) for one in drawn.pictures(48))
    told, logits = [], agent.logits
    agent.logits = lambda embedded, prompt: told.append(embedded) or logits(embedded, prompt)
    impromptu.token_loss(agent, support, query, torch.Generator().manual_seed(3), untold=1.0)
    codes = agent.vae.encode(query[:, 1])
    blank = impromptu.left_out(codes[:, :-1], 1.0, torch.Generator().manual_seed(3))
    assert 0 < int(blank.sum()) < blank.numel()
    for b, n in torch.cartesian_prod(torch.arange(2), torch.arange(15)).tolist():
        code = agent.dictionary.weight[0 if blank[b, n] else codes[b, n] + 1]
        torch.testing.assert_close(told[0][b, n + 1], code + agent.positions[n + 1])
    assert torch.equal(told[0][:, 0], (agent.dictionary.weight[0] + agent.positions[0]).expand(2, -1))


def test_so_many_rows_lose_any_share_of_their_codes():
    codes = torch.zeros(4000, 30, dtype=torch.long)
    lost = impromptu.left_out(codes, 0.5, torch.Generator().manual_seed(0)).double().mean(1)
    assert float((lost > 0).double().mean()) == pytest.approx(0.5 * 30 / 31, abs=0.03)
    assert float(lost[lost > 0].mean()) == pytest.approx(0.5 * 31 / 30, abs=0.03)
    assert not impromptu.left_out(codes, 0.0, torch.Generator()).any()


def test_slots_share_a_picture_out_between_them():
    """Weights of all slots at a place add up to one, and their order does not matter: written out in float64."""
    torch.manual_seed(0)
    mixture = impromptu.Mixture(dataclasses.replace(SHAPE, side=16)).double()
    slots = torch.randn(2, 3, 16, dtype=torch.float64)
    made = mixture(slots)
    said = mixture.tell(slots[1, :, None] + mixture.positions[5])[:, 0]
    shares = said[:, -1].exp() / said[:, -1].exp().sum()
    expected = mixture.out.weight @ (shares[:, None] * said[:, :-1]).sum(0) + mixture.out.bias
    torch.testing.assert_close(made[1, 5], expected)
    torch.testing.assert_close(mixture(slots.flip(1)), made)


def test_only_slots_have_a_mixture_and_it_is_not_kept(folders):
    output = folders[0].parent
    kept = torch.load(output / "object-centric.pt", weights_only=True)["networks"]
    assert any(name.startswith("1.tell") for name in kept)
    assert not any(name.startswith("1.") for name in torch.load(output / "patch.pt", weights_only=True)["networks"])
    assert not any("tell" in name for name in load_file(folders[0] / "model.safetensors"))


def test_photos_are_asked_for_only_where_they_are_looked_at(tmp_path):
    assert load(recipe.HERE / "gpu.toml", Config()).impromptu.minutes > 0
    failed = CliRunner().invoke(recipe.main, ["analogist", "-o", str(tmp_path)])
    assert failed.exit_code == 1
    assert "analogist is trained on photos; name a folder of them with --photos" in failed.stderr


# The tables


def test_the_right_answer_is_perfect_and_pixel_delta_is_its_formula():
    kind = scenes.KINDS["color"]
    support, query = kind.draw(3, 1, torch.Generator().manual_seed(0)).pictures(48)
    found = analogies.measure(load_method("pixel-delta"), 3)
    delta = (query[:, 0] + support[:, 0, 1] - support[:, 0, 0]).clamp(0, 1)
    expected = ((delta - query[:, 1]) ** 2).sum() / 3
    assert found["color"][0] == pytest.approx(float(expected), rel=1e-4)
    truths = iter(
        [
            one
            for k in scenes.KINDS.values()
            for one in k.draw(2, 1, torch.Generator().manual_seed(0)).pictures()[1][:, 1]
        ]
    )
    best = analogies.measure(lambda pairs, photo: next(truths), 2)
    assert all(error == 0 and alike == pytest.approx(1) for error, alike in best.values())
    none = analogies.measure(load_method("no-edit"), 3)
    assert all(error > 0 for error, _ in none.values())


def test_agents_answer_as_they_do_one_by_one(folders):
    method = load_impromptu(model=str(folders[1]), device="cpu", size="cell")
    support, query = scenes.KINDS["place"].draw(3, 2, torch.Generator().manual_seed(1)).pictures(48)
    together = analogies.answers(method, support, query[:, 0])
    alone = [method([vii.Pair(*pair) for pair in support[i]], query[i, 0]) for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-4, rtol=0)


def test_the_tables_command(folders, shipped):
    run = CliRunner().invoke(analogies.main, [f"impromptu={folders[2]}", "pixel-delta", "no-edit", "--count", "2"])
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[2].split("|")[2].strip() == "impromptu-monolithic"
    assert sum(line.startswith("| composite of 3, two objects") for line in lines) == 2
    for method, message in (
        ("impromptu=/no/such", "expected a folder with config.json"),
        ("impromptu", "the method 'impromptu' needs model"),
        ("pixel-delta=x", "does not take model"),
    ):
        failed = CliRunner().invoke(analogies.main, [method, "--count", "1"])
        assert failed.exit_code == 1
        assert message in failed.stderr
    shutil.copytree(folders[2], shipped / "impromptu")
    method = analogies.read("impromptu")[1]
    assert (method.agent.config.agent, method.size) == ("monolithic", "cell")
